"""Periodic work that survives its own errors.

`TimerService` and `LoopingCall` end for good at the first exception, silently for whoever relies on the
work. Here a failing round is logged and the next one comes at its usual time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Periodic(Service):
    """Does `work` every `interval_s` seconds, the first time after `first_after_s` (default: one interval).

    `interval_s` may be a callable, read before each wait, so that a configuration key can change it while
    running. `work` may return a Deferred: rounds never overlap, and stopping waits for the one in progress.
    The same failure is logged once until the work has succeeded or failed differently.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        interval_s: float | Callable[[], float],
        work: Callable[[], object],
        name: str,
        first_after_s: float | None = None,
    ) -> None:
        self.setName(name)
        self._reactor = reactor
        self._interval: Callable[[], float] = interval_s if callable(interval_s) else lambda: interval_s
        self._work = work
        self._first_after_s = first_after_s
        self._timer: IDelayedCall | None = None
        self._round: Deferred[None] | None = None
        self._last_problem: str | None = None
        self._again = False

    def startService(self) -> None:
        super().startService()
        first = self._first_after_s
        self._wait(self._interval() if first is None else first)

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        self._forget_timer()
        if self._round is None:
            return None
        over: Deferred[None] = Deferred()
        self._round.addBoth(lambda _: over.callback(None))
        return over

    def run_now(self) -> None:
        """Does a round at once, or right after the one in progress; the period starts anew from here."""
        if not self.running:
            return
        if self._round is not None:
            self._again = True
            return
        self._forget_timer()
        self._do_round()

    def _wait(self, seconds: float) -> None:
        self._timer = self._reactor.callLater(max(seconds, 0.0), self._do_round)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _do_round(self) -> None:
        self._timer = None
        self._again = False
        started_s = self._reactor.seconds()
        self._round = maybeDeferred(self._work).addCallbacks(self._went_well, self._failed)
        self._round.addCallback(self._next, started_s)

    def _next(self, _: None, started_s: float) -> None:
        self._round = None
        if not self.running:
            return
        took_s = self._reactor.seconds() - started_s
        self._wait(0.0 if self._again else self._interval() - took_s)

    def _went_well(self, _: object) -> None:
        if self._last_problem is not None:
            self.log.info("periodic work is well again: work={work}", work=self.name)
        self._last_problem = None

    def _failed(self, failure: Failure) -> None:
        problem = repr(failure.value)
        if problem != self._last_problem:
            self.log.failure("periodic work failed, and goes on: work={work}", failure, work=self.name)
        self._last_problem = problem
