"""How many transactions a second a broker takes: pipelined raw frames, our broker and Apache's in turn.

    python -m benchmarks.raw_transactions [--kinds ours,apache] [--rounds 3] [--connections 4] ...

Each transaction is a half message as a Java client writes it, and, once that is answered, a commit, one-way.
The loader does as little as it can, so what is measured is the broker, and not a client. Servers are started
once and stay; every round is a run of `--seconds` for each, after one run that only warms up. Printed are
committed transactions a second (the last commits are waited for), and the CPU time of the broker for one.
Apache's broker needs Java 17 and Maven, as the interop tests do.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import selectors
import socket
import statistics
import struct
import time
from collections.abc import Iterator

from benchmarks.raw_send import cpu_seconds
from tests.clusters import Apache, Cluster, Kind, Ours

_HALF_BEFORE_KEY = (
    '{"code":310,"extFields":{"a":"raw-transactions","b":"%s","c":"TBW102","d":"4","e":"%d","f":"4",'
    '"g":"1700000000000","h":"0","i":"TRAN_MSG\\u0001true\\u0002UNIQ_KEY\\u0001'
)
_HALF_AFTER_KEY = (
    '\\u0002WAIT\\u0001true\\u0002PGROUP\\u0001raw-transactions",'
    '"j":"0","k":"false","m":"false","n":"broker-a"},"flag":0,"language":"JAVA","opaque":'
)
_END = (
    b'{"code":37,"extFields":{"producerGroup":"raw-transactions","bname":"broker-a","commitLogOffset":"%d",'
    b'"msgId":"%b","tranStateTableOffset":"%b","commitOrRollback":"8","fromTransactionCheck":"false"},'
    b'"flag":2,"language":"JAVA","opaque":%d,"serializeTypeCurrentRPC":"JSON","version":407}'
)
_LAST = b',"serializeTypeCurrentRPC":"JSON","version":407}'
_ANSWER = re.compile(rb'"msgId":"[0-9A-F]{16}([0-9A-F]{16})","queueOffset":"(\d+)"[^}]*\}[^}]*"opaque":(\d+)')
_OPAQUES = itertools.count(1_000_000)  # all of seven digits: frames of one length


class Connection:
    """Keeps `in_flight` transactions on their way."""

    def __init__(self, address: tuple[str, int], topic: str, queue_id: int, size: int) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.done = 0
        self._before = (_HALF_BEFORE_KEY % (topic, queue_id)).encode()
        self._after = _HALF_AFTER_KEY.encode()
        header_bytes = len(self._before) + 32 + len(self._after) + 7 + len(_LAST)
        self._prefix = struct.pack(">II", 4 + header_bytes + size, header_bytes)
        self._last = _LAST + b"x" * size
        self._pending = b""

    def halves(self, count: int) -> bytes:
        """So many half messages, with keys that never come again."""
        prefix, before, after, last = self._prefix, self._before, self._after, self._last
        return b"".join(
            [b"%b%b%b%b%d%b" % (prefix, before, _key(number), after, number, last)
             for number in itertools.islice(_OPAQUES, count)]
        )  # fmt: skip

    def receive(self, again: bool) -> int:
        """Commits what was answered, and begins as many anew; returns their number."""
        data = self._pending + self.socket.recv(262_144)
        if len(data) == len(self._pending):
            raise ConnectionError("the broker closed the connection")
        end, ends = 0, []
        for found in _ANSWER.finditer(data):
            offset, queue_offset, opaque = found.groups()
            header = _END % (int(offset, 16), _key(int(opaque)), queue_offset, int(opaque))
            ends.append(struct.pack(">II", 4 + len(header), len(header)) + header)
            end = found.end()
        if b'"remark"' in data:
            raise RuntimeError(f"refused: {data[:1000]!r}")
        self._pending = data[end:]
        self.done += len(ends)
        if ends:
            self.socket.sendall(b"".join(ends) + (self.halves(len(ends)) if again else b""))
        return len(ends)


def _key(number: int) -> bytes:
    return b"7F000001ABCD18B4AAC2%012X" % number


def load(address: tuple[str, int], options: argparse.Namespace) -> float:
    """Transactions a second."""
    selector = selectors.DefaultSelector()
    connections = []
    for number in range(options.connections):
        connection = Connection(address, options.topic, number % 4, options.size)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connections.append(connection)
    started = time.perf_counter()
    until = started + options.seconds
    for connection in connections:
        connection.socket.sendall(connection.halves(options.in_flight))
    open_count = options.in_flight * len(connections)
    while open_count:
        again = time.perf_counter() < until
        for key, _ in selector.select(timeout=30) or _timed_out():
            count = key.data.receive(again)
            if not again:
                open_count -= count
    _wait_for_ends(address)
    rate = sum(connection.done for connection in connections) / (time.perf_counter() - started)
    for connection in connections:
        connection.socket.close()
    return rate


def _wait_for_ends(address: tuple[str, int]) -> None:
    """A request of the same kind is answered when those before it were served."""
    header = _END.replace(b'"flag":2', b'"flag":0') % (1 << 40, b"nobody", b"0", 1)
    with socket.create_connection(address) as connection:
        connection.sendall(struct.pack(">II", 4 + len(header), len(header)) + header)
        connection.recv(65_536)


def _timed_out() -> list[object]:
    raise TimeoutError("no answer for 30 s")


@contextlib.contextmanager
def cluster_of(kind: Kind) -> Iterator[tuple[tuple[str, int], int]]:
    """(address, pid) of the broker of a fresh cluster."""
    settings = {"mappedFileSizeCommitLog": str(1 << 30), "mappedFileSizeConsumeQueue": str(6_000_000)}
    with Cluster.start(settings=settings, kind=kind) as cluster:
        broker = cluster.broker()
        yield ("127.0.0.1", broker.port), broker.process.pid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kinds", default="ours,apache")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--in-flight", type=int, default=64, help="for each connection")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warm-up", type=float, default=10, help="seconds")
    parser.add_argument("--size", type=int, default=128, help="bytes of a body")
    parser.add_argument("--topic", default="BenchTransactions")
    options = parser.parse_args()
    kinds: dict[str, Kind] = {"ours": Ours(), "apache": Apache()}
    rates: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        running = {name: stack.enter_context(cluster_of(kinds[name])) for name in options.kinds.split(",")}
        for address, _ in running.values():
            load(address, argparse.Namespace(**{**vars(options), "seconds": options.warm_up}))
        for _ in range(options.rounds):
            for name, (address, pid) in running.items():
                before_s = cpu_seconds(pid)
                rate = load(address, options)
                cpu_us = (cpu_seconds(pid) - before_s) / (rate * options.seconds) * 1e6
                rates.setdefault(name, []).append(rate)
                print(f"{name}: {rate:,.0f} transactions/s, {cpu_us:.1f} us of CPU each", flush=True)
    for name, each in rates.items():
        print(f"{name}: median {statistics.median(each):,.0f} ({min(each):,.0f} to {max(each):,.0f})")
    if len(rates) == 2:
        medians = [statistics.median(each) for each in rates.values()]
        print(f"{' / '.join(rates)}: {medians[0] / medians[1]:.2f}")


if __name__ == "__main__":
    main()
