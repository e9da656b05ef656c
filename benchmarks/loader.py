"""A raw loader: pipelined frames, encoded beforehand, over any number of connections, from one thread.

It does as little as it can, so that the server is what is measured: it counts answers and sees their codes.
"""

from __future__ import annotations

import itertools
import selectors
import socket
import time
from collections.abc import Iterable, Sequence
from typing import Any

RECEIVE_BYTES = 262_144
SILENCE_S = 30
_SUCCESS = b'{"code":0,'


class Connection:
    """Sends `frames` round and round, up to `in_flight` of them unanswered."""

    def __init__(self, address: tuple[str, int], frames: Sequence[bytes], in_flight: int) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.in_flight = in_flight
        self.answered = 0
        self.refused = 0
        self.round_trips: list[float] = []
        """Seconds from handing some frames to the socket until the last of them was answered."""
        self._frames = frames
        self._next = 0
        self._pending = b""
        self._marked = 0
        self._marked_at = 0.0

    def send(self, count: int) -> None:
        start = self._next % len(self._frames)
        chunk = list(self._frames[start : start + count])
        while len(chunk) < count:
            chunk += self._frames[: count - len(chunk)]
        self._next += count
        if self.answered >= self._marked:
            self._marked, self._marked_at = self._next, time.perf_counter()
        self.socket.sendall(b"".join(chunk))

    def receive(self) -> int:
        """Number of answers that came."""
        received = self.socket.recv(RECEIVE_BYTES)
        if not received:
            raise ConnectionError("the broker closed the connection")
        data = self._pending + received
        at, count, good, end = 0, 0, 0, len(data)
        while end - at >= 4:
            following = at + 4 + int.from_bytes(data[at : at + 4], "big")
            if end < following:
                break
            good += data.startswith(_SUCCESS, at + 8)
            count += 1
            at = following
        self._pending = data[at:]
        self.refused += count - good
        self.answered += count
        if self.answered >= self._marked > self.answered - count:
            self.round_trips.append(time.perf_counter() - self._marked_at)
        return count

    def close(self) -> None:
        self.socket.close()


def keep_busy(connections: Sequence[Connection], seconds: float, count: int | None = None) -> float:
    """Keeps all in flight what they may until `seconds` or `count` frames are over; the seconds that it took.

    All answers have come on return.
    """
    left: float = float("inf") if count is None else count
    selector = selectors.DefaultSelector()
    started = time.perf_counter()
    until = started + seconds
    waiting = 0
    for connection in connections:
        first = int(min(connection.in_flight, left))
        if first:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(first)
            waiting += first
            left -= first
    while waiting:
        for key, _ in _ready(selector):
            answered = key.data.receive()
            waiting -= answered
            if left > 0 and answered and time.perf_counter() < until:
                again = int(min(answered, left))
                key.data.send(again)
                waiting += again
                left -= again
    selector.close()
    return time.perf_counter() - started


def _ready(selector: selectors.BaseSelector) -> list[tuple[Any, int]]:
    ready = selector.select(timeout=SILENCE_S)
    if not ready:
        raise TimeoutError(f"no answer for {SILENCE_S} s")
    return ready


def send_all(address: tuple[str, int], frames: Sequence[bytes], in_flight: int = 256) -> None:
    """Each frame once, in order, over one connection; all must be accepted."""
    connection = Connection(address, frames, in_flight)
    keep_busy([connection], float("inf"), len(frames))
    connection.close()
    if connection.refused:
        raise RuntimeError(f"{connection.refused} of {len(frames)} sends were refused")


def round_trips(connections: Iterable[Connection]) -> list[float]:
    """Of all of them, sorted."""
    return sorted(itertools.chain.from_iterable(connection.round_trips for connection in connections))


def at_share(values: Sequence[float], share: float) -> float:
    """The value that `share` of the sorted `values` do not exceed."""
    return values[min(len(values) - 1, int(len(values) * share))]
