"""A foreign client in a process of its own, driven line by line.

    with ForeignClient(BUILDS["go"], "127.0.0.1:9876", "a-group") as go: ...

All of them understand the same three commands, JSON lines: send, subscribe, received. A client that does not
answer in time is killed and the test fails with its output.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.interop.foreign_builds import Build

CALL_TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 20.0
CONSUME_TIMEOUT_S = 45.0
"""Most clients ask for the members of a group, and begin to pull, only every 10 or 20 s."""


class ForeignClientFailed(AssertionError):
    """The client process died, kept silent, or answered that a call failed."""


class ForeignClient:
    """A producer, and a push consumer that takes whatever it gets, a body "fail once" at the second time."""

    def __init__(self, build: Build, namesrv_address: str, group: str) -> None:
        command = build.command()
        self.name = build.name
        self._home = tempfile.TemporaryDirectory(prefix=f"{build.name}-client-")
        home = Path(self._home.name)
        self._errors = (home / "stderr.txt").open("w+b")
        self._process = subprocess.Popen(
            [*command, namesrv_address, group],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=home,
            env={**os.environ, "HOME": str(home), **build.environment(build.target, home)},
            start_new_session=True,
        )
        self._pending = b""

    def __enter__(self) -> ForeignClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def send(self, messages: Sequence[dict[str, Any]]) -> list[str]:
        """Sends one after the other; the unique ids that the client gave to the messages."""
        results = self._call("send", messages=list(messages))["results"]
        refused = [result for result in results if not result["sent"]]
        if refused:
            raise ForeignClientFailed(f"{self.name} was not told SEND_OK: {refused[:3]}")
        return [result["msgId"] for result in results]

    def subscribe(self, topic: str, expression: str = "*") -> None:
        """Starts the consumer; may be done once."""
        self._call("subscribe", topic=topic, expression=expression)

    def received(self, count: int, timeout_s: float = CONSUME_TIMEOUT_S) -> list[dict[str, Any]]:
        """All messages so far, in order of arrival, after waiting for `count` of them or for the time-out."""
        answer = self._call(
            "received", timeout_s=timeout_s + CALL_TIMEOUT_S, count=count, timeoutMs=int(timeout_s * 1000)
        )
        return list(answer["messages"])

    def _call(self, name: str, timeout_s: float = CALL_TIMEOUT_S, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        command = json.dumps({"do": name, **arguments})
        try:
            self._process.stdin.write(command.encode() + b"\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._read_line(timeout_s))
        except (BrokenPipeError, EOFError, TimeoutError) as error:
            self.kill()
            raise ForeignClientFailed(f"{self.name}: {command[:200]}: {error!r}\n{self.stderr()}") from error
        if not answer.pop("ok"):
            raise ForeignClientFailed(f"{self.name}: {command[:200]}: {answer['error']}\n{self.stderr()}")
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
        return self._errors.read().decode(errors="replace")[-4000:]

    def stop(self) -> None:
        """Asks it to shut down in order and waits for the process to go."""
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
        self._process.kill()
        self._process.wait(EXIT_TIMEOUT_S)
