"""Automatic fail-over: keeps a broker in the role that the agreed state, and who is alive, give it.

Whenever something may have changed everything is read again, decided (`election.py`) and done, one round
after the other. A round that fails is repeated soon; nothing here relies on having seen every change.

    session, members or state changed, or a slave came or went
        -> join, read -> step down if somebody else leads -> decide
        -> follow | claim | agree on who is in sync
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rocketmq_tx.errors import CoordinationError, StateChanged
from rocketmq_tx.failover.cluster_state import ClusterState, Reading
from rocketmq_tx.failover.coordinator import ICoordinator
from rocketmq_tx.failover.election import Claim, Follow, LeadOn, Myself, Session, Wait, decide
from rocketmq_tx.failover.epochs import EpochHistory
from rocketmq_tx.failover.gate import CAUSE, STOPPING, UNCONFIRMED, Gate, refusal
from rocketmq_tx.failover.replicas import InSyncReplicas
from rocketmq_tx.failover.rounds import Rounds
from rocketmq_tx.runtime.periodic import Periodic

LOOK_S = 1.0
"""How often is looked whether a member lags, or has caught up."""
LAST_WAIT_S = 1.0
"""For so long a master that stops waits for acknowledgements of what it has taken."""
SAFETY_S = 10.0
"""Everything is read again so often even if nothing is heard."""


class Roles(Protocol):
    """What is needed of `broker.role_change.RoleChange`."""

    @property
    def is_master(self) -> bool: ...

    @property
    def history(self) -> EpochHistory: ...

    @property
    def knows_master(self) -> bool: ...

    def close_link(self) -> Deferred[None]: ...

    def open_link(self) -> Deferred[None]: ...

    def promote(self, epoch: int) -> Deferred[None]: ...

    def begin_epoch(self, epoch: int) -> Deferred[None]: ...

    def demote(self, master_address: str, epoch: int) -> Deferred[None]: ...


class AutomaticFailover(Service):
    """Of the member `member`, which serves requests at `address` (`host:port`)."""

    log = Logger()

    def __init__(
        self,
        coordinator: Any,
        member: int,
        address: str,
        roles: Roles,
        replicas: InSyncReplicas,
        gate: Gate,
        reactor: Any,
    ) -> None:
        self.setName("automatic fail-over")
        self._coordinator: Any = ICoordinator(coordinator)
        self._member = member
        self._address = address
        self._roles = roles
        self._replicas = replicas
        self._gate = gate
        self._leading: int | None = None
        self._following: tuple[int, str] | None = None
        self._reading: Reading | None = None
        self._rounds = Rounds(self._look, reactor)
        self._stopping = False
        self._periodic = [
            Periodic(reactor, LOOK_S, replicas.look, "look at the members in sync"),
            Periodic(reactor, SAFETY_S, self.changed, "look at the agreed state"),
        ]
        replicas.changed = self.changed

    # -- the service ---------------------------------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        self.set_gate()
        self._coordinator.start(self.changed)
        for periodic in self._periodic:
            periodic.startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._stopping = True
        self._rounds.end()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        """The session ends after the last message was taken, so that another broker takes over at once."""
        for periodic in self._periodic:
            stopped: Any = periodic.stopService()
            if stopped is not None:
                await stopped
        self._gate.refuse(CAUSE, STOPPING)
        if self._leading is not None:
            await self._replicas.caught_up(LAST_WAIT_S)
            self._resign()
        self._rounds.cancel()
        await self._coordinator.close()

    def role_changed(self) -> None:
        """By whoever: a broker that is no master leads nothing."""
        if self._leading is not None and not self._roles.is_master:
            self._resign()

    @property
    def reading(self) -> Reading | None:
        """The state that was read last."""
        return self._reading

    @property
    def leads(self) -> bool:
        return self._leading is not None

    def changed(self) -> None:
        """Something may be different from what it was: everything is looked at again."""
        if not self.running:
            return
        self.set_gate()
        self._rounds.ask()

    # -- whether messages are taken --------------------------------------------------------------------------

    def set_gate(self) -> None:
        """Whether a master takes messages now."""
        if self._stopping:
            return
        why = refusal(
            self._roles.is_master, self.leads, self._coordinator.session, self._replicas.is_complete
        )
        if why is None:
            self._gate.accept(CAUSE)
        else:
            self._gate.refuse(CAUSE, why)

    # -- a round ---------------------------------------------------------------------------------------------

    async def _look(self) -> bool:
        """False when it has to be repeated soon."""
        self.set_gate()
        coordinator = self._coordinator
        if coordinator.session is not Session.CONNECTED:
            return True
        await coordinator.join(self._member, self._address)
        alive = await coordinator.members()
        found = await coordinator.read()
        reading = None if found is None else Reading(ClusterState.from_bytes(found[0]), found[1])
        if not self.running:
            return True
        self._reading = reading
        state = None if reading is None else reading.state
        await self._step_down_if_deposed(state)
        roles = self._roles
        me = Myself(self._member, roles.history.number, roles.is_master, self._leading is not None)
        decision = decide(state, alive.keys(), me, self._address, coordinator.session)
        well = await self._do(decision, reading)
        self.set_gate()
        return well

    async def _do(self, decision: Any, reading: Reading | None) -> bool:
        if isinstance(decision, Claim):
            return await self._claim(decision.state, reading)
        if isinstance(decision, LeadOn):
            assert reading is not None
            return await self._agree(reading)
        if isinstance(decision, Follow):
            await self._follow(decision.epoch, decision.address)
            self._rounds.all_is_well()
            return self._following is not None
        assert isinstance(decision, Wait)
        self._rounds.say(decision.reason)
        return False

    async def _step_down_if_deposed(self, state: ClusterState | None) -> None:
        """An older state than one's own epoch is one that was read late."""
        if state is None or state.epoch <= self._roles.history.number:
            return
        if self._leading is not None:
            self.log.warn(
                "not master any more: epoch={mine} newer_epoch={epoch} master={address}",
                mine=self._leading, epoch=state.epoch, address=state.address,
            )  # fmt: skip
            self._resign()
        if self._roles.is_master and state.master != self._member:
            await self._follow(state.epoch, state.address)

    def _resign(self) -> None:
        self._leading = None
        self._replicas.resign()
        self.set_gate()

    async def _follow(self, epoch: int, address: str) -> None:
        if self._following == (epoch, address):
            return
        demoted = self._roles.demote(address, epoch)
        self.set_gate()
        await demoted
        await self._roles.open_link()
        self.set_gate()
        if self._roles.knows_master:  # else it did not answer, and is asked again
            self._following = (epoch, address)

    async def _claim(self, state: ClusterState, reading: Reading | None) -> bool:
        """From the moment the link is closed no older master gets an acknowledgement of this broker."""
        self._following = None
        if self._leading is not None:
            self._resign()
        await self._roles.close_link()
        try:
            await self._coordinator.write(state.to_bytes(), None if reading is None else reading.version)
        except StateChanged:
            return False  # read again, and the link stays closed until then
        self.log.info("elected: epoch={epoch} brokerId={member}", epoch=state.epoch, member=self._member)
        self._gate.refuse(CAUSE, UNCONFIRMED)
        if self._roles.is_master:
            await self._roles.begin_epoch(state.epoch)
        else:
            await self._roles.promote(state.epoch)
        if not self.running:
            return True
        self._leading = state.epoch
        self._replicas.lead(state.epoch)
        self._rounds.all_is_well()
        self._rounds.ask()  # which says that the epoch is on this broker's disk
        return True

    async def _agree(self, reading: Reading) -> bool:
        """Has the state name those who are in sync, if others are than it says."""
        epoch, state = self._leading, reading.state
        assert epoch is not None
        members = self._replicas.proposal()
        if members is None:
            if state.in_sync == self._replicas.in_sync and state.proven_by == epoch:
                self._rounds.all_is_well()
                return True
            members = self._replicas.in_sync
        self._replicas.proposed(members)
        wanted = attrs.evolve(state, in_sync=members, proven_by=epoch)
        try:
            await self._coordinator.write(wanted.to_bytes(), reading.version)
        except StateChanged:
            self._if_leading(epoch, self._replicas.unknown)
            return False
        except CoordinationError:
            self._if_leading(epoch, self._replicas.unknown)
            raise
        if self._if_leading(epoch, self._replicas.agreed) and members != state.in_sync:
            self.log.info(
                "in sync: epoch={epoch} before={before} now={now}",
                epoch=epoch, before=sorted(state.in_sync), now=sorted(members),
            )  # fmt: skip
        return True

    def _if_leading(self, epoch: int | None, call: Callable[[], object]) -> bool:
        """What an answer means only as long as the epoch is led that it was asked in."""
        if self._leading is None or self._leading != epoch:
            return False
        call()
        return True
