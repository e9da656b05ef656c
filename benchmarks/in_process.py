"""What a message costs in the broker itself: whole, on the real disk, but without sockets and without a load.

    python -m benchmarks.in_process
    python -m benchmarks.in_process --only pull --only send --rounds 9
    python -m benchmarks.in_process --only pull --profile        # where the time goes, by cProfile

Reads are handed to a connection as the reactor would hand them, and its answers are thrown away. Printed is
the CPU time of this process per message, the least of some rounds: other work on the machine only makes a
round dearer. What sockets and the scheduler add is to be seen by `benchmarks.raw_send`.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable, Sequence

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

from benchmarks.frames import encode_batch_send, encode_pull, encode_send
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.headers import CreateTopicRequestHeader
from rocketmq_tx.remoting.protocol import FrameProtocol
from rocketmq_tx.store.os_disk import OsDisk
from tests.memory_broker import MemoryBroker

READ_BYTES = 65_536
TOPIC = "BenchmarkTest"
QUEUES = 4
PULLED = 32 * 100
"""Messages in each queue that is pulled from."""
BATCH = 32


class Sink(StringTransport):
    """Takes what is written and forgets it."""

    def write(self, data: bytes) -> None:
        self.last = data


class Bench:
    """A broker with one connection."""

    def __init__(self, folder: str) -> None:
        self.broker = MemoryBroker(
            OsDisk(),
            storePathRootDir=folder,
            mappedFileSizeCommitLog=1 << 30,
            mappedFileSizeConsumeQueue=6_000_000,
            maxHashSlotNum=5_000_000,
            maxIndexNum=20_000_000,
            enablePropertyFilter=True,
        )
        host, peer = IPv4Address("TCP", "127.0.0.1", 10911), IPv4Address("TCP", "127.0.0.1", 40_000)
        self.transport = Sink(hostAddress=host, peerAddress=peer)
        self.protocol = FrameProtocol(self.broker.parts.connections)
        self.protocol.makeConnection(self.transport)

    def serve(self, reads: Sequence[bytes], bite_s: float = 0.005) -> float:
        """CPU seconds for these reads, and for what is written behind them."""
        clock, receive = self.broker.clock, self.protocol.dataReceived
        began_s = time.process_time()
        for data in reads:
            receive(data)
            clock.advance(bite_s)
        return time.process_time() - began_s

    def create_topics(self, names: Sequence[str]) -> None:
        for name in names:
            header = CreateTopicRequestHeader(
                topic=name, default_topic="TBW102", read_queue_nums=QUEUES, write_queue_nums=QUEUES, perm=6,
                topic_filter_type="SINGLE_TAG", topic_sys_flag=0, order=False,
            )  # fmt: skip
            self.serve([encode_frame(Frame.request(RequestCode.UPDATE_AND_CREATE_TOPIC, header))])


def as_reads(frames: Sequence[bytes], frames_of_a_read: int) -> list[bytes]:
    return [
        b"".join(frames[start : start + frames_of_a_read])
        for start in range(0, len(frames), frames_of_a_read)
    ]


def sends(size: int, topics: int = 1, of_a_read: int = 64) -> Callable[[Bench], tuple[list[bytes], int]]:
    def prepare(bench: Bench) -> tuple[list[bytes], int]:
        names = [TOPIC] if topics == 1 else [f"Bench{number:04d}" for number in range(topics)]
        bench.create_topics(names)
        count = 64 * 200
        frames = [
            encode_send(names[number % topics], number % QUEUES, number, b"x" * size)
            for number in range(count)
        ]
        return as_reads(frames, of_a_read), count

    return prepare


def batches(of_a_read: int = 8, even: bool = True) -> Callable[[Bench], tuple[list[bytes], int]]:
    def prepare(bench: Bench) -> tuple[list[bytes], int]:
        bench.create_topics([TOPIC])
        bodies = [b"x" * (128 if even else 112 + member) for member in range(BATCH)]
        frames = [encode_batch_send(TOPIC, number % QUEUES, number, bodies) for number in range(200)]
        return as_reads(frames, of_a_read), len(frames) * BATCH

    return prepare


def pulls(mixed: bool, wanted: str = "*", kind: str = "TAG") -> Callable[[Bench], tuple[list[bytes], int]]:
    def prepare(bench: Bench) -> tuple[list[bytes], int]:
        bench.create_topics([TOPIC])
        places = [(queue, number) for queue in range(QUEUES) for number in range(PULLED)]
        if mixed:
            places.sort(key=lambda place: place[1])
        frames = [
            encode_send(
                TOPIC, queue, at, b"x" * 128, f"Tag{'AB'[number % 2]}", f"\\u0002a\\u0001{number % 10}"
            )
            for at, (queue, number) in enumerate(places)
        ]
        bench.serve(as_reads(frames, 64))
        bench.broker.pass_time(2.0)
        step = 32 if wanted == "*" else 64
        pulled = [
            encode_pull(TOPIC, queue, at, at, wanted, kind)
            for queue in range(QUEUES)
            for at in range(0, PULLED - step + 1, step)
        ]
        return as_reads(pulled, 8), len(pulled) * 32

    return prepare


CASES: dict[str, Callable[[Bench], tuple[list[bytes], int]]] = {
    "send": sends(128),
    "send-1k": sends(1024),
    "send-lonely": sends(128, of_a_read=1),
    "send-64-topics": sends(128, topics=64),
    "send-1000-topics": sends(128, topics=1000),
    "send-4000-queues": sends(128, topics=999),  # no multiple of 4, so that each meets all its queues
    "batch": batches(),
    "batch-lonely": batches(of_a_read=1),
    "batch-uneven": batches(even=False),
    "pull": pulls(mixed=False),
    "pull-mixed": pulls(mixed=True),
    "pull-tag": pulls(mixed=False, wanted="TagA"),
    "pull-tag-mixed": pulls(mixed=True, wanted="TagA"),
    "pull-sql": pulls(mixed=False, wanted="a BETWEEN 0 AND 4", kind="SQL92"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=list(CASES), help="a case; all without it")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    for name in options.only or CASES:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(folder)
            reads, messages = CASES[name](bench)
            profile = cProfile.Profile() if options.profile else None
            bench.serve(reads)
            if profile is not None:
                profile.enable()
            used_s = [bench.serve(reads) for _ in range(options.rounds)]
            if profile is not None:
                profile.disable()
                pstats.Stats(profile).sort_stats("tottime").print_stats(30)
            print(f"{name}: {min(used_s) / messages * 1e6:.3f} us CPU a message", flush=True)


if __name__ == "__main__":
    main()
