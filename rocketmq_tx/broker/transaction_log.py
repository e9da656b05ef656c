"""Transactions in the store of one broker: the table of open ones, and how it follows the log.

append of a half or op message, by whomever  -> `OpenTransactions`
every second, once what was ended is on disk -> offsets of CID_RMQ_SYS_TRANS, where the next start begins
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.broker.half_outlines import HalfOutlines
from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.broker.open_transactions import OpenTransaction, OpenTransactions, Progress
from rocketmq_tx.broker.transaction_messages import op_message
from rocketmq_tx.broker.transaction_replay import HALF, OP, Replay, find_committed
from rocketmq_tx.broker.transaction_rules import HalfMessage, op_offsets, table_key
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.properties import unpack_properties
from rocketmq_tx.runtime.group_commit import GroupCommit
from rocketmq_tx.store.append import NewMessage, Placed
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.pending_keys import key_texts

_GROUP = names.TRANSACTION_CONSUMER_GROUP


@attrs.define
class TransactionFigures:
    """Plain numbers since the broker's start."""

    half_messages: int = 0
    commits: int = 0
    rollbacks: int = 0
    unknowns: int = 0
    """Ends that said that nothing is known yet."""
    repeated_ends: int = 0
    """Ends of transactions that were decided before; they had no effect."""
    refused_ends: int = 0
    checks: int = 0
    unanswerable: int = 0
    """Checks that were put off since no producer of the group is connected."""
    discards: int = 0
    put_backs: int = 0
    lost: int = 0
    """Half messages whose record could not be read when it was needed."""


class TransactionLog:
    """Keeps the table as the log says. `broker_host` is this broker's packed address."""

    _log = Logger()

    def __init__(
        self,
        store: MessageStore,
        appending: Appending,
        flushes: GroupCommit,
        offsets: ConsumerOffsets,
        broker_host: bytes,
        now_ms: Callable[[], int],
    ) -> None:
        self.figures = TransactionFigures()
        self._store = store
        self._appending = appending
        self._flushes = flushes
        self._offsets = offsets
        self.broker_host = broker_host
        self._now_ms = now_ms
        self._table: OpenTransactions | None = None
        self._outlines = HalfOutlines()
        self._waiting: tuple[Progress, int] | None = None
        """Progress that counts once the log is on disk up to there."""
        appending.listeners[names.TRANSACTION_HALF_TOPIC] = self._halves_stored
        appending.listeners[names.TRANSACTION_OP_TOPIC] = self._ops_stored

    # -- the table -----------------------------------------------------------------------------------------

    @property
    def table(self) -> OpenTransactions:
        """What is open; read from the log when it is asked for first."""
        if self._table is None:
            self.load(after_crash=True)
        assert self._table is not None
        return self._table

    @property
    def is_loaded(self) -> bool:
        return self._table is not None

    def load(self, after_crash: bool) -> None:
        """Reads both topics; may take long, and waits for the disk.

        After a crash a commit may have been stored without its op message: it is written now. So are those
        for copies that Apache made of transactions that had ended; their op messages may be passed already.
        """
        replay = Replay(self._store)
        offsets = [self._offsets.query(_GROUP, *queue) for queue in (HALF, OP)]
        self._table = replay.run(*offsets)
        mended = self._mend(list(replay.left_over), after_crash)
        if replay.read:
            self._log.info(
                "transactions: open={open} messages_read={read} unreadable={unreadable} op_written={mended}",
                open=len(self._table),
                read=replay.read,
                unreadable=replay.unreadable,
                mended=mended,
            )

    def unload(self) -> None:
        """This broker is a slave now: its log grows without us."""
        self._table = None
        self._waiting = None

    def _mend(self, left_over: list[int], after_crash: bool) -> int:
        """Writes op messages that are missing; returns for how many transactions or copies."""
        now_ms = self._now_ms()
        messages = [op_message(copy, self.broker_host, now_ms) for copy in left_over]
        suspects = [each for each in self.table if after_crash or each.begins_with_copy]
        done = [each for each in suspects if find_committed(self._store, each) is not None]
        messages += [message for each in done for message in self.op_messages(each, now_ms)]
        if messages:
            try:
                self._appending.append(messages, now_ms)
            except RequestRefused as refusal:  # the disk is full, say: they are not asked about all the same
                self._log.warn("op messages could not be written: {refusal}", refusal=refusal.remark)
                for each in done:
                    self.table.forget(each)
        return len(done) + len(left_over)

    def op_messages(self, transaction: OpenTransaction, now_ms: int) -> list[NewMessage]:
        """Ends every copy of it that is known: those from where this broker began to read.

        We need one of them only; Apache, which may take this store over, asks about each on its own, and
        after a kill it begins at offsets that were written a while ago.
        """
        return [op_message(copy, self.broker_host, now_ms) for copy in reversed(transaction.copies)]

    def _halves_stored(self, messages: Sequence[NewMessage], placed: Sequence[Placed], now_ms: int) -> None:
        table, outline_of = self._table, self._outlines.of
        if table is None:
            return
        for message, place in zip(messages, placed, strict=True):
            if message[0] == names.TRANSACTION_HALF_TOPIC and message[1] == HALF[1]:
                keys, properties = key_texts(message[12]), message[4]
                outline = outline_of(properties, keys[0]) if keys else None
                if (
                    outline is not None
                    and outline.is_producers
                    and table.sent(
                        table_key(keys[0], outline.producer_group),
                        message,
                        outline,
                        place[2],
                        place[0],
                        now_ms,
                    )
                ):
                    self.figures.half_messages += 1
                    continue
                half = HalfMessage.read(unpack_properties(properties), place[2], place[0], now_ms, message[7])
                self.figures.half_messages += not half.is_copy
                table.half_stored(half)

    def _ops_stored(self, messages: Sequence[NewMessage], placed: Sequence[Placed], now_ms: int) -> None:
        if self._table is None:
            return
        for message, place in zip(messages, placed, strict=True):
            if message[0] == names.TRANSACTION_OP_TOPIC and message[1] == OP[1]:
                body = message[2]
                offsets = (int(body),) if body.isdigit() else tuple(op_offsets(body))
                self._table.op_stored(place[2], offsets)

    # -- progress ------------------------------------------------------------------------------------------

    def keep_progress(self) -> None:
        """Makes known where a start may begin, as far as what was passed is on disk; once a second.

        A power cut must not take a commit away whose half message is behind the kept offset.
        """
        if self._table is None:
            return
        if self._waiting is not None:
            progress, written_to = self._waiting
            if self._store.flushed_to < written_to:
                self._flushes.flush(written_to)
                return
            self._keep(progress)
        self._waiting = (self._table.progress, self._store.written_to)

    def keep_last_progress(self, timeout_s: float) -> Deferred[None] | None:
        """The same for an orderly stop; when the disk does not answer, the next start reads a bit more."""
        if self._table is None:
            return None
        progress, written_to = self._table.progress, self._store.written_to
        if self._store.flushed_to >= written_to:
            self._keep(progress)
            return None
        waiting = self._flushes.durable(written_to, timeout_s)
        return waiting.addCallbacks(lambda _: self._keep(progress), self._not_kept)

    def _keep(self, progress: Progress) -> None:
        self._offsets.commit(_GROUP, *HALF, progress.half)
        self._offsets.commit(_GROUP, *OP, progress.op)

    def _not_kept(self, failure: object) -> None:
        self._log.warn(
            "transactions: progress not kept, the log was not flushed: {failure}",
            failure=getattr(failure, "value", failure),
        )
