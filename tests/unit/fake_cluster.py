"""A NameServer and brokers in memory, as clients see them: frames in, frames out, time on a Clock.

Every request and answer passes through the frame codec, so what a client sends is what would be on the wire.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from rocketmq_tx.client.identity import Identity
from rocketmq_tx.client.session import Environment
from rocketmq_tx.errors import ConnectFailed, RequestTimeout
from rocketmq_tx.protocol import headers
from rocketmq_tx.protocol.batch import decode_batch
from rocketmq_tx.protocol.bodies import (
    BrokerData,
    GetConsumerListByGroupResponseBody,
    HeartbeatData,
    QueueData,
    TopicRouteData,
)
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.commands import COMMANDS
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame, encode_frame
from rocketmq_tx.protocol.header_fields import Header
from rocketmq_tx.protocol.message import MessageRecord, encode_record
from rocketmq_tx.protocol.message_ids import UniqueIdSource
from rocketmq_tx.remoting.registry import Registry

NAMESRV = "127.0.0.1:9876"
START_S = 1_700_000_000
PULL_MAX = 32

Answer = Frame | Deferred[Frame] | None


def over_the_wire(frame: Frame) -> Frame:
    return decode_frame(encode_frame(frame)[4:])


@attrs.define(eq=False, slots=False)
class FakeBroker:
    """A master: topics with their queues, the offsets and members of groups, pulls that wait."""

    name: str
    address: str
    clock: Clock
    topics: dict[str, list[list[MessageRecord]]] = attrs.Factory(dict)
    creates_topics: bool = True
    refuses: tuple[int, str] | None = None
    is_silent: bool = False
    members: dict[str, dict[str, HeartbeatData]] = attrs.Factory(lambda: defaultdict(dict))
    offsets: dict[tuple[str, str, int], int] = attrs.Factory(dict)
    sent_back: list[headers.ConsumerSendMsgBackRequestHeader] = attrs.Factory(list)
    seen: list[tuple[int, Header | None]] = attrs.Factory(list)
    held: list[tuple[Frame, headers.PullMessageRequestHeader, Deferred[Frame]]] = attrs.Factory(list)

    def requests(self, code: int) -> list[Header | None]:
        return [header for one, header in self.seen if one == code]

    def answer(self, frame: Frame) -> Answer:
        command = COMMANDS[frame.code]
        header = command.request_header.from_ext_fields(frame.ext_fields) if command.request_header else None
        self.seen.append((frame.code, header))
        serve = getattr(self, f"_serve_{RequestCode(frame.code).name.lower()}")
        return serve(frame, header)

    # -- sending -------------------------------------------------------------------------------------------

    def _serve_send_message_v2(self, frame: Frame, header: headers.SendMessageRequestHeaderV2) -> Answer:
        if self.refuses is not None:
            return frame.answer(*self.refuses)
        return self._stored(frame, header, [(header.flag, frame.body, (header.properties or "").encode())])

    def _serve_send_batch_message(self, frame: Frame, header: headers.SendMessageRequestHeaderV2) -> Answer:
        return self._stored(frame, header, decode_batch(frame.body))

    def _stored(self, frame: Frame, header: headers.SendMessageRequestHeaderV2, items: list) -> Frame:
        if header.topic not in self.topics:
            self.add_topic(header.topic, header.default_topic_queue_nums or 4)
        placed = [
            self.store(header.topic, header.queue_id, body, properties, header.sys_flag, flag)
            for flag, body, properties in items
        ]
        response = headers.SendMessageResponseHeader(
            msg_id=",".join(record.offset_message_id for record in placed),
            queue_id=header.queue_id,
            queue_offset=placed[0].queue_offset,
        )
        return frame.answer(header=response)

    def add_topic(self, topic: str, queues: int) -> None:
        self.topics[topic] = [[] for _ in range(queues)]

    def store(
        self,
        topic: str,
        queue_id: int,
        body: bytes,
        properties: bytes = b"",
        sys_flag: int = 0,
        flag: int = 0,
    ) -> MessageRecord:
        """Adds a message, and answers the pulls that waited for it."""
        queue = self.topics[topic][queue_id]
        host, port = self.address.split(":")
        record = MessageRecord(
            topic,
            body,
            properties,
            queue_id,
            flag,
            len(queue),
            commit_log_offset=sum(map(len, self.topics[topic])) * 200,
            sys_flag=sys_flag,
            store_timestamp=int(self.clock.seconds() * 1000),
            store_host=(host, int(port)),
        )
        queue.append(record)
        held, self.held = self.held, []
        for frame, header, waiting in held:
            answer = self._found(frame, header)
            if answer is None:
                self.held.append((frame, header, waiting))
            else:
                waiting.callback(answer)
        return record

    # -- pulling -------------------------------------------------------------------------------------------

    def _serve_pull_message(self, frame: Frame, header: headers.PullMessageRequestHeader) -> Answer:
        if not self.members[header.consumer_group]:
            return frame.answer(ResponseCode.SUBSCRIPTION_NOT_EXIST, "the consumer's group info not exist")
        found = self._found(frame, header)
        if found is not None:
            return found
        waiting: Deferred[Frame] = Deferred()
        self.held.append((frame, header, waiting))
        return waiting

    def _found(self, frame: Frame, header: headers.PullMessageRequestHeader) -> Frame | None:
        queue = self.topics[header.topic][header.queue_id]
        if header.queue_offset > len(queue):
            return self._pull_answer(frame, ResponseCode.PULL_OFFSET_MOVED, len(queue), len(queue))
        records = queue[header.queue_offset :][: min(header.max_msg_nums, PULL_MAX)]
        if not records:
            return None
        body = b"".join(map(encode_record, records))
        following = header.queue_offset + len(records)
        return self._pull_answer(frame, ResponseCode.SUCCESS, following, len(queue), body)

    def _pull_answer(self, frame: Frame, code: int, following: int, end: int, body: bytes = b"") -> Frame:
        header = headers.PullMessageResponseHeader(
            suggest_which_broker_id=0, next_begin_offset=following, min_offset=0, max_offset=end
        )
        return frame.answer(code, header=header, body=body)

    def release_held(self) -> None:
        """The time of all waiting pulls is up."""
        held, self.held = self.held, []
        for frame, header, waiting in held:
            offset = header.queue_offset
            waiting.callback(self._pull_answer(frame, ResponseCode.PULL_NOT_FOUND, offset, offset))

    # -- groups and offsets --------------------------------------------------------------------------------

    def _serve_heart_beat(self, frame: Frame, header: None) -> Answer:
        data = HeartbeatData.from_bytes(frame.body)
        for consumer in data.consumer_data_set:
            self.members[consumer.group_name][data.client_id] = data
            self.topics.setdefault(f"%RETRY%{consumer.group_name}", [[]])
        return frame.answer()

    def _serve_unregister_client(self, frame: Frame, header: headers.UnregisterClientRequestHeader) -> Answer:
        self.members[header.consumer_group or ""].pop(header.client_id, None)
        return frame.answer()

    def _serve_get_consumer_list_by_group(
        self, frame: Frame, header: headers.GetConsumerListByGroupRequestHeader
    ) -> Answer:
        ids = list(self.members[header.consumer_group])
        return frame.answer(body=GetConsumerListByGroupResponseBody(ids).to_bytes())

    def _serve_query_consumer_offset(
        self, frame: Frame, header: headers.QueryConsumerOffsetRequestHeader
    ) -> Answer:
        offset = self.offsets.get((header.consumer_group, header.topic, header.queue_id))
        if offset is None:
            return frame.answer(ResponseCode.QUERY_NOT_FOUND, "Not found")
        return frame.answer(header=headers.QueryConsumerOffsetResponseHeader(offset=offset))

    def _serve_update_consumer_offset(
        self, frame: Frame, header: headers.UpdateConsumerOffsetRequestHeader
    ) -> Answer:
        self.offsets[header.consumer_group, header.topic, header.queue_id] = header.commit_offset
        return frame.answer()

    def _serve_get_max_offset(self, frame: Frame, header: headers.GetMaxOffsetRequestHeader) -> Answer:
        offset = len(self.topics[header.topic][header.queue_id])
        return frame.answer(header=headers.GetMaxOffsetResponseHeader(offset=offset))

    def _serve_search_offset_by_timestamp(
        self, frame: Frame, header: headers.SearchOffsetRequestHeader
    ) -> Answer:
        queue = self.topics[header.topic][header.queue_id]
        later = [record.queue_offset for record in queue if record.store_timestamp >= header.timestamp]
        return frame.answer(header=headers.SearchOffsetResponseHeader(offset=(later or [len(queue)])[0]))

    def _serve_consumer_send_msg_back(
        self, frame: Frame, header: headers.ConsumerSendMsgBackRequestHeader
    ) -> Answer:
        if self.refuses is not None:
            return frame.answer(*self.refuses)
        self.sent_back.append(header)
        return frame.answer()


class FakeCluster:
    """A NameServer at NAMESRV that knows the brokers; `environment` is what clients are made with."""

    def __init__(self, *broker_names: str) -> None:
        self.clock = Clock()
        self.clock.advance(START_S)
        self.brokers = {
            name: FakeBroker(name, f"127.0.0.{number}:10911", self.clock)
            for number, name in enumerate(broker_names or ("broker-a",), 1)
        }
        self.down: set[str] = set()
        self.route_requests: list[str] = []
        self.registries: list[Registry] = []
        self._clients = 0

    @property
    def broker(self) -> FakeBroker:
        return self.brokers["broker-a"]

    def environment(self) -> Environment:
        self._clients += 1
        number = self._clients
        ids = UniqueIdSource("192.0.2.7", 7, number)
        return Environment(
            self._make_remoting,
            lambda: int(self.clock.seconds() * 1000),
            lambda: Identity(f"192.0.2.7@7#{number}", ids),
        )

    def _make_remoting(self, reactor: object, registry: Registry) -> FakeRemoting:
        self.registries.append(registry)
        return FakeRemoting(self.answer, self.clock)

    def notify(self, frame: Frame) -> None:
        """Every client gets a request from its broker."""
        for registry in self.registries:
            registry.serve(None, frame.code, [over_the_wire(frame)])  # type: ignore[arg-type]

    def answer(self, address: str, frame: Frame) -> Answer:
        if address in self.down:
            raise ConnectFailed(f"no connection to {address}")
        if address == NAMESRV:
            return self._route(frame)
        broker = next(one for one in self.brokers.values() if one.address == address)
        return Deferred() if broker.is_silent else broker.answer(frame)

    def _route(self, frame: Frame) -> Frame:
        topic = headers.GetRouteInfoRequestHeader.from_ext_fields(frame.ext_fields).topic or ""
        self.route_requests.append(topic)
        queues = {
            broker.name: len(broker.topics[topic]) if topic in broker.topics else 8
            for broker in self.brokers.values()
            if topic in broker.topics or (topic == "TBW102" and broker.creates_topics)
        }
        if not queues:
            return frame.answer(ResponseCode.TOPIC_NOT_EXIST, "No topic route info")
        route = TopicRouteData(
            [BrokerData("DefaultCluster", name, {0: self.brokers[name].address}) for name in queues],
            [QueueData(name, count, count, 6) for name, count in queues.items()],
        )
        return frame.answer(body=route.to_bytes())


class FakeRemoting(Service):
    """What clients need of RemotingClient, answered by `answer`."""

    def __init__(self, answer: Callable[[str, Frame], Answer], clock: Clock) -> None:
        self._answer = answer
        self._clock = clock

    def call(self, address: str, frame: Frame, timeout_s: float) -> Deferred[Frame]:
        try:
            answer = self._answer(address, over_the_wire(frame))
        except ConnectFailed:
            return fail(ConnectFailed(f"no connection to {address}"))
        if isinstance(answer, Frame):
            return succeed(over_the_wire(answer))
        assert answer is not None
        caller: Deferred[Frame] = Deferred()
        too_late = RequestTimeout(f"no answer from {address} within {timeout_s:g} s")
        timer = self._clock.callLater(timeout_s, caller.errback, too_late)

        def arrived(frame: Frame) -> None:
            if not caller.called:
                timer.cancel()
                caller.callback(over_the_wire(frame))

        answer.addCallback(arrived)
        caller.addErrback(lambda failure: (timer.cancel() if timer.active() else None, failure)[1])
        return caller

    def oneway(self, address: str, frame: Frame) -> Deferred[None]:
        try:
            self._answer(address, over_the_wire(frame))
        except ConnectFailed:
            return fail(ConnectFailed(f"no connection to {address}"))
        return succeed(None)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return succeed(None)
