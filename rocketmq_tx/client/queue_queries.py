"""What a consumer asks a broker about a queue: its end, the offset at a time, what the group committed."""

from __future__ import annotations

from rocketmq_tx.client.calls import Caller, ask
from rocketmq_tx.client.routes import Routes
from rocketmq_tx.errors import ConnectFailed
from rocketmq_tx.protocol.bodies import MessageQueue
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.header_fields import Header
from rocketmq_tx.protocol.headers import (
    GetMaxOffsetRequestHeader,
    GetMaxOffsetResponseHeader,
    QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader,
    SearchOffsetRequestHeader,
    SearchOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
)

TIMEOUT_S = 5.0
_FOUND_OR_NOT = frozenset({int(ResponseCode.SUCCESS), int(ResponseCode.QUERY_NOT_FOUND)})


class QueueQueries:
    """Questions about queues on behalf of one group. All fail with a RemotingError."""

    def __init__(self, group: str, routes: Routes, caller: Caller) -> None:
        self._group = group
        self._routes = routes
        self._caller = caller

    async def max_offset(self, queue: MessageQueue) -> int:
        """The queue offset that the next message will get."""
        header = GetMaxOffsetRequestHeader(topic=queue.topic, queue_id=queue.queue_id)
        answer = await self._ask(queue, RequestCode.GET_MAX_OFFSET, header)
        return GetMaxOffsetResponseHeader.from_ext_fields(answer.ext_fields).offset

    async def offset_at(self, queue: MessageQueue, timestamp_ms: int) -> int:
        """The offset of the message stored nearest to a time."""
        header = SearchOffsetRequestHeader(topic=queue.topic, queue_id=queue.queue_id, timestamp=timestamp_ms)
        answer = await self._ask(queue, RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, header)
        return SearchOffsetResponseHeader.from_ext_fields(answer.ext_fields).offset

    async def committed_offset(self, queue: MessageQueue) -> int | None:
        """Where the group goes on; None when it has committed nothing.

        A broker answers 0 for a new group while the queue still begins at 0 and its first message is warm.
        """
        header = QueryConsumerOffsetRequestHeader(
            consumer_group=self._group, topic=queue.topic, queue_id=queue.queue_id
        )
        address = self._address(queue)
        frame = Frame.request(RequestCode.QUERY_CONSUMER_OFFSET, header)
        answer = await ask(self._caller, address, frame, TIMEOUT_S, _FOUND_OR_NOT)
        if answer.code == ResponseCode.QUERY_NOT_FOUND:
            return None
        return QueryConsumerOffsetResponseHeader.from_ext_fields(answer.ext_fields).offset

    async def commit(self, queue: MessageQueue, offset: int) -> None:
        """Tells the broker that the group is done with everything before `offset`; returns when it knows."""
        header = UpdateConsumerOffsetRequestHeader(
            consumer_group=self._group, topic=queue.topic, queue_id=queue.queue_id, commit_offset=offset
        )
        await self._ask(queue, RequestCode.UPDATE_CONSUMER_OFFSET, header)

    async def _ask(self, queue: MessageQueue, code: RequestCode, header: Header) -> Frame:
        return await ask(self._caller, self._address(queue), Frame.request(code, header), TIMEOUT_S)

    def _address(self, queue: MessageQueue) -> str:
        address = self._routes.readable_address(queue.broker_name)
        if address is None:
            raise ConnectFailed(f"broker {queue.broker_name} of {queue} has no known address")
        return address
