"""The consumers' half of a broker, put together: pulls, offsets, clients, locks, look-ups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.application.service import IService

from rocketmq_tx.broker.admin_groups import GroupRequests
from rocketmq_tx.broker.client_control import ClientControl
from rocketmq_tx.broker.client_handlers import ClientRequests
from rocketmq_tx.broker.clients import EXPIRY_SCAN_INTERVAL_S, Consumers, Producers
from rocketmq_tx.broker.compiled_expressions import CompiledExpressions
from rocketmq_tx.broker.connection_lists import ConnectionLists
from rocketmq_tx.broker.consume_progress import ConsumeProgress
from rocketmq_tx.broker.counters import LOOK_S
from rocketmq_tx.broker.filter_file import FilterFile
from rocketmq_tx.broker.filter_table import GroupFilters
from rocketmq_tx.broker.held_pulls import HeldPulls
from rocketmq_tx.broker.lock_handlers import LockRequests
from rocketmq_tx.broker.notices import ConsumerNotices
from rocketmq_tx.broker.offset_handlers import OffsetRequests
from rocketmq_tx.broker.offset_moved import OffsetMovedLog
from rocketmq_tx.broker.property_filters import PropertyFilters
from rocketmq_tx.broker.pull_handler import PullHandler
from rocketmq_tx.broker.pull_rules import PullRules
from rocketmq_tx.broker.query_handlers import QueryRequests
from rocketmq_tx.broker.queue_entries import QueueEntries
from rocketmq_tx.broker.queue_locks import LOCK_EXPIRED_S, QueueLocks
from rocketmq_tx.broker.runtime_info import RuntimeInfo
from rocketmq_tx.broker.scanned_pulls import ScannedPulls
from rocketmq_tx.broker.store_times import StoreTimes
from rocketmq_tx.broker.tag_filter import TagFilters
from rocketmq_tx.broker.topics import TopicChange
from rocketmq_tx.broker.warm_reads import WarmReads
from rocketmq_tx.remoting.connections import ConnectionObserver
from rocketmq_tx.runtime.periodic import Periodic

if TYPE_CHECKING:
    from rocketmq_tx.broker.storage_side import StorageSide
    from rocketmq_tx.broker.surroundings import Surroundings
    from rocketmq_tx.broker.tables import Tables


class ReadingSide:
    """Its handlers of requests, observers of connections, and periodic work."""

    def __init__(self, surroundings: Surroundings, storage: StorageSide, tables: Tables) -> None:
        settings, reactor, now_ms = surroundings.settings, surroundings.reactor, surroundings.now_ms
        self._surroundings, self._storage, self._tables = surroundings, storage, tables
        self._broker = settings.broker
        self._statistics = storage.statistics
        expressions = CompiledExpressions()
        self._group_filters = GroupFilters(self._broker, expressions.compiled, now_ms)
        self._property_filters = PropertyFilters(self._broker, self._group_filters, expressions.compiled)
        self._tag_filters = TagFilters()
        self._filter_file = FilterFile(
            self._group_filters, tables.file("consumerFilter.json"), surroundings.off_reactor, reactor
        )
        self.producers = Producers()
        """Who can be asked about transactions."""
        self._consumers = Consumers(self._group_filters.leave)
        self._held = HeldPulls(storage.arrivals)
        self._clients = self._client_requests()
        self._locks = LockRequests(QueueLocks(), settings.store, reactor.seconds)
        rules = PullRules(
            self._broker, tables.groups.find, tables.topics.get, self._consumers.find, self._property_filters
        )
        pulls = self._pull_handler(rules)
        self.runtime_info = RuntimeInfo(settings, storage.reads, pulls.traffic, now_ms)
        self.runtime_info.more.append(storage.statistics.rates)
        self._handlers = [
            pulls,
            ScannedPulls(rules, pulls),
            self._clients,
            self._locks,
            *self._look_ups(),
            self.runtime_info,
            self._statistics,
        ]
        tables.topics.observers.append(self._topics_changed)

    def _client_requests(self) -> ClientRequests:
        return ClientRequests(
            self.producers,
            self._consumers,
            self._tables.groups,
            self._tables.topics,
            ConsumerNotices(self._broker, self._consumers),
            self._group_filters,
            self._property_filters,
            self._surroundings.reactor.seconds,
            self._surroundings.now_ms,
        )

    def _pull_handler(self, rules: PullRules) -> PullHandler:
        surroundings, storage = self._surroundings, self._storage
        moved = OffsetMovedLog(
            storage.appending.append, self._broker.broker_name, storage.store_host, surroundings.now_ms
        )
        return PullHandler(
            surroundings.settings,
            storage.reads,
            rules,
            self._tag_filters,
            self._tables.offsets,
            self._held,
            moved,
            surroundings.off_reactor,
            self._statistics,
        )

    def _look_ups(self) -> list[object]:
        """What tools and clients ask beside pulls: offsets, single messages, who consumes what how far."""
        surroundings, tables, consumers = self._surroundings, self._tables, self._consumers
        settings, store, offsets = surroundings.settings, self._storage.reads, tables.offsets
        reads = WarmReads(store, surroundings.off_reactor, self._storage.service.index_ready)
        return [
            OffsetRequests(offsets, store, reads),
            QueryRequests(settings.store, store, reads),
            ConnectionLists(self.producers, consumers),
            ConsumeProgress(
                settings,
                store,
                tables,
                consumers,
                StoreTimes(store, reads),
                surroundings.now_ms,
                self._statistics.get_rate,
            ),
            GroupRequests(settings.store, tables.groups, offsets, self._group_deleted),
            ClientControl(self._broker.broker_name, tables.topics.get, consumers, offsets, store, reads),
            QueueEntries(store, consumers, self._tag_filters, self._group_filters),
        ]

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

    def role_changed(self) -> None:
        """Another broker of the set leads, or this one does."""
        self._locks.role_changed()

    def services(self) -> list[IService]:
        """Periodic work."""
        reactor = self._surroundings.reactor
        return [
            self._filter_file,
            Periodic(reactor, LOOK_S, self._statistics.look, "statistics"),
            Periodic(reactor, EXPIRY_SCAN_INTERVAL_S, self._clients.expire, "expiry of silent clients"),
            Periodic(reactor, LOCK_EXPIRED_S, self._locks.drop_expired, "expiry of queue locks"),
        ]
