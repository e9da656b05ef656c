"""Has this slave everything that was acknowledged? Pure.

A master that answers hands over, so that nothing can be missing. When it is gone, only what it said last
counts: under SYNC_MASTER a message is acknowledged (SEND_OK) when a slave has it, so what no slave has was
not. A message sent with `WAIT=false` waits for nobody, and nobody can say whether there was one.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.failover.state import BrokerState


class Verdict(enum.Enum):
    """What a promotion would mean."""

    HAND_OVER = "the master is alive and hands over"
    COMPLETE = "this slave has everything that was acknowledged"
    MISSING = "another broker has more"
    UNKNOWN = "it cannot be told whether something is missing"


class Judgement(NamedTuple):
    """The verdict, and a sentence that says why."""

    verdict: Verdict
    reason: str

    @property
    def needs_force(self) -> bool:
        return self.verdict in (Verdict.MISSING, Verdict.UNKNOWN)


def judge(
    mine: BrokerState,
    master: BrokerState | None,
    told: BrokerState | None,
    others: Mapping[str, BrokerState | None],
    rival: str | None = None,
    foreign_master: str | None = None,
) -> Judgement:
    """Judges a promotion of `mine`.

    `master` is what the master says now, None when it does not answer; `told` is what it said last. `others`
    are the other brokers of the name by address, with what each says now. `rival` is a broker that does not
    answer, though NameServers have it for the master and it is not the one that is followed here;
    `foreign_master` a master that does answer, and is no broker of rocketmq_tx.
    """
    newest = max((other for other in others.values() if other is not None), key=_progress, default=None)
    if newest is not None and newest.history.number > (master or mine).history.number:
        return Judgement(
            Verdict.MISSING,
            f"the broker {newest.address} is of epoch {newest.history.number}, newer than what this slave "
            f"follows; promote that one, or one that follows it",
        )
    if foreign_master is not None:
        return Judgement(
            Verdict.UNKNOWN,
            f"the master {foreign_master} is alive and no broker of rocketmq_tx: it cannot hand over, nor "
            "say how far it is; stop it first",
        )
    if rival is not None:
        return Judgement(Verdict.UNKNOWN, f"the broker {rival} does not answer, and may be a newer master")
    if master is not None:
        return _judge_with_master(mine, master)
    if newest is not None and _progress(newest) > _progress(mine):
        return Judgement(
            Verdict.MISSING,
            f"the slave {newest.address} has more: its log ends at {newest.max_offset}, this one's at "
            f"{mine.max_offset} ({newest.max_offset - mine.max_offset} bytes); promote that one",
        )
    return _judge_without_master(mine, told, others)


def _judge_with_master(mine: BrokerState, master: BrokerState) -> Judgement:
    if mine.history != master.history:
        return Judgement(
            Verdict.UNKNOWN,
            f"this slave knows of epochs up to {mine.history.number}, the master {master.address} up to "
            f"{master.history.number}: it does not follow that master yet",
        )
    return Judgement(
        Verdict.HAND_OVER, f"the master {master.address} answers: it stops taking messages and hands over"
    )


def _progress(state: BrokerState) -> tuple[int, int]:
    return state.history.number, state.max_offset


def _judge_without_master(
    mine: BrokerState, told: BrokerState | None, others: Mapping[str, BrokerState | None]
) -> Judgement:
    problem = None
    silent = [address for address, other in others.items() if other is None]
    if told is None:
        problem = "its master never told this process how far it was"
    elif told.handing_over_to not in ("", mine.address) and others.get(told.handing_over_to) is None:
        problem = (
            f"it was handing over to {told.handing_over_to}, which does not answer, and may have taken over"
        )
    elif told.role is not BrokerRole.SYNC_MASTER:
        problem = f"its master was {told.role.value}, and acknowledged what no slave had"
    elif told.history != mine.history:
        problem = f"it was of epoch {told.history.number}, this slave is of {mine.history.number}"
    elif mine.max_offset < told.max_offset:
        problem = (
            f"its master's log ended at {told.max_offset} when it was last heard, and this one ends at "
            f"{mine.max_offset}"
        )
    elif silent:
        problem = f"the slave {silent[0]} does not say how far it is, and may have more"
    elif told.slaves > 1 + len(others):
        problem = f"its master had {told.slaves} slaves, and no NameServer knows where the others are"
    if problem is not None:
        return Judgement(Verdict.UNKNOWN, f"the master does not answer: {problem}")
    return Judgement(
        Verdict.COMPLETE,
        "the master does not answer; it was SYNC_MASTER and acknowledged nothing that no slave had, this "
        "slave has all of the log that it had when it was last heard (up to "
        f"{told.max_offset if told else 0}), and no other slave has more",
    )
