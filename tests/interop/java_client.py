"""The unmodified Apache Java client in a process of its own, driven line by line.

    with JavaClient("4.9.7") as java: ...

Commands and answers are JSON lines (see java/src/main/java/interop/Driver.java).
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field

from tests.interop import toolchain
from tests.interop.driven_process import CALL_TIMEOUT_S, ClientFailed, DrivenProcess
from tests.waiting import wait_until

#: Asks for routes more often than the default of 30 s, so that tests need not wait for them.
QUICK_CONSUMER = {
    "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET",
    "pollNameServerInterval": 1000,
}
QUICK_PRODUCER = {"pollNameServerInterval": 1000}


class JavaClientFailed(ClientFailed):
    """The client process died, kept silent, or answered that a call failed."""


def message(topic: str, body: bytes | str, **attributes: Any) -> dict[str, Any]:
    """A message to send; attributes: tags, keys, flag, properties."""
    raw = body.encode() if isinstance(body, str) else body
    return {"topic": topic, "body": base64.b64encode(raw).decode(), **attributes}


def bodies(messages: Iterable[dict[str, Any]]) -> Counter[bytes]:
    """How often each body was received."""
    return Counter(base64.b64decode(one["body"]) for one in messages)


class JavaClient(DrivenProcess):
    """One JVM that holds any number of producers and consumers."""

    failure = JavaClientFailed

    def __init__(self, namesrv_address: str, **system_properties: str) -> None:
        self._namesrv_address = namesrv_address
        class_path = toolchain.client_class_path()
        super().__init__(
            "java",
            lambda home: [
                "java",
                "-Xmx512m",
                "-XX:TieredStopAtLevel=1",  # short lives: the second compiler costs more than it brings
                "-Duser.timezone=UTC",
                f"-Duser.home={home}",
                f"-Djava.io.tmpdir={home}",
                *(f"-D{name}={value}" for name, value in system_properties.items()),
                "-cp",
                class_path,
                "interop.Driver",
            ],
        )

    def __enter__(self) -> JavaClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

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
        started = self.call(
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
        return JavaConsumer(self, name, started["clientId"])

    def operator(self, command: str, **arguments: Any) -> dict[str, Any]:
        """What an operator asks by Apache's admin client; the commands are those of Admins.java."""
        return self.call(f"admin_{command}", namesrv=self._namesrv_address, **arguments)


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
    client_id: str

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

    def stop(self) -> list[dict[str, Any]]:
        """All messages that it has received in its life."""
        return list(self.client.call("stop_consumer", consumer=self.name)["messages"])
