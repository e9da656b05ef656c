"""What brings messages back, put together: retries, dead letters and delays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rocketmq_tx.broker.delay_progress import DelayProgress, DelayProgressFile
from rocketmq_tx.broker.delay_requests import DelayRequests
from rocketmq_tx.broker.schedule_service import ScheduleService
from rocketmq_tx.broker.send_back import SendBack
from rocketmq_tx.broker.statistics import BrokerStatistics
from rocketmq_tx.broker.warm_reads import WarmReads
from rocketmq_tx.runtime.threads import off_reactor

if TYPE_CHECKING:
    from rocketmq_tx.broker.appending import Appending
    from rocketmq_tx.broker.groups import SubscriptionGroupTable
    from rocketmq_tx.broker.kept_table import TableFile
    from rocketmq_tx.broker.topics import TopicTable
    from rocketmq_tx.config.settings import BrokerSettings
    from rocketmq_tx.runtime.arrivals import Arrivals
    from rocketmq_tx.runtime.group_commit import GroupCommit
    from rocketmq_tx.store.stored_messages import StoredMessages

ON_DISK_TIMEOUT_S = 2.0
"""Within the time that a stop may take. A disk that is slower leaves the progress unwritten, for now."""


class RedeliverySide:
    """`schedule` delivers, `progress` says how far it is, `handlers` serve the requests."""

    def __init__(
        self,
        settings: BrokerSettings,
        store: StoredMessages,
        flushes: GroupCommit,
        arrivals: Arrivals,
        appending: Appending,
        topics: TopicTable,
        groups: SubscriptionGroupTable,
        delay_offset_file: TableFile,
        reactor: Any,
        now_ms: Callable[[], int],
        statistics: BrokerStatistics | None = None,
    ) -> None:
        reads = WarmReads(store, off_reactor(reactor))
        self.progress = DelayProgress(lambda: store.written_to)
        self.progress_file = DelayProgressFile(
            self.progress,
            delay_offset_file,
            lambda: flushes.durable(store.written_to, ON_DISK_TIMEOUT_S),
            off_reactor(reactor),
        )
        self.schedule = ScheduleService(
            settings.store,
            store,
            appending,
            arrivals,
            self.progress,
            self.progress_file,
            reads,
            reactor,
            now_ms,
        )
        self.handlers: list[object] = [
            SendBack(settings, store, reads, appending, topics, groups, now_ms, statistics),
            DelayRequests(self.progress),
        ]
