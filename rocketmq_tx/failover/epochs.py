"""Epochs of a broker name: who wrote which part of the commit log. Pure.

An epoch begins with each promotion and has a number, one more than any before. A history says at which
commit log offset each began; two brokers whose histories begin alike have the same log up to where the last
epoch that they share ends in either of them. Epoch 0, from offset 0 on, is what was written before the first
promotion.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import attrs


class Epoch(NamedTuple):
    """One master's time: the log from `start_offset` on is of this epoch, up to where the next one begins."""

    number: int
    start_offset: int
    freed_broker_id: int = 0
    """The brokerId that the promoted slave had: the master before it takes that one."""


class CommonEnd(NamedTuple):
    """Up to where two logs are of the same epochs: `offset` lies in `epoch`, or at its end."""

    epoch: int
    offset: int


FIRST = Epoch(0, 0)


def _check(history: EpochHistory, attribute: object, epochs: tuple[Epoch, ...]) -> None:
    if not epochs or epochs[0] != FIRST:
        raise ValueError(f"a history begins with epoch 0 at offset 0, not with {epochs[:1]}")
    for before, epoch in itertools.pairwise(epochs):
        if epoch.number <= before.number or epoch.start_offset < before.start_offset:
            raise ValueError(f"epoch {epoch} cannot follow {before}")


@attrs.frozen
class EpochHistory:
    """Epochs, oldest first. Numbers grow, start offsets never fall; an epoch without a byte is possible."""

    epochs: tuple[Epoch, ...] = attrs.field(default=(FIRST,), validator=_check)

    @property
    def newest(self) -> Epoch:
        return self.epochs[-1]

    @property
    def number(self) -> int:
        """The newest epoch's number; 0 as long as nobody was ever promoted."""
        return self.epochs[-1].number

    def begun(self, number: int, start_offset: int, freed_broker_id: int) -> EpochHistory:
        """With one more epoch; ValueError when it does not come after the newest one."""
        return EpochHistory((*self.epochs, Epoch(number, start_offset, freed_broker_id)))

    def end_of(self, number: int, log_end: int) -> int:
        """Where the epoch's part of a log ends that ends at `log_end`; KeyError for an unknown epoch."""
        for epoch, following in zip(self.epochs, (*self.epochs[1:], None), strict=True):
            if epoch.number == number:
                return log_end if following is None else min(following.start_offset, log_end)
        raise KeyError(number)

    def epoch_at(self, offset: int) -> int:
        """The number of the epoch in which the byte at `offset` was, or would be, written."""
        return next(epoch.number for epoch in reversed(self.epochs) if epoch.start_offset <= offset)

    def id_for_master_of(self, number: int) -> int | None:
        """The brokerId for who was master in that epoch: what the promoted of the next one has freed.

        None when no later epoch is known.
        """
        return next((epoch.freed_broker_id for epoch in self.epochs if epoch.number > number), None)

    # -- as text -------------------------------------------------------------------------------------------

    def to_text(self) -> str:
        """`0:0:0,1:4711:1`: number, start offset and freed brokerId of each."""
        return ",".join(":".join(map(str, epoch)) for epoch in self.epochs)

    @classmethod
    def from_text(cls, text: str) -> EpochHistory:
        """What `to_text` has made; ValueError for anything else."""
        epochs = []
        for part in text.split(","):
            numbers = [int(number) for number in part.split(":")]
            if len(numbers) != len(Epoch._fields):
                raise ValueError(f"{part!r} is no epoch")
            epochs.append(Epoch(*numbers))
        return cls(tuple(epochs))


def common_end(mine: EpochHistory, my_end: int, theirs: EpochHistory, their_end: int) -> CommonEnd:
    """Up to where both logs are of the same epochs: the last shared one, and the nearer of its two ends.

    Says nothing of bytes: what two brokers wrote under one epoch by mistake, only comparing them shows.
    """
    shared = FIRST
    for epoch, other in zip(mine.epochs, theirs.epochs, strict=False):
        if (epoch.number, epoch.start_offset) != (other.number, other.start_offset):
            break
        shared = epoch
    ends = mine.end_of(shared.number, my_end), theirs.end_of(shared.number, their_end)
    return CommonEnd(shared.number, min(ends))


def may_follow(mine: EpochHistory, theirs: EpochHistory) -> bool:
    """Whether a broker with history `mine` may follow a master with `theirs`: one that is not outdated.

    Of the same newest epoch there is one master only, so that a second one with another beginning is none.
    """
    if theirs.number != mine.number:
        return theirs.number > mine.number
    return theirs.newest.start_offset == mine.newest.start_offset
