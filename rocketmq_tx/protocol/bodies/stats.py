"""Figures that tools show: how far consumers are, how old what they consume is, and rates of a broker."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import attrs

from rocketmq_tx.protocol.bodies.fields import Body, Long, body
from rocketmq_tx.protocol.bodies.queue import MessageQueue


@body
class OffsetWrapper(Body):
    """How far a group is in one queue; `last_timestamp` is the store time of its last consumed message."""

    broker_offset: Long = 0
    consumer_offset: Long = 0
    last_timestamp: Long = 0


@body
class ConsumeStats(Body):
    """How far a group is in each of its queues."""

    offset_table: dict[MessageQueue, OffsetWrapper] = attrs.Factory(dict)
    consume_tps: float = 0.0

    @property
    def total_diff(self) -> int:
        """Messages that wait for the group."""
        return sum(queue.broker_offset - queue.consumer_offset for queue in self.offset_table.values())


@body
class ConsumeStatsList(Body):
    """The figures of all groups of a broker: one map per group, with one entry per topic."""

    consume_stats_list: list[dict[str, list[ConsumeStats]]] = attrs.Factory(list)
    broker_addr: str | None = None
    total_diff: Long = 0


@body
class BrokerStatsItem(Body):
    """Sum, rate and average of one period."""

    sum: Long = 0
    tps: float = 0.0
    avgpt: float = 0.0


@body
class BrokerStatsData(Body):
    """One statistic of a broker over three periods."""

    stats_minute: BrokerStatsItem = attrs.Factory(BrokerStatsItem)
    stats_hour: BrokerStatsItem = attrs.Factory(BrokerStatsItem)
    stats_day: BrokerStatsItem = attrs.Factory(BrokerStatsItem)


@body
class QueueTimeSpan(Body):
    """Store times of the first, the last and the last consumed message of a queue, in milliseconds.

    Each time is also written as text in local time; -1 where there is no message.
    """

    message_queue: MessageQueue = attrs.Factory(MessageQueue)
    min_time_stamp: Long = 0
    max_time_stamp: Long = 0
    consume_time_stamp: Long = 0
    delay_time: Long = 0

    def to_json(self) -> dict[Any, Any]:
        fields = Body.to_json(self)
        for name in ("consumeTimeStamp", "maxTimeStamp", "minTimeStamp"):
            fields[f"{name}Str"] = time_text(fields[name])
        return dict(sorted(fields.items()))


@body
class QueryConsumeTimeSpanBody(Body):
    """The times of all queues of a topic for a group."""

    consume_time_span_set: list[QueueTimeSpan] = attrs.Factory(list)


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def time_text(time_ms: int) -> str:
    """`2026-11-21#05:43:34:431` in local time (UtilAll.timeMillisToHumanString2's form).

    A time that no calendar of ours holds stays a number.
    """
    try:
        local = (_EPOCH + timedelta(milliseconds=time_ms)).astimezone()
    except (OverflowError, ValueError):
        return str(time_ms)
    return f"{local:%Y-%m-%d#%H:%M:%S}:{local.microsecond // 1000:03d}"
