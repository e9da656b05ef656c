"""Which queue a producer sends to next."""

from __future__ import annotations

from collections.abc import Sequence

from rocketmq_tx.protocol.bodies import MessageQueue
from rocketmq_tx.protocol.java import string_hash


class RoundRobin:
    """One queue after the other; a retry avoids the broker that has just failed, if there is another."""

    def __init__(self, start: int = 0) -> None:
        self._next = start

    def choose(self, queues: Sequence[MessageQueue], avoid_broker: str | None = None) -> MessageQueue:
        """`queues` is not empty."""
        for _ in queues:
            queue = self._take(queues)
            if queue.broker_name != avoid_broker:
                return queue
        return self._take(queues)

    def _take(self, queues: Sequence[MessageQueue]) -> MessageQueue:
        queue = queues[self._next % len(queues)]
        self._next += 1
        return queue


def queue_by_hash(key: str, queues: Sequence[MessageQueue]) -> MessageQueue:
    """The same queue for the same key, as SelectMessageQueueByHash picks it."""
    hashed = string_hash(key)
    # Java's remainder keeps the sign of the dividend; its absolute value is that of the magnitudes.
    return queues[abs(hashed) % len(queues)]
