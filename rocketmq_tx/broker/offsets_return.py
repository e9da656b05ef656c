"""A master that comes back asks its slaves how far consumers came while it was away; the higher offset wins.

Who its slaves are, a NameServer says. With Apache those offsets are lost, and messages come twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.broker.set_members import members_of_set
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.errors import RocketMQError
from rocketmq_tx.protocol.bodies import ConsumerOffsetSerializeWrapper
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.names import MASTER_ID
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.services import within

if TYPE_CHECKING:
    from rocketmq_tx.broker.registration import Caller

ASK_TIMEOUT_S = 1.0
START_WAIT_S = 1.5
"""A start does not wait longer; what comes later is merged as well."""
AGAIN_S = 5.0


class OffsetsReturn(Service):
    """Asks once at the start, before anybody can connect, and again until a NameServer has answered."""

    _log = Logger()

    def __init__(
        self,
        broker: BrokerConfig,
        offsets: ConsumerOffsets,
        name_servers: Callable[[], list[str]],
        caller: Caller,
        reactor: Any,
    ) -> None:
        self.setName("offsets from slaves")
        self._broker = broker
        self._offsets = offsets
        self._name_servers = name_servers
        self._caller = caller
        self._reactor = reactor
        self._waiting: set[str] | None = None
        """Slaves that have not answered; None while it is not known who they are."""
        self._again = Periodic(reactor, AGAIN_S, self._round, "offsets from slaves")

    def startService(self) -> Deferred[bool]:
        super().startService()
        first = self._round()
        self._again.startService()
        return within(self._reactor, first, START_WAIT_S)

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        return self._again.stopService() if self._again.running else None

    def _round(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._ask_all())

    async def _ask_all(self) -> None:
        if self._waiting is None:
            members = await members_of_set(self._caller, self._name_servers(), self._broker)
            self._waiting = (
                None
                if members is None
                else {address for address, broker_id in members.items() if broker_id != MASTER_ID}
            )
        waiting = self._waiting
        if waiting is None:
            return
        for address in sorted(waiting):
            body = await self._ask(address, RequestCode.GET_ALL_CONSUMER_OFFSET)
            if body is None:
                continue
            waiting.discard(address)
            raised = self._offsets.merge_higher(ConsumerOffsetSerializeWrapper.from_bytes(body))
            if raised:
                self._log.info(
                    "offsets taken from a slave: slave={address} queues={raised}",
                    address=address,
                    raised=raised,
                )
        if not waiting and self._again.running:
            self._again.stopService()

    async def _ask(self, address: str, code: RequestCode) -> bytes | None:
        try:
            answer = await self._caller.call(address, Frame.request(code), ASK_TIMEOUT_S)
        except RocketMQError:
            return None
        return answer.body if answer.code == ResponseCode.SUCCESS else None
