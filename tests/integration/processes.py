"""Child processes for tests: their output line by line, their end, and nothing left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase


class Child(ProcessProtocol):
    """A running child. `ended` fires with its exit code, 128 + N when signal N ended it."""

    def __init__(self) -> None:
        self.out = ""
        self.err = ""
        self.pid = 0
        self.ended: Deferred[int] = Deferred()
        self._wanted: list[tuple[str, Deferred[str]]] = []

    def line(self, part: str) -> Deferred[str]:
        """Fires with all of stdout when it holds `part`; fails when the child ends without it."""
        wanted: Deferred[str] = Deferred()
        self._wanted.append((part, wanted))
        self._look()
        return wanted

    def send(self, number: int) -> None:
        self.transport.signalProcess(number)

    def connectionMade(self) -> None:
        self.pid = self.transport.pid

    def outReceived(self, data: bytes) -> None:
        self.out += data.decode()
        self._look()

    def errReceived(self, data: bytes) -> None:
        self.err += data.decode()

    def processEnded(self, reason: Failure) -> None:
        value = reason.value
        code = value.exitCode if value.exitCode is not None else 128 + value.signal  # type: ignore[union-attr]
        for part, wanted in self._wanted:
            wanted.errback(AssertionError(f"ended with {code} before {part!r}: {self.out}\n{self.err}"))
        self._wanted = []
        self.ended.callback(code)

    def _look(self) -> None:
        found = [each for each in self._wanted if each[0] in self.out]
        self._wanted = [each for each in self._wanted if each[0] not in self.out]
        for _, wanted in found:
            wanted.callback(self.out)


class ProcessCase(TestCase):
    """Starts children and makes sure that they are gone when the test is over."""

    timeout = 120

    def start(
        self,
        arguments: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        folder: Path | str | None = None,
    ) -> Child:
        child = Child()
        reactor.spawnProcess(  # type: ignore[attr-defined]
            child,
            arguments[0],
            list(arguments),
            env={**os.environ, **(environ or {})},
            path=str(folder or "."),
        )
        self.addCleanup(self._end, child)
        return child

    def _end(self, child: Child) -> Deferred[int] | None:
        if child.ended.called:
            return None
        try:
            child.send(signal.SIGKILL)
        except ProcessExitedAlready:
            return None
        return child.ended
