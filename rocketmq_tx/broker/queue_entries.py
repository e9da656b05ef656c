"""Serves the entries of a consume queue to tools (QUERY_CONSUME_QUEUE): where its messages lie.

Facts: spec/processors.yaml (AdminBrokerProcessor), spec/bodies.yaml (QueryConsumeQueueResponseBody).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rocketmq_tx.broker.tag_filter import TAG_TYPES
from rocketmq_tx.errors import RequestRefused, StoreError
from rocketmq_tx.protocol.bodies import ConsumeQueueData, QueryConsumeQueueResponseBody, SubscriptionData
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import QueryConsumeQueueRequestHeader
from rocketmq_tx.remoting.registry import Reply, serves
from rocketmq_tx.store.records import facts

if TYPE_CHECKING:
    from rocketmq_tx.broker.clients import Consumers
    from rocketmq_tx.broker.filter_table import GroupFilter, GroupFilters
    from rocketmq_tx.broker.tag_filter import TagFilters
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.stored_messages import StoredMessages

ENTRIES_MAX = 1000
"""Tools ask for ten; the answer to one request must stay small."""


class QueueEntries:
    """Shows entries, and which of them the filter of a group lets through."""

    def __init__(
        self,
        store: StoredMessages,
        consumers: Consumers,
        tag_filters: TagFilters,
        group_filters: GroupFilters,
    ) -> None:
        self._store = store
        self._consumers = consumers
        self._tag_filters = tag_filters
        self._group_filters = group_filters

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
        passes: Callable[[int, int], bool] = _nothing_passes
        if header.consumer_group is not None:
            group = self._consumers.find(header.consumer_group)
            body.subscription_data = None if group is None else group.subscriptions.get(topic)
            if body.subscription_data is None:
                body.filter_data = f"{header.consumer_group}@{topic} is not online!"
            else:
                group_filter = self._group_filters.find(topic, header.consumer_group)
                body.filter_data = self._shown(group_filter)
                passes = self._passes(body.subscription_data, group_filter)
        last = min(end, index + min(header.count, ENTRIES_MAX))
        body.queue_data = self._entries(topic, queue_id, range(index, last), passes)
        return Reply(body=body.to_bytes())

    def _shown(self, group_filter: GroupFilter | None) -> str:
        """As Apache's tool prints it: indented JSON, `null` for a subscription by tags."""
        if group_filter is None:
            return "null"
        return self._group_filters.as_data(group_filter).to_bytes(pretty=True).decode()

    def _passes(
        self, subscription: SubscriptionData, group_filter: GroupFilter | None
    ) -> Callable[[int, int], bool]:
        """A function of (commit log offset, tags code) of an entry: does the group get the message?"""
        if subscription.expression_type in TAG_TYPES:
            matches = self._tag_filters.of(subscription)
            return lambda offset, code: matches is None or matches(code)
        if group_filter is None:
            return _nothing_passes
        matches_stored = group_filter.expression.matches_stored

        def passes(offset: int, code: int) -> bool:
            try:
                return matches_stored(facts(self._store.record_at(offset), 0).properties)
            except StoreError:
                return False  # the record is gone, or damaged

        return passes

    def _entries(
        self, topic: str, queue_id: int, offsets: range, passes: Callable[[int, int], bool]
    ) -> list[ConsumeQueueData]:
        found = []
        for entry in (self._store.entry_at(topic, queue_id, offset) for offset in offsets):
            if entry is not None:
                commit_log_offset, size, tags_code = entry
                found.append(
                    ConsumeQueueData(
                        physic_offset=commit_log_offset,
                        physic_size=size,
                        tags_code=tags_code,
                        eval=passes(commit_log_offset, tags_code),
                    )
                )
        return found


def _nothing_passes(commit_log_offset: int, tags_code: int) -> bool:
    return False
