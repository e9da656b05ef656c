"""A foreign client in a process of its own.

    with ForeignClient(BUILDS["go"], "127.0.0.1:9876", "a-group") as go: ...

All of them understand the same three commands: send, subscribe, received.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.interop.driven_process import CALL_TIMEOUT_S, DrivenProcess
from tests.interop.foreign_builds import Build

CONSUME_TIMEOUT_S = 45.0
"""Most clients ask for the members of a group, and begin to pull, only every 10 or 20 s."""


class ForeignClient(DrivenProcess):
    """A producer, and a push consumer that takes whatever it gets, a body "fail once" at the second time."""

    def __init__(self, build: Build, namesrv_address: str, group: str) -> None:
        command = [*build.command(), namesrv_address, group]
        super().__init__(
            build.name,
            lambda home: command,
            lambda home: {"HOME": str(home), **build.environment(build.target, home)},
        )

    def __enter__(self) -> ForeignClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def send(self, messages: Sequence[dict[str, Any]]) -> list[str]:
        """Sends one after the other; the unique ids that the client gave to the messages."""
        results = self.call("send", messages=list(messages))["results"]
        refused = [result for result in results if not result["sent"]]
        if refused:
            raise self.failure(f"{self.name} was not told SEND_OK: {refused[:3]}")
        return [result["msgId"] for result in results]

    def subscribe(self, topic: str, expression: str = "*") -> None:
        """Starts the consumer; may be done once."""
        self.call("subscribe", topic=topic, expression=expression)

    def received(self, count: int, timeout_s: float = CONSUME_TIMEOUT_S) -> list[dict[str, Any]]:
        """All messages so far, in order of arrival, after waiting for `count` of them or for the time-out."""
        answer = self.call(
            "received", timeout_s=timeout_s + CALL_TIMEOUT_S, count=count, timeoutMs=int(timeout_s * 1000)
        )
        return list(answer["messages"])
