"""Who must have a message before it is acknowledged, and when members join and leave that set. Pure.

    required = confirmed + on its way + joining

*confirmed* is what the coordination service is known to hold; a set *on its way* may hold there already, or
never will; a member that is *joining* is waited for before it is proposed, so that it has everything
acknowledged when it becomes electable. Whoever may be elected is required, therefore whoever is elected has
everything acknowledged. Without a session nothing can be proposed: the set stays, whoever is missing.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.define
class Progress:
    """How far a connected member has come. `target` is where the log ended when it last caught up."""

    reached: int
    target: int
    since_ms: int

    def note(self, reached: int, log_end: int, now_ms: int) -> None:
        """It has said how far it is."""
        self.reached = reached
        if reached >= self.target:
            self.target, self.since_ms = log_end, now_ms

    def late_ms(self, now_ms: int) -> int:
        """For how long it has not reached where the log ended at that time ago; 0 when it has."""
        return 0 if self.reached >= self.target else now_ms - self.since_ms


@attrs.frozen
class Limits:
    """When a member counts as lagging: haSlaveFallbehindMax and slaveTimeout."""

    behind_max_bytes: int
    late_max_ms: int


Members = Mapping[int, Progress]
"""The members that are connected, without the master."""


class InSyncSet:
    """Of the master `me` in one epoch. Begins with itself alone, as its claim says."""

    def __init__(self, me: int) -> None:
        self.me = me
        self.confirmed = frozenset({me})
        self._on_its_way: frozenset[int] = frozenset()
        self._proposed: frozenset[int] | None = None
        self._joining: frozenset[int] = frozenset()

    @property
    def required(self) -> frozenset[int]:
        """Whose acknowledgement every message needs; always holds the master."""
        return self.confirmed | self._on_its_way | self._joining

    def replicated_to(self, members: Members, log_end: int) -> int | None:
        """Up to where all that are required have the log; None when one of them is not connected."""
        reached = log_end
        for member in self.required:
            if member == self.me:
                continue
            progress = members.get(member)
            if progress is None:
                return None
            reached = min(reached, progress.reached)
        return reached

    def is_complete(self, members: Members) -> bool:
        """Whether another member acknowledges, and nobody who is required is missing."""
        others = self.required - {self.me}
        return bool(others) and all(member in members for member in others)

    # -- changes ---------------------------------------------------------------------------------------------

    def look(self, members: Members, watermark: int, log_end: int, now_ms: int, limits: Limits) -> None:
        """Lets members begin to join that have nearly caught up, and gives up those that stall at it."""
        joining = set()
        for member, progress in members.items():
            if member not in self.confirmed and not _lags(progress, log_end, now_ms, limits):
                joining.add(member)
        near = {
            member
            for member in joining
            if member in self._joining or watermark - members[member].reached <= JOIN_WITHIN_BYTES
        }
        self._joining = frozenset(near)

    def proposal(
        self, members: Members, watermark: int, log_end: int, now_ms: int, limits: Limits
    ) -> frozenset[int] | None:
        """The set to write now, None when nothing is to change or a proposal is on its way.

        A member goes that has gone, lags, or has lost what was acknowledged; one comes that has all of it.
        """
        if self._proposed is not None:
            return None
        wanted = {self.me}
        for member, progress in members.items():
            if progress.reached < watermark or _lags(progress, log_end, now_ms, limits):
                continue
            if member in self.required:
                wanted.add(member)
        if wanted == self.confirmed and not self._on_its_way:
            return None
        return frozenset(wanted)

    def proposed(self, members: frozenset[int]) -> None:
        """It is about to be sent, and may hold from now on."""
        self._proposed = members
        self._on_its_way |= members

    def agreed(self) -> None:
        """The proposal was written: no earlier one can be any more, since each names the version before."""
        assert self._proposed is not None
        self.confirmed, self._proposed, self._on_its_way = self._proposed, None, frozenset()
        self._joining -= self.confirmed

    def unknown(self) -> None:
        """Nobody can say what became of the proposal: it counts, until another one is agreed on."""
        self._proposed = None


JOIN_WITHIN_BYTES = 1 << 20
"""Acknowledgements wait for a member that joins, so it is let in only when that is soon over."""


def _lags(progress: Progress, log_end: int, now_ms: int, limits: Limits) -> bool:
    behind = log_end - progress.reached
    return behind > limits.behind_max_bytes or progress.late_ms(now_ms) > limits.late_max_ms
