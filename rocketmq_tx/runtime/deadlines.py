"""Many time-outs, one reactor timer.

Nearly every wait of a broker (a held pull, a flush, an answer from a peer) ends long before its time is up.
A reactor timer each would be made and thrown away a hundred thousand times a second; here a wait costs one
heap entry, and the single timer is set for the earliest of them. Entries of waits that ended are dropped
when they reach the top, and all at once when they are the majority, so memory follows the waits in progress.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

_SWEEP_ABOVE = 64
"""Dead entries below this number are not worth rebuilding the heap for."""


class Deadline:
    """One time-out; `cancel` it when the wait is over."""

    __slots__ = ("_owner", "act")

    def __init__(self, owner: Deadlines, act: Callable[[], object]) -> None:
        self._owner = owner
        self.act: Callable[[], object] | None = act

    def cancel(self) -> None:
        """Forgets the time-out; harmless when it has fired or was cancelled."""
        if self.act is not None:
            self.act = None
            self._owner.cancelled()


class Deadlines:
    """A set of time-outs on one reactor clock."""

    log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._heap: list[tuple[float, int, Deadline]] = []
        self._number = itertools.count()
        self._dead = 0
        self._timer: IDelayedCall | None = None
        self._timer_s = 0.0

    def __len__(self) -> int:
        """How many time-outs are still to come."""
        return len(self._heap) - self._dead

    def after(self, seconds: float, act: Callable[[], object]) -> Deadline:
        """Calls `act` once, `seconds` from now, unless the returned deadline is cancelled before."""
        when = self._reactor.seconds() + max(seconds, 0.0)
        deadline = Deadline(self, act)
        heappush(self._heap, (when, next(self._number), deadline))
        if self._timer is None or when < self._timer_s:
            self._set_timer(when)
        return deadline

    def cancelled(self) -> None:
        """A deadline of ours was cancelled (called by `Deadline.cancel`)."""
        self._dead += 1
        self._drop_dead_top()
        if self._dead > _SWEEP_ABOVE and self._dead * 2 > len(self._heap):
            self._heap[:] = [entry for entry in self._heap if entry[2].act is not None]
            heapify(self._heap)
            self._dead = 0
        if not self._heap and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop_dead_top(self) -> None:
        heap = self._heap
        while heap and heap[0][2].act is None:
            heappop(heap)
            self._dead -= 1

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = when
        self._timer = self._reactor.callLater(max(when - self._reactor.seconds(), 0.0), self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        heap = self._heap
        newest = next(self._number)  # what acts ask for from here on waits for the next turn
        while heap and heap[0][0] <= now and heap[0][1] < newest:
            deadline = heappop(heap)[2]
            act, deadline.act = deadline.act, None
            if act is None:
                self._dead -= 1
                continue
            with self.log.failuresHandled("a time-out failed"):
                act()
        self._drop_dead_top()
        # an act may have set the timer for a deadline of its own
        if heap and (self._timer is None or heap[0][0] < self._timer_s):
            self._set_timer(heap[0][0])
