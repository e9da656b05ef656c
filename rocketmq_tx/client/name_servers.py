"""Asking NameServers: one at a time, the next one when it does not answer."""

from __future__ import annotations

from collections.abc import Sequence

from rocketmq_tx.client.calls import Caller, refusal
from rocketmq_tx.errors import OperatorError, RemotingError
from rocketmq_tx.protocol.bodies import TopicRouteData
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import GetRouteInfoRequestHeader

SEPARATOR = ";"
ROUTE_TIMEOUT_S = 3.0


class NameServers:
    """`addresses` is `host:port`, several separated by semicolons: each knows all brokers."""

    def __init__(self, addresses: str, caller: Caller) -> None:
        self._addresses = [one.strip() for one in addresses.split(SEPARATOR) if one.strip()]
        if not self._addresses:
            raise OperatorError("no NameServer is named: give host:port, several separated by ';'")
        self._caller = caller
        self._current = 0

    @property
    def addresses(self) -> Sequence[str]:
        return self._addresses

    async def route(self, topic: str) -> TopicRouteData | None:
        """The route of a topic, None when it has none; the last RemotingError when nobody answers."""
        frame = Frame.request(RequestCode.GET_ROUTEINFO_BY_TOPIC, GetRouteInfoRequestHeader(topic=topic))
        address, answer = await self._ask(frame)
        if answer.code == ResponseCode.TOPIC_NOT_EXIST:
            return None
        if answer.code != ResponseCode.SUCCESS:
            raise refusal(address, frame, answer)
        return TopicRouteData.from_bytes(answer.body)

    async def _ask(self, frame: Frame) -> tuple[str, Frame]:
        problem: RemotingError | None = None
        for _ in self._addresses:
            address = self._addresses[self._current]
            try:
                return address, await self._caller.call(address, frame, ROUTE_TIMEOUT_S)
            except RemotingError as error:
                problem = error
                self._current = (self._current + 1) % len(self._addresses)
        assert problem is not None
        raise problem
