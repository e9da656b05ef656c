"""The consumers' half of a broker, put together: pulls, offsets, clients, locks, look-ups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import IService

from rocketmq_tx.broker.admin_groups import GroupRequests
from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.broker.client_control import ClientControl
from rocketmq_tx.broker.client_handlers import ClientRequests
from rocketmq_tx.broker.clients import EXPIRY_SCAN_INTERVAL_S, Consumers, Producers
from rocketmq_tx.broker.compiled_expressions import CompiledExpressions
from rocketmq_tx.broker.connection_lists import ConnectionLists
from rocketmq_tx.broker.consume_progress import ConsumeProgress
from rocketmq_tx.broker.filter_file import FilterFile
from rocketmq_tx.broker.filter_table import GroupFilters
from rocketmq_tx.broker.groups import SubscriptionGroupTable
from rocketmq_tx.broker.held_pulls import HeldPulls
from rocketmq_tx.broker.kept_table import TableFile
from rocketmq_tx.broker.lock_handlers import LockRequests
from rocketmq_tx.broker.notices import ConsumerNotices
from rocketmq_tx.broker.offset_handlers import OffsetRequests
from rocketmq_tx.broker.offset_moved import OffsetMovedLog
from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.broker.property_filters import PropertyFilters
from rocketmq_tx.broker.pull_handler import PullHandler
from rocketmq_tx.broker.pull_rules import PullRules
from rocketmq_tx.broker.query_handlers import QueryRequests
from rocketmq_tx.broker.queue_entries import QueueEntries
from rocketmq_tx.broker.queue_locks import LOCK_EXPIRED_S, QueueLocks
from rocketmq_tx.broker.runtime_info import RuntimeInfo
from rocketmq_tx.broker.scanned_pulls import ScannedPulls
from rocketmq_tx.broker.statistics import LOOK_S, BrokerStatistics
from rocketmq_tx.broker.store_times import StoreTimes
from rocketmq_tx.broker.tag_filter import TagFilters
from rocketmq_tx.broker.topics import TopicChange, TopicTable
from rocketmq_tx.broker.warm_reads import WarmReads
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.remoting.connections import ConnectionObserver
from rocketmq_tx.runtime.arrivals import Arrivals
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.threads import off_reactor
from rocketmq_tx.store.message_store import MessageStore


class ReadingSide:
    """Its handlers of requests, observers of connections, and periodic work.

    `store_host` is this broker's packed address; `appending` is for the events that consumers are told by.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        store: MessageStore,
        arrivals: Arrivals,
        appending: Appending,
        topics: TopicTable,
        groups: SubscriptionGroupTable,
        offsets: ConsumerOffsets,
        store_host: bytes,
        filter_file: TableFile,
        reactor: Any,
        now_ms: Callable[[], int],
        statistics: BrokerStatistics,
    ) -> None:
        broker, now_s = settings.broker, reactor.seconds
        expressions = CompiledExpressions()
        group_filters = GroupFilters(broker, expressions.compiled, now_ms)
        property_filters = PropertyFilters(broker, group_filters, expressions.compiled)
        self._broker = broker
        self._statistics = statistics
        self._filter_file = FilterFile(group_filters, filter_file, off_reactor(reactor), reactor)
        producers, consumers = Producers(), Consumers(group_filters.leave)
        self.producers = producers
        """Who can be asked about transactions."""
        self._reactor = reactor
        self._held = HeldPulls(arrivals)
        self._clients = ClientRequests(
            producers,
            consumers,
            groups,
            topics,
            ConsumerNotices(broker, consumers),
            group_filters,
            property_filters,
            now_s,
            now_ms,
        )
        filters = TagFilters()
        rules = PullRules(broker, groups.find, topics.get, consumers.find, property_filters)
        pulls = PullHandler(
            settings,
            store,
            rules,
            filters,
            offsets,
            self._held,
            OffsetMovedLog(appending.append, broker.broker_name, store_host, now_ms),
            off_reactor(reactor),
            statistics,
        )
        self._locks = LockRequests(QueueLocks(), now_s)
        reads = WarmReads(store, off_reactor(reactor))
        self.runtime_info = RuntimeInfo(settings, store, pulls.traffic, now_ms)
        self._handlers = [
            pulls,
            ScannedPulls(rules, pulls),
            self._clients,
            OffsetRequests(offsets, store, reads),
            self._locks,
            QueryRequests(settings.store, store, reads),
            ConnectionLists(producers, consumers),
            ConsumeProgress(
                broker,
                settings.broker_address,
                store,
                topics,
                groups,
                consumers,
                offsets,
                StoreTimes(store, reads),
                now_ms,
                statistics.get_rate,
            ),
            GroupRequests(settings.store, groups, offsets, self._group_deleted),
            ClientControl(broker.broker_name, topics.get, consumers, offsets, store, reads),
            QueueEntries(store, consumers, filters, group_filters),
            self.runtime_info,
            statistics,
        ]
        topics.observers.append(self._topics_changed)

    def _topics_changed(self, change: TopicChange) -> None:
        if change.deleted and self._broker.auto_delete_unused_stats:
            self._statistics.forget_topics(change.deleted)

    def _group_deleted(self, group: str) -> None:
        if self._broker.auto_delete_unused_stats:
            self._statistics.forget_group(group)

    def handlers(self) -> list[object]:
        """Objects whose marked methods serve requests."""
        return self._handlers

    def observers(self) -> list[ConnectionObserver]:
        """Who hears of connections: a client that goes leaves its groups and its held pulls."""
        return [self._clients, self._held]

    def services(self) -> list[IService]:
        """Periodic work."""
        return [
            self._filter_file,
            Periodic(self._reactor, LOOK_S, self._statistics.look, "statistics"),
            Periodic(self._reactor, EXPIRY_SCAN_INTERVAL_S, self._clients.expire, "expiry of silent clients"),
            Periodic(self._reactor, LOCK_EXPIRED_S, self._locks.drop_expired, "expiry of queue locks"),
        ]
