"""What a broker does about who is master, decided from what is known. Pure.

    nothing agreed yet  -> the configured master claims the first epoch
    I am the master     -> lead on; after a restart: claim the next epoch
    master is alive     -> follow it
    master is gone      -> claim the next epoch if I am in sync, else wait for somebody who is

A claim is a compare-and-set of the version that was read, so of several only one succeeds. Before it is sent
the replication link is closed, and stays closed until the state is read again: from then on the old master
lacks an acknowledgement that it needs (`in_sync.py`), whether it knows of the claim or not.
"""

from __future__ import annotations

import enum
from collections.abc import Collection

import attrs

from rocketmq_tx.failover.cluster_state import ClusterState


class Session(enum.Enum):
    """What is known of the session with the coordination service."""

    CONNECTED = "connected"
    SUSPENDED = "suspended"
    """No connection: the session may go on or have expired, only the service knows."""
    LOST = "lost"
    """The session has expired, or there was none yet."""


@attrs.frozen
class Myself:
    """What a broker knows of itself. `epoch` is the last one in its own history, 0 without any."""

    member: int
    epoch: int
    was_master: bool
    """Whether its history says that it was the master of `epoch`."""
    leads: bool
    """Whether it is that in this very process: only then what it has acknowledged is known."""


@attrs.frozen
class LeadOn:
    """Master of the agreed epoch: nothing changes."""


@attrs.frozen
class Follow:
    """Be the slave of that master, whether it is there or not."""

    epoch: int
    master: int
    address: str


@attrs.frozen
class Claim:
    """Close the replication link, then write this state."""

    state: ClusterState


@attrs.frozen
class Wait:
    """Nothing can be done now; `reason` is a sentence for the log."""

    reason: str


Decision = LeadOn | Follow | Claim | Wait


def decide(
    state: ClusterState | None, alive: Collection[int], me: Myself, address: str, session: Session
) -> Decision:
    """`alive`: members with a session. `address`: where this broker would serve as a master."""
    if session is not Session.CONNECTED:
        return Wait("there is no session with the coordination service")
    if state is None:
        return _begin(me, address)
    if state.epoch < me.epoch:
        return Wait(
            f"the agreed state is of epoch {state.epoch}, older than epoch {me.epoch} of this broker's log: "
            "it was read late, or an old copy of the coordination service's data was put back"
        )
    if state.master == me.member:
        return _lead(state, me, address)
    if state.master in alive or me.member not in state.in_sync:
        return Follow(state.epoch, state.master, state.address)
    return _take_over(state, me, address)


def _take_over(state: ClusterState, me: Myself, address: str) -> Decision:
    if me.epoch != state.epoch:
        # In sync at that epoch was another store: this one has never followed its master.
        return Wait(
            f"the agreed state names this broker as in sync in epoch {state.epoch}, but its store has "
            f"followed only up to epoch {me.epoch}: it does not take over"
        )
    return Claim(_next(state.epoch, me, address))


def _begin(me: Myself, address: str) -> Decision:
    """The configured master, and with a history only the one that was master last."""
    if me.epoch and not me.was_master:
        return Wait(
            f"nothing is agreed on, but the store of this broker was a slave's in epoch {me.epoch}: "
            "the data of the coordination service were lost; start its last master, or promote by hand"
        )
    if not me.epoch and me.member:
        return Wait("no master has begun the first epoch yet")
    return Claim(_next(0, me, address))


def _lead(state: ClusterState, me: Myself, address: str) -> Decision:
    if me.leads and me.epoch == state.epoch:
        return LeadOn()
    if me.epoch < state.proven_by:
        return Wait(
            f"the agreed state names this broker as master of epoch {state.epoch}, but its store knows of "
            f"none after {me.epoch}: it has lost its disk, and does not take over"
        )
    return Claim(_next(state.epoch, me, address))


def _next(epoch: int, me: Myself, address: str) -> ClusterState:
    return ClusterState(
        epoch=max(epoch, me.epoch) + 1,
        master=me.member,
        address=address,
        in_sync=frozenset({me.member}),
        proven_by=me.epoch,
    )
