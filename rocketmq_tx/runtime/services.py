"""A service tree that starts top down, each when the one before is ready, and stops bottom up.

Twisted's `MultiService` ignores the Deferreds of `startService` and stops all children at once; a broker
must not listen before its store has recovered, nor close the store before held requests are answered.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from rocketmq_tx.errors import RocketMQError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

_LEAST_STOP_S = 0.5
"""What each child gets even when those before it have used up the time: closing a store must be tried."""


class Phase(enum.Enum):
    """Where an ordered tree is in its life; each follows from the one above, `FAILED` from `STARTING`."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class OrderedServices(Service):
    """Children in the order in which they depend on each other.

    A child's `startService` and `stopService` may return a Deferred. When one fails to start, those started
    before it are stopped in reverse and the Deferred of `startService` fails with the child's own failure.
    Stopping takes `stop_timeout_s` seconds altogether; a child that hangs is left behind with a log line.
    """

    log = Logger()

    def __init__(self, *children: IService, reactor: IReactorTime, stop_timeout_s: float = 5.0) -> None:
        self.children = list(children)
        self.phase = Phase.NEW
        self._reactor = reactor
        self._stop_timeout_s = stop_timeout_s
        self._begun: list[IService] = []
        self._starting: Deferred[Any] | None = None
        self._wait_for_stop: list[Deferred[None]] = []

    def startService(self) -> Deferred[None]:
        """Fires when every child is ready; fails with the failure of the first that is not."""
        if self.phase not in {Phase.NEW, Phase.STOPPED, Phase.FAILED}:
            return fail(RuntimeError(f"cannot start while {self.phase.value}"))
        super().startService()
        self.phase = Phase.STARTING
        return Deferred.fromCoroutine(self._start_all())

    def stopService(self) -> Deferred[None]:
        """Fires when every child that was started has stopped, or its time was up; never fails."""
        if self.phase in {Phase.NEW, Phase.STOPPED, Phase.FAILED}:
            return succeed(None)
        if self.running:
            super().stopService()
        stopped: Deferred[None] = Deferred()
        self._wait_for_stop.append(stopped)
        was, self.phase = self.phase, Phase.STOPPING
        if was is Phase.RUNNING:
            Deferred.fromCoroutine(self._stop_all(Phase.STOPPED))
        elif was is Phase.STARTING and self._starting is not None:
            self._starting.cancel()  # ends the start, which stops what was begun
        return stopped

    async def _start_all(self) -> None:
        try:
            for child in self.children:
                self._begun.append(child)
                self._starting = maybeDeferred(child.startService)
                await self._starting
                if self.phase is Phase.STOPPING:
                    raise CancelledError  # stopped while the child was getting ready
            self.phase = Phase.RUNNING
        except GeneratorExit:
            raise  # thrown away unfinished: there is nobody left to stop anything for
        except BaseException:  # whatever it was, what runs must be stopped; raised again
            self.running = 0
            await self._stop_all(Phase.STOPPED if self.phase is Phase.STOPPING else Phase.FAILED)
            raise

    async def _stop_all(self, end: Phase) -> None:
        until_s = self._reactor.seconds() + self._stop_timeout_s
        while self._begun:
            child = self._begun.pop()
            left_s = max(until_s - self._reactor.seconds(), _LEAST_STOP_S)
            stopping: Deferred[object] = maybeDeferred(child.stopService)
            stopping.addErrback(self._stop_failed, child)
            if not await within(self._reactor, stopping, left_s):
                self.log.error("a part does not stop and is left behind: part={part}", part=_name(child))
        self.phase = end
        waiting, self._wait_for_stop = self._wait_for_stop, []
        for stopped in waiting:
            stopped.callback(None)

    def _stop_failed(self, failure: Failure, child: IService) -> None:
        if failure.check(RocketMQError):  # a disk that is full, say: the sentence tells, a trace does not
            reason = failure.getErrorMessage()
            self.log.error(
                "a part failed to stop: part={part} reason={reason}", part=_name(child), reason=reason
            )
        else:
            self.log.failure("a part failed to stop: part={part}", failure, part=_name(child))


def within(reactor: IReactorTime, waiting: Deferred[Any], seconds: float) -> Deferred[bool]:
    """True when `waiting` fires in time, False when not. It is left alone, not cancelled: `addTimeout` never
    fires when the canceller raises or waits, and what hangs here is somebody else's to clean up."""
    outcome: Deferred[bool] = Deferred()
    timer = reactor.callLater(seconds, outcome.callback, False)

    def over(result: object) -> object:
        if timer.active():
            timer.cancel()
            outcome.callback(True)
        return result

    waiting.addBoth(over)
    return outcome


def _name(service: IService) -> str:
    return str(getattr(service, "name", None) or type(service).__name__)
