"""Serves the figures of a running broker (GET_BROKER_RUNTIME_INFO), under Apache's names.

Tools read most of them as numbers without asking whether they are there, so every name is: what this broker
does not have (thread pools, a page cache lock, an off-heap pool) is idle, and so are rates that nobody
counts; those of messages come from the statistics. Facts: spec/bodies.yaml (BrokerRuntimeKeys).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rocketmq_tx.errors import StoreError
from rocketmq_tx.protocol.bodies import KVTable
from rocketmq_tx.protocol.codes import CURRENT_VERSION, RequestCode, version_name
from rocketmq_tx.protocol.message import decode_record
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.broker.pull_steps import PullTraffic
    from rocketmq_tx.config.settings import BrokerSettings
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.message_store import MessageStore

NO_RATE = "0.0 0.0 0.0"
"""Rates over 10 s, 60 s and 600 s."""
UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
NO_LIMIT = str(2**31 - 1)


class RuntimeInfo:
    """`traffic` counts pulls; `now_ms` is the wall clock, read first when the broker is made."""

    def __init__(
        self,
        settings: BrokerSettings,
        store: MessageStore,
        traffic: PullTraffic,
        now_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._store = store
        self._traffic = traffic
        self._now_ms = now_ms
        self._boot_ms = now_ms()
        self.more: list[Callable[[], dict[str, str]]] = []
        """What other parts of the broker have to say."""

    @serves(RequestCode.GET_BROKER_RUNTIME_INFO)
    def show(self, peer: Peer, frame: Frame, header: None) -> Reply:
        table = {**self._times(), **self._counts(), **self._queues(), **self._disks()}
        for figures in self.more:
            table |= figures()
        return Reply(body=KVTable(table=table).to_bytes())

    def _times(self) -> dict[str, str]:
        return {
            "brokerVersion": str(CURRENT_VERSION),
            "brokerVersionDesc": version_name(CURRENT_VERSION),
            "bootTimestamp": str(self._boot_ms),
            "runtime": uptime_text((self._now_ms() - self._boot_ms) // 1000),
            "startAcceptSendRequestTimeStamp": str(
                self._settings.broker.start_accept_send_request_time_stamp
            ),
            "earliestMessageTimeStamp": str(self._earliest_store_time()),
        }

    def _counts(self) -> dict[str, str]:
        """Messages put are counted by the queues' ends: what retention has removed counts, too."""
        ends = [self._store.queue_offsets(*queue)[1] for queue in self._store.queues()]
        log_bytes = self._store.written_to - self._store.min_offset
        zeros = (
            "msgPutTotalYesterdayMorning", "msgPutTotalTodayMorning", "msgGetTotalYesterdayMorning",
            "msgGetTotalTodayMorning", "putMessageFailedTimes", "putMessageEntireTimeMax",
            "getMessageEntireTimeMax", "dispatchBehindBytes", "dispatchMaxBuffer", "pageCacheLockTimeMills",
        )  # fmt: skip
        rates = ("putTps", "getFoundTps", "getMissTps", "getTotalTps", "getTransferedTps")
        return {
            **dict.fromkeys(zeros, "0"),
            **dict.fromkeys(rates, NO_RATE),
            "msgPutTotalTodayNow": str(sum(ends)),
            "msgGetTotalTodayNow": str(self._traffic.messages),
            "putMessageTimesTotal": str(sum(ends)),
            "putMessageSizeTotal": str(log_bytes),
            "putMessageAverageSize": str(log_bytes / (sum(ends) or 1)),
            "putMessageDistributeTime": "null",
            "putLatency99": "0.00",
            "putLatency999": "0.00",
        }

    def _queues(self) -> dict[str, str]:
        broker = self._settings.broker
        capacities = {
            "sendThreadPoolQueueCapacity": broker.send_thread_pool_queue_capacity,
            "pullThreadPoolQueueCapacity": broker.pull_thread_pool_queue_capacity,
            "queryThreadPoolQueueCapacity": broker.query_thread_pool_queue_capacity,
            "EndTransactionThreadPoolQueueCapacity": broker.end_transaction_pool_queue_capacity,
        }
        pools = ("send", "pull", "query")
        return {
            **{name: str(capacity) for name, capacity in capacities.items()},
            **{f"{pool}ThreadPoolQueueSize": "0" for pool in pools},
            **{f"{pool}ThreadPoolQueueHeadWaitTimeMills": "0" for pool in pools},
            "EndTransactionQueueSize": "0",
        }

    def _disks(self) -> dict[str, str]:
        store = self._store
        uses = store.disk_use()
        log, queues = uses[0], uses[-1]
        return {
            "commitLogMinOffset": str(store.min_offset),
            "commitLogMaxOffset": str(store.written_to),
            "remainHowManyDataToFlush": size_text(store.written_to - store.flushed_to),
            "remainTransientStoreBufferNumbs": NO_LIMIT,
            "commitLogDirCapacity": (
                f"Total : {size_text(log.total_bytes)}, Free : {size_text(log.usable_bytes)}."
            ),
            "commitLogDiskRatio": str(log.ratio),
            f"commitLogDiskRatio_{log.path}": str(log.ratio),
            "consumeQueueDiskRatio": str(queues.ratio),
        }

    def _earliest_store_time(self) -> int:
        """Of the oldest record that is left; -1 in an empty log."""
        try:
            return decode_record(self._store.record_at(self._store.min_offset)).store_timestamp
        except StoreError:
            return -1


def size_text(size_bytes: int) -> str:
    """`864 B`, `252.0 GiB`."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    power = min((size_bytes.bit_length() - 1) // 10, len(UNITS))
    return f"{size_bytes / 1024**power:.1f} {UNITS[power - 1]}"


def uptime_text(seconds: int) -> str:
    """`[ 0 days, 0 hours, 0 minutes, 12 seconds ]`."""
    minutes, seconds = divmod(max(seconds, 0), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"[ {days} days, {hours} hours, {minutes} minutes, {seconds} seconds ]"
