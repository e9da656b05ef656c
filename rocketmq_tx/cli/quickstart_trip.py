"""There and back: sends messages one after the other, consumes them, and counts what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.task import deferLater

from rocketmq_tx.client import (
    ConsumerSettings,
    Message,
    Producer,
    PushConsumer,
    ReceivedMessage,
    SendResult,
    SendStatus,
)
from rocketmq_tx.protocol.bodies import ConsumeFromWhere

TOPIC = "TopicTest"
TAG = "TagA"
#: The names that Apache's quickstart programs use.
PRODUCER_GROUP = "please_rename_unique_group_name"
CONSUMER_GROUP = "please_rename_unique_group_name_4"
RECEIVE_TIMEOUT_S = 60.0
POLL_S = 0.01


@attrs.define
class Trip:
    """Numbers of one trip. `latencies_s` are those of the sends, in order."""

    sent: dict[str, bytes] = attrs.Factory(dict)
    """Body by message id."""
    not_ok: list[SendResult] = attrs.Factory(list)
    latencies_s: list[float] = attrs.Factory(list)
    arrivals: Counter[str] = attrs.Factory(Counter)
    damaged: int = 0
    others: int = 0
    """Messages that an earlier run had left in the topic."""
    send_s: float = 0.0
    receive_s: float = 0.0

    @property
    def missing(self) -> int:
        return len(self.sent.keys() - self.arrivals.keys())

    @property
    def repeated(self) -> int:
        return sum(count - 1 for count in self.arrivals.values())

    @property
    def is_exact(self) -> bool:
        """Everything was accepted without reserve and came back once, as it was sent."""
        return bool(self.sent) and not (self.not_ok or self.missing or self.repeated or self.damaged)

    def take(self, message: ReceivedMessage) -> None:
        """A message has arrived."""
        wanted = self.sent.get(message.message_id)
        if wanted is None:
            self.others += 1
            return
        self.arrivals[message.message_id] += 1
        self.damaged += message.body != wanted or message.tags != TAG

    def summary(self) -> str:
        """One line: rates, latencies, and the verdict."""
        count = len(self.sent)
        sends = f"{count:,} messages sent in {self.send_s:.2f} s ({_rate(count, self.send_s)})"
        latency = f"latency p50 {_ms(self.latencies_s, 0.5)}, p99 {_ms(self.latencies_s, 0.99)}"
        back = f"back in {self.receive_s:.2f} s ({_rate(count, self.receive_s)})"
        if self.is_exact:
            return f"{sends}, {latency}; {back}: each arrived exactly once"
        verdict = (
            f"NOT EXACT: {self.missing} missing, {self.repeated} repeated, {self.damaged} damaged, "
            f"{len(self.not_ok)} not SEND_OK"
        )
        return f"{sends}, {latency}; {back}: {verdict}"


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds:,.0f}/s" if seconds > 0 else "-"


def _ms(latencies_s: list[float], share: float) -> str:
    if not latencies_s:
        return "-"
    ordered = sorted(latencies_s)
    return f"{ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000:.2f} ms"


async def send_all(
    trip: Trip, count: int, namesrv_address: str, reactor: Any, sent: Callable[[int, SendResult], None]
) -> None:
    """Sends `Hello RocketMQ N`, each when the one before is answered, as Apache's quickstart does."""
    producer = Producer(PRODUCER_GROUP, namesrv_address, reactor)
    producer.startService()
    try:
        started_s = reactor.seconds()
        for number in range(count):
            body = b"Hello RocketMQ %d" % number
            before_s = reactor.seconds()
            result = await producer.send(Message(TOPIC, body, tags=TAG))
            trip.latencies_s.append(reactor.seconds() - before_s)
            trip.sent[result.message_id] = body
            if result.status is not SendStatus.SEND_OK:
                trip.not_ok.append(result)
            sent(number, result)
        trip.send_s = reactor.seconds() - started_s
    finally:
        await producer.stopService()


async def receive_all(
    trip: Trip, namesrv_address: str, reactor: Any, received: Callable[[int], None]
) -> None:
    """Consumes until everything has come, or nothing more does within a minute."""

    def listen(messages: list[ReceivedMessage]) -> None:
        for message in messages:
            trip.take(message)

    settings = ConsumerSettings(consume_from=ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET)
    consumer = PushConsumer(CONSUMER_GROUP, namesrv_address, listen, reactor, settings)
    consumer.subscribe(TOPIC)
    started_s = reactor.seconds()
    try:
        await consumer.startService()
        while trip.missing and reactor.seconds() - started_s < RECEIVE_TIMEOUT_S:
            await deferLater(reactor, POLL_S)
            received(len(trip.arrivals))
        trip.receive_s = reactor.seconds() - started_s
        received(len(trip.arrivals))
    finally:
        await consumer.stopService()
