"""Sharing the queues of a topic among the consumers of a group: who is there, and which queues are ours."""

from __future__ import annotations

import random

from rocketmq_tx.client.allocation import Strategy
from rocketmq_tx.client.calls import Caller, ask
from rocketmq_tx.client.routes import Routes
from rocketmq_tx.protocol.bodies import GetConsumerListByGroupResponseBody, MessageQueue
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import GetConsumerListByGroupRequestHeader

TIMEOUT_S = 3.0


class Shares:
    """Computes this consumer's queues of a topic."""

    def __init__(
        self,
        group: str,
        client_id: str,
        routes: Routes,
        caller: Caller,
        strategy: Strategy,
        choice: random.Random,
    ) -> None:
        self._group = group
        self._client_id = client_id
        self._routes = routes
        self._caller = caller
        self._strategy = strategy
        self._choice = choice

    async def own_queues(self, topic: str) -> set[MessageQueue] | None:
        """Our share; None when it cannot be told now, so that nothing is to be changed.

        Fails with a RemotingError when the broker asked does not answer.
        """
        queues = await self._routes.subscribe_queues(topic)
        if not queues:
            return None
        # Any broker of the topic will do: consumers of a group are known to all of them.
        address = self._routes.readable_address(self._choice.choice(queues).broker_name)
        if address is None:
            return None
        header = GetConsumerListByGroupRequestHeader(consumer_group=self._group)
        answer = await ask(
            self._caller, address, Frame.request(RequestCode.GET_CONSUMER_LIST_BY_GROUP, header), TIMEOUT_S
        )
        members = GetConsumerListByGroupResponseBody.from_bytes(answer.body).consumer_id_list
        if not members:
            return None
        return set(self._strategy(self._client_id, queues, sorted(members)))
