"""Parts for tests of the reading side: a peer that remembers, and pulls on a store in a scratch folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from rocketmq_tx.broker.clients import Consumers
from rocketmq_tx.broker.compiled_expressions import CompiledExpressions
from rocketmq_tx.broker.filter_table import GroupFilters
from rocketmq_tx.broker.held_pulls import HeldPulls
from rocketmq_tx.broker.offset_moved import OffsetMovedLog
from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.broker.property_filters import PropertyFilters
from rocketmq_tx.broker.pull_handler import PullHandler
from rocketmq_tx.broker.pull_rules import PullRules
from rocketmq_tx.broker.tag_filter import TagFilters
from rocketmq_tx.protocol.bodies import SubscriptionGroupConfig, TopicConfig
from rocketmq_tx.protocol.codes import RequestCode, SerializeType
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame
from rocketmq_tx.protocol.java import crc32, string_hash
from rocketmq_tx.protocol.message_ids import pack_host
from rocketmq_tx.protocol.properties import pack_properties
from rocketmq_tx.runtime.arrivals import Arrivals
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.os_disk import OsDisk
from tests.unit.broker_parts import BROKER_PORT, broker_settings

NOW_MS = 1_700_000_000_000
INLINE, SUSPEND, COMMIT = 4, 2, 1


class FakePeer:
    """The other end of a connection that exists only here."""

    def __init__(self, host: str = "127.0.0.1", port: int = 40_000) -> None:
        self.address = (host, port)
        self.name = f"{host}:{port}"
        self.packed_host = pack_host(host, port)
        self.pushed: list[Frame] = []
        self.closed_for: str | None = None

    def push(self, frame: Frame) -> None:
        self.pushed.append(frame)

    def close(self, reason: str) -> None:
        self.closed_for = reason

    @property
    def is_open(self) -> bool:
        return self.closed_for is None


def at_once(call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """Stands for a thread whose work is done in no time."""
    return execute(call, *arguments)


def decoded(answer: bytes) -> Frame:
    """The frame of one encoded answer."""
    return decode_frame(answer[4:])


def message(topic: str = "t", queue_id: int = 0, tag: str = "", body: bytes = b"hello") -> NewMessage:
    properties = pack_properties({"TAGS": tag} if tag else {})
    return NewMessage(
        topic, queue_id, body, crc32(body), properties, 0, 0, NOW_MS, pack_host("127.0.0.1", 40_000),
        0, 0, string_hash(tag) if tag else 0, (),
    )  # fmt: skip


class ReadingBroker:
    """The parts of a broker that serve pulls, on a fake clock and a store in `folder`.

    It has topic `t` with four queues, and makes every group that is asked for.
    """

    def __init__(self, folder: str, **keys: Any) -> None:
        self.settings = broker_settings(storePathRootDir=folder, **keys)
        self.clock = Clock()
        self.host = pack_host("127.0.0.1", BROKER_PORT)
        self.store = MessageStore(self.settings.store, OsDisk(), self.host)
        self.store.open(NOW_MS)
        self.arrivals = Arrivals(self.clock)
        self.consumers = Consumers()
        self.offsets = ConsumerOffsets()
        self.topics = {"t": TopicConfig(topic_name="t", read_queue_nums=4, write_queue_nums=4, perm=6)}
        self.groups: dict[str, SubscriptionGroupConfig] = {}
        self.held = HeldPulls(self.arrivals)
        self.peer: Any = FakePeer()
        moved = OffsetMovedLog(self.append, "broker-a", self.host, lambda: NOW_MS)
        expressions = CompiledExpressions()
        self.filters = GroupFilters(self.settings.broker, expressions.compiled, lambda: NOW_MS)
        rules = PullRules(
            self.settings.broker,
            self.find_group,
            self.topics.get,
            self.consumers.find,
            PropertyFilters(self.settings.broker, self.filters, expressions.compiled),
        )
        self.pulls = PullHandler(
            self.settings, self.store, rules, TagFilters(), self.offsets, self.held, moved, at_once
        )

    def find_group(self, name: str) -> SubscriptionGroupConfig:
        return self.groups.setdefault(name, SubscriptionGroupConfig(group_name=name))

    def append(self, messages: Any, now_ms: int = NOW_MS) -> None:
        self.store.append_all(messages, now_ms)
        for key in {(message.topic, message.queue_id) for message in messages}:
            self.arrivals.notify(*key)

    def send(self, *tags: str, queue_id: int = 0, body: bytes = b"hello") -> None:
        self.append([message(queue_id=queue_id, tag=tag, body=body) for tag in tags])

    def request(self, offset: int = 0, sys_flag: int = INLINE, **changes: Any) -> Frame:
        """A pull of group `g`; keyword arguments are wire keys, None leaves one out."""
        fields = {
            "consumerGroup": "g",
            "topic": "t",
            "queueId": 0,
            "queueOffset": offset,
            "maxMsgNums": 32,
            "sysFlag": sys_flag,
            "commitOffset": 0,
            "suspendTimeoutMillis": 15_000,
            "subVersion": 1,
            "expressionType": "TAG",
            **changes,
        }
        serialize = fields.pop("serialize", SerializeType.JSON)
        opaque = fields.pop("opaque", 7)
        texts = {key: str(value) for key, value in fields.items() if value is not None}
        return Frame(RequestCode.PULL_MESSAGE, opaque, ext_fields=texts, serialize=serialize)

    def begin(self, frame: Frame, peer: Any = None) -> bytes | Deferred[bytes]:
        answers = self.pulls.pull_all(peer or self.peer, [frame])
        if isinstance(answers[0], bytes):
            return b"".join(answers)  # type: ignore[arg-type]
        (answer,) = answers
        return answer

    def pull(self, offset: int = 0, sys_flag: int = INLINE, **changes: Any) -> Frame:
        """The answer to a pull that is answered at once."""
        answer = self.begin(self.request(offset, sys_flag, **changes))
        assert isinstance(answer, bytes)
        return decoded(answer)

    def hold(self, offset: int, peer: Any = None, **changes: Any) -> Deferred[bytes]:
        """A pull that is not answered at once."""
        answer = self.begin(self.request(offset, INLINE | SUSPEND, **changes), peer)
        assert isinstance(answer, Deferred)
        return answer
