"""How a master gives its place up: it hands over when asked, and finds out that it is a former one.

That is looked for at the start, before anybody can connect, and when a NameServer or the new master says so.
A slave that is asked lets go of its master (`standing_still`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rocketmq_tx.broker.role_change import RoleChange
from rocketmq_tx.broker.set_members import members_of_set
from rocketmq_tx.broker.standing_still import StandingStill
from rocketmq_tx.errors import RemotingError, RequestRefused, StoreError
from rocketmq_tx.failover.state import BrokerState, ask_state
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import (
    FollowRequestHeader,
    HandOverRequestHeader,
    HandOverResponseHeader,
)
from rocketmq_tx.protocol.names import MASTER_ID
from rocketmq_tx.remoting.registry import Reply, serves
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.services import within

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from rocketmq_tx.broker.cluster_side import ClusterSide
    from rocketmq_tx.broker.surroundings import Surroundings
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.message_store import MessageStore

START_WAIT_S = 1.5
"""A start does not wait longer for NameServers and for another master."""
AGAIN_S = 5.0
HOLD_S = 60.0
"""For so long a master that hands over waits for the slave that asked: longer than that one tries."""
HANDING_OVER = "handing over"


class SteppingAside(Service):
    """`own_state` is what is answered to who asks."""

    _log = Logger()

    def __init__(
        self,
        surroundings: Surroundings,
        store: MessageStore,
        roles: RoleChange,
        own_state: Callable[[], BrokerState],
        cluster: ClusterSide,
    ) -> None:
        self.setName("former master")
        self._settings = surroundings.settings
        self._store = store
        self._roles = roles
        self._own_state = own_state
        self._caller = cluster.caller
        self._name_servers = cluster.registration.addresses
        self._reactor = reactor = surroundings.reactor
        self.still = StandingStill(roles, self._ask_and_consider, reactor)
        self._held_for: str | None = None
        self._holding: IDelayedCall | None = None
        self._again = Periodic(reactor, AGAIN_S, self._look, "another master")
        roles.observers.append(self._role_changed)

    # -- at the start ----------------------------------------------------------------------------------------

    def startService(self) -> Deferred[bool] | None:
        """Looks whether there is a newer master, and again until a NameServer has answered."""
        super().startService()
        if not self._roles.is_master:
            return None
        promised_to = self._roles.standing.handing_over_to
        if promised_to is not None:
            self._hold(promised_to, 0.0)
        first = self._look()
        self._again.startService()
        return within(self._reactor, first, START_WAIT_S)

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        self._end_holding()
        self.still.forget()
        return self._again.stopService() if self._again.running else None

    def _look(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._look_for_another())

    async def _look_for_another(self) -> None:
        members = await members_of_set(self._caller, self._name_servers(), self._settings.broker)
        if members is None and self._name_servers():
            return
        for address, broker_id in (members or {}).items():
            if broker_id == MASTER_ID and address != self._settings.broker_address:
                await self.consider(address)
        if self._again.running:
            self._again.stopService()

    # -- another master --------------------------------------------------------------------------------------

    async def consider(self, address: str) -> bool:
        """Follows the broker at `host:port` if it is a master of our name and a newer epoch; if it is."""
        try:
            return await self._ask_and_consider(address)
        except RemotingError:
            return False

    async def _ask_and_consider(self, address: str) -> bool:
        """RemotingError when it cannot be told yet."""
        if address == self._settings.broker_address:
            return False
        state = await ask_state(self._caller, address)
        if state is None or not self._is_newer_master(state):
            if state is not None and state.is_promoting:
                raise RemotingError(f"{address} is being promoted still")
            return False
        try:
            await self._roles.demote(address, state.history.number)
        except RequestRefused:
            return False  # meanwhile it is none
        return True

    def _is_newer_master(self, state: BrokerState) -> bool:
        broker = self._settings.broker
        return (
            state.role.is_master
            and (state.cluster, state.broker_name) == (broker.broker_cluster_name, broker.broker_name)
            and state.history.number > self._roles.history.number
        )

    def heard_of_master(self, address: str, ha_address: str | None = None) -> None:
        """A NameServer says that this one is the master."""
        if self._roles.is_master and address != self._settings.broker_address:
            Deferred.fromCoroutine(self.consider(address))

    # -- requests --------------------------------------------------------------------------------------------

    @serves(RequestCode.GET_FAILOVER_STATE)
    def state(self, peer: Peer, frame: Frame, header: None) -> Reply:
        return Reply(header=self._own_state().to_header())

    @serves(RequestCode.FOLLOW)
    async def follow(self, peer: Peer, frame: Frame, header: FollowRequestHeader) -> Reply:
        """It is not believed, but asked."""
        if header.epoch > self._roles.history.number and await self.consider(header.broker_addr):
            self.still.forget()
        return Reply()

    @serves(RequestCode.HAND_OVER)
    async def hand_over(self, peer: Peer, frame: Frame, header: HandOverRequestHeader) -> Reply:
        """From now on a master takes no message, and a slave nothing of its master; answers the log's end."""
        address = header.broker_addr
        if header.release:
            if address == self._held_for:
                self._release()
            await self.still.end(address)
        elif self._settings.broker.auto_failover:
            raise RequestRefused(
                ResponseCode.SYSTEM_ERROR, "with autoFailover the brokers agree on who is master"
            )
        elif self._roles.is_master:
            self._begin_handing_over(address, header)
        else:
            await self.still.begin(address)
        return Reply(header=HandOverResponseHeader(max_offset=self._store.written_to))

    def _begin_handing_over(self, address: str, header: HandOverRequestHeader) -> None:
        problem = None
        if header.epoch <= self._roles.history.number:
            problem = f"epoch {header.epoch} is not newer than {self._roles.history.number}"
        elif self._held_for not in (None, address):
            problem = f"it is handing over to {self._held_for}"
        if problem is not None:
            raise RequestRefused(ResponseCode.SYSTEM_ERROR, problem)
        try:
            self._roles.note_handing_over(address)
        except StoreError as error:
            raise RequestRefused(ResponseCode.SYSTEM_ERROR, str(error)) from error
        self._hold(address, HOLD_S)
        self._log.info(
            "handing over: to={address} epoch={epoch} log_end={end}",
            address=address,
            epoch=header.epoch,
            end=self._store.written_to,
        )

    # -- holding ---------------------------------------------------------------------------------------------

    def _hold(self, address: str, ask_after_s: float) -> None:
        self._end_holding()
        self._held_for = address
        self._store.refuse(HANDING_OVER, f"This master is handing over to {address}.")
        self._holding = self._reactor.callLater(ask_after_s, self._held_for_long)

    def _held_for_long(self) -> None:
        """It may have become master without saying so: then following it is right, and going on is wrong."""
        self._holding = None
        Deferred.fromCoroutine(self._ask_whether_it_is())

    async def _ask_whether_it_is(self) -> None:
        address = self._held_for
        if address is None:
            return
        try:
            follows = await self._ask_and_consider(address)
        except RemotingError as problem:
            self._log.warn(
                "no message is taken: this master was handing over to {address}, which does not say whether"
                " it has taken over: {problem}. If it never comes back, stop this broker, remove"
                " handingOverTo from config/epochs.json, and start it",
                address=address,
                problem=problem,
            )
            if self.running and self._held_for == address:
                self._holding = self._reactor.callLater(AGAIN_S, self._held_for_long)
            return
        if not follows:
            self._release()

    def _role_changed(self) -> None:
        """A slave takes what its master sends; that it takes no message of its own, its role says."""
        if not self._roles.is_master:
            self._release()

    def _release(self) -> None:
        if self._roles.is_used:
            try:
                self._roles.note_handing_over(None)
            except StoreError as error:
                self._log.warn("that nobody is handed over to cannot be written: {error}", error=error)
        self._end_holding()
        self._held_for = None
        self._store.accept(HANDING_OVER)

    def _end_holding(self) -> None:
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None
