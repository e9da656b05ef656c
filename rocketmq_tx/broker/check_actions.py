"""What becomes of open transactions in a round: copies for checks and for operators, stored and pushed.

    read      the newest copy of the half message, by a thread when it is not in memory
    perform   one append for many transactions; then producers are asked

Facts: `spec/schedule.yaml` (check_service).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

import attrs
from twisted.logger import Logger

from rocketmq_tx.broker.transaction_messages import check_request, given_up_message, half_copy
from rocketmq_tx.errors import MessageError, RequestRefused, StoreError, WouldBlock
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.message import MessageRecord, decode_record
from rocketmq_tx.store.append import NewMessage, Placed

if TYPE_CHECKING:
    from rocketmq_tx.broker.appending import Appending
    from rocketmq_tx.broker.open_transactions import OpenTransaction
    from rocketmq_tx.broker.producer_choice import ProducerChoice
    from rocketmq_tx.broker.topics import TopicTable
    from rocketmq_tx.broker.transaction_log import TransactionLog
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.runtime.threads import OffReactor
    from rocketmq_tx.store.stored_messages import StoredMessages


@attrs.define
class Action:
    """What is to be done for one transaction: `peer` is asked once its copy is stored; None gives it up."""

    transaction: OpenTransaction
    half: MessageRecord
    peer: Peer | None = None
    messages: list[NewMessage] = attrs.Factory(list)


class CheckActions:
    """Does what `TransactionChecks` decides."""

    _log = Logger()

    def __init__(
        self,
        store: StoredMessages,
        appending: Appending,
        log: TransactionLog,
        topics: TopicTable,
        choice: ProducerChoice,
        off_reactor: OffReactor,
    ) -> None:
        self._store = store
        self._appending = appending
        self._transactions = log
        self._topics = topics
        self._choice = choice
        self._off_reactor = off_reactor
        self._refused = False

    def is_open(self, transaction: OpenTransaction) -> bool:
        """Whether the table still has it; much happens while a thread reads."""
        log = self._transactions
        return log.is_loaded and log.table.find(transaction.key) is transaction

    async def read(self, transaction: OpenTransaction) -> MessageRecord | None:
        """The newest copy, brought into memory by a thread when it is not there."""
        offset = transaction.newest.commit_log_offset
        try:
            while True:
                try:
                    return decode_record(self._store.record_at(offset, may_block=False))
                except WouldBlock as error:
                    await self._off_reactor(self._store.warm, error)
        except (StoreError, MessageError) as error:
            self._transactions.figures.lost += 1
            if self.is_open(transaction):
                self._transactions.table.forget(transaction)
            self._log.error(
                "a half message is lost: key={key} commit_log_offset={offset} error={error}",
                key=transaction.unique_key,
                offset=offset,
                error=error,
            )
            return None

    def perform(self, actions: list[Action], now_ms: int) -> bool:
        """False when nothing can be stored at present; nothing was counted then."""
        actions = [each for each in actions if self.is_open(each.transaction)]
        for each in actions:
            if each.peer is None:
                self._topics.ensure(names.TRANSACTION_GIVEN_UP_TOPIC, 1)
                ends = self._transactions.op_messages(each.transaction, now_ms)
                each.messages = [given_up_message(each.half), *ends]
            else:
                each.messages = self._copy_for_check(each)
        return self._store_actions(actions, now_ms) if actions else True

    def _copy_for_check(self, action: Action) -> list[NewMessage]:
        """Nothing when the properties have no room for the counter: it is asked with the copy there is."""
        checks = action.transaction.newest.checks_done + 1
        try:
            return [half_copy(action.half, {prop.TRANSACTION_CHECK_TIMES: str(checks)})]
        except MessageError:
            return []

    def _store_actions(self, actions: list[Action], now_ms: int) -> bool:
        """One append for all; should one of them fit no segment, each gets an append of its own."""
        messages = [message for each in actions for message in each.messages]
        try:
            placed = iter(self._appending.append(messages, now_ms) if messages else ())
        except RequestRefused as refusal:
            if not self._refused:
                self._log.warn("transactions are not checked at present: {remark}", remark=refusal.remark)
            self._refused = True
            return False
        except MessageError:
            if len(actions) > 1:
                results = [self._store_actions([each], now_ms) for each in actions]
                return all(results)
            self._log.error("transaction {key}: no segment has room", key=actions[0].transaction.unique_key)
            return True
        self._refused = False
        for each in actions:
            self._stored(each, list(islice(placed, len(each.messages))), now_ms)
        return True

    def _stored(self, action: Action, placed: Sequence[Placed], now_ms: int) -> None:
        figures = self._transactions.figures
        if action.peer is None:
            figures.discards += 1
            self._log.warn(
                "transaction given up: key={key} group={group} topic={topic} checks={checks}",
                key=action.transaction.unique_key,
                group=action.transaction.newest.producer_group,
                topic=action.transaction.newest.topic,
                checks=action.transaction.newest.checks_done,
            )
            return
        figures.checks += 1
        half = action.half
        # a half message that says nonsense, stored by somebody else, is counted as asked about: it ends, too
        with suppress(MessageError):
            if placed:
                place, properties, stored_ms = placed[0], action.messages[0].properties, now_ms
            else:
                self._transactions.table.counted(action.transaction)
                place = Placed(half.commit_log_offset, 0, half.queue_offset)
                properties, stored_ms = half.properties, half.store_timestamp
            frame = check_request(half, properties, place, stored_ms)
            self._choice.asked(action.peer, action.transaction.newest.producer_group, place.queue_offset)
            action.peer.push(frame)
