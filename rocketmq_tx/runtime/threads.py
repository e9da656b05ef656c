"""Calls that can block, off the reactor: they get values and give values back, and touch no state.

The reactor's pool is joined at exit, so a disk that hangs there would hold the stop for ever. What may hang
(fdatasync) therefore runs in an `OwnThread`: a daemon thread that can be abandoned.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

T = TypeVar("T")
_Job = tuple[Callable[..., Any], tuple[Any, ...], "Deferred[Any]"]


class Runner(Protocol):
    """Anything that runs a call somewhere and brings its result back to the reactor."""

    def run(self, call: Callable[..., T], *arguments: Any) -> Deferred[T]: ...

    def abandon(self) -> None: ...


class OwnThread:
    """One daemon thread that does the calls given to it, one after the other. Started with the first call."""

    def __init__(self, reactor: IReactorFromThreads, name: str) -> None:
        self._reactor = reactor
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._abandoned = False

    def run(self, call: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Fires in the reactor with what the call returned or raised; cancelling only forgets the result."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        done: Deferred[T] = Deferred()
        self._jobs.put((call, arguments, done))
        return done

    def abandon(self) -> None:
        """The thread ends after its present call; nothing waits for it, and nothing is reported any more."""
        self._abandoned = True
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, arguments, done = job
            result: Any
            try:
                result = call(*arguments)
            except BaseException:  # noqa: BLE001  every outcome of the call belongs to who waits for it
                result = Failure()
            if not self._abandoned:
                self._reactor.callFromThread(_report, done, result)


def _report(done: Deferred[Any], result: Any) -> None:
    if not done.called:
        done.callback(result)  # a Failure takes the errback chain


class OffReactor(Protocol):
    """A call, done where it may block; its result comes back to the reactor."""

    def __call__(self, call: Callable[..., T], *arguments: Any) -> Deferred[T]: ...


def off_reactor(reactor: IReactorThreads) -> OffReactor:
    """The reactor's own pool: for cold reads, compression, directory scans, saving tables."""

    def run(call: Callable[..., T], *arguments: Any) -> Deferred[T]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), call, *arguments)

    return run
