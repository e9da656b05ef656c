"""What brings messages back, put together: retries, dead letters and delays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocketmq_tx.broker.delay_progress import DelayProgress, DelayProgressFile
from rocketmq_tx.broker.delay_requests import DelayRequests
from rocketmq_tx.broker.schedule_service import ScheduleService
from rocketmq_tx.broker.send_back import SendBack
from rocketmq_tx.broker.warm_reads import WarmReads

if TYPE_CHECKING:
    from rocketmq_tx.broker.storage_side import StorageSide
    from rocketmq_tx.broker.surroundings import Surroundings
    from rocketmq_tx.broker.tables import Tables

ON_DISK_TIMEOUT_S = 2.0
"""Within the time that a stop may take. A disk that is slower leaves the progress unwritten, for now."""


class RedeliverySide:
    """`schedule` delivers, `progress` says how far it is, `handlers` serve the requests."""

    def __init__(self, surroundings: Surroundings, storage: StorageSide, tables: Tables) -> None:
        settings, now_ms = surroundings.settings, surroundings.now_ms
        store, appending, flushes = storage.store, storage.appending, storage.flushes
        reads = WarmReads(store, surroundings.off_reactor)
        self.progress = DelayProgress(lambda: store.written_to)
        self.progress_file = DelayProgressFile(
            self.progress,
            tables.file("delayOffset.json"),
            lambda: flushes.durable(store.written_to, ON_DISK_TIMEOUT_S),
            surroundings.off_reactor,
        )
        self.schedule = ScheduleService(
            settings.store,
            store,
            appending,
            storage.arrivals,
            self.progress_file,
            reads,
            surroundings.reactor,
            now_ms,
        )
        self.handlers: list[object] = [
            SendBack(
                settings, store, reads, appending, tables.topics, tables.groups, now_ms, storage.statistics
            ),
            DelayRequests(self.progress),
        ]
