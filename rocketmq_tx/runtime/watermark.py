"""A number that only grows, with waiters: how far the log is flushed, how far it is replicated.

A SEND_OK under SYNC_FLUSH waits for one such mark, under SYNC_MASTER for another. A wait belongs to whoever
got its Deferred: it may be cancelled, which forgets it. A batch of messages waits once, for its last byte.
"""

from __future__ import annotations

import itertools
from bisect import insort
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from rocketmq_tx.errors import FlushTimeout

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    _Deadline = tuple[float, int, int, float, Deferred[Any]]
    """When, number of the wait, its value, for how many seconds, who waits."""


class Watermark:
    """`value` and those who wait until it reaches theirs.

    Waits fire with `reached`. `late` says what becomes of one whose time is up, from a sentence: the error
    that it fails with, or else what it fires with.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        value: int = 0,
        *,
        name: str = "flushed",
        reached: Any = None,
        late: Callable[[str], Any] = FlushTimeout,
    ) -> None:
        self.value = value
        self.name = name
        self._reactor = reactor
        self._reached = reached
        self._late = late
        # A wait has ended when its Deferred was called. Many a second come and end in order, so both keep to
        # a few steps for each: `Deadlines` would cost as much as all the rest.
        self._waits: list[tuple[int, int, Deferred[Any]]] = []
        self._deadlines: deque[_Deadline] = deque()
        self._number = itertools.count()
        self._timer: IDelayedCall | None = None
        self._timer_s = 0.0
        self.waiting = 0
        """How many waits are in progress."""

    def wait(self, value: int, timeout_s: float) -> Deferred[Any]:
        """Fires when the mark reaches `value`, or `timeout_s` seconds from now as `late` says."""
        if value <= self.value:
            return succeed(self._reached)
        deferred: Deferred[Any] = Deferred(self._cancelled)
        number = next(self._number)
        self.waiting += 1
        heappush(self._waits, (value, number, deferred))
        due_s = self._reactor.seconds() + max(timeout_s, 0.0)
        deadlines = self._deadlines
        while deadlines and deadlines[0][4].called:
            deadlines.popleft()
        deadline = due_s, number, value, timeout_s, deferred
        if not deadlines or deadlines[-1][0] <= due_s:
            deadlines.append(deadline)
        else:
            insort(deadlines, deadline)
        if self._timer is None or due_s < self._timer_s:
            self._set_timer(due_s)
        return deferred

    def advance(self, value: int) -> None:
        """Raises the mark; a lower value changes nothing. Waiters are called in the order of their values."""
        if value <= self.value:
            return
        self.value = value
        waits = self._waits
        if not waits:
            return
        while waits and waits[0][0] <= self.value:
            deferred = heappop(waits)[2]
            if not deferred.called:
                self.waiting -= 1
                deferred.callback(self._reached)
        self._stop_idle_timer()

    def set_back(self, value: int) -> None:
        """What the mark measures was cut off: it may have to pass the same values once more."""
        self.value = min(self.value, value)

    def fail_all(self, failure: Failure | Exception) -> None:
        """Fails every wait in progress; the mark stands where it is."""
        waits, self._waits = self._waits, []
        for _, _, deferred in sorted(waits, key=lambda wait: wait[:2]):
            if not deferred.called:
                self.waiting -= 1
                deferred.errback(failure)
        self._stop_idle_timer()

    def refuse(self, failure: Failure | Exception) -> Deferred[Any]:
        """An already failed wait, for owners that know that the mark will not move again."""
        return fail(failure)

    def _cancelled(self, _: Deferred[Any]) -> None:
        """Its owner does not wait any more."""
        self.waiting -= 1
        self._stop_idle_timer()

    # -- time ------------------------------------------------------------------------------------------------

    def _set_timer(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = due_s
        self._timer = self._reactor.callLater(max(due_s - self._reactor.seconds(), 0.0), self._time_is_up)

    def _stop_idle_timer(self) -> None:
        if not self.waiting:
            self._deadlines.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _time_is_up(self) -> None:
        self._timer = None
        now_s, deadlines = self._reactor.seconds(), self._deadlines
        late: list[_Deadline] = []
        while deadlines and (deadlines[0][0] <= now_s or deadlines[0][4].called):
            late.append(deadlines.popleft())
        if deadlines:
            self._set_timer(deadlines[0][0])
        for _, _, value, timeout_s, deferred in late:
            if not deferred.called:
                self._end_late(value, timeout_s, deferred)
        self._drop_ended()

    def _end_late(self, value: int, timeout_s: float, deferred: Deferred[Any]) -> None:
        self.waiting -= 1
        self._stop_idle_timer()
        stands = f"{self.name} stands at {self.value}"
        end = self._late(f"{stands}, {value} was not reached within {timeout_s:g} s")
        if isinstance(end, Exception):
            deferred.errback(end)
        else:
            deferred.callback(end)

    def _drop_ended(self) -> None:
        """Ended waits go when they reach the top, so a mark that stands still does not collect them."""
        waits = self._waits
        while waits and waits[0][2].called:
            heappop(waits)
