"""Serves sends that need a closer look: SEND_MESSAGE, _V2 and batches, as frames with parsed headers.

Runs of Java's own V2 frames take the short cut of `scanned_sends` and come here only when something about
them is out of the ordinary. Either way the decisions are those of `send_rules`, and a run is stored by one
append. Facts: `spec/processors.yaml` (SendMessageProcessor).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import groupby

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from rocketmq_tx.broker import send_rules
from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.broker.batch_messages import BatchTails, batch_messages
from rocketmq_tx.broker.further_queues import FurtherQueues
from rocketmq_tx.broker.groups import SubscriptionGroupTable
from rocketmq_tx.broker.send_answers import SendAnswers
from rocketmq_tx.broker.send_request import SendRequest
from rocketmq_tx.broker.single_message import single_message
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.errors import HeaderError, MessageError, RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.bodies import TopicConfig
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import SendMessageRequestHeader, SendMessageRequestHeaderV2
from rocketmq_tx.remoting.peer import Peer
from rocketmq_tx.remoting.registry import serves_runs
from rocketmq_tx.store.append import NewMessage, Placed

Answer = bytes | Deferred[bytes]


@attrs.define
class Send:
    """One send request on its way: decided, then placed or refused."""

    frame: Frame
    queue_id: int = 0
    """As answered: the queue that was asked for or chosen, not the one of a diverted message."""
    messages: Sequence[NewMessage] = ()
    waits: bool = False
    is_batch: bool = False
    placed: Sequence[Placed] = ()
    refusal: RequestRefused | None = None


class SendHandler:
    """Decides, stores and answers runs of sends."""

    def __init__(
        self,
        settings: BrokerSettings,
        topics: TopicTable,
        groups: SubscriptionGroupTable,
        appending: Appending,
        answers: SendAnswers,
        now_ms: Callable[[], int],
        further_queues: FurtherQueues | None = None,
    ) -> None:
        self._further_queues = further_queues
        self._settings = settings
        self._broker = settings.broker
        self._topics = topics
        self._groups = groups
        self._appending = appending
        self._now_ms = now_ms
        self._answers = answers
        self._batch_tails = BatchTails()

    @serves_runs(RequestCode.SEND_MESSAGE)
    def send(self, peer: Peer, run: list[Frame]) -> list[Answer]:
        return self._serve(peer, run, SendMessageRequestHeader, "topic")

    @serves_runs(RequestCode.SEND_MESSAGE_V2)
    def send_v2(self, peer: Peer, run: list[Frame]) -> list[Answer]:
        return self._serve(peer, run, SendMessageRequestHeaderV2, "b")

    @serves_runs(RequestCode.SEND_BATCH_MESSAGE)
    def send_batch(self, peer: Peer, run: list[Frame]) -> list[Answer]:
        return self._serve(peer, run, SendMessageRequestHeaderV2, "b")

    def _serve(
        self, peer: Peer, run: list[Frame], header_class: type[SendMessageRequestHeader], topic_key: str
    ) -> list[Answer]:
        now_ms = self._now_ms()
        sends = [self._decide(peer, frame, header_class, topic_key, now_ms) for frame in run]
        for is_batch, some in groupby((send for send in sends if send.refusal is None), lambda s: s.is_batch):
            if is_batch:
                for send in some:
                    self._store([send], now_ms, whole=True)
            else:
                self._store(list(some), now_ms)
        return self._answer([send for send in sends if not send.frame.is_oneway])

    # -- deciding ------------------------------------------------------------------------------------------

    def _decide(
        self,
        peer: Peer,
        frame: Frame,
        header_class: type[SendMessageRequestHeader],
        topic_key: str,
        now_ms: int,
    ) -> Send:
        send = Send(frame)
        try:
            send_rules.check_broker(self._broker, now_ms)
            # the name is judged before numbers are missed, as in Apache
            topic = send_rules.check_topic_name((frame.ext_fields or {}).get(topic_key))
            header = header_class.from_ext_fields(frame.ext_fields)
            self._prepare(send, peer, topic, header, now_ms)
        except RequestRefused as refusal:
            send.refusal = refusal
        except (HeaderError, MessageError) as error:
            send.refusal = RequestRefused(ResponseCode.SYSTEM_ERROR, str(error))
        return send

    def _prepare(
        self, send: Send, peer: Peer, topic: str, header: SendMessageRequestHeader, now_ms: int
    ) -> None:
        self._appending.check_role()  # before a topic is made that the master does not know
        config = self._topics.for_send(
            topic, header.default_topic, header.default_topic_queue_nums or 0, header.unit_mode
        )
        if config is None:
            raise send_rules.topic_missing(topic)
        host, port = peer.address
        send_rules.check_queue(config, header.queue_id, f"{host}:{port}")
        send.queue_id = header.queue_id if header.queue_id >= 0 else _any_queue(config)
        send.is_batch = header.batch
        store = self._settings.store
        request = SendRequest(topic, send.queue_id, header, send.frame.body, peer.packed_host)
        if header.batch:
            send.messages, send.waits = batch_messages(
                request,
                cluster=self._broker.broker_cluster_name, max_message_size=store.max_message_size,
                tails=self._batch_tails,
            )  # fmt: skip
        else:
            message, send.waits = single_message(
                request, now_ms,
                dead_letter_topic=self._dead_letter_topic(topic, header, send.frame.version),
                broker=self._broker, store=store, filter_type=config.topic_filter_type,
            )  # fmt: skip
            send.messages = (message,)
        if self._further_queues is not None:
            self._further_queues.check(send.messages)

    def _dead_letter_topic(
        self, topic: str, header: SendMessageRequestHeader, request_version: int
    ) -> str | None:
        """The DLQ topic, made when it is missing, for a message sent to a retry topic once too often."""
        group = send_rules.retry_group(topic)
        if group is None:
            return None
        config = self._groups.find(group)
        if config is None:
            raise send_rules.group_missing(group)
        if not send_rules.is_dead_letter(
            config, header.reconsume_times, header.max_reconsume_times, request_version
        ):
            return None
        return self._topics.ensure(names.dlq_topic(group), 1).topic_name

    # -- storing -------------------------------------------------------------------------------------------

    def _store(self, sends: list[Send], now_ms: int, whole: bool = False) -> None:
        """One append for all; should one of them fit no segment, each gets an append of its own."""
        messages = [message for send in sends for message in send.messages]
        try:
            placed = self._appending.append(messages, now_ms, whole)
        except RequestRefused as refusal:
            for send in sends:
                send.refusal = refusal
        except MessageError:
            if len(sends) == 1:
                sends[0].refusal = send_rules.message_illegal(self._settings.store.max_message_size)
            else:
                for send in sends:
                    self._store([send], now_ms, whole)
        else:
            start = 0
            for send in sends:
                send.placed = placed[start : start + len(send.messages)]
                start += len(send.messages)

    # -- answering -----------------------------------------------------------------------------------------

    def _answer(self, sends: list[Send]) -> list[Answer]:
        """Answers in order, except those that wait for the disk: they come together, after the others."""
        answers: list[Answer] = []
        waiting: list[Send] = []
        settles_at_once = self._appending.settles_at_once
        everybody_waits = self._appending.everybody_waits
        for send in sends:
            if send.refusal is not None:
                answers.append(self._answers.refused(send.frame, send.refusal))
            elif settles_at_once or not (send.waits or everybody_waits):
                answers.append(self._stored(send, ResponseCode.SUCCESS))
            else:
                waiting.append(send)
        if waiting:
            settled = self._appending.settle(waiting[-1].placed)
            answers.append(
                settled.addCallbacks(
                    lambda status: b"".join(self._stored(send, status) for send in waiting),
                    lambda failure: self._not_settled(waiting, failure),
                )
            )
        return answers

    def _not_settled(self, waiting: list[Send], failure: Failure) -> bytes:
        if not isinstance(failure.value, RequestRefused):
            failure.raiseException()
        return b"".join(self._answers.refused(send.frame, failure.value) for send in waiting)

    def _stored(self, send: Send, status: ResponseCode) -> bytes:
        return self._answers.stored(send.frame, status, send.queue_id, send.placed)


def _any_queue(config: TopicConfig) -> int:
    """The choice of a broker that was asked for queue -1."""
    return random.randrange(config.write_queue_nums) if config.write_queue_nums > 0 else 0
