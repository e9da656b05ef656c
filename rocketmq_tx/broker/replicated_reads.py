"""What consumers are shown where brokers take over from each other: the log up to where it is acknowledged.

Somebody who has consumed what a new master has not got would never learn that it was cut. Pulls, largest
offsets, searches by time and long polling end at that mark; everything else sees the whole store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

from rocketmq_tx.runtime.arrivals import Arrivals
from rocketmq_tx.store.property_scan import Matches, Wants
from rocketmq_tx.store.pull import GetResult, GetStatus
from rocketmq_tx.store.stored_messages import StoredMessages


class Mark(Protocol):
    """What is needed of `failover.replicas.InSyncReplicas`."""

    visible_to: int


class ReplicatedReads:
    """A store whose queues end at the mark."""

    def __init__(self, store: StoredMessages, mark: Mark) -> None:
        self._store = store
        self._mark = mark

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def queue_offsets(self, topic: str, queue_id: int) -> tuple[int, int]:
        """As the store's, up to the mark."""
        if self._mark.visible_to >= self._store.written_to:
            return self._store.queue_offsets(topic, queue_id)
        return self._store.queue_offsets_before(topic, queue_id, self._mark.visible_to)

    def offset_by_time(self, topic: str, queue_id: int, timestamp: int, may_block: bool = True) -> int:
        """As the store's, up to the mark."""
        found = self._store.offset_by_time(topic, queue_id, timestamp, may_block)
        return min(found, self.queue_offsets(topic, queue_id)[1])

    def get_messages(
        self,
        topic: str,
        queue_id: int,
        offset: int,
        max_count: int,
        matches: Matches | None = None,
        may_block: bool = False,
        wants: Wants | None = None,
    ) -> GetResult:
        """As the store's. What lies behind the mark is, to its reader, about to arrive."""
        store, visible_to = self._store, self._mark.visible_to
        if visible_to >= store.written_to:
            return store.get_messages(topic, queue_id, offset, max_count, matches, may_block, wants)
        first, end = store.queue_offsets_before(topic, queue_id, visible_to)
        if end <= offset <= store.queue_offsets(topic, queue_id)[1] and offset >= first:
            return GetResult(GetStatus.OFFSET_OVERFLOW_ONE, offset, first, offset, b"", 0, False, offset)
        return store.get_messages(topic, queue_id, offset, max_count, matches, may_block, wants, end)


class ReplicatedArrivals:
    """Messages have arrived, for who waits for them, when the mark has passed them."""

    def __init__(self, arrivals: Arrivals, store: StoredMessages, mark: Mark) -> None:
        self._arrivals = arrivals
        self._store = store
        self._mark = mark
        self._waiting: deque[tuple[int, tuple[str, int]]] = deque()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._arrivals, name)

    def notify(self, topic: str, queue_id: int) -> None:
        """They are stored."""
        end = self._store.written_to
        if self._mark.visible_to >= end:
            self._arrivals.notify(topic, queue_id)
        else:
            self._waiting.append((end, (topic, queue_id)))

    def notify_all(self, topics: Iterable[str], queue_ids: Iterable[int]) -> None:
        """They are stored."""
        for topic, queue_id in zip(topics, queue_ids, strict=True):
            self.notify(topic, queue_id)

    def shown_to(self, offset: int) -> None:
        """The mark has moved."""
        waiting = self._waiting
        arrived: dict[tuple[str, int], None] = {}
        while waiting and waiting[0][0] <= offset:
            arrived[waiting.popleft()[1]] = None
        for queue in arrived:
            self._arrivals.notify(*queue)
