"""Transactions of one broker, put together: requests, the scheduler, and their life within the broker."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, fail, succeed

from rocketmq_tx.broker.check_actions import CheckActions
from rocketmq_tx.broker.end_transactions import EndTransactions
from rocketmq_tx.broker.producer_choice import ProducerChoice
from rocketmq_tx.broker.put_backs import PutBacks
from rocketmq_tx.broker.scanned_ends import ScannedEnds
from rocketmq_tx.broker.transaction_checks import TransactionChecks
from rocketmq_tx.broker.transaction_log import TransactionLog
from rocketmq_tx.broker.transaction_requests import TransactionRequests
from rocketmq_tx.broker.transaction_rules import check_rule
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import StoreUnavailable
from rocketmq_tx.runtime.periodic import Periodic

if TYPE_CHECKING:
    from rocketmq_tx.broker.clients import Producers
    from rocketmq_tx.broker.storage_side import StorageSide
    from rocketmq_tx.broker.surroundings import Surroundings
    from rocketmq_tx.broker.tables import Tables

TICK_S = 1.0
STOP_TIMEOUT_S = 3.0


class Transactions:
    """Its handlers of requests, and the service that keeps and checks what is open; `producers` are asked."""

    def __init__(
        self, surroundings: Surroundings, storage: StorageSide, tables: Tables, producers: Producers
    ) -> None:
        settings, reactor, now_ms = surroundings.settings, surroundings.reactor, surroundings.now_ms
        store, appending, flushes = storage.store, storage.appending, storage.flushes
        topics, threads = tables.topics, surroundings.off_reactor
        self.log = TransactionLog(store, appending, flushes, tables.offsets, storage.store_host, now_ms)
        choice = ProducerChoice(producers, reactor.seconds)
        actions = CheckActions(store, appending, self.log, topics, choice, threads)
        rule = partial(check_rule, settings)
        self.put_backs = PutBacks(store, appending, flushes, self.log, actions, rule, reactor, now_ms)
        self.checks = TransactionChecks(
            settings, self.log, topics, choice, actions, self.put_backs, rule, reactor, now_ms
        )
        self.requests = TransactionRequests(store, appending, self.log, self.checks, now_ms)
        self._ends = EndTransactions(
            settings.store,
            store,
            appending,
            self.log,
            now_ms,
            threads,
            self.checks.answered,
            storage.service.index_ready,
        )
        self._scanned_ends = ScannedEnds(settings.store, appending, self.log, self._ends, now_ms)
        self._service = TransactionService(
            settings, self.log, self.checks, self.put_backs, lambda: storage.service.was_clean, reactor
        )

    def handlers(self) -> list[object]:
        """Objects whose marked methods serve requests."""
        return [self._ends, self._scanned_ends, self.requests]

    def put_back_before(self, commit_log_offset: int) -> Deferred[None]:
        """Fires when no open transaction needs the log below that offset: before segments are deleted.

        StoreError while the store takes no message. On a slave there is nothing to do: its master does it.
        """
        return self._service.put_back_before(commit_log_offset)

    def role_changed(self) -> None:
        """This broker became a master, or is none any more, as the settings say."""
        self._service.role_changed()

    def services(self) -> list[IService]:
        """Started before anybody can connect, stopped before the tables are written."""
        return [self._service]


class TransactionService(Service):
    """Loads the table, ticks, keeps progress; on a slave it waits until the broker is a master.

    `is_clean` says whether the store was closed in order before it was opened.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        log: TransactionLog,
        checks: TransactionChecks,
        put_backs: PutBacks,
        is_clean: Callable[[], bool],
        reactor: Any,
    ) -> None:
        self.setName("transactions")
        self._put_backs = put_backs
        self._settings = settings
        self._log = log
        self._checks = checks
        self._is_clean = is_clean
        self._ticking = Periodic(reactor, self._tick_s, self._tick, "checks of transactions")

    def startService(self) -> None:
        super().startService()
        if not self._is_slave():
            self._log.load(after_crash=not self._is_clean())
        self._checks.start()
        self._ticking.startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if not self._ticking.running:
            return succeed(None)
        self._checks.stop()
        stopped = self._ticking.stopService() or succeed(None)
        return stopped.addCallback(lambda _: self._log.keep_last_progress(STOP_TIMEOUT_S))

    def role_changed(self) -> None:
        """A slave knows nothing and asks nobody; a new master reads what is open, and mends.

        Its first round comes one interval later: producers have to connect before.
        """
        if not self.running:
            return
        self._checks.stop()
        self._log.unload()
        if not self._is_slave():
            self._log.load(after_crash=True)
        self._checks.start()

    def put_back_before(self, commit_log_offset: int) -> Deferred[None]:
        if self._is_slave():
            return succeed(None)
        if not self.running:
            return fail(StoreUnavailable("transactions have stopped"))
        return Deferred.fromCoroutine(self._put_backs.release(commit_log_offset))

    def _is_slave(self) -> bool:
        return self._settings.store.broker_role is BrokerRole.SLAVE

    def _tick_s(self) -> float:
        return min(TICK_S, max(0.01, self._settings.broker.transaction_check_interval / 1000))

    def _tick(self) -> Deferred[None] | None:
        if self._is_slave():
            self._log.unload()
            self._checks.start()  # once it is a master, producers have to come before it asks
            return None
        return self._checks.tick()
