"""The storing half of a broker, put together: store, flushes, who waits for messages, slaves, appending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.broker.room_keeping import RoomKeeping
from rocketmq_tx.broker.statistics import BrokerStatistics
from rocketmq_tx.broker.store_service import StoreService
from rocketmq_tx.replication.slaves import Slaves
from rocketmq_tx.runtime.arrivals import Arrivals
from rocketmq_tx.runtime.group_commit import GroupCommit
from rocketmq_tx.runtime.watermark import Watermark
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.segments import open_files_max

if TYPE_CHECKING:
    from rocketmq_tx.broker.automatic_side import AutomaticSide
    from rocketmq_tx.broker.surroundings import Surroundings


class StorageSide:
    """`automatic` is there with `autoFailover` only; `store_host` is this broker's packed address."""

    def __init__(self, surroundings: Surroundings, store_host: bytes) -> None:
        settings, reactor, now_ms = surroundings.settings, surroundings.reactor, surroundings.now_ms
        config, thread = settings.store, surroundings.thread
        facts = settings.facts
        self.store_host = store_host
        self.store = MessageStore(
            config,
            surroundings.disk,
            store_host,
            facts.physical_memory_bytes,
            self.notice,
            reactor.seconds,
            open_files_max(facts.descriptors),
        )
        flush_threads = [thread(reactor, f"flush-{number}") for number in (1, 2)]
        self.flushes = GroupCommit(self.store, Watermark(reactor), flush_threads, reactor)
        checkpoint_thread = thread(reactor, "checkpoint")
        room = RoomKeeping(self.store.room, thread(reactor, "log-room"))
        self.service = StoreService(
            self.store, config, self.flushes, checkpoint_thread, reactor, now_ms, room
        )
        self.arrivals = Arrivals(reactor)
        self.slaves = Slaves(config, reactor)
        self.automatic = automatic = self._make_automatic(surroundings)
        self.reads: MessageStore = self.store if automatic is None else automatic.reads
        """The store as consumers may see it."""
        cluster = settings.broker.broker_cluster_name
        self.statistics = BrokerStatistics(
            cluster, now_ms, settings.broker.enable_detail_stat, config.enable_lmq
        )
        self.appending = Appending(
            config,
            self.store,
            self.flushes,
            self.arrivals if automatic is None else automatic.arrivals,
            self._appended,
            self.slaves if automatic is None else automatic.replicas,
            self.statistics,
        )
        self.appending.everybody_waits = automatic is not None

    def _make_automatic(self, surroundings: Surroundings) -> AutomaticSide | None:
        settings, reactor = surroundings.settings, surroundings.reactor
        if not settings.broker.auto_failover:
            return None
        # kazoo and what it needs cost a tenth of a start, and few want it
        from rocketmq_tx.broker.automatic_side import AutomaticSide  # noqa: PLC0415

        return AutomaticSide(settings, self.store, self.slaves, self.arrivals, reactor)

    def notice(self, sentence: str) -> None:
        """What store and tables have to say to an operator."""
        self.service.notice(sentence)

    def _appended(self) -> None:
        self.slaves.log_grew()
        if self.automatic is not None:
            self.automatic.replicas.log_grew()
        self.service.appended()
