"""Store times of many messages for one answer, without waiting for a disk on the reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from rocketmq_tx.errors import StoreError, WouldBlock

if TYPE_CHECKING:
    from rocketmq_tx.broker.warm_reads import WarmReads
    from rocketmq_tx.store.stored_messages import StoredMessages

T = TypeVar("T")

StoreTimeOf = Callable[[str, int, int], int]
"""When the message at (topic, queue id, queue offset) was stored, in epoch ms; -1 when there is none."""

ROUNDS_MAX = 4
"""A message costs two rounds, for its queue's entry and for its record; twice, if they are evicted."""


class StoreTimes:
    """Makes an answer again and again until all the times that it asks for are in memory.

    What one round misses is fetched together, in one thread: an answer about a thousand queues takes no more
    rounds than one about a single message.
    """

    def __init__(self, store: StoredMessages, reads: WarmReads) -> None:
        self._store = store
        self._reads = reads

    async def answer(self, make: Callable[[StoreTimeOf], T]) -> T:
        """What `make(store_time_of)` returns; it must not change anything, since it may be called again."""
        for _ in range(ROUNDS_MAX):
            cold: list[WouldBlock] = []
            made = make(self._collecting(cold))
            if not cold:
                return made
            try:
                await self._reads.warm(cold)
            except StoreError:
                break
        return make(self._waiting)

    def _collecting(self, cold: list[WouldBlock]) -> StoreTimeOf:
        def store_time(topic: str, queue_id: int, queue_offset: int) -> int:
            try:
                return self._store.store_time_at(topic, queue_id, queue_offset, False)
            except WouldBlock as error:
                cold.append(error)
                return -1
            except StoreError:
                return -1

        return store_time

    def _waiting(self, topic: str, queue_id: int, queue_offset: int) -> int:
        try:
            return self._store.store_time_at(topic, queue_id, queue_offset)
        except StoreError:
            return -1
