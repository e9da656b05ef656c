"""Whom a slave asks before it takes over, and what each says of itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred

from rocketmq_tx.broker.set_members import members_of_set
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.errors import RemotingError
from rocketmq_tx.failover.state import BrokerState, ask_state
from rocketmq_tx.protocol.names import MASTER_ID

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from rocketmq_tx.broker.registration import Caller


@attrs.define
class Survey:
    """Whom this broker has asked: by address, with what each says; None for who says nothing of itself."""

    mine: BrokerState
    members: dict[str, BrokerState | None]
    strangers: frozenset[str]
    """Of these, who answers, but is no broker of rocketmq_tx: Apache's does not know the question."""
    registered_master: str | None
    master_address: str | None
    """Who is followed here, or else registered as the master."""

    @property
    def master(self) -> BrokerState | None:
        """The master, if it answers as one."""
        state = self.members.get(self.master_address or "")
        return state if state is not None and state.role.is_master else None

    @property
    def foreign_master(self) -> str | None:
        """A master that answers and cannot say how far it is."""
        masters = (self.registered_master, self.master_address)
        return next((address for address in masters if address in self.strangers), None)

    @property
    def rival(self) -> str | None:
        """Who does not answer, is registered as the master, and is not the one followed here."""
        address = self.registered_master
        if address is None or address == self.master_address or address in self.strangers:
            return None
        return address if self.members.get(address, self.mine) is None else None

    @property
    def others(self) -> dict[str, BrokerState | None]:
        """The other slaves."""
        return {
            address: state
            for address, state in self.members.items()
            if address != self.master_address or (state is not None and not state.role.is_master)
        }

    @property
    def next_epoch(self) -> int:
        known = [self.mine, *(state for state in self.members.values() if state is not None)]
        return max(state.history.number for state in known) + 1

    def to_body(self) -> bytes:
        """For operators, this one first: a list of `{"address", "answers", "role", "brokerId", ...}`.

        Who says nothing of itself has the first two only; one of the strangers answers all the same.
        """
        shown = [{"address": self.mine.address, "answers": True, **_shown(self.mine)}]
        for address, state in self.members.items():
            if state is not None:
                shown.append({"address": address, "answers": True, **_shown(state)})
            else:
                shown.append({"address": address, "answers": address in self.strangers})
        return json.dumps(shown).encode()


def _shown(state: BrokerState) -> dict[str, object]:
    return {
        "role": state.role.value,
        "brokerId": state.broker_id,
        "epoch": state.history.number,
        "maxOffset": state.max_offset,
    }


async def take_survey(
    caller: Caller, name_servers: list[str], broker: BrokerConfig, mine: BrokerState, followed: str | None
) -> Survey:
    """Asks all of the broker's name, at the same time; `followed` is the master that this slave follows."""
    known = await members_of_set(caller, name_servers, broker) or {}
    registered = next((address for address, broker_id in known.items() if broker_id == MASTER_ID), None)
    master_address = followed or registered
    addresses = dict.fromkeys([*([master_address] if master_address else []), *known])
    addresses.pop(mine.address, None)
    silent: set[str] = set()

    def no_answer(failure: Failure, address: str) -> None:
        failure.trap(RemotingError)
        silent.add(address)

    asked = {
        address: Deferred.fromCoroutine(ask_state(caller, address)).addErrback(no_answer, address)
        for address in addresses
    }
    members = {address: await answer for address, answer in asked.items()}
    speechless = {address for address, state in members.items() if state is None}
    return Survey(mine, members, frozenset(speechless - silent), registered, master_address)
