"""Parts for tests of the broker: settings with defaults, files that only remember, made without a disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from rocketmq_tx.config.host_facts import HostFacts
from rocketmq_tx.config.settings import BrokerSettings, load_broker
from rocketmq_tx.errors import MessageError, StoreError
from rocketmq_tx.protocol.message import RECORD_FIXED_BYTES
from rocketmq_tx.protocol.message_ids import pack_host
from rocketmq_tx.store.append import NewMessage, Placed
from rocketmq_tx.store.append_alike import AlikeMessages, PlacedAlike
from rocketmq_tx.store.batch_append import PlacedBatch, UniformBatch

BROKER_PORT = 28911


def broker_settings(**keys: Any) -> BrokerSettings:
    """Settings of `broker-a` in `GoldenCluster`, with the given keys besides."""
    given = {
        "brokerName": "broker-a",
        "brokerClusterName": "GoldenCluster",
        "brokerIP1": "127.0.0.1",
        "listenPort": BROKER_PORT,
        **keys,
    }
    texts = {
        name: str(value).lower() if value in (True, False) else str(value) for name, value in given.items()
    }
    return load_broker(overrides=texts, facts=HostFacts(host_name="golden-host"))


class MemoryFile:
    """A table's file that keeps every content that was saved; `broken` makes the next saves fail."""

    def __init__(self, content: bytes | None = None) -> None:
        self.saved: list[bytes] = [] if content is None else [content]
        self.broken = False

    def load(self, parse: Callable[[bytes], Any]) -> Any:
        return parse(self.saved[-1]) if self.saved else None

    def save(self, data: bytes) -> None:
        if self.broken:
            raise StoreError("no room for topics.json")
        self.saved.append(data)


class FakePeer:
    """A client as handlers see it."""

    address = ("127.0.0.1", 60824)
    packed_host = pack_host("127.0.0.1", 60824)
    name = "127.0.0.1:60824"


class FakeFlush:
    """A flush that the test ends; what it covers is flushed when it is finished."""

    def __init__(self, end: int) -> None:
        self.end = end

    def run(self) -> None:
        """Nothing waits here: the runner decides when it is done."""


class HeldRunner:
    """A thread that only runs when told: `finish` ends the oldest call well, `fail` with an error."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []

    def run(self, call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def abandon(self) -> None:
        """Nothing runs."""

    def finish(self) -> None:
        self.waiting.pop(0).callback(None)

    def fail(self, error: Exception) -> None:
        self.waiting.pop(0).errback(error)


def one_by_one(batch: UniformBatch) -> list[NewMessage]:
    """The messages of a batch of columns."""
    return [
        NewMessage(
            batch.topic, batch.queue_id, body, body_crc, batch.before + key + batch.after, batch.flag,
            batch.sys_flag, batch.born_timestamp, batch.born_host, batch.reconsume_times, 0, batch.tags_code,
            (key.decode(),),
        )
        for body, body_crc, key in zip(batch.bodies, batch.body_crcs, batch.keys, strict=True)
    ]  # fmt: skip


class FakeStore:
    """Places messages as the store does, in memory; `error` is raised instead when it is set."""

    def __init__(self) -> None:
        self.messages: list[NewMessage] = []
        self.calls: list[tuple[int, bool]] = []
        """(number of messages, whole) of each append."""
        self.store_times_ms: list[int] = []
        self.error: Exception | None = None
        self.body_max = 1 << 30
        self.written_to = 0
        self.flushed_to = 0
        self.segment_size = 1 << 20
        self._next: dict[tuple[str, int], int] = {}

    def append_all(self, messages: Sequence[NewMessage], now_ms: int, whole: bool = False) -> list[Placed]:
        if self.error is not None:
            raise self.error
        if any(len(message[2]) > self.body_max for message in messages):
            raise MessageError("a record does not fit into a segment")
        self.calls.append((len(messages), whole))
        placed = []
        for message in map(NewMessage._make, messages):
            size = RECORD_FIXED_BYTES + len(message.body) + len(message.topic) + len(message.properties)
            queue = (message.topic, message.queue_id)
            placed.append(Placed(self.written_to, size, self._next.get(queue, 0)))
            self._next[queue] = placed[-1].queue_offset + 1
            self.written_to += size
            if isinstance(message.keys, bytes):  # the same by another form
                message = message._replace(keys=(message.keys.decode(),))
            self.messages.append(message)
            self.store_times_ms.append(now_ms)
        return placed

    def append_alone(self, message: NewMessage, now_ms: int) -> tuple[int, int, int] | None:
        if len(message[2]) > self.body_max:
            return None
        (placed,) = self.append_all([message], now_ms)
        return placed

    def append_alike(self, messages: AlikeMessages, now_ms: int) -> PlacedAlike | None:
        """None, so that they are stored one by one; tests of columns have a whole broker."""
        return None

    queues_forgotten = 0

    def queue(self, topic: str, queue_id: int) -> None:
        """None, so that nothing comes by columns at all."""

    def append_batches(self, batches: Sequence[UniformBatch], now_ms: int) -> list[PlacedBatch]:
        found = []
        for batch in batches:
            placed = self.append_all(one_by_one(batch), now_ms, whole=True)
            offsets = [place.commit_log_offset for place in placed]
            found.append(PlacedBatch(offsets, self.written_to, placed[0].queue_offset))
        return found

    def begin_flush(self) -> FakeFlush | None:
        return FakeFlush(self.written_to) if self.written_to > self.flushed_to else None

    def finish_flush(self, job: FakeFlush) -> int:
        self.flushed_to = max(self.flushed_to, job.end)
        return self.flushed_to
