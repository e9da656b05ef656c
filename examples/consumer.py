"""Consumes a topic until Ctrl-C; run it twice to see the queues being shared.

    python examples/consumer.py 127.0.0.1:9876
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from rocketmq_tx.client import ConsumerSettings, PushConsumer, ReceivedMessage
from rocketmq_tx.protocol.bodies import ConsumeFromWhere


async def handle(messages: list[ReceivedMessage]) -> None:
    """May await whatever it needs; raising makes the messages come again after a while."""
    for message in messages:
        print(f"{message.topic} queue={message.queue_id} offset={message.queue_offset}: {message.body!r}")


async def main(reactor: Any, namesrv_address: str = "127.0.0.1:9876") -> None:
    settings = ConsumerSettings(consume_from=ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET)
    consumer = PushConsumer("example_consumer", namesrv_address, handle, reactor, settings)
    consumer.subscribe("Example", "*")
    await consumer.startService()

    interrupted: Deferred[None] = Deferred()
    signal.signal(signal.SIGINT, lambda *_: reactor.callFromThread(interrupted.callback, None))
    await interrupted
    await consumer.stopService()


if __name__ == "__main__":
    react(main, sys.argv[1:])
