"""How a service tree becomes a process: a start that fails is one sentence and exit code 1.

Two ways in. A launcher (`mqbroker`) owns its process and calls `run_until_stopped`, whose result is the exit
code. Under `twistd` the process is twistd's, which ignores the Deferred of `startService` and exits with 0
whatever came of it; `DaemonService` wraps the tree there and sees to sentence and exit code.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from rocketmq_tx.errors import RocketMQError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorCore

log = Logger()


def say_on_stderr(sentence: str) -> None:
    """To the process's own standard error, also when twistd has led `sys.stderr` into its log."""
    stream = sys.__stderr__
    if stream is not None:
        stream.write(sentence + "\n")
        stream.flush()


def sentence_of(failure: Failure) -> str:
    """Why the start failed, in one line; what this package did not foresee is named by its type."""
    error = failure.value
    text = " ".join(str(error).split())
    if isinstance(error, RocketMQError):
        return text
    return f"cannot start: {type(error).__name__}: {text}"


def _report(failure: Failure, say: Callable[[str], object]) -> None:
    say(sentence_of(failure))
    if not failure.check(RocketMQError):
        log.debug("the start failed\n{trace}", trace=failure.getTraceback())


def run_until_stopped(
    services: IService, reactor: Any, say: Callable[[str], object] = say_on_stderr
) -> int:
    """Starts the tree in a reactor that is not running yet, stops it in order on SIGTERM or SIGINT.

    Returns the exit code: 0 after an ordered stop, 1 when the start failed.
    """
    exit_code = 0

    def failed(failure: Failure) -> None:
        nonlocal exit_code
        if failure.check(CancelledError):
            return  # asked to stop while starting
        exit_code = 1
        _report(failure, say)
        _stop(reactor)

    def start() -> None:
        maybeDeferred(services.startService).addErrback(failed)

    reactor.callWhenRunning(start)
    reactor.addSystemEventTrigger("before", "shutdown", services.stopService)
    reactor.run()
    return exit_code


class DaemonService(Service):
    """A service tree as twistd's `makeService` returns it.

    A start that fails stops the reactor and ends the process with exit code 1. `raise_at_once=True` (for
    twistd without `-n`, which waits for the daemon's first word) raises a failure that is there at once.
    """

    def __init__(
        self,
        services: IService,
        reactor: IReactorCore,
        *,
        raise_at_once: bool = False,
        say: Callable[[str], object] = say_on_stderr,
        exit_with: Callable[[int], object] | None = None,
    ) -> None:
        self.services = services
        self._reactor = reactor
        self._raise_at_once = raise_at_once
        self._say = say
        self._exit_with = exit_with or exit_code_at_end

    def startService(self) -> None:
        super().startService()
        starting = maybeDeferred(self.services.startService)
        outcome: object = starting.result if starting.called else None
        if self._raise_at_once and isinstance(outcome, Failure):
            starting.addErrback(lambda _: None)
            outcome.raiseException()
        starting.addErrback(self._failed)

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        return maybeDeferred(self.services.stopService)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        _report(failure, self._say)
        self._exit_with(1)
        # twistd starts services before it runs the reactor, which refuses to stop until then
        self._reactor.callWhenRunning(_stop, self._reactor)


def exit_code_at_end(code: int) -> None:
    """Ends the process with `code` although its main function, which is not ours, will end with 0."""

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            if stream is not None:
                stream.flush()
        os._exit(code)

    atexit.register(leave)


def _stop(reactor: Any) -> None:
    if reactor.running:
        reactor.stop()
