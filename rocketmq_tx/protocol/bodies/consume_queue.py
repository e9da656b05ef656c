"""Entries of a consume queue, as the broker shows them to tools."""

from __future__ import annotations

import attrs

from rocketmq_tx.protocol.bodies.fields import Body, Int, Long, body
from rocketmq_tx.protocol.bodies.heartbeat import SubscriptionData


@body
class ConsumeQueueData(Body):
    """One entry; `eval` says whether the group's filter lets it through."""

    physic_offset: Long = 0
    physic_size: Int = 0
    tags_code: Long = 0
    extend_data_json: str | None = None
    bit_map: str | None = None
    eval: bool = False
    msg: str | None = None


@body
class QueryConsumeQueueResponseBody(Body):
    """Entries of one queue, and the subscription that they were tested with."""

    subscription_data: SubscriptionData | None = None
    filter_data: str | None = None
    queue_data: list[ConsumeQueueData] = attrs.Factory(list)
    max_queue_index: Long = 0
    min_queue_index: Long = 0
