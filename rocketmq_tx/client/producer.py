"""A producer: sends messages, one by one or in batches, and tells where they are.

producer = Producer("group", "127.0.0.1:9876", reactor)
producer.startService()
result = await producer.send(Message("orders", b"...", tags="TagA"))
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from rocketmq_tx.client.calls import refusal
from rocketmq_tx.client.message import Message
from rocketmq_tx.client.outgoing import Outgoing, pack_batch, pack_message
from rocketmq_tx.client.queue_choice import RoundRobin
from rocketmq_tx.client.send_result import SendResult, SendStatus
from rocketmq_tx.client.session import Environment, Session
from rocketmq_tx.errors import (
    CallRefused,
    ConnectFailed,
    RemotingError,
    RequestTimeout,
    RouteUnknown,
)
from rocketmq_tx.protocol.bodies import ConsumerData, MessageQueue, ProducerData
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import SendMessageRequestHeaderV2, SendMessageResponseHeader
from rocketmq_tx.protocol.names import AUTO_CREATE_TOPIC

_STATUS_OF_CODE = {int(status.value): status for status in SendStatus}

#: Refusals after which another broker may still take the message (`spec/client_algorithms.yaml`, retry_sync).
RETRIED_CODES = frozenset(
    map(
        int,
        (
            ResponseCode.SYSTEM_ERROR,
            ResponseCode.SERVICE_NOT_AVAILABLE,
            ResponseCode.NO_PERMISSION,
            ResponseCode.TOPIC_NOT_EXIST,
            ResponseCode.NO_BUYER_ID,
            ResponseCode.NOT_IN_CURRENT_UNIT,
        ),
    )
)


@attrs.frozen
class ProducerSettings:
    """Names and defaults of Apache's DefaultMQProducer, in Python spelling."""

    send_timeout_ms: int = 3000
    """For a send with all its retries."""
    retry_times_when_send_failed: int = 2
    retry_another_broker_when_not_store_ok: bool = False
    compress_over_bytes: int = 4096
    """Bodies of this size and more are packed with zlib."""
    max_message_bytes: int = 4 << 20
    default_topic_queue_nums: int = 4
    """Queues of a topic that the first message creates."""


