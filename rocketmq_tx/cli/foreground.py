"""Runs one coroutine in the reactor as a foreground program: its exit code, its errors, its end on Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import deferLater
from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, globalLogBeginner
from twisted.logger import textFileLogObserver as text_observer
from twisted.python.failure import Failure

from rocketmq_tx.errors import RocketMQError
from rocketmq_tx.runtime.clocks import use_steady_clock

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
"""What shells report of a program that Ctrl-C has ended."""


def run_to_end(program: Callable[[Any], Coroutine[Deferred[Any], Any, int]]) -> int:
    """Runs `program(reactor)` and returns its exit code.

    Ctrl-C and SIGTERM cancel it where it waits; its `finally` blocks are waited for, however long they take.
    An error of ours ends it with one sentence, any other with its trace.
    """
    from twisted.internet import reactor as default_reactor  # noqa: PLC0415  (not for `--help`)

    reactor: Any = default_reactor
    use_steady_clock(reactor)
    stop_once(reactor)
    warnings_only = FilteringLogObserver(
        text_observer(sys.stderr), [LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)]
    )
    globalLogBeginner.beginLoggingTo([warnings_only], redirectStandardIO=False)
    exit_code = EXIT_INTERRUPTED
    ended: Deferred[None] = Deferred()

    def start() -> None:
        running = Deferred.fromCoroutine(program(reactor))
        reactor.addSystemEventTrigger("before", "shutdown", cancel, running)
        running.addCallbacks(finished, failed).addBoth(over)

    def cancel(running: Deferred[int]) -> Deferred[None]:
        if not ended.called:
            running.cancel()
        return ended

    def finished(code: int) -> None:
        nonlocal exit_code
        exit_code = code

    def failed(failure: Failure) -> None:
        nonlocal exit_code
        if failure.check(CancelledError):
            return
        exit_code = EXIT_FAILED
        print(failure.getErrorMessage() if failure.check(RocketMQError) else failure, file=sys.stderr)

    def over(_: object) -> None:
        ended.callback(None)
        reactor.stop()

    reactor.callWhenRunning(start)
    reactor.run()
    return exit_code


def stop_once(reactor: Any) -> None:
    """From now on stopping a reactor that stops already is nothing, as when Ctrl-C is pressed again.

    Twisted's handlers of signals call `reactor.stop`, which then raises into the log.
    """
    stop = reactor.stop

    def stop_if_running() -> None:
        with suppress(ReactorNotRunning):
            stop()

    reactor.stop = stop_if_running


async def slept(reactor: Any, seconds: float) -> bool:
    """True after that time; False at once when the program is asked to end."""
    try:
        await deferLater(reactor, seconds)
    except CancelledError:
        return False
    return True
