"""How many sends a second a broker takes: pipelined raw frames, encoded beforehand, over a few connections.

    python -m benchmarks.raw_send [--address HOST:PORT --pid PID] [--count N] [--seconds S] ...

Without --address a broker is started as a child, on a free port, with its data in a temporary folder, and
stopped at the end. The frames are those of a Java client: SEND_MESSAGE_V2 with UNIQ_KEY, WAIT and TAGS.
Printed are sends a second, the broker's CPU time per message (kernel included), and latencies of a round of
`--in-flight` messages. The loader is a process of its own and does as little as it can.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
from collections.abc import Iterator

from benchmarks.child_broker import child_broker
from benchmarks.frames import encode_send
from benchmarks.loader import Connection, at_share, keep_busy, round_trips
from benchmarks.process_facts import cpu_seconds

FRAMES_OF_A_CONNECTION = 4096
"""Encoded once and sent round after round; keys repeat only then."""


def load(address: tuple[str, int], options: argparse.Namespace) -> tuple[list[Connection], float]:
    """Sends until the count or the time is reached; (connections, seconds)."""
    body = b"x" * options.size
    opaque = itertools.count(1)
    connections = []
    for number in range(options.connections):
        frames = [
            encode_send(options.topic, number % options.queues, next(opaque), body)
            for _ in range(FRAMES_OF_A_CONNECTION)
        ]
        connections.append(Connection(address, frames, options.in_flight))
    return connections, keep_busy(connections, options.seconds, options.count)


def report(connections: list[Connection], seconds: float, cpu_s: float | None) -> None:
    answered = sum(connection.answered for connection in connections)
    refused = sum(connection.refused for connection in connections)
    rounds = round_trips(connections)
    line = f"{answered / seconds:,.0f} sends/s, {answered:,} sends in {seconds:.2f} s, {refused} refused"
    if cpu_s is not None:
        line += f", broker {cpu_s / answered * 1e6:.2f} us CPU a message"
    if rounds:
        line += f", p50 {at_share(rounds, 0.5) * 1000:.2f} ms, p99 {at_share(rounds, 0.99) * 1000:.2f} ms"
    print(line, flush=True)


@contextlib.contextmanager
def broker_of(options: argparse.Namespace) -> Iterator[tuple[tuple[str, int], int | None]]:
    """(address, pid) of the broker to load."""
    if options.address:
        host, _, port = options.address.rpartition(":")
        yield (host, int(port)), options.pid
    else:
        with child_broker(options.set) as (address, pid):
            yield address, pid


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", help="HOST:PORT of a running broker")
    parser.add_argument("--pid", type=int, help="its process, to read its CPU time")
    parser.add_argument("--count", type=int, default=500_000, help="sends of a run")
    parser.add_argument("--seconds", type=float, default=20, help="longest time of a run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--in-flight", type=int, default=64, help="for each connection")
    parser.add_argument("--size", type=int, default=128, help="bytes of a body")
    parser.add_argument("--queues", type=int, default=4)
    parser.add_argument("--topic", default="BenchmarkTest")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for the child")
    options = parser.parse_args()
    with broker_of(options) as (address, pid):
        for _ in range(options.runs):
            before = cpu_seconds(pid) if pid else None
            connections, seconds = load(address, options)
            used = cpu_seconds(pid) - before if pid and before is not None else None
            report(connections, seconds, used)
            if any(connection.refused for connection in connections):
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