class Producer(Service):
    """Sends for one producer group. Sends may overlap; each is retried on its own."""

    def __init__(
        self,
        group: str,
        namesrv_addresses: str,
        reactor: Any,
        settings: ProducerSettings | None = None,
        environment: Environment | None = None,
        handlers: tuple[object, ...] = (),
    ) -> None:
        """`handlers` serve what brokers ask of a producer."""
        self.group = group
        self._settings = settings or ProducerSettings()
        self._reactor = reactor
        self._session = Session(
            namesrv_addresses,
            reactor,
            handlers=handlers,
            describe=self._describe,
            producer_group=group,
            new_topic_queue_count=self._settings.default_topic_queue_nums,
            environment=environment,
        )
        self._choice = RoundRobin(random.Random(self._session.identity.client_id).randrange(1 << 16))

    def startService(self) -> None:
        """Ready at once; routes are looked up with the first message of a topic."""
        super().startService()
        self._session.startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self._session.stopService()

    def send(self, message: Message, queue: MessageQueue | None = None) -> Deferred[SendResult]:
        """Fires with where the message is.

        Without a `queue` the queues take turns, and a failed try is repeated on another broker. Fails with
        MessageError (nothing was sent), RouteUnknown, CallRefused with the broker's words, or another
        RemotingError (the message may have been stored).
        """
        return Deferred.fromCoroutine(self._send_one(message, queue))

    def send_batch(
        self, messages: Sequence[Message], queue: MessageQueue | None = None
    ) -> Deferred[SendResult]:
        """Sends messages of one topic as one request, stored all or none, in a row. Fails as `send` does."""
        return Deferred.fromCoroutine(self._send_batch(messages, queue))

    def send_oneway(self, message: Message, queue: MessageQueue | None = None) -> Deferred[None]:
        """Fires when the message was handed to a connection; nobody says what became of it."""
        return Deferred.fromCoroutine(self._send_oneway(message, queue))

    def publish_queues(self, topic: str) -> Deferred[list[MessageQueue]]:
        """The queues that messages of a topic may go to."""
        return Deferred.fromCoroutine(self._queues(topic))

    async def _send_one(self, message: Message, queue: MessageQueue | None) -> SendResult:
        return await self._deliver(self._pack(message), queue)

    async def _send_batch(self, messages: Sequence[Message], queue: MessageQueue | None) -> SendResult:
        ids = [self._new_id() for _ in messages]
        return await self._deliver(pack_batch(messages, ids, self._settings.max_message_bytes), queue)

    async def _send_oneway(self, message: Message, queue: MessageQueue | None) -> None:
        outgoing = self._pack(message)
        queues = [queue] if queue is not None else await self._queues(message.topic)
        chosen = self._choice.choose(queues)
        await self._session.remoting.oneway(self._address(chosen), self._frame(outgoing, chosen, oneway=True))

    def _pack(self, message: Message) -> Outgoing:
        settings = self._settings
        return pack_message(message, self._new_id(), settings.max_message_bytes, settings.compress_over_bytes)

    def _new_id(self) -> str:
        return self._session.identity.unique_ids.next_id(self._session.now_ms())

    async def _queues(self, topic: str) -> list[MessageQueue]:
        queues = await self._session.routes.publish_queues(topic)
        if not queues:
            raise RouteUnknown(f"no broker takes messages of topic {topic}, and none would create it")
        return queues

    async def _deliver(self, outgoing: Outgoing, queue: MessageQueue | None) -> SendResult:
        """Tries, on another broker each time, until one has stored the message or the time is up."""
        settings = self._settings
        until_s = self._reactor.seconds() + settings.send_timeout_ms / 1000
        queues = [queue] if queue is not None else await self._queues(outgoing.topic)
        tries = 1 if queue is not None else 1 + settings.retry_times_when_send_failed
        problem: RemotingError = RequestTimeout(f"sending to {outgoing.topic}: no time left")
        result: SendResult | None = None
        failed_broker: str | None = None
        for _ in range(tries):
            left_s = until_s - self._reactor.seconds()
            if left_s <= 0:
                break
            chosen = self._choice.choose(queues, failed_broker)
            try:
                result = await self._try(outgoing, chosen, left_s)
            except RemotingError as error:
                if isinstance(error, CallRefused) and error.code not in RETRIED_CODES:
                    raise
                problem, failed_broker = error, chosen.broker_name
                continue
            if result.status is SendStatus.SEND_OK or not settings.retry_another_broker_when_not_store_ok:
                break
            failed_broker = chosen.broker_name
        if result is None:
            raise problem
        return result

    async def _try(self, outgoing: Outgoing, queue: MessageQueue, timeout_s: float) -> SendResult:
        address = self._address(queue)
        frame = self._frame(outgoing, queue)
        answer = await self._session.remoting.call(address, frame, timeout_s)
        status = _STATUS_OF_CODE.get(answer.code)
        if status is None:
            raise refusal(address, frame, answer)
        header = SendMessageResponseHeader.from_ext_fields(answer.ext_fields)
        stored_in = attrs.evolve(queue, queue_id=header.queue_id)
        return SendResult(status, outgoing.message_id, header.msg_id, stored_in, header.queue_offset)

    def _address(self, queue: MessageQueue) -> str:
        address: str | None = self._session.routes.master_address(queue.broker_name)
        if address is None:
            raise ConnectFailed(f"broker {queue.broker_name} has no known master")
        return address

    def _frame(self, outgoing: Outgoing, queue: MessageQueue, oneway: bool = False) -> Frame:
        header = SendMessageRequestHeaderV2(
            producer_group=self.group,
            topic=outgoing.topic,
            default_topic=AUTO_CREATE_TOPIC,
            default_topic_queue_nums=self._settings.default_topic_queue_nums,
            queue_id=queue.queue_id,
            sys_flag=outgoing.sys_flag,
            born_timestamp=self._session.now_ms(),
            flag=outgoing.flag,
            properties=outgoing.properties,
            reconsume_times=0,
            batch=outgoing.is_batch,
        )
        code = RequestCode.SEND_BATCH_MESSAGE if outgoing.is_batch else RequestCode.SEND_MESSAGE_V2
        return Frame.request(code, header, outgoing.body, oneway=oneway)

    def _describe(self) -> tuple[list[ProducerData], list[ConsumerData]]:
        return [ProducerData(self.group)], []
