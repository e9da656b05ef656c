"""The queues that this consumer works on at this moment, and the change from one share to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
from twisted.logger import Logger

from rocketmq_tx.client.message import ReceivedMessage
from rocketmq_tx.client.process_queue import ProcessQueue
from rocketmq_tx.client.pulling import PullServices, QueuePuller
from rocketmq_tx.client.queue_queries import QueueQueries
from rocketmq_tx.client.starting_offset import starting_offset
from rocketmq_tx.errors import RemotingError
from rocketmq_tx.protocol.bodies import ConsumeFromWhere, MessageQueue, SubscriptionData


@attrs.define
class Assignment:
    """One pull loop for each queue of ours."""

    services: PullServices
    queries: QueueQueries
    subscriptions: Mapping[str, SubscriptionData]
    deliver: Callable[[ProcessQueue, list[ReceivedMessage]], None]
    consume_from: ConsumeFromWhere
    from_timestamp_ms: int
    _pullers: dict[MessageQueue, QueuePuller] = attrs.field(factory=dict, init=False)
    _is_closed: bool = attrs.field(default=False, init=False)
    _log = Logger()

    @property
    def queues(self) -> set[MessageQueue]:
        return set(self._pullers)

    async def apply(self, topic: str, wanted: set[MessageQueue]) -> None:
        """Gives up the queues of the topic that are no longer ours, and begins those that have become it."""
        for queue in [one for one in self._pullers if one.topic == topic and one not in wanted]:
            await self._give_up(queue)
        for queue in sorted(wanted - self._pullers.keys()):
            try:
                await self._take_up(queue)
            except RemotingError as error:  # the next round tries again
                self._log.warn("queue not begun: {error}", error=error)

    def stop_pulling(self) -> None:
        """Nothing more comes in; what is in progress still counts."""
        self._is_closed = True
        for puller in self._pullers.values():
            puller.stop()

    async def _take_up(self, queue: MessageQueue) -> None:
        committed = await self.queries.committed_offset(queue)
        start = await starting_offset(
            queue, committed, self.consume_from, self.from_timestamp_ms, self.queries
        )
        if self._is_closed:
            return
        self.services.offsets.begin(queue, committed)
        subscription = self.subscriptions[queue.topic]
        puller = QueuePuller(ProcessQueue(queue), subscription, start, self.services, self.deliver)
        self._pullers[queue] = puller
        puller.start()
        self._log.info("queue begun: {queue} at {offset}", queue=queue, offset=start)

    async def _give_up(self, queue: MessageQueue) -> None:
        puller = self._pullers.pop(queue)
        puller.process_queue.is_dropped = True
        puller.stop()
        await self.services.offsets.persist([queue])
        self.services.offsets.forget(queue)
        self._log.info("queue given up: {queue}", queue=queue)
