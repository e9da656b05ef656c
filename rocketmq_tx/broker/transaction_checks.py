"""Asks producers what became of transactions that nobody ended: the driver of `transaction_rules.next_check`.

    each second                            progress is kept, who holds it back gets a copy further on
    each transactionCheckInterval          a round: every open transaction is judged once
      ask      a new copy of the half message is stored, CHECK_TRANSACTION_STATE is pushed to one producer
      give up  a copy for the operators and op messages are stored

A round works in slices and lets others in between. Facts: `spec/schedule.yaml` (check_service).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.broker.clients import Producers
from rocketmq_tx.broker.open_transactions import OpenTransaction
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.broker.transaction_log import TransactionLog
from rocketmq_tx.broker.transaction_messages import check_request, given_up_message, half_copy
from rocketmq_tx.broker.transaction_rules import CheckRule, Verdict, is_left_behind, next_check
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.errors import MessageError, RequestRefused, StoreError, WouldBlock
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.message import MessageRecord, decode_record
from rocketmq_tx.remoting.peer import Peer
from rocketmq_tx.runtime.threads import OffReactor
from rocketmq_tx.store.append import NewMessage, Placed
from rocketmq_tx.store.message_store import MessageStore

SLICE = 64
"""Transactions of a round that are worked on before others get their turn: some 5 ms."""
HOUR_MS = 3_600_000


@attrs.define
class _Action:
    """What is to be stored for one transaction, and who is asked once it is."""

    transaction: OpenTransaction
    half: MessageRecord
    messages: list[NewMessage]
    verdict: Verdict
    peer: Peer | None = None


class ProducerChoice:
    """Who of a group is asked: its open connections in turn, those first who have not been asked longest."""

    def __init__(self, producers: Producers) -> None:
        self._producers = producers
        self._asked: WeakKeyDictionary[Peer, int] = WeakKeyDictionary()
        self._count = 0
        self._lines: dict[str, deque[Peer]] = {}

    def begin_round(self) -> None:
        """Who came since the last round is seen from now on; who goes is noticed at once."""
        self._lines.clear()

    def next(self, group: str) -> Peer | None:
        """The next to ask; None when nobody of the group is connected."""
        line = self._lines.get(group)
        if line is None:
            members = sorted(self._producers.members.of(group), key=lambda peer: self._asked.get(peer, 0))
            line = self._lines[group] = deque(members)
        while line:
            peer = line.popleft()
            if peer.is_open and peer in self._producers.members.of(group):
                line.append(peer)
                self._count += 1
                self._asked[peer] = self._count
                return peer
        return None


class TransactionChecks:
    """The scheduler; `tick` is called about once a second while this broker is no slave."""

    _log = Logger()

    def __init__(
        self,
        settings: BrokerSettings,
        store: MessageStore,
        appending: Appending,
        log: TransactionLog,
        topics: TopicTable,
        producers: Producers,
        reactor: Any,
        now_ms: Callable[[], int],
        off_reactor: OffReactor,
    ) -> None:
        self._settings = settings
        self._store = store
        self._appending = appending
        self._transactions = log
        self._topics = topics
        self._choice = ProducerChoice(producers)
        self._reactor = reactor
        self._now_ms = now_ms
        self._off_reactor = off_reactor
        self._round_at_s: float | None = None
        self._stopping = False
        self._refused = False

    def start(self) -> None:
        """The first round comes one interval from now: producers have to connect before."""
        self._stopping = False
        self._round_at_s = self._reactor.seconds()

    def stop(self) -> None:
        """A round that runs ends with its slice."""
        self._stopping = True

    def tick(self) -> Deferred[None] | None:
        """What is due now; fires when it is done."""
        self._bring_forward()
        self._transactions.keep_progress()
        now_s = self._reactor.seconds()
        interval_s = self._settings.broker.transaction_check_interval / 1000
        if self._round_at_s is not None and now_s - self._round_at_s < interval_s:
            return None
        self._round_at_s = now_s
        return self.round()

    def rule(self) -> CheckRule:
        """The settings of this moment."""
        broker = self._settings.broker
        return CheckRule(
            broker.transaction_time_out,
            broker.transaction_check_max,
            self._settings.store.file_reserved_time * HOUR_MS,
        )

    # -- a round -------------------------------------------------------------------------------------------

    def round(self) -> Deferred[None]:
        """Judges everything that is open now."""
        return Deferred.fromCoroutine(self._round())

    async def _round(self) -> None:
        self._choice.begin_round()
        self._topics.ensure(names.TRANSACTION_HALF_TOPIC, 1)
        for some in _slices(list(self._transactions.table), SLICE):
            if self._stopping or not await self._work_on(some):
                return
            if len(some) == SLICE:
                await deferLater(self._reactor, 0)

    async def _work_on(self, some: Sequence[OpenTransaction]) -> bool:
        """False when nothing can be stored at present: the next round tries again, nothing was counted."""
        now_ms, rule = self._now_ms(), self.rule()
        actions = []
        for transaction in some:
            verdict = next_check(transaction.newest, now_ms, rule)
            if verdict is Verdict.WAIT or not self._is_open(transaction):
                continue
            peer = None
            if verdict is Verdict.ASK_PRODUCER:
                peer = self._choice.next(transaction.newest.producer_group)
                if peer is None:
                    self._transactions.figures.unanswerable += 1
                    continue
            half = await self._read(transaction)
            if half is not None and self._is_open(transaction):
                actions.append(_Action(transaction, half, [], verdict, peer))
        return self._perform(actions, now_ms)

    def _is_open(self, transaction: OpenTransaction) -> bool:
        log = self._transactions
        return log.is_loaded and log.table.find(transaction.key) is transaction

    async def _read(self, transaction: OpenTransaction) -> MessageRecord | None:
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
            if self._is_open(transaction):
                self._transactions.table.forget(transaction)
            self._log.error(
                "a half message is lost: key={key} commit_log_offset={offset} error={error}",
                key=transaction.key,
                offset=offset,
                error=error,
            )
            return None

    def _perform(self, actions: list[_Action], now_ms: int) -> bool:
        actions = [each for each in actions if self._is_open(each.transaction)]
        for each in actions:
            if each.verdict is Verdict.GIVE_UP:
                self._topics.ensure(names.TRANSACTION_GIVEN_UP_TOPIC, 1)
                ends = self._transactions.op_messages(each.transaction, now_ms)
                each.messages = [given_up_message(each.half), *ends]
            else:
                each.messages = self._copy_for_check(each)
        return self._store_actions(actions, now_ms)

    def _copy_for_check(self, action: _Action) -> list[NewMessage]:
        """None when the properties have no room for the counter: it is asked with the copy there is."""
        checks = action.transaction.newest.checks_done + 1
        try:
            return [half_copy(action.half, {prop.TRANSACTION_CHECK_TIMES: str(checks)})]
        except MessageError:
            return []

    def _store_actions(self, actions: list[_Action], now_ms: int) -> bool:
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
            self._log.error("transaction {key}: no segment has room", key=actions[0].transaction.key)
            return True
        self._refused = False
        for each in actions:
            self._stored(each, list(islice(placed, len(each.messages))), now_ms)
        return True

    def _stored(self, action: _Action, placed: Sequence[Placed], now_ms: int) -> None:
        figures = self._transactions.figures
        if action.verdict is Verdict.GIVE_UP:
            figures.discards += 1
            self._log.warn(
                "transaction given up: key={key} group={group} topic={topic} checks={checks}",
                key=action.transaction.key,
                group=action.transaction.newest.producer_group,
                topic=action.transaction.newest.topic,
                checks=action.transaction.newest.checks_done,
            )
            return
        assert action.peer is not None
        figures.checks += 1
        half = action.half
        # a half message that says nonsense, stored by somebody else, is counted as asked about: it ends, too
        with suppress(MessageError):
            if placed:
                frame = check_request(half, action.messages[0].properties, placed[0], now_ms)
            else:
                self._transactions.table.counted(action.transaction)
                place = Placed(half.commit_log_offset, 0, half.queue_offset)
                frame = check_request(half, half.properties, place, half.store_timestamp)
            action.peer.push(frame)

    # -- between rounds ------------------------------------------------------------------------------------

    def _bring_forward(self) -> None:
        """Puts back copies of those that hold progress back, so that a start has little to read."""
        table = self._transactions.table
        now_ms = self._now_ms()
        for _ in range(SLICE):
            oldest = table.oldest
            if oldest is None or not is_left_behind(oldest.newest, table.half_end, len(table)):
                return
            first = oldest.newest.first_offset
            first = oldest.newest.queue_offset if first is None else first
            try:
                half = decode_record(self._store.record_at(oldest.newest.commit_log_offset))
                copy = half_copy(half, {prop.TRAN_PREPARED_QUEUE_OFFSET: str(first)})
                self._appending.append([copy], now_ms)
            except (StoreError, MessageError, RequestRefused):
                return  # a start takes longer, nothing else; the round deals with what cannot be read
            self._transactions.figures.put_backs += 1


def _slices(transactions: list[OpenTransaction], size: int) -> Iterator[list[OpenTransaction]]:
    for start in range(0, len(transactions), size):
        yield transactions[start : start + size]
