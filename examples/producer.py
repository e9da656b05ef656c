"""Sends messages in every way the producer knows: one, a batch, one-way, to a queue of one's own choice.

    python examples/producer.py 127.0.0.1:9876
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.task import react

from rocketmq_tx.client import Message, Producer
from rocketmq_tx.client.queue_choice import queue_by_hash


async def main(reactor: Any, namesrv_address: str = "127.0.0.1:9876") -> None:
    producer = Producer("example_producer", namesrv_address, reactor)
    producer.startService()
    try:
        print(await producer.send(Message("Example", b"a single message", tags="TagA", keys="order-1")))

        batch = [Message("Example", b"message %d of a batch" % number) for number in range(3)]
        print(await producer.send_batch(batch))

        await producer.send_oneway(Message("Example", b"nobody says what becomes of me"))

        # Messages of one order stay in order when they go to one queue.
        queues = await producer.publish_queues("Example")
        queue = queue_by_hash("order-1", queues)
        for step in (b"created", b"paid", b"sent"):
            print(await producer.send(Message("Example", step, keys="order-1"), queue))
    finally:
        await producer.stopService()


if __name__ == "__main__":
    react(main, sys.argv[1:])
