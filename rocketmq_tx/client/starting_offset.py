"""Where a consumer begins in a queue that has become its own (`spec/client_algorithms.yaml`)."""

from __future__ import annotations

from rocketmq_tx.client.queue_queries import QueueQueries
from rocketmq_tx.protocol.bodies import ConsumeFromWhere, MessageQueue
from rocketmq_tx.protocol.names import RETRY_PREFIX


async def starting_offset(
    queue: MessageQueue,
    committed: int | None,
    consume_from: ConsumeFromWhere,
    from_timestamp_ms: int,
    queries: QueueQueries,
) -> int:
    """What the group has committed always wins; a new group begins where it asks to."""
    if committed is not None and committed >= 0:
        return committed
    if consume_from is ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET:
        return 0
    is_retry = queue.topic.startswith(RETRY_PREFIX)
    if consume_from is ConsumeFromWhere.CONSUME_FROM_TIMESTAMP:
        if is_retry:
            return await queries.max_offset(queue)
        return await queries.offset_at(queue, from_timestamp_ms)
    return 0 if is_retry else await queries.max_offset(queue)
