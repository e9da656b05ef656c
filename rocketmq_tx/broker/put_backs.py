"""Copies of half messages that stay open for long, further on in the log.

    each second                   who holds progress back gets a copy, so that a start has little to read
    before a segment is deleted   open transactions in it get a copy, or are given up if they are too old

Apache's broker forgets an open transaction together with the segment of its half message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.task import deferLater

from rocketmq_tx.broker.check_actions import Action, CheckActions
from rocketmq_tx.broker.transaction_messages import half_copy
from rocketmq_tx.broker.transaction_rules import CheckRule, Verdict, is_left_behind, next_check
from rocketmq_tx.errors import MessageError, RequestRefused, StoreError, StoreUnavailable
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.message import MessageRecord, decode_record

if TYPE_CHECKING:
    from rocketmq_tx.broker.appending import Appending
    from rocketmq_tx.broker.open_transactions import OpenTransaction
    from rocketmq_tx.broker.transaction_log import TransactionLog
    from rocketmq_tx.runtime.group_commit import GroupCommit
    from rocketmq_tx.store.stored_messages import StoredMessages

AT_A_TIME = 64
"""So many are copied before others get their turn."""
FLUSH_TIMEOUT_S = 30.0


class PutBacks:
    """Appends the copies. `rule` gives the settings of the moment."""

    def __init__(
        self,
        store: StoredMessages,
        appending: Appending,
        flushes: GroupCommit,
        log: TransactionLog,
        actions: CheckActions,
        rule: Callable[[], CheckRule],
        reactor: Any,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._appending = appending
        self._flushes = flushes
        self._transactions = log
        self._actions = actions
        self._rule = rule
        self._reactor = reactor
        self._now_ms = now_ms

    def bring_forward(self) -> None:
        """Some of those that hold progress back; what cannot be read or stored now is left to the rounds."""
        table = self._transactions.table
        now_ms = self._now_ms()
        for _ in range(AT_A_TIME):
            oldest = table.oldest
            if oldest is None or not is_left_behind(oldest.newest, table.half_end, len(table)):
                return
            try:
                half = decode_record(self._store.record_at(oldest.newest.commit_log_offset))
                self._put_back(oldest, half, now_ms)
            except (StoreError, MessageError, RequestRefused):
                return

    async def release(self, commit_log_offset: int) -> None:
        """Returns when no open transaction needs the log below that offset any more, also after a crash.

        StoreError while nothing can be stored, or when the copies do not get onto the disk in time.
        """
        moved = 0
        while True:
            oldest = self._transactions.table.oldest
            if oldest is None or oldest.newest.commit_log_offset >= commit_log_offset:
                break
            half = await self._actions.read(oldest)
            if half is not None and self._actions.is_open(oldest):
                self._move(oldest, half)
            moved += 1
            if moved % AT_A_TIME == 0:
                await deferLater(self._reactor, 0)
        if moved:
            await self._flushes.durable(self._store.written_to, FLUSH_TIMEOUT_S)

    def _move(self, transaction: OpenTransaction, half: MessageRecord) -> None:
        now_ms = self._now_ms()
        is_over = next_check(transaction.newest, now_ms, self._rule()) is Verdict.GIVE_UP
        try:
            if not is_over:
                self._put_back(transaction, half, now_ms)
        except MessageError:
            is_over = True  # there is no room in its properties: operators find it
        except RequestRefused as refusal:
            raise StoreUnavailable(refusal.remark) from refusal
        if is_over and not self._actions.perform([Action(transaction, half)], now_ms):
            raise StoreUnavailable("a transaction cannot be given up, since the store takes no message")

    def _put_back(self, transaction: OpenTransaction, half: MessageRecord, now_ms: int) -> None:
        first = transaction.newest.first_offset
        first = transaction.newest.queue_offset if first is None else first
        copy = half_copy(half, {prop.TRAN_PREPARED_QUEUE_OFFSET: str(first)})
        self._appending.append([copy], now_ms)
        self._transactions.figures.put_backs += 1
