"""Serves what operators ask of consumers: new offsets (222), held ones (223), doings (307), a try (309).

The broker only passes on: a client acts, and answers over the connection that it keeps to the broker.
Facts: `spec/processors.yaml` (AdminBrokerProcessor; INVOKE_..., forward_rule).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure

from rocketmq_tx.broker.offset_handlers import SEARCH_ROUNDS_MAX
from rocketmq_tx.broker.reset_rules import reset_offset
from rocketmq_tx.errors import BodyError, MessageError, RemotingError, RequestRefused, RequestTimeout
from rocketmq_tx.protocol.bodies import (
    GetConsumerStatusBody,
    MessageQueue,
    MessageQueueForC,
    ResetOffsetBody,
    ResetOffsetBodyForC,
)
from rocketmq_tx.protocol.codes import (
    CLIENT_ADMIN_PUSH_VERSION,
    RESET_OFFSET_PUSH_VERSION,
    LanguageCode,
    RequestCode,
    ResponseCode,
    version_name,
)
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    ConsumeMessageDirectlyResultRequestHeader,
    GetConsumerRunningInfoRequestHeader,
    GetConsumerStatusRequestHeader,
    ResetOffsetRequestHeader,
)
from rocketmq_tx.protocol.message_ids import decode_offset_message_id
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from collections.abc import Callable

    from rocketmq_tx.broker.clients import ClientConnection, Consumers
    from rocketmq_tx.broker.offsets import ConsumerOffsets
    from rocketmq_tx.broker.warm_reads import WarmReads
    from rocketmq_tx.protocol.bodies import TopicConfig
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.stored_messages import StoredMessages

FORWARD_TIMEOUT_S = 10.0
STATUS_TIMEOUT_S = 5.0
QUEUE_END = -1
"""The timestamp that stands for the end of each queue."""


class ClientControl:
    """Finds the consumers meant, asks them, and gives back what they say."""

    def __init__(
        self,
        broker_name: str,
        find_topic: Callable[[str], TopicConfig | None],
        consumers: Consumers,
        offsets: ConsumerOffsets,
        store: StoredMessages,
        reads: WarmReads,
    ) -> None:
        self._broker_name = broker_name
        self._find_topic = find_topic
        self._consumers = consumers
        self._offsets = offsets
        self._store = store
        self._reads = reads

    # -- offsets -------------------------------------------------------------------------------------------

    @serves(RequestCode.INVOKE_BROKER_TO_RESET_OFFSET)
    async def reset(self, peer: Peer, frame: Frame, header: ResetOffsetRequestHeader) -> Reply:
        """Tells every client of the group; the broker's own table follows when they commit."""
        table = await self._targets(header)
        clients = self._reset_clients(header)
        told = ResetOffsetRequestHeader(
            topic=header.topic, group=header.group, timestamp=header.timestamp, is_force=False
        )
        body = _reset_body(table, frame.language)
        for client in clients:
            client.peer.push(Frame.request(RequestCode.RESET_CONSUMER_CLIENT_OFFSET, told, body))
        return Reply(body=ResetOffsetBody(offset_table=dict(table)).to_bytes())

    async def _targets(self, header: ResetOffsetRequestHeader) -> Mapping[MessageQueue, int]:
        config = self._find_topic(header.topic)
        if config is None:
            raise RequestRefused(
                ResponseCode.SYSTEM_ERROR,
                f"[reset-offset] reset offset failed, no topic in this broker. topic={header.topic}",
            )
        table = {}
        for queue_id in range(config.write_queue_nums):
            kept = self._offsets.query(header.group, header.topic, queue_id)
            if kept < 0:
                raise RequestRefused(
                    ResponseCode.SYSTEM_ERROR, f"THe consumer group <{header.group}> not exist"
                )
            found = await self._offset_at(header.topic, queue_id, header.timestamp)
            queue = MessageQueue(topic=header.topic, broker_name=self._broker_name, queue_id=queue_id)
            table[queue] = reset_offset(kept, found, header.is_force)
        return table

    async def _offset_at(self, topic: str, queue_id: int, timestamp: int) -> int:
        if timestamp == QUEUE_END:
            return self._store.queue_offsets(topic, queue_id)[1]
        return await self._reads.read(
            lambda may_block: self._store.offset_by_time(topic, queue_id, timestamp, may_block),
            SEARCH_ROUNDS_MAX,
        )

    def _reset_clients(self, header: ResetOffsetRequestHeader) -> list[ClientConnection]:
        clients = list(self._consumers.members.of(header.group).values())
        if not clients:
            raise RequestRefused(
                ResponseCode.CONSUMER_NOT_ONLINE,
                f"Consumer not online, so can not reset offset, Group: {header.group} "
                f"Topic: {header.topic} Timestamp: {header.timestamp}",
            )
        for client in clients:
            if client.version < RESET_OFFSET_PUSH_VERSION:
                raise RequestRefused(
                    ResponseCode.SYSTEM_ERROR,
                    f"the client does not support this feature. version={client.version}",
                )
        return clients

    @serves(RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS)
    async def status(self, peer: Peer, frame: Frame, header: GetConsumerStatusRequestHeader) -> Reply:
        """The offsets that clients hold in memory; one that does not answer is left out."""
        members = self._consumers.members.of(header.group).values()
        clients = [client for client in members if header.client_addr in {None, "", client.client_id}]
        if not clients:
            raise RequestRefused(
                ResponseCode.SYSTEM_ERROR, f"No Any Consumer online in the consumer group: [{header.group}]"
            )
        tables = await gatherResults([self._status_of(client, header) for client in clients])
        answered = {
            client.client_id: table
            for client, table in zip(clients, tables, strict=True)
            if table is not None
        }
        return Reply(body=GetConsumerStatusBody(consumer_table=answered).to_bytes())

    def _status_of(
        self, client: ClientConnection, header: GetConsumerStatusRequestHeader
    ) -> Deferred[dict[MessageQueue, int] | None]:
        asked = GetConsumerStatusRequestHeader(topic=header.topic, group=header.group)
        request = Frame.request(RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT, asked)
        answer = client.peer.call(request, STATUS_TIMEOUT_S)

        def table_of(answer: Frame) -> dict[MessageQueue, int] | None:
            if answer.code != ResponseCode.SUCCESS:
                return None
            return GetConsumerStatusBody.from_bytes(answer.body).message_queue_table

        def left_out(failure: Failure) -> None:
            failure.trap(RemotingError, BodyError)

        return answer.addCallback(table_of).addErrback(left_out)

    # -- one client ----------------------------------------------------------------------------------------

    @serves(RequestCode.GET_CONSUMER_RUNNING_INFO)
    async def running_info(
        self, peer: Peer, frame: Frame, header: GetConsumerRunningInfoRequestHeader
    ) -> Reply:
        client = self._client(header.consumer_group, header.client_id)
        return await self._forward(client, header.consumer_group, frame, frame.ext_fields or {}, frame.body)

    @serves(RequestCode.CONSUME_MESSAGE_DIRECTLY)
    async def consume_directly(
        self, peer: Peer, frame: Frame, header: ConsumeMessageDirectlyResultRequestHeader
    ) -> Reply:
        """The message that `msg_id` names goes with the request."""
        client = self._client(header.consumer_group, header.client_id or "")
        try:
            place = decode_offset_message_id(header.msg_id or "")
        except MessageError as error:
            raise RequestRefused(ResponseCode.SYSTEM_ERROR, str(error)) from error
        record = await self._reads.read(
            lambda may_block: self._store.record_at(place.commit_log_offset, may_block)
        )
        fields = {**(frame.ext_fields or {}), "brokerName": self._broker_name}
        return await self._forward(client, header.consumer_group, frame, fields, record)

    def _client(self, group: str, client_id: str) -> ClientConnection:
        client = self._consumers.connection_of(group, client_id)
        if client is None:
            raise RequestRefused(
                ResponseCode.SYSTEM_ERROR, f"The Consumer <{group}> <{client_id}> not online"
            )
        if client.version < CLIENT_ADMIN_PUSH_VERSION:
            raise RequestRefused(
                ResponseCode.SYSTEM_ERROR,
                f"The Consumer <{client_id}> Version <{version_name(client.version)}> too low to finish, "
                "please upgrade it to V3_1_8_SNAPSHOT",
            )
        return client

    async def _forward(
        self, client: ClientConnection, group: str, frame: Frame, fields: Mapping[str, str], body: bytes
    ) -> Reply:
        """The client's answer as it is: code, remark, body."""
        request = Frame(frame.code, ext_fields=dict(fields), body=body)
        try:
            answer = await client.peer.call(request, FORWARD_TIMEOUT_S)
        except RequestTimeout as error:
            remark = f"consumer <{group}> <{client.client_id}> Timeout: {error}"
            raise RequestRefused(ResponseCode.CONSUME_MSG_TIMEOUT, remark) from error
        except RemotingError as error:
            remark = f"invoke consumer <{group}> <{client.client_id}> Exception: {error}"
            raise RequestRefused(ResponseCode.SYSTEM_ERROR, remark) from error
        return Reply(answer.code, answer.remark, body=answer.body)


def _reset_body(table: Mapping[MessageQueue, int], language: LanguageCode | int) -> bytes:
    """The table for the clients; C++ ones, which an operator's C++ tool stands for, get a list."""
    if language != LanguageCode.CPP:
        return ResetOffsetBody(offset_table=dict(table)).to_bytes()
    rows = [
        MessageQueueForC(
            topic=queue.topic, broker_name=queue.broker_name, queue_id=queue.queue_id, offset=offset
        )
        for queue, offset in table.items()
    ]
    return ResetOffsetBodyForC(offset_table=rows).to_bytes()
