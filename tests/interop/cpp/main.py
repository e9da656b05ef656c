"""Lets a test drive the C++ client by its Python binding, the PyPI package rocketmq.

One command per line on standard input, one answer per line on standard output, both JSON (see
../foreign_client.py). Arguments: the address of the NameServer, the group. PYTHONPATH leads to the package.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
import time
from typing import Any

from rocketmq.client import Message, Producer, PushConsumer, RecvMessage
from rocketmq.exceptions import ffi_check
from rocketmq.ffi import dll

SEND_TIMEOUT_MS = 10_000
CONSUME_SUCCESS, RECONSUME_LATER = 0, 1


class Driver:
    """A producer and a consumer, each made when it is needed first."""

    def __init__(self, namesrv: str, group: str) -> None:
        self._namesrv = namesrv
        self._group = group
        self._producer: Any = None
        self._consumer: Any = None
        self._received: list[dict[str, Any]] = []
        self._arrived = threading.Condition()

    def carry_out(self, command: dict[str, Any]) -> dict[str, Any]:
        if command["do"] == "send":
            return {"results": [self.send(item) for item in command["messages"]]}
        if command["do"] == "subscribe":
            self.subscribe(command["topic"], command["expression"])
            return {}
        if command["do"] == "received":
            return {"messages": self.wait(command["count"], command["timeoutMs"] / 1000)}
        raise ValueError(f"no command {command['do']}")

    def send(self, item: dict[str, Any]) -> dict[str, Any]:
        if self._producer is None:
            self._producer = Producer(f"{self._group}-producer", timeout=SEND_TIMEOUT_MS)
            self._producer.set_namesrv_addr(self._namesrv)
            self._producer.start()
        message = Message(item["topic"])
        message.set_body(base64.b64decode(item["body"]))
        if item.get("tags"):
            message.set_tags(item["tags"])
        if item.get("keys"):
            message.set_keys(item["keys"])
        if item.get("delayLevel"):
            message.set_delay_time_level(item["delayLevel"])
        result = self._producer.send_sync(message)
        return {"sent": result.status == 0, "msgId": result.msg_id}

    def subscribe(self, topic: str, expression: str) -> None:
        self._consumer = PushConsumer(self._group)
        self._consumer.set_namesrv_addr(self._namesrv)
        # The binding's own subscribe() knows no way to ask for a message again: what its callback raises is
        # lost on the way, and taken for success.
        ffi_check(dll.Subscribe(self._consumer._handle, topic.encode(), expression.encode()))
        self._consumer._register_callback(self._consume)
        self._consumer.start()

    def _consume(self, _: object, handle: Any) -> int:
        message = RecvMessage(handle)
        with self._arrived:
            self._received.append(
                {
                    "topic": message.topic,
                    "body": base64.b64encode(message.body).decode(),
                    "tags": message.tags.decode(),
                    "keys": message.keys.decode(),
                    "msgId": message.id,
                    "reconsumeTimes": message.reconsume_times,
                    "bornTimestamp": message.born_timestamp,
                    "storeTimestamp": message.store_timestamp,
                }
            )
            self._arrived.notify_all()
        fails = message.reconsume_times == 0 and message.body.startswith(b"fail once")
        return RECONSUME_LATER if fails else CONSUME_SUCCESS

    def wait(self, count: int, timeout_s: float) -> list[dict[str, Any]]:
        deadline = time.monotonic() + timeout_s
        with self._arrived:
            self._arrived.wait_for(
                lambda: len(self._received) >= count or time.monotonic() > deadline, timeout_s
            )
            return list(self._received)

    def stop(self) -> None:
        for started in (self._consumer, self._producer):
            if started is not None:
                started.shutdown()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the library prints must not be taken for an answer
    driver = Driver(*sys.argv[1:3])
    for line in sys.stdin:
        try:
            answer = {"ok": True, **driver.carry_out(json.loads(line))}
        except Exception as error:  # noqa: BLE001 - the test is told, whatever it is
            answer = {"ok": False, "error": repr(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    driver.stop()
    os._exit(0)  # the library's threads would wait for each other in the interpreter's own way out


main()
