"""The inside of a running consumer, as it tells it to tools."""

from __future__ import annotations

import enum
from typing import Annotated

import attrs

from rocketmq_tx.protocol.bodies.fields import Body, Int, Long, Wire, body
from rocketmq_tx.protocol.bodies.heartbeat import SubscriptionData
from rocketmq_tx.protocol.bodies.queue import MessageQueue


@body
class ProcessQueueInfo(Body):
    """What a consumer holds of one queue; `dropped` is `droped` on the wire."""

    commit_offset: Long = 0
    cached_msg_min_offset: Long = 0
    cached_msg_max_offset: Long = 0
    cached_msg_count: Int = 0
    cached_msg_size_in_mib: Annotated[Int, Wire("cachedMsgSizeInMiB")] = 0
    transaction_msg_min_offset: Long = 0
    transaction_msg_max_offset: Long = 0
    transaction_msg_count: Int = 0
    locked: bool = False
    try_unlock_times: Long = 0
    last_lock_timestamp: Long = 0
    dropped: Annotated[bool, Wire("droped")] = False
    last_pull_timestamp: Long = 0
    last_consume_timestamp: Long = 0


@body
class ConsumeStatus(Body):
    """Rates and times of consuming one topic."""

    pull_rt: Annotated[float, Wire("pullRT")] = 0.0
    pull_tps: Annotated[float, Wire("pullTPS")] = 0.0
    consume_rt: Annotated[float, Wire("consumeRT")] = 0.0
    consume_ok_tps: Annotated[float, Wire("consumeOKTPS")] = 0.0
    consume_failed_tps: Annotated[float, Wire("consumeFailedTPS")] = 0.0
    consume_failed_msgs: Long = 0


@body
class ConsumerRunningInfo(Body):
    """Settings, subscriptions, queues and figures of a consumer; `jstack` only when it was asked for."""

    properties: dict[str, str] = attrs.Factory(dict)
    subscription_set: list[SubscriptionData] = attrs.Factory(list)
    mq_table: dict[MessageQueue, ProcessQueueInfo] = attrs.Factory(dict)
    status_table: dict[str, ConsumeStatus] = attrs.Factory(dict)
    jstack: str | None = None


class CMResult(enum.Enum):
    """How consuming one message by order of a tool ended."""

    CR_SUCCESS = 0
    CR_LATER = 1
    CR_ROLLBACK = 2
    CR_COMMIT = 3
    CR_THROW_EXCEPTION = 4
    CR_RETURN_NULL = 5


@body
class ConsumeMessageDirectlyResult(Body):
    """How it ended, and how long it took; `remark` is the text of an exception."""

    order: bool = False
    auto_commit: bool = True
    consume_result: CMResult | None = None
    remark: str | None = None
    spent_time_mills: Long = 0
