"""What a message costs on the hot path, counted instead of timed: a busy machine changes nothing of it.

    python -m tests.hot_path_cost            # prints the counts as JSON
    python -m tests.hot_path_cost --record   # and keeps them as the expectation of this Python version

Counted per message are the opcodes that run in the package's own modules and the C functions that those
call, from the bytes of a read to the bytes of its answers, with the index written behind it; per read, the
writes and reads of the commit log; over all, the memory blocks that stay. The broker is whole, in memory.
"""

from __future__ import annotations

import gc
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import execute
from twisted.internet.testing import StringTransport

import rocketmq_tx
from benchmarks.frames import encode_batch_send, encode_pull
from benchmarks.raw_send import encode_send
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.ha_frames import encode_report
from rocketmq_tx.protocol.headers import (
    GetMaxOffsetRequestHeader,
    PullMessageRequestHeader,
    QueryMessageRequestHeader,
)
from rocketmq_tx.remoting.protocol import FrameProtocol
from rocketmq_tx.replication.sending import SlaveConnection
from rocketmq_tx.store.early_checkpoints import LOOK_S, RESTS_S
from tests.memory_broker import SUBSCRIPTION, MemoryBroker
from tests.memory_disk import MemoryDisk

EXPECTED = Path(__file__).parent / "data" / "hot_path_cost.json"
PACKAGE = str(Path(rocketmq_tx.__file__).parent)
READS = 40
WARM_READS = 40
MANY_TOPICS = tuple(f"Orders{number:04d}" for number in range(160))
"""More than there are messages in a read: none of them shares its queue."""
INDEX_BITE_S = 0.02
ROOMY = {
    "mappedFileSizeCommitLog": 1 << 24,
    "mappedFileSizeConsumeQueue": 600_000,
    "maxHashSlotNum": 50_000,
    "maxIndexNum": 200_000,
}


