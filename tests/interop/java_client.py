"""The unmodified Apache Java client in a process of its own, driven line by line.

    with JavaClient("4.9.7") as java: ...

Commands and answers are JSON lines (see java/src/main/java/interop/Driver.java). A call blocks until its
answer is there; a client that does not answer in time is killed and the test fails with its output.
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.interop import toolchain
from tests.waiting import wait_until

CALL_TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 20.0

#: Asks for routes more often than the default of 30 s, so that tests need not wait for them.
QUICK_CONSUMER = {
    "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET",
    "pollNameServerInterval": 1000,
}
QUICK_PRODUCER = {"pollNameServerInterval": 1000}


class JavaClientFailed(AssertionError):
    """The client process died, kept silent, or answered that a call failed."""


def message(topic: str, body: bytes | str, **attributes: Any) -> dict[str, Any]:
    """A message to send; attributes: tags, keys, flag, properties."""
    raw = body.encode() if isinstance(body, str) else body
    return {"topic": topic, "body": base64.b64encode(raw).decode(), **attributes}


def bodies(messages: Iterable[dict[str, Any]]) -> Counter[bytes]:
    """How often each body was received."""
    return Counter(base64.b64decode(one["body"]) for one in messages)


class JavaClient:
    """One JVM that holds any number of producers and consumers."""

    def __init__(self, namesrv_address: str, **system_properties: str) -> None:
        self._namesrv_address = namesrv_address
        self._home = tempfile.TemporaryDirectory(prefix="java-client-")
        self._errors = (Path(self._home.name) / "stderr.txt").open("w+b")
        self._process = subprocess.Popen(
            [
                "java",
                "-Xmx512m",
                "-XX:TieredStopAtLevel=1",  # short lives: the second compiler costs more than it brings
                "-Duser.timezone=UTC",
                f"-Duser.home={self._home.name}",
                f"-Djava.io.tmpdir={self._home.name}",
                *(f"-D{name}={value}" for name, value in system_properties.items()),
                "-cp",
                toolchain.client_class_path(),
                "interop.Driver",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=self._home.name,
            start_new_session=True,
        )
        self._pending = b""

    def __enter__(self) -> JavaClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def call(self, name: str, timeout_s: float = CALL_TIMEOUT_S, **arguments: Any) -> dict[str, Any]:
        """One command; raises `JavaClientFailed` with the client's own words when it failed."""
        assert self._process.stdin is not None
        command = json.dumps({"do": name, **arguments})
        try:
            self._process.stdin.write(command.encode() + b"\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._read_line(timeout_s))
        except (BrokenPipeError, EOFError, TimeoutError) as error:
            self.kill()
            raise JavaClientFailed(f"{command[:200]}: {error!r}\n{self.stderr()}") from error
        if not answer.pop("ok"):
            raise JavaClientFailed(f"{command[:200]}: {answer['error']}")
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

    def producer(self, group: str, **settings: Any) -> JavaProducer:
        self.call(
            "start_producer",
            producer=group,
            namesrv=self._namesrv_address,
            settings={**QUICK_PRODUCER, **settings},
        )
        return JavaProducer(self, group)

    def consumer(
        self,
        group: str,
        topic: str,
        expression: str = "*",
        name: str | None = None,
        sql: str | None = None,
        listener: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> JavaConsumer:
        """A started push consumer; `name` tells members of one group apart, `sql` stands for `expression`.

        `listener`: what it does with messages (orderly, failures, pauseMs; see Listeners.java).
        """
        name = name or group
        self.call(
            "start_consumer",
            consumer=name,
            group=group,
            topic=topic,
            expression=expression,
            sql=sql,
            **(listener or {}),
            namesrv=self._namesrv_address,
            settings={**QUICK_CONSUMER, **settings},
        )
        return JavaConsumer(self, name)

    def stderr(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-4000:]

    def stop(self) -> None:
        """Shuts every producer and consumer down in order and waits for the process to go."""
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


@define
class JavaProducer:
    """A started DefaultMQProducer."""

    client: JavaClient = field(repr=False)
    group: str

    def send(
        self,
        messages: Sequence[dict[str, Any]],
        mode: str = "sync",
        timeout_s: float = CALL_TIMEOUT_S,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Results in order; `mode` is sync, async, oneway (no results) or batch (one result)."""
        answer = self.client.call(
            "send",
            timeout_s=timeout_s + 5,
            producer=self.group,
            mode=mode,
            messages=list(messages),
            timeoutMs=int(timeout_s * 1000),
            **options,
        )
        return list(answer["results"])

    def create_topic(self, topic: str, queues: int) -> None:
        """Creates a topic and waits for its route."""
        self.client.call("create_topic", producer=self.group, topic=topic, queues=queues)
        wait_until(
            lambda: len(self._routed_queues(topic)) == queues, f"{topic} is routed with {queues} queues"
        )

    def _routed_queues(self, topic: str) -> list[str]:
        try:
            return list(self.client.call("publish_queues", producer=self.group, topic=topic)["queues"])
        except JavaClientFailed as failure:
            if "Can not find Message Queue" in str(failure):  # its way to say that there is no route yet
                return []
            raise

    def stop(self) -> None:
        self.client.call("stop_producer", producer=self.group)


@define
class JavaConsumer:
    """A started DefaultMQPushConsumer that acknowledges whatever it gets."""

    client: JavaClient = field(repr=False)
    name: str

    def received(self, count: int = 0, timeout_s: float = 30.0) -> list[dict[str, Any]]:
        """All messages so far, in order of arrival, after waiting for `count` of them or for the time-out."""
        answer = self.client.call(
            "received",
            timeout_s=timeout_s + 30,
            consumer=self.name,
            count=count,
            timeoutMs=int(timeout_s * 1000),
        )
        return list(answer["messages"])

    def assigned(self) -> list[str]:
        return list(self.client.call("assigned", consumer=self.name)["queues"])

    def wait_assigned(self, count: int, timeout_s: float = 30.0) -> list[str]:
        wait_until(lambda: len(self.assigned()) == count, f"{self.name} has {count} queues", timeout_s)
        return self.assigned()

    def lag(self) -> int:
        """Commits, then: how many messages of the topic the brokers hold as not committed by the group."""
        return int(self.client.call("lag", consumer=self.name)["lag"])

    def wait_drained(self, timeout_s: float = 30.0) -> list[dict[str, Any]]:
        """All messages received, once the brokers say that the group has committed everything."""
        wait_until(lambda: self.lag() == 0, f"{self.name} has committed everything", timeout_s)
        return self.received()

    def stop(self) -> None:
        self.client.call("stop_consumer", consumer=self.name)
