"""What several brokers on one machine do together: clusters of 1, 2 and 4, loaded in turn.

    python -m benchmarks.several_brokers [--brokers 1,2,4] [--rounds 5] [--seconds 2] [--set KEY=VALUE]

One NameServer and so many brokers each, on free ports of this machine. The loader (one process with one
thread) keeps as many messages in flight whatever the number of brokers, over eight connections that are
shared out among them: 512 sends of 128 bytes, or 64 pulls of 32, also of what the page cache has forgotten.
Printed are medians: the rate of all brokers together, their CPU time a message (in the reactor's thread, and
in others), how many cores brokers and loader kept busy, and what so many brokers could do at most if each
reactor had a core of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import define

from benchmarks.comparison.raw import PULL_SIZE, pull_frames, send_frames
from benchmarks.comparison.sides import COMMON
from benchmarks.frames import encode_send
from benchmarks.loader import Connection, keep_busy, send_all
from benchmarks.process_facts import thread_seconds
from tests.clusters import HOST, Cluster, Ours

CONNECTIONS = 8
SENDS_IN_FLIGHT = 64
PULLS_IN_FLIGHT = 8
FILLED = "PulledTogether"
FILLED_OF_A_QUEUE = 32 * 800
REST_S = 0.3

Kind = Callable[["Machine", float], "Sample"]


@define(frozen=True)
class Sample:
    """One round: times in seconds."""

    messages: int
    seconds: float
    reactors_s: float
    other_threads_s: float
    loader_s: float


@define(eq=False)
class Machine:
    """The brokers of one cluster."""

    cluster: Cluster

    @property
    def pids(self) -> list[int]:
        return [broker.process.pid for broker in self.cluster.brokers.values()]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [(HOST, broker.port) for broker in self.cluster.brokers.values()]

    def fill(self) -> None:
        """Each broker gets what is pulled: four queues, the messages of each together."""
        opaque = itertools.count(1)
        for address in self.addresses:
            for queue in range(4):
                frames = [
                    encode_send(FILLED, queue, next(opaque), b"x" * 128) for _ in range(FILLED_OF_A_QUEUE)
                ]
                send_all(address, frames)

    def forget_files(self) -> None:
        """Takes the stores out of the page cache; what is dirty is written first."""
        for path in [*self.cluster.folder.rglob("commitlog/*"), *self.cluster.folder.rglob(f"{FILLED}/*/*")]:
            _forget(path)

    def load(
        self, frames: Sequence[Sequence[bytes]], in_flight: int, seconds: float, once: int = 0
    ) -> Sample:
        """With `once`, so many frames of each connection, and no more."""
        addresses = itertools.cycle(self.addresses)
        connections = [Connection(next(addresses), each, in_flight) for each in frames]
        before, started = self._used(), time.process_time()
        took_s = keep_busy(connections, seconds, once * len(connections) or None)
        used = [after - earlier for after, earlier in zip(self._used(), before, strict=True)]
        answered = sum(connection.answered for connection in connections)
        refused = sum(connection.refused for connection in connections)
        for connection in connections:
            connection.close()
        if refused:
            raise RuntimeError(f"{refused} of {answered} requests were refused")
        return Sample(answered, took_s, *used, time.process_time() - started)

    def _used(self) -> tuple[float, float]:
        """Of reactors' threads, and of others."""
        reactors, others = zip(*map(thread_seconds, self.pids), strict=True)
        return sum(reactors), sum(others)


def _forget(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


# -- what is measured ----------------------------------------------------------------------------------------


def sends(machine: Machine, seconds: float) -> Sample:
    return machine.load(send_frames(128, CONNECTIONS), SENDS_IN_FLIGHT, seconds)


def pulls(machine: Machine, seconds: float) -> Sample:
    return _pulls(machine, seconds)


def cold_pulls(machine: Machine, seconds: float) -> Sample:
    machine.forget_files()
    return _pulls(machine, 60, once=FILLED_OF_A_QUEUE // PULL_SIZE)


def _pulls(machine: Machine, seconds: float, once: int = 0) -> Sample:
    queues = pull_frames(FILLED, "*", PULL_SIZE)
    brokers = len(machine.addresses)
    # the connections of a broker take its queues in turn
    frames = [queues[number // brokers % len(queues)] for number in range(CONNECTIONS)]
    sample = machine.load(frames, PULLS_IN_FLIGHT, seconds, once)
    return Sample(
        sample.messages * PULL_SIZE,
        sample.seconds,
        sample.reactors_s,
        sample.other_threads_s,
        sample.loader_s,
    )


KINDS: dict[str, Kind] = {"sends": sends, "pulls of 32": pulls, "cold pulls of 32": cold_pulls}


# -- running -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(numbers: Sequence[int], settings: dict[str, str]) -> Iterator[dict[int, Machine]]:
    with contextlib.ExitStack() as stack:
        machines = {}
        for number in numbers:
            cluster = Cluster.start(number, {**COMMON, **settings}, Ours())
            stack.callback(cluster.kill)
            machines[number] = Machine(cluster)
            machines[number].fill()
        yield machines


def summary(brokers: int, samples: Sequence[Sample]) -> str:
    def median(figure: Callable[[Sample], float]) -> float:
        return statistics.median(map(figure, samples))

    def us(figure: Callable[[Sample], float]) -> float:
        return median(lambda sample: figure(sample) / sample.messages * 1e6)

    rates = sorted(sample.messages / sample.seconds for sample in samples)
    reactor_us = us(lambda sample: sample.reactors_s)
    return (
        f"{statistics.median(rates):11,.0f}/s ({rates[0]:,.0f} - {rates[-1]:,.0f}), CPU us a message:"
        f" reactor {reactor_us:.2f}, other threads {us(lambda sample: sample.other_threads_s):.2f},"
        f" loader {us(lambda sample: sample.loader_s):.2f}; cores busy: brokers"
        f" {median(lambda sample: (sample.reactors_s + sample.other_threads_s) / sample.seconds):.2f},"
        f" loader {median(lambda sample: sample.loader_s / sample.seconds):.2f};"
        f" with a core each at most {brokers / reactor_us * 1e6:,.0f}/s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brokers", default="1,2,4", help="how many, separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--only", action="append", choices=list(KINDS))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for the brokers")
    options = parser.parse_args()
    numbers = [int(number) for number in options.brokers.split(",")]
    settings = dict(line.split("=", 1) for line in options.set)
    kinds = {name: KINDS[name] for name in options.only or KINDS}
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}", flush=True)
    with running(numbers, settings) as machines:
        for name, kind in kinds.items():
            samples: dict[int, list[Sample]] = {number: [] for number in numbers}
            for round_number in range(options.rounds + 1):
                for number in numbers if round_number % 2 else reversed(numbers):
                    sample = kind(machines[number], options.seconds)
                    if round_number:  # the first warms up
                        samples[number].append(sample)
                    time.sleep(REST_S)
            for number in numbers:
                print(f"{name}, {number} brokers: {summary(number, samples[number])}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
