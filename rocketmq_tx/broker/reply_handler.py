"""Serves replies (324, 325): pushed to the client that waits for them, then stored in the reply topic.

A consumer answers a request message by a send whose REPLY_TO_CLIENT names the client to push to. Every
producer client heartbeats to all brokers, so the broker of the request message knows that client.
Facts: `spec/processors.yaml` (ReplyMessageProcessor).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred

from rocketmq_tx.broker import send_rules
from rocketmq_tx.broker.single_message import index_keys
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import HeaderError, MessageError, RemotingError, RequestRefused
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    ReplyMessageRequestHeader,
    SendMessageRequestHeader,
    SendMessageRequestHeaderV2,
    SendMessageResponseHeader,
)
from rocketmq_tx.protocol.java import crc32, tags_code
from rocketmq_tx.protocol.message_ids import packed_offset_message_id
from rocketmq_tx.protocol.properties import decode_properties, encode_properties
from rocketmq_tx.remoting.registry import serves_runs
from rocketmq_tx.store.append import NewMessage

if TYPE_CHECKING:
    from rocketmq_tx.broker.appending import Appending
    from rocketmq_tx.broker.clients import Producers
    from rocketmq_tx.broker.further_queues import FurtherQueues
    from rocketmq_tx.broker.send_answers import SendAnswers
    from rocketmq_tx.broker.topics import TopicTable
    from rocketmq_tx.config.settings import BrokerSettings
    from rocketmq_tx.remoting.peer import Peer

PUSH_TIMEOUT_S = 10.0
NOT_STORED_ID = "0"
"""The message id of a reply that was pushed and not stored."""


@attrs.frozen
class Reply:
    """A reply that passed the checks of a send."""

    topic: str
    queue_id: int
    header: SendMessageRequestHeader
    properties: dict[str, str]


class ReplyHandler:
    """Pushes each reply, stores it whatever became of the push, and answers with what became of both."""

    def __init__(
        self,
        settings: BrokerSettings,
        topics: TopicTable,
        producers: Producers,
        appending: Appending,
        answers: SendAnswers,
        now_ms: Callable[[], int],
        further_queues: FurtherQueues | None = None,
    ) -> None:
        self._further_queues = further_queues
        self._settings = settings
        self._topics = topics
        self._producers = producers
        self._appending = appending
        self._answers = answers
        self._now_ms = now_ms

    @serves_runs(RequestCode.SEND_REPLY_MESSAGE)
    def reply(self, peer: Peer, run: list[Frame]) -> list[bytes | Deferred[bytes]]:
        return [self._answer(peer, frame, SendMessageRequestHeader, "topic") for frame in run]

    @serves_runs(RequestCode.SEND_REPLY_MESSAGE_V2)
    def reply_v2(self, peer: Peer, run: list[Frame]) -> list[bytes | Deferred[bytes]]:
        return [self._answer(peer, frame, SendMessageRequestHeaderV2, "b") for frame in run]

    def _answer(
        self, peer: Peer, frame: Frame, header_class: type[SendMessageRequestHeader], topic_key: str
    ) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self._serve(peer, frame, header_class, topic_key))

    async def _serve(
        self, peer: Peer, frame: Frame, header_class: type[SendMessageRequestHeader], topic_key: str
    ) -> bytes:
        answered = SendMessageResponseHeader(msg_id=NOT_STORED_ID, queue_id=0, queue_offset=0)
        code, remark = ResponseCode.SUCCESS, None
        try:
            reply = self._checked(peer, frame, header_class, topic_key)
            answered.queue_id = reply.queue_id
            problem = await self._push(peer, frame, reply)
            if problem is not None:
                code, remark = ResponseCode.SYSTEM_ERROR, problem
            if self._settings.broker.store_reply_message_enable:
                with suppress(RequestRefused, MessageError):  # what counts is that the client has it
                    self._store(peer, frame, reply, answered)
        except RequestRefused as refusal:
            return self._answered(frame, refusal.code, refusal.remark)
        except (HeaderError, MessageError) as error:
            return self._answered(frame, ResponseCode.SYSTEM_ERROR, str(error))
        return self._answered(frame, code, remark, answered)

    def _answered(
        self, frame: Frame, code: int, remark: str | None, header: SendMessageResponseHeader | None = None
    ) -> bytes:
        return b"" if frame.is_oneway else self._answers.answer(frame, code, remark, header)

    def _checked(
        self, peer: Peer, frame: Frame, header_class: type[SendMessageRequestHeader], topic_key: str
    ) -> Reply:
        """The checks of any send, in their order."""
        send_rules.check_broker(self._settings.broker, self._now_ms())
        topic = send_rules.check_topic_name((frame.ext_fields or {}).get(topic_key))
        header = header_class.from_ext_fields(frame.ext_fields)
        if self._settings.store.broker_role is BrokerRole.SLAVE:
            config = self._topics.get(topic)  # its tables are its master's
        else:
            config = self._topics.for_send(
                topic, header.default_topic, header.default_topic_queue_nums or 0, header.unit_mode
            )
        if config is None:
            raise send_rules.topic_missing(topic)
        send_rules.check_queue(config, header.queue_id, peer.name)
        return Reply(topic, max(header.queue_id, 0), header, decode_properties(header.properties))

    async def _push(self, peer: Peer, frame: Frame, reply: Reply) -> str | None:
        """None when the waiting client has the reply, else why not, in Apache's words."""
        client_id = reply.properties.get(prop.REPLY_TO_CLIENT)
        if not client_id:
            return f"reply message properties[{prop.REPLY_TO_CLIENT}] is null"
        waiting = self._producers.peer_of(client_id)
        if waiting is None:
            return f"push reply message fail, channel of <{client_id}> not found."
        header = pushed_header(reply, peer.name, self._settings.broker_address, self._now_ms())
        pushed = Frame.request(RequestCode.PUSH_REPLY_MESSAGE_TO_CLIENT, header, frame.body)
        try:
            answer = await waiting.call(pushed, PUSH_TIMEOUT_S)
        except RemotingError:
            return f"push reply message to {client_id}fail."
        return None if answer.code == ResponseCode.SUCCESS else f"push reply message to {client_id}fail."

    def _store(self, peer: Peer, frame: Frame, reply: Reply, answered: SendMessageResponseHeader) -> None:
        header, properties = reply.header, dict(reply.properties)
        properties.pop(prop.INNER_MULTI_QUEUE_OFFSET, None)  # for the store to say
        stored = send_rules.stored_properties(
            properties, len(frame.body), self._settings.store.max_message_size
        )
        message = NewMessage(
            reply.topic, reply.queue_id, frame.body, crc32(frame.body), stored,
            header.flag, send_rules.own_sys_flag(header.sys_flag), header.born_timestamp, peer.packed_host,
            header.reconsume_times or 0, 0, tags_code(properties.get(prop.TAGS)), index_keys(properties),
        )  # fmt: skip
        if self._further_queues is not None:
            self._further_queues.check([message])
        (placed,) = self._appending.append([message], self._now_ms())
        answered.msg_id = packed_offset_message_id(self._answers.store_host, placed.commit_log_offset)
        answered.queue_offset = placed.queue_offset


def pushed_header(reply: Reply, born_host: str, store_host: str, now_ms: int) -> ReplyMessageRequestHeader:
    """What goes to the waiting client: the reply's own values, hosts as text, and the time of the push."""
    header = reply.header
    return ReplyMessageRequestHeader(
        producer_group=header.producer_group,
        topic=reply.topic,
        default_topic=header.default_topic,
        default_topic_queue_nums=header.default_topic_queue_nums,
        queue_id=reply.queue_id,
        sys_flag=header.sys_flag,
        born_timestamp=header.born_timestamp,
        flag=header.flag,
        properties=encode_properties({**reply.properties, prop.PUSH_REPLY_TIME: str(now_ms)}),
        reconsume_times=header.reconsume_times,
        unit_mode=header.unit_mode,
        born_host=born_host,
        store_host=store_host,
        store_timestamp=now_ms,
    )
