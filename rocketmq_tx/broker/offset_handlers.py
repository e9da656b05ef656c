"""Serves offsets: those of groups (14, 15), and where queues begin, end, or stood at a time (29 - 32).

Facts: spec/processors.yaml (ConsumerManageProcessor, AdminBrokerProcessor).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import (
    GetEarliestMsgStoretimeRequestHeader,
    GetEarliestMsgStoretimeResponseHeader,
    GetMaxOffsetRequestHeader,
    GetMaxOffsetResponseHeader,
    GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader,
    QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader,
    SearchOffsetRequestHeader,
    SearchOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
    UpdateConsumerOffsetResponseHeader,
)
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.broker.offsets import ConsumerOffsets
    from rocketmq_tx.broker.warm_reads import WarmReads
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.stored_messages import StoredMessages

SEARCH_ROUNDS_MAX = 100
"""A search looks at some twenty messages, and at the last one of each file of the queue before it."""


class OffsetRequests:
    """Answers from the table of consumer offsets and from the queues."""

    def __init__(self, offsets: ConsumerOffsets, store: StoredMessages, reads: WarmReads) -> None:
        self._offsets = offsets
        self._store = store
        self._reads = reads

    @serves(RequestCode.QUERY_CONSUMER_OFFSET)
    def query(self, peer: Peer, frame: Frame, header: QueryConsumerOffsetRequestHeader) -> Reply:
        """A group that never committed starts at 0 while the queue still has its first message in memory.

        On an old queue the client decides by its consumeFromWhere instead; an unknown topic counts as a
        young one.
        """
        offset = self._offsets.query(header.consumer_group, header.topic, header.queue_id)
        if offset < 0:
            if not self._is_young(header.topic, header.queue_id):
                raise RequestRefused(
                    ResponseCode.QUERY_NOT_FOUND,
                    "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first",
                )
            offset = 0
        return Reply(header=QueryConsumerOffsetResponseHeader(offset=offset))

    def _is_young(self, topic: str, queue_id: int) -> bool:
        """Is the queue's very first message still there, and so near the log's end that memory has it?"""
        first = self._store.get_messages(topic, queue_id, 0, 1, None, True)
        return first.min_offset <= 0 and not first.suggest_slave

    @serves(RequestCode.UPDATE_CONSUMER_OFFSET)
    def update(self, peer: Peer, frame: Frame, header: UpdateConsumerOffsetRequestHeader) -> Reply:
        names.check_topic_of_offset(header.topic)
        names.check_group(header.consumer_group)
        self._offsets.commit(header.consumer_group, header.topic, header.queue_id, header.commit_offset)
        return Reply(header=UpdateConsumerOffsetResponseHeader())

    @serves(RequestCode.GET_MAX_OFFSET)
    def max_offset(self, peer: Peer, frame: Frame, header: GetMaxOffsetRequestHeader) -> Reply:
        _, end = self._store.queue_offsets(header.topic, header.queue_id)
        return Reply(header=GetMaxOffsetResponseHeader(offset=end))

    @serves(RequestCode.GET_MIN_OFFSET)
    def min_offset(self, peer: Peer, frame: Frame, header: GetMinOffsetRequestHeader) -> Reply:
        first, _ = self._store.queue_offsets(header.topic, header.queue_id)
        return Reply(header=GetMinOffsetResponseHeader(offset=first))

    @serves(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP)
    async def search_offset(self, peer: Peer, frame: Frame, header: SearchOffsetRequestHeader) -> Reply:
        def search(may_block: bool) -> int:
            return self._store.offset_by_time(header.topic, header.queue_id, header.timestamp, may_block)

        offset = await self._reads.read(search, SEARCH_ROUNDS_MAX)
        return Reply(header=SearchOffsetResponseHeader(offset=offset))

    @serves(RequestCode.GET_EARLIEST_MSG_STORETIME)
    async def earliest_store_time(
        self, peer: Peer, frame: Frame, header: GetEarliestMsgStoretimeRequestHeader
    ) -> Reply:
        timestamp = await self._reads.read(
            lambda may_block: self._store.earliest_store_time(header.topic, header.queue_id, may_block)
        )
        return Reply(header=GetEarliestMsgStoretimeResponseHeader(timestamp=timestamp))
