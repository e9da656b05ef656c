"""Which entries of a timer index are done with: said by bounds, of which few are kept, and not one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocketmq_tx.store.timer_entries import Entry, entry_offset
from rocketmq_tx.store.timer_manifest import Claim

if TYPE_CHECKING:
    from rocketmq_tx.store.timer_runs import Run


class DoneWith:
    """Claims, and records that have been appended again: their old entries count no more."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.void_below = 0
        """Records below this log offset have been appended again and count where they stand now."""
        self.moving_below = 0
        """The same in the making: so far in the places of each run before its `moved_to`."""

    @property
    def is_moving(self) -> bool:
        return self.moving_below > self.void_below

    def covers(self, entry: Entry) -> bool:
        """Whether a claim covers the entry, or its record was appended again."""
        (offset,) = entry_offset(entry)
        if offset < self.void_below:
            return True
        return any(entry < before and offset < log_offset for before, log_offset in self.claims)

    def counts(self, run: Run, place: int, entry: Entry) -> bool:
        """Whether the entry at a place of a run is still to be delivered."""
        moved = place < run.moved_to and entry_offset(entry)[0] < self.moving_below
        return not moved and not self.covers(entry)

    def claim(self, claim: Claim, void_below: int) -> None:
        """Somebody knows of messages that are done with."""
        if claim.log_offset > 0:
            self.claims.append(claim)
        self.void_below = max(self.void_below, void_below)

    def says_no_more_than(self, position: Claim) -> bool:
        """Whether all that is known to be done with is what the index's own position says."""
        return not any(_says_more(claim, position) for claim in self.claims)

    def drop_claims_within(self, position: Claim) -> None:
        """What the index's own position says, too, needs not be kept."""
        self.claims = [claim for claim in self.claims if _says_more(claim, position)]


def _says_more(claim: Claim, position: Claim) -> bool:
    return claim.log_offset > position.log_offset or claim.before > position.before