class StepCount:
    """Counts, while it is entered, the opcodes that the package runs and the C functions that it calls."""

    def __init__(self) -> None:
        self.opcodes = 0
        self.c_calls = 0

    def __enter__(self) -> StepCount:
        sys.setprofile(self._called)
        sys.settrace(self._entered)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        sys.setprofile(None)

    def _called(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call" and frame.f_code.co_filename.startswith(PACKAGE):
            self.c_calls += 1

    def _entered(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        if event == "opcode":
            self.opcodes += 1
        return self._step


class CountingDisk(MemoryDisk):
    """Counts what is done to the commit log."""

    def __init__(self) -> None:
        super().__init__()
        self.log_calls: Counter[str] = Counter()

    def check(self, action: str, path: str) -> int | None:
        if "/commitlog/" in path:
            self.log_calls[action] += 1
        return super().check(action, path)

    def sync_all(self) -> None:
        """Forgets the steps between what is written and what is synced: no memory of the broker's."""
        for node in self.nodes.values():
            node.sync()


class CountedBroker:
    """A broker in memory with one connection, whose reads are given to it."""

    def __init__(self) -> None:
        self.disk = CountingDisk()
        self.broker = MemoryBroker(self.disk, **ROOMY)
        self.transport = StringTransport(
            hostAddress=IPv4Address("TCP", "127.0.0.1", 10911),
            peerAddress=IPv4Address("TCP", "127.0.0.1", 40_000),
        )
        self.protocol = FrameProtocol(self.broker.parts.connections)
        self.protocol.makeConnection(self.transport)

    def serve(self, reads: list[bytes]) -> None:
        """Each read is answered at once; a bite of the index follows."""
        for data in reads:
            self.protocol.dataReceived(data)
            self.broker.clock.advance(0)
            assert self.transport.value(), "a read was not answered"
            self.transport.clear()
            self.broker.clock.advance(INDEX_BITE_S)

    def come_to_rest(self) -> None:
        """The checkpoint that follows a load reads the log, too, and is not what is counted next."""
        self.broker.clock.pump([LOOK_S] * (2 + int(RESTS_S / LOOK_S)))

    def cost(self, reads: list[bytes], messages_of_a_read: int) -> dict[str, float]:
        """Serves `reads`, the first `WARM_READS` of them uncounted."""
        with StepCount():  # Python 3.12 counts the opcodes of a frame only once its code was traced before
            self.serve(reads[:WARM_READS])
        measured = reads[WARM_READS:]
        self.disk.log_calls.clear()
        with StepCount() as count:
            self.serve(measured)
        messages = len(measured) * messages_of_a_read
        return {
            "opcodes a message": round(count.opcodes / messages, 1),
            "C calls a message": round(count.c_calls / messages, 2),
            "log writes a read": self.disk.log_calls["write"] / len(measured),
            "log reads a read": self.disk.log_calls["read"] / len(measured),
        }

    def blocks_kept(self, reads: list[bytes], messages_of_a_read: int) -> float:
        """Memory blocks that a message leaves behind."""
        before = self._blocks()
        self.serve(reads)
        return round((self._blocks() - before) / len(reads) / messages_of_a_read, 2)

    def _blocks(self) -> int:
        self.disk.sync_all()
        gc.collect()
        return sys.getallocatedblocks()


class CountedMaster(CountedBroker):
    """One that has a slave, which acknowledges each read at once."""

    def __init__(self, role: BrokerRole) -> None:
        super().__init__()
        parts = self.broker.parts
        config = parts.settings.store
        config.broker_role = role
        self.slave = SlaveConnection(parts.store, config, parts.slaves, execute, self.broker.clock)
        self.slave.makeConnection(StringTransport())
        self.acknowledge()

    def acknowledge(self) -> None:
        self.slave.dataReceived(encode_report(self.broker.parts.store.written_to))
        self.slave.transport.clear()  # type: ignore[union-attr]

    def serve(self, reads: list[bytes]) -> None:
        for data in reads:
            self.protocol.dataReceived(data)
            self.acknowledge()
            assert self.transport.value(), "a read was not answered"
            self.transport.clear()
            self.broker.clock.advance(INDEX_BITE_S)


def sends(first: int, count: int, topics: Sequence[str] = ("Orders",)) -> bytes:
    """`count` sends as the Java client writes them, with the keys `first` and following, back to back."""
    numbers = range(first, first + count)
    return b"".join(
        [encode_send(topics[number % len(topics)], number % 4, number, b"x" * 128) for number in numbers]
    )


def batch_of_32(number: int) -> bytes:
    return encode_batch_send("Orders", number % 4, number, [b"x" * 128] * 32)


def pull_of_32(offset: int) -> bytes:
    header = PullMessageRequestHeader(
        consumer_group="cg", topic="Orders", queue_id=0, queue_offset=offset, max_msg_nums=32,
        sys_flag=SUBSCRIPTION, commit_offset=0, suspend_timeout_millis=0, subscription="*", sub_version=0,
    )  # fmt: skip
    return encode_frame(Frame.request(RequestCode.PULL_MESSAGE, header))


def scanned_pulls(first: int) -> bytes:
    """Eight pulls as the Java client writes them, which are scanned, back to back."""
    return b"".join(
        [encode_pull("Orders", 0, 32 * number % 1024, number) for number in range(first, first + 8)]
    )


def request(number: int) -> bytes:
    """One that is parsed and served the general way, at once."""
    header = GetMaxOffsetRequestHeader(topic="Orders", queue_id=number % 4)
    return encode_frame(Frame.request(RequestCode.GET_MAX_OFFSET, header, opaque=number))


def look_up(number: int) -> bytes:
    """The same, by a handler that waits where something is not in memory: here a key that nobody has."""
    header = QueryMessageRequestHeader(
        topic="Orders", key=f"none{number}", max_num=32, begin_timestamp=0, end_timestamp=1 << 62
    )
    return encode_frame(Frame.request(RequestCode.QUERY_MESSAGE, header, opaque=number))


def count_all() -> dict[str, dict[str, float]]:
    """The counts of this version of the code on this version of Python."""
    broker = CountedBroker()
    batch, reads = 64, WARM_READS + READS
    pipelined = [sends(number * batch, batch) for number in range(reads)]
    to_many = [sends(number * batch, batch, MANY_TOPICS) for number in range(reads)]
    found = {
        "pipelined send": broker.cost(pipelined, batch),
        "lonely send": broker.cost([sends(number, 1) for number in range(reads)], 1),
    }
    broker.come_to_rest()
    found |= {
        "pull of 32": broker.cost([pull_of_32(32 * number % 1024) for number in range(reads)], 32),
        "scanned pulls of 32": broker.cost([scanned_pulls(8 * number) for number in range(reads)], 8 * 32),
        "pipelined send to many topics": broker.cost(to_many, batch),
        "batch of 32": broker.cost([batch_of_32(number) for number in range(reads)], 32),
    }
    broker.come_to_rest()
    for role in (BrokerRole.ASYNC_MASTER, BrokerRole.SYNC_MASTER):
        found[f"pipelined send to {role.name}"] = CountedMaster(role).cost(pipelined, batch)
    return found | {
        "lonely request": broker.cost([request(number) for number in range(reads)], 1),
        "pipelined request": broker.cost([request(number) * 16 for number in range(reads)], 16),
        "lonely look-up": broker.cost([look_up(number) for number in range(reads)], 1),
        "memory": {"blocks kept by a send": broker.blocks_kept(pipelined, batch)},
    }


def version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def main() -> None:
    found = count_all()
    print(json.dumps(found))
    if "--record" in sys.argv[1:]:
        kept = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
        kept[version()] = found
        EXPECTED.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
