"""Asks producers what became of transactions that nobody ended: the driver of `transaction_rules.next_check`.

    each second                            progress is kept, who holds it back gets a copy further on
    each transactionCheckInterval          a round: every open transaction is judged once
      ask      it waits for a producer of its group that has room for a check (`producer_choice`): then a new
               copy of the half message is stored, and CHECK_TRANSACTION_STATE is pushed
      give up  a copy for the operators and op messages are stored
    an answer to a check                   makes room for those that wait

A round works in slices and lets others in between. Facts: `spec/schedule.yaml` (check_service).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from rocketmq_tx.broker.check_actions import Action, CheckActions
from rocketmq_tx.broker.open_transactions import OpenTransaction
from rocketmq_tx.broker.producer_choice import ProducerChoice
from rocketmq_tx.broker.put_backs import PutBacks
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.broker.transaction_log import TransactionLog
from rocketmq_tx.broker.transaction_rules import CheckRule, Verdict, next_check
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.protocol import names

SLICE = 64
"""Transactions of a round that are worked on before others get their turn: some 5 ms."""


class TransactionChecks:
    """The scheduler; `tick` is called about once a second while this broker is no slave."""

    _log = Logger()

    def __init__(
        self,
        settings: BrokerSettings,
        log: TransactionLog,
        topics: TopicTable,
        choice: ProducerChoice,
        actions: CheckActions,
        put_backs: PutBacks,
        rule: Callable[[], CheckRule],
        reactor: Any,
        now_ms: Callable[[], int],
    ) -> None:
        self.rule = rule
        self._settings = settings
        self._transactions = log
        self._topics = topics
        self._choice = choice
        self._actions = actions
        self._put_backs = put_backs
        self._reactor = reactor
        self._now_ms = now_ms
        self._waiting: dict[str, deque[OpenTransaction]] = {}
        """Who is due to be asked about in this round, by group."""
        self._is_asking = False
        self._round_at_s: float | None = None
        self._stopping = False

    def start(self) -> None:
        """The first round comes one interval from now: producers have to connect before."""
        self._stopping = False
        self._waiting.clear()
        self._round_at_s = self._reactor.seconds()

    def stop(self) -> None:
        """What goes on ends with its slice."""
        self._stopping = True
        self._waiting.clear()

    @property
    def waiting(self) -> int:
        """So many are due, and wait until a producer has answered others."""
        return sum(map(len, self._waiting.values()))

    def tick(self) -> Deferred[None] | None:
        """What is due now; fires when it is done."""
        self._put_backs.bring_forward()
        self._transactions.keep_progress()
        if self._is_asking:
            return None  # a round now would ask about some of them twice
        now_s = self._reactor.seconds()
        interval_s = self._settings.broker.transaction_check_interval / 1000
        if self._round_at_s is not None and now_s - self._round_at_s < interval_s:
            self._choice.refresh()
            return Deferred.fromCoroutine(self._ask_waiting()) if self._waiting else None
        self._round_at_s = now_s
        return self.round()

    def answered(self, half_queue_offset: int) -> None:
        """An end came for that copy of a half message: the producer may be asked about others."""
        group = self._choice.answered(half_queue_offset)
        if group in self._waiting and not self._is_asking:
            self._is_asking = True  # from now on, as more ends of the same read will say the same
            self._reactor.callLater(0, self._go_on_asking)

    def _go_on_asking(self) -> None:
        self._is_asking = False
        asking = Deferred.fromCoroutine(self._ask_waiting())
        asking.addErrback(lambda failure: self._log.failure("checking transactions failed", failure))

    # -- a round -------------------------------------------------------------------------------------------

    def round(self) -> Deferred[None]:
        """Judges everything that is open now."""
        return Deferred.fromCoroutine(self._round())

    async def _round(self) -> None:
        self._choice.refresh()
        self._waiting.clear()
        self._topics.ensure(names.TRANSACTION_HALF_TOPIC, 1)
        for some in _slices(list(self._transactions.table), SLICE):
            if self._stopping or not await self._judge(some):
                return
            await self._ask_waiting()
            if len(some) == SLICE:
                await deferLater(self._reactor, 0)

    async def _judge(self, some: Sequence[OpenTransaction]) -> bool:
        """False when nothing can be stored at present: the next round tries again, nothing was counted."""
        now_ms, rule = self._now_ms(), self.rule()
        actions = []
        for transaction in some:
            verdict = next_check(transaction.newest, now_ms, rule)
            if verdict is Verdict.WAIT or not self._actions.is_open(transaction):
                continue
            if verdict is Verdict.ASK_PRODUCER:
                self._wait_for_producer(transaction)
            else:
                half = await self._actions.read(transaction)
                if half is not None:
                    actions.append(Action(transaction, half))
        return not self._stopping and self._actions.perform(actions, now_ms)

    def _wait_for_producer(self, transaction: OpenTransaction) -> None:
        group = transaction.newest.producer_group
        if group in self._waiting:
            self._waiting[group].append(transaction)
        elif self._choice.is_anybody(group):
            self._waiting[group] = deque([transaction])
        else:
            self._transactions.figures.unanswerable += 1

    async def _ask_waiting(self) -> None:
        """Asks about as many of each group as its producers have room for."""
        if self._is_asking:
            return
        self._is_asking = True
        try:
            for group in list(self._waiting):
                while await self._ask_some(group):
                    await deferLater(self._reactor, 0)
        finally:
            self._is_asking = False

    async def _ask_some(self, group: str) -> bool:
        """True when there may be more to do at once."""
        self._choice.begin_slice()
        now_ms, rule = self._now_ms(), self.rule()
        actions: list[Action] = []
        line = self._waiting.get(group)
        while line and len(actions) < SLICE and not self._stopping:
            transaction = line[0]
            is_due = self._actions.is_open(transaction) and next_check(transaction.newest, now_ms, rule)
            if is_due is not Verdict.ASK_PRODUCER:
                line.popleft()
                continue
            peer = self._choice.next(group)
            if peer is None:
                break
            line.popleft()
            half = await self._actions.read(transaction)
            if half is not None:
                actions.append(Action(transaction, half, peer))
        if line is not None and line is self._waiting.get(group) and not line:
            del self._waiting[group]
        if self._stopping:
            return False
        if not self._actions.perform(actions, now_ms):
            self._waiting.clear()  # the next round tries again
        return len(actions) == SLICE


def _slices(transactions: list[OpenTransaction], size: int) -> Iterator[list[OpenTransaction]]:
    for start in range(0, len(transactions), size):
        yield transactions[start : start + size]
