"""How far this consumer's group has come in each of its queues: remembered here, told to the brokers."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from rocketmq_tx.client.queue_queries import QueueQueries
from rocketmq_tx.errors import RemotingError
from rocketmq_tx.protocol.bodies import MessageQueue


class OffsetStore:
    """Offsets by queue. `advance` never goes back; `persist` tells what the broker has not been told yet."""

    _log = Logger()

    def __init__(self, queries: QueueQueries) -> None:
        self._queries = queries
        self._offsets: dict[MessageQueue, int] = {}
        self._told: dict[MessageQueue, int] = {}

    def get(self, queue: MessageQueue) -> int | None:
        return self._offsets.get(queue)

    def begin(self, queue: MessageQueue, committed: int | None) -> None:
        """The queue has become ours; `committed` is what its broker has."""
        self.forget(queue)
        if committed is not None:
            self._offsets[queue] = self._told[queue] = committed

    def advance(self, queue: MessageQueue, offset: int) -> None:
        """Everything before `offset` is done."""
        if offset > self._offsets.get(queue, -1):
            self._offsets[queue] = offset

    def reset(self, queue: MessageQueue, offset: int) -> None:
        """The broker says that the queue goes on elsewhere, perhaps further back."""
        self._offsets[queue] = offset

    def forget(self, queue: MessageQueue) -> None:
        """The queue is no longer ours."""
        self._offsets.pop(queue, None)
        self._told.pop(queue, None)

    def persist(self, queues: Iterable[MessageQueue] | None = None) -> Deferred[None]:
        """Fires when the brokers know; a failure is logged, and tried again with the next call."""
        wanted = self._offsets if queues is None else queues
        changed = [
            (queue, self._offsets[queue])
            for queue in wanted
            if queue in self._offsets and self._told.get(queue) != self._offsets[queue]
        ]
        told = [Deferred.fromCoroutine(self._tell(queue, offset)) for queue, offset in changed]
        return DeferredList(told).addCallback(lambda _: None)

    async def _tell(self, queue: MessageQueue, offset: int) -> None:
        try:
            await self._queries.commit(queue, offset)
        except RemotingError as error:
            self._log.warn("offset not committed: queue={queue} {error}", queue=queue, error=error)
            return
        if queue in self._offsets:
            self._told[queue] = offset
