"""Serves END_TRANSACTION: commits and rollbacks, each decided once.

The committed message and the op messages that end its half message are stored by one append, so only a
crash in the middle of that write can part them; the next start mends that. Facts: `spec/processors.yaml`
(EndTransactionProcessor).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import attrs
from twisted.internet.defer import Deferred

from rocketmq_tx.broker import send_rules
from rocketmq_tx.broker.transaction_messages import committed_message, stored_half
from rocketmq_tx.broker.transaction_replay import born_at, committed_before, was_given_up
from rocketmq_tx.broker.transaction_rules import check_end, not_found, table_key, transaction_key
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import (
    HeaderError,
    IndexNotReady,
    MessageError,
    PeerError,
    RequestRefused,
    StoreError,
    WouldBlock,
)
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.flags import TRANSACTION_NOT, SysFlag
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.headers import EndTransactionRequestHeader
from rocketmq_tx.protocol.message import MessageRecord, decode_record
from rocketmq_tx.protocol.properties import unpack_properties
from rocketmq_tx.remoting.mishaps import as_refusal
from rocketmq_tx.remoting.registry import Reply, serves_runs

if TYPE_CHECKING:
    from rocketmq_tx.broker.appending import Appending
    from rocketmq_tx.broker.open_transactions import OpenTransaction
    from rocketmq_tx.broker.transaction_log import TransactionLog
    from rocketmq_tx.config.store import MessageStoreConfig
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.runtime.threads import OffReactor
    from rocketmq_tx.store.append import NewMessage
    from rocketmq_tx.store.message_store import MessageStore


class Half(NamedTuple):
    """A half message, or a copy of it, that is to be ended, with its place."""

    message: NewMessage
    properties: dict[str, str]
    queue_offset: int
    commit_log_offset: int


@attrs.define(eq=False)
class End:
    """One end on its way: decided, then stored or refused."""

    frame: Frame
    reply: Reply
    """The answer when storing goes well, or when there is nothing to store."""
    messages: list[NewMessage] = attrs.Factory(list)
    is_commit: bool = False
    follows: End | None = None
    """An earlier end of the same transaction in the same run: what becomes of it holds for this one, too."""


class EndTransactions:
    """Decides, stores and answers runs of ends."""

    def __init__(
        self,
        config: MessageStoreConfig,
        store: MessageStore,
        appending: Appending,
        log: TransactionLog,
        now_ms: Callable[[], int],
        off_reactor: OffReactor,
        answered: Callable[[int], object] = lambda half_queue_offset: None,
        index_ready: Callable[[], Deferred[None]] | None = None,
    ) -> None:
        self._answered = answered
        """Is told of each end: it may be the answer to a check."""
        self._index_ready = index_ready
        self._config = config
        self._store = store
        self._appending = appending
        self._log = log
        self._now_ms = now_ms
        self._off_reactor = off_reactor

    @serves_runs(RequestCode.END_TRANSACTION)
    def end(self, peer: Peer, run: list[Frame]) -> list[bytes | Deferred[bytes]]:
        """Half messages that are not in memory any more are read by a thread, and their ends come later.

        So do those that have to wait for the index after a crash.
        """
        now_ms = self._now_ms()
        ends: list[End] = []
        answers: list[bytes | Deferred[bytes]] = []
        pending: dict[str, End] = {}
        for frame in run:
            try:
                ends.append(self._decide(frame, pending, now_ms))
            except (WouldBlock, IndexNotReady) as error:
                answers.append(Deferred.fromCoroutine(self._later(peer, frame, error)))
            except PeerError as error:
                self._log.figures.refused_ends += 1
                ends.append(End(frame, _refusal(error)))
        self._store_all([each for each in ends if each.messages], now_ms)
        answers[:0] = [
            encode_frame(each.frame.answer(reply.code, reply.remark))
            for each in ends
            if not each.frame.is_oneway
            for reply in ((each.follows or each).reply,)
        ]
        return answers

    async def _later(self, peer: Peer, frame: Frame, error: WouldBlock | IndexNotReady) -> bytes:
        if isinstance(error, WouldBlock):
            await self._off_reactor(self._store.warm, error)
        else:
            try:
                await self._ready_index(error)
            except IndexNotReady as too_late:
                self._log.figures.refused_ends += 1
                busy = frame.answer(ResponseCode.SYSTEM_BUSY, f"ask again later: {too_late}")
                return b"" if frame.is_oneway else encode_frame(busy)
        answers = self.end(peer, [frame])
        if not answers:
            return b""
        return answers[0] if isinstance(answers[0], bytes) else await answers[0]

    async def _ready_index(self, error: IndexNotReady) -> None:
        if self._index_ready is None:
            raise error
        await self._index_ready()

    # -- deciding ------------------------------------------------------------------------------------------

    def _decide(self, frame: Frame, pending: dict[str, End], now_ms: int) -> End:
        header = EndTransactionRequestHeader.from_ext_fields(frame.ext_fields)
        if self._config.broker_role is BrokerRole.SLAVE:
            return End(frame, Reply(ResponseCode.SLAVE_NOT_AVAILABLE))
        self._answered(header.tran_state_table_offset)
        if header.commit_or_rollback == TRANSACTION_NOT:
            self._log.figures.unknowns += 1
            return End(frame, Reply())
        half = self._kept(header) or self._read(header)
        is_commit = header.commit_or_rollback == SysFlag.TRANSACTION_COMMIT
        key = transaction_key(half.properties, half.queue_offset)
        earlier = pending.get(key)
        if earlier is not None:
            self._log.figures.repeated_ends += 1
            return End(frame, earlier.reply, follows=earlier)
        transaction = self._log.table.find_copy(key, half.queue_offset)
        end = End(frame, Reply(), is_commit=is_commit)
        if transaction is not None:
            end.messages = self._ending(transaction, half, is_commit, now_ms)
        elif is_commit and self._was_given_up(half, key):
            end.messages = [self._committed(half, now_ms)]
        if end.messages:
            pending[key] = end
        else:
            self._log.figures.repeated_ends += 1
        return end

    def _kept(self, header: EndTransactionRequestHeader) -> Half | None:
        """The half message from memory, where most still are; None unless all checks are passed."""
        transaction = self._log.table.find(table_key(header.msg_id, header.producer_group))
        if transaction is None or transaction.message is None:
            return None
        queue_offset = transaction.copies[-1]
        offset = transaction.first_commit_log_offset
        if (queue_offset, offset) != (header.tran_state_table_offset, header.commit_log_offset):
            return None
        properties = unpack_properties(transaction.message[4])
        if properties.get(prop.PRODUCER_GROUP) != header.producer_group:
            return None
        return Half(transaction.message, properties, queue_offset, offset)

    def _read(self, header: EndTransactionRequestHeader) -> Half:
        """The half message from the log."""
        offset = header.commit_log_offset
        try:
            record = decode_record(self._store.record_at(offset, may_block=False))
        except WouldBlock:
            raise
        except (StoreError, MessageError) as error:
            copy = self._copy_of_deleted(header)
            if copy is None:
                raise not_found() from error
            record, properties = copy, copy.property_map
        else:
            properties = record.property_map
            check_end(record, properties, header)
        return Half(
            stored_half(record, properties), properties, record.queue_offset, record.commit_log_offset
        )

    def _copy_of_deleted(self, header: EndTransactionRequestHeader) -> MessageRecord | None:
        """The newest copy of a half message whose own segment was deleted while the producer worked on."""
        if header.commit_log_offset >= self._store.min_offset:
            return None
        key = table_key(header.msg_id, header.producer_group)
        transaction = self._log.table.find_copy(key, header.tran_state_table_offset)
        if transaction is None or transaction.newest.producer_group != header.producer_group:
            return None
        try:
            return decode_record(self._store.record_at(transaction.newest.commit_log_offset, may_block=False))
        except (StoreError, MessageError):
            return None

    def _ending(
        self, transaction: OpenTransaction, half: Half, is_commit: bool, now_ms: int
    ) -> list[NewMessage]:
        """The committed message first: an op message without it would lose it."""
        committed = [self._committed(half, now_ms)] if is_commit else []
        return committed + self._log.op_messages(transaction, now_ms)

    def _committed(self, half: Half, now_ms: int) -> NewMessage:
        return committed_message(
            half.message, half.properties, half.commit_log_offset, now_ms, self._config.delay_levels_ms
        )

    def _was_given_up(self, half: Half, key: str) -> bool:
        """A commit that comes after the last check still counts, once: the index knows what became of it."""
        self._store.check_index_ready()
        born_timestamp, real_topic = half.message[7], half.properties.get(prop.REAL_TOPIC, "")
        return (
            was_given_up(self._store, key, born_timestamp)
            and committed_before(self._store, real_topic, key, born_at(born_timestamp)) is None
        )

    # -- storing -------------------------------------------------------------------------------------------

    def _store_all(self, ends: list[End], now_ms: int) -> None:
        """One append for all; should one of them fit no segment, each gets an append of its own."""
        if not ends:
            return
        try:
            self._appending.append([message for each in ends for message in each.messages], now_ms)
        except RequestRefused as refusal:
            for each in ends:
                each.reply = _refusal(refusal)
        except MessageError:
            if len(ends) == 1:
                ends[0].reply = _refusal(send_rules.message_illegal(self._config.max_message_size))
            else:
                for each in ends:
                    self._store_all([each], now_ms)
        else:
            figures = self._log.figures
            commits = sum(each.is_commit for each in ends)
            figures.commits += commits
            figures.rollbacks += len(ends) - commits


def _refusal(error: PeerError) -> Reply:
    if isinstance(error, HeaderError | MessageError):
        return Reply(ResponseCode.SYSTEM_ERROR, str(error))
    return Reply(*as_refusal(error))
