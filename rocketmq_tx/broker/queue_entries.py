"""Serves the entries of a consume queue to tools (QUERY_CONSUME_QUEUE): where its messages lie.

Facts: spec/processors.yaml (AdminBrokerProcessor), spec/bodies.yaml (QueryConsumeQueueResponseBody).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol.bodies import ConsumeQueueData, QueryConsumeQueueResponseBody, SubscriptionData
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import QueryConsumeQueueRequestHeader
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.broker.clients import Consumers
    from rocketmq_tx.broker.tag_filter import TagFilters
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.message_store import MessageStore

ENTRIES_MAX = 1000
"""Tools ask for ten; the answer to one request must stay small."""


class QueueEntries:
    """Shows entries, and which of them the filter of a group lets through."""

    def __init__(self, store: MessageStore, consumers: Consumers, filters: TagFilters) -> None:
        self._store = store
        self._consumers = consumers
        self._filters = filters

    @serves(RequestCode.QUERY_CONSUME_QUEUE)
    def query(self, peer: Peer, frame: Frame, header: QueryConsumeQueueRequestHeader) -> Reply:
        topic, queue_id, index = header.topic or "", header.queue_id, header.index
        name = f"{queue_id}@{topic}"
        if (topic, queue_id) not in self._store.queues():
            raise RequestRefused(ResponseCode.SYSTEM_ERROR, f"{name} is not exist!")
        first, end = self._store.queue_offsets(topic, queue_id)
        if not first <= index < end:
            return Reply(remark=f"Index {index} of {name} is not exist!")
        body = QueryConsumeQueueResponseBody(min_queue_index=first, max_queue_index=end)
        if header.consumer_group is not None:
            group = self._consumers.find(header.consumer_group)
            body.subscription_data = None if group is None else group.subscriptions.get(topic)
            if body.subscription_data is None:
                body.filter_data = f"{header.consumer_group}@{topic} is not online!"
        last = min(end, index + min(header.count, ENTRIES_MAX))
        body.queue_data = self._entries(topic, queue_id, range(index, last), body.subscription_data)
        return Reply(body=body.to_bytes())

    def _entries(
        self, topic: str, queue_id: int, offsets: range, subscription: SubscriptionData | None
    ) -> list[ConsumeQueueData]:
        matches = None if subscription is None else self._filters.of(subscription)
        found = []
        for entry in (self._store.entry_at(topic, queue_id, offset) for offset in offsets):
            if entry is not None:
                commit_log_offset, size, tags_code = entry
                passes = subscription is not None and (matches is None or matches(tags_code))
                found.append(
                    ConsumeQueueData(
                        physic_offset=commit_log_offset, physic_size=size, tags_code=tags_code, eval=passes
                    )
                )
        return found
