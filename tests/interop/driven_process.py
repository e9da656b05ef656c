"""A program in a process of its own that is driven by JSON lines: a command in, an answer out.

A call blocks until its answer is there; a process that does not answer in time is killed and the test fails
with its output.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

CALL_TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 20.0
STDERR_SHOWN_CHARS = 4000


class ClientFailed(AssertionError):
    """The process died, kept silent, or answered that a call failed."""


class DrivenProcess:
    """Started in a temporary home, which goes with it; ends when its standard input does."""

    failure: type[ClientFailed] = ClientFailed

    def __init__(
        self,
        name: str,
        command: Callable[[Path], Sequence[str]],
        environment: Callable[[Path], Mapping[str, str]] = lambda home: {},
    ) -> None:
        """`command` and `environment` (what it wants besides ours) are told the home."""
        self.name = name
        self._home = tempfile.TemporaryDirectory(prefix=f"{name}-client-")
        home = Path(self._home.name)
        self._errors = (home / "stderr.txt").open("w+b")
        self._process = subprocess.Popen(
            command(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=home,
            env={**os.environ, **environment(home)},
            start_new_session=True,
        )
        self._pending = b""

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def call(self, name: str, timeout_s: float = CALL_TIMEOUT_S, **arguments: Any) -> dict[str, Any]:
        """One command; raises `failure` with the program's own words when it failed."""
        assert self._process.stdin is not None
        command = json.dumps({"do": name, **arguments})
        try:
            self._process.stdin.write(command.encode() + b"\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._read_line(timeout_s))
        except (BrokenPipeError, EOFError, TimeoutError) as error:
            self.kill()
            raise self.failure(f"{self.name}: {command[:200]}: {error!r}\n{self.stderr()}") from error
        if not answer.pop("ok"):
            raise self.failure(f"{self.name}: {command[:200]}: {answer['error']}")
        return answer

    def _read_line(self, timeout_s: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            parts = [self._pending]
            while b"\n" not in parts[-1]:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"no answer within {timeout_s:g} s")
                data = os.read(descriptor, 1 << 20)
                if not data:
                    raise EOFError("the client process ended")
                parts.append(data)
        line, _, self._pending = b"".join(parts).partition(b"\n")
        return line

    def stderr(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-STDERR_SHOWN_CHARS:]

    def stop(self) -> None:
        """Lets it shut down what it has started, in order, and waits for the process to go."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(EXIT_TIMEOUT_S)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.kill()
        self._process.stdout.close()
        self._errors.close()
        self._home.cleanup()

    def kill(self) -> None:
        """Takes the process away without a word to anybody, as a crash does."""
        self._process.kill()
        self._process.wait(EXIT_TIMEOUT_S)
