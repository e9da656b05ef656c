"""Parts for tests of replication: a master and a slave on disks in memory, joined by an imaginary wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from rocketmq_tx.replication.following import MasterConnection
from rocketmq_tx.replication.sending import SlaveConnection
from rocketmq_tx.replication.slave_end import Chunk
from rocketmq_tx.replication.slaves import Slaves
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, message, open_store
from tests.wire import Wire


def at_once(call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """A thread that is done when it begins."""
    call(*arguments)
    return succeed(None)


class HeldFlushes:
    """Flushes that end when the test says so; `held = False` lets all through."""

    def __init__(self) -> None:
        self.held = False
        self.waiting: list[tuple[int, Deferred[None]]] = []

    def durable(self, offset: int, timeout_s: float) -> Deferred[None]:
        if not self.held:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self.waiting.append((offset, waiting))
        return waiting


class Pair:
    """A master's store, a slave's, and the connection between them when there is one."""

    def __init__(
        self, master: MemoryDisk | None = None, slave: MemoryDisk | None = None, **config: Any
    ) -> None:
        self.clock = Clock()
        self.master_disk, self.slave_disk = master or MemoryDisk(), slave or MemoryDisk()
        self.master: MessageStore = open_store(self.master_disk, **config)
        self.slave: MessageStore = open_store(self.slave_disk, **config)
        self.slaves = Slaves(self.master.config, self.clock)
        self.flushes = HeldFlushes()
        self.arrived: list[set[tuple[str, int]]] = []
        self.wire: Wire | None = None
        self.sent = 0

    def send(self, count: int = 1, body_bytes: int = 100, queues: int = 3, announce: bool = True) -> None:
        """Appends to the master one message after the other, each announced to its slaves."""
        for _ in range(count):
            number = self.sent
            body = b"%d-" % number + b"x" * body_bytes
            self.master.append_all(
                [message("T", number % queues, body, unique=f"U{number}", tags="t")], NOW + number
            )
            self.sent += 1
            if announce:
                self.slaves.log_grew()

    def connect(self, chunk: int | None = None, begin: int | None = None) -> Wire:
        """Joins both; `chunk` is the most bytes that one read brings."""
        self.slave.drop_unfinished()
        self.sending = SlaveConnection(self.master, self.master.config, self.slaves, at_once, self.clock)
        self.following = MasterConnection(
            self.slave,
            self.slave.config,
            self.flushes,
            self._append,
            self.slave.written_to if begin is None else begin,
            self.clock,
        )
        self.wire = Wire(self.clock, chunk).join(self.following, self.sending)
        return self.wire

    def _append(self, chunk: Chunk, was_written: Callable[[], object]) -> None:
        self.arrived.append(self.slave.append_raw(chunk.data, chunk.offset, NOW, was_written))

    def catch_up(self) -> None:
        """A new connection, over which everything comes."""
        wire = self.connect()
        wire.pump(100_000)

    def logs(self) -> tuple[bytes, bytes]:
        """The commit logs of both, up to the end of the slave's."""
        end = self.slave.written_to
        return log_of(self.master, self.slave.min_offset, end), log_of(self.slave, self.slave.min_offset, end)

    def queues(self, store: MessageStore) -> dict[tuple[str, int], list[tuple[int, int, int] | None]]:
        found = {}
        for topic, queue_id in store.queues():
            first, end = store.queue_offsets(topic, queue_id)
            found[topic, queue_id] = [store.entry_at(topic, queue_id, at) for at in range(first, end)]
        return found


def log_of(store: MessageStore, start: int, end: int) -> bytes:
    parts = []
    while start < end:
        parts.append(store.log_bytes(start, end - start))
        start += len(parts[-1])
    return b"".join(parts)
