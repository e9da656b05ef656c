"""A number that only grows, with waiters: how far the log is flushed, how far it is replicated.

A SEND_OK under SYNC_FLUSH waits for one such mark, under SYNC_MASTER for another. A wait belongs to whoever
got its Deferred: it may be cancelled, which forgets it. A batch of messages waits once, for its last byte.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from rocketmq_tx.errors import FlushTimeout
from rocketmq_tx.runtime.deadlines import Deadline, Deadlines

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


class _Wait:
    __slots__ = ("deadline", "deferred")

    def __init__(self) -> None:
        self.deferred: Deferred[None] | None = None
        self.deadline: Deadline | None = None

    def end(self) -> Deferred[None] | None:
        """The Deferred to fire, once; after that nobody waits here."""
        deferred, self.deferred = self.deferred, None
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        return deferred

    def forget(self, _: Deferred[None]) -> None:
        """Its owner has cancelled the wait."""
        self.end()


class Watermark:
    """`value` and those who wait until it reaches theirs.

    `late` makes the error of a wait whose time is up, from a sentence; the caller turns it into the
    status that RocketMQ has for it (FLUSH_DISK_TIMEOUT, FLUSH_SLAVE_TIMEOUT).
    """

    def __init__(
        self,
        reactor: IReactorTime,
        value: int = 0,
        *,
        name: str = "flushed",
        late: Callable[[str], Exception] = FlushTimeout,
    ) -> None:
        self.value = value
        self.name = name
        self._late = late
        self._deadlines = Deadlines(reactor)
        self._waits: list[tuple[int, int, _Wait]] = []
        self._number = itertools.count()

    @property
    def waiting(self) -> int:
        """How many waits are in progress."""
        return sum(1 for _, _, wait in self._waits if wait.deferred is not None)

    def wait(self, value: int, timeout_s: float) -> Deferred[None]:
        """Fires when the mark reaches `value`; fails with `late(...)` after `timeout_s` seconds."""
        if value <= self.value:
            return succeed(None)
        wait = _Wait()
        deferred: Deferred[None] = Deferred(wait.forget)
        wait.deferred = deferred
        wait.deadline = self._deadlines.after(timeout_s, lambda: self._time_is_up(wait, value, timeout_s))
        heappush(self._waits, (value, next(self._number), wait))
        return deferred

    def advance(self, value: int) -> None:
        """Raises the mark; a lower value changes nothing. Waiters are called in the order of their values."""
        if value <= self.value:
            return
        self.value = value
        waits = self._waits
        while waits and waits[0][0] <= self.value:
            deferred = heappop(waits)[2].end()
            if deferred is not None:
                deferred.callback(None)

    def set_back(self, value: int) -> None:
        """What the mark measures was cut off: it may have to pass the same values once more."""
        self.value = min(self.value, value)

    def fail_all(self, failure: Failure | Exception) -> None:
        """Fails every wait in progress; the mark stands where it is."""
        waits, self._waits = self._waits, []
        for _, _, wait in sorted(waits, key=lambda entry: entry[:2]):
            deferred = wait.end()
            if deferred is not None:
                deferred.errback(failure)

    def refuse(self, failure: Failure | Exception) -> Deferred[None]:
        """An already failed wait, for owners that know that the mark will not move again."""
        return fail(failure)

    def _time_is_up(self, wait: _Wait, value: int, timeout_s: float) -> None:
        deferred = wait.end()
        self._drop_ended()
        if deferred is not None:
            sentence = f"{self.name} stands at {self.value}, {value} was not reached within {timeout_s:g} s"
            deferred.errback(self._late(sentence))

    def _drop_ended(self) -> None:
        """Ended waits go when they reach the top, so a mark that stands still does not collect them."""
        waits = self._waits
        while waits and waits[0][2].deferred is None:
            heappop(waits)
