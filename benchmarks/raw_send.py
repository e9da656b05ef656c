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
import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator

from benchmarks.child_broker import child_broker

FRAMES_OF_A_CONNECTION = 4096
"""Encoded once and sent round after round; keys repeat only then."""
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_HEADER = (
    '{"code":310,"extFields":{"a":"bench_producer","b":"%s","c":"TBW102","d":"4","e":"%d","f":"0",'
    '"g":"1700000000000","h":"0","i":"UNIQ_KEY\\u0001%s\\u0002WAIT\\u0001true\\u0002TAGS\\u0001TagA",'
    '"j":"0","k":"false","m":"false","n":"broker-a"},"flag":0,"language":"JAVA","opaque":%d,'
    '"serializeTypeCurrentRPC":"JSON","version":407}'
)


def encode_send(topic: str, queue_id: int, opaque: int, body: bytes) -> bytes:
    """One frame as the Java client writes it."""
    key = f"7F000001{os.getpid() & 0xFFFF:04X}18B4AAC2{opaque:012X}"
    header = (_HEADER % (topic, queue_id, key, opaque)).encode()
    return struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body


class Connection:
    """Keeps `in_flight` sends on their way."""

    def __init__(self, address: tuple[str, int], frames: list[bytes], in_flight: int) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answered = 0
        self.refused = 0
        self.round_trips: list[float] = []
        self._frames = frames
        self._next = 0
        self._pending = b""
        self._in_flight = in_flight
        self._marked = 0
        self._marked_at = 0.0

    def send(self, count: int) -> None:
        start = self._next % len(self._frames)
        chunk = self._frames[start : start + count]
        chunk += self._frames[: count - len(chunk)]
        self._next += count
        if self.answered >= self._marked:
            self._marked, self._marked_at = self._next, time.perf_counter()
        self.socket.sendall(b"".join(chunk))

    def receive(self) -> int:
        """Number of answers that came."""
        data = self._pending + self.socket.recv(262_144)
        if len(data) == len(self._pending):
            raise ConnectionError("the broker closed the connection")
        at, count, end = 0, 0, len(data)
        while end - at >= 4:
            size = 4 + int.from_bytes(data[at : at + 4], "big")
            if end - at < size:
                break
            at += size
            count += 1
        self._pending = data[at:]
        self.refused += count - data.count(b'"code":0,', 0, at)
        self.answered += count
        if self.answered >= self._marked > self.answered - count:
            self.round_trips.append(time.perf_counter() - self._marked_at)
        return count


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
    selector = selectors.DefaultSelector()
    started = time.perf_counter()
    until = started + options.seconds
    left = options.count
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(options.in_flight)
        left -= options.in_flight
    waiting = options.in_flight * len(connections)
    while waiting:
        for key, _ in selector.select(timeout=30) or _timed_out():
            answered = key.data.receive()
            waiting -= answered
            if left > 0 and time.perf_counter() < until and answered:
                again = min(answered, left)
                key.data.send(again)
                waiting += again
                left -= again
    return connections, time.perf_counter() - started


def _timed_out() -> list[object]:
    raise TimeoutError("no answer for 30 s")


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def report(connections: list[Connection], seconds: float, cpu_s: float | None) -> None:
    answered = sum(connection.answered for connection in connections)
    refused = sum(connection.refused for connection in connections)
    rounds = sorted(itertools.chain.from_iterable(connection.round_trips for connection in connections))
    line = f"{answered / seconds:,.0f} sends/s, {answered:,} sends in {seconds:.2f} s, {refused} refused"
    if cpu_s is not None:
        line += f", broker {cpu_s / answered * 1e6:.2f} us CPU a message"
    if rounds:
        line += f", p50 {_at(rounds, 0.5):.2f} ms, p99 {_at(rounds, 0.99):.2f} ms"
    print(line, flush=True)


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] * 1000


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
