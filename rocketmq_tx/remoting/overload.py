"""Overload is a matter of memory: how many bytes were read and are not yet answered, over all connections.

There are no thread pools that could fill up. What waits are half frames, requests whose answer is a Deferred
(a flush, a slave, a held pull). Above the bound, runs of *sends* are not handed to their handler but wait in
line, and reading from their connections pauses; everything else is served as always, so producers cannot
starve consumers. Sends that wait longer than they may (Apache: `waitTimeMillsInSendQueue`,
BrokerFastFailure) are answered SYSTEM_BUSY, which makes clients try another broker; so are the oldest when
the line itself holds as many bytes as the bound. Not overloaded, all this costs one look at `Load.over` per
run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from twisted.logger import Logger

from rocketmq_tx.runtime.deadlines import Deadline, Deadlines
from rocketmq_tx.runtime.rarely import Rarely

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

DEFAULT_LIMIT_BYTES = 256 << 20
_RELIEF = 0.8
"""Sends are taken up again below this share of the bound, so that the state does not flutter."""
_SAME_TIME_S = 1e-6
"""Sums of seconds differ in their last digits."""

BUSY_REMARK = (
    "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while,"
    " period in queue: {ms}ms, size of queue: {size}"
)


class Load:
    """Bytes of all connections, read and not answered or answered and not sent; whether that is too many."""

    __slots__ = ("bytes", "limit_bytes", "over", "relieved")

    def __init__(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.bytes = 0
        self.limit_bytes = limit_bytes
        self.over = False
        self.relieved: Callable[[], object] = lambda: None

    def add(self, size: int) -> None:
        self.bytes += size
        if self.bytes > self.limit_bytes:
            self.over = True

    def remove(self, size: int) -> None:
        self.bytes -= size
        if self.over and self.bytes <= self.limit_bytes * _RELIEF:
            self.over = False
            self.relieved()


class Waiter(Protocol):
    """A connection whose run had to wait."""

    def serve_waited(self, code: int, run: list[Any]) -> None: ...

    def refuse_waited(self, code: int, run: list[Any], remark: str) -> None: ...

    def left_the_line(self) -> None: ...


class _Waiting(NamedTuple):
    since_s: float
    waiter: Waiter
    code: int
    run: list[Any]
    size_bytes: int


class WaitingLine:
    """Runs of sends in the order in which they came, until the load sinks or their time is up."""

    log = Logger()

    def __init__(self, reactor: IReactorTime, load: Load, patience_ms: Callable[[], float]) -> None:
        self.refused = 0
        self._reactor = reactor
        self._load = load
        self._patience_ms = patience_ms
        self._line: deque[_Waiting] = deque()
        self._requests = 0
        self.bytes = 0
        self._deadlines = Deadlines(reactor)
        self._next: Deadline | None = None
        self._rarely = Rarely(reactor, 10)
        load.relieved = self._relieved

    def __len__(self) -> int:
        """Requests (not runs) that wait."""
        return self._requests

    def enter(self, waiter: Waiter, code: int, run: list[Any], size_bytes: int) -> None:
        """Puts a run aside; its connection is not read again before it has left the line."""
        held_back = self._rarely.due("overload") if not self._line else None
        if held_back is not None:
            self.log.warn(
                "overloaded, sends wait: unanswered_bytes={bytes} limit_bytes={limit} times={times}",
                bytes=self._load.bytes,
                limit=self._load.limit_bytes,
                times=held_back + 1,
            )
        self._line.append(_Waiting(self._reactor.seconds(), waiter, code, run, size_bytes))
        self._requests += len(run)
        self.bytes += size_bytes
        while self.bytes > self._load.limit_bytes:
            self._refuse_first(self._reactor.seconds())
        if self._next is None:
            self._next = self._deadlines.after(self._patience_ms() / 1000, self._refuse_late)

    def forget(self, waiter: Waiter) -> None:
        """Its connection is gone: nobody waits for these answers."""
        gone = [entry for entry in self._line if entry.waiter is waiter]
        if gone:
            self._line = deque(entry for entry in self._line if entry.waiter is not waiter)
            self._requests -= sum(len(entry.run) for entry in gone)
            self.bytes -= sum(entry.size_bytes for entry in gone)

    def _take(self) -> _Waiting:
        entry = self._line.popleft()
        self._requests -= len(entry.run)
        self.bytes -= entry.size_bytes
        return entry

    def _relieved(self) -> None:
        """Serves from the front until the load is too high again."""
        while self._line and not self._load.over:
            entry = self._take()
            entry.waiter.serve_waited(entry.code, entry.run)
            entry.waiter.left_the_line()

    def _refuse_late(self) -> None:
        self._next = None
        now_s = self._reactor.seconds()
        patience_s = self._patience_ms() / 1000
        while self._line and now_s - self._line[0].since_s >= patience_s - _SAME_TIME_S:
            self._refuse_first(now_s)
        if self._line and self._next is None:
            left_s = patience_s - (now_s - self._line[0].since_s)
            self._next = self._deadlines.after(left_s, self._refuse_late)

    def _refuse_first(self, now_s: float) -> None:
        size = self._requests
        entry = self._take()
        self.refused += len(entry.run)
        waited_ms = round((now_s - entry.since_s) * 1000)
        entry.waiter.refuse_waited(entry.code, entry.run, BUSY_REMARK.format(ms=waited_ms, size=size))
        entry.waiter.left_the_line()
