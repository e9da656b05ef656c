"""Finding the messages of a timer index whose records are about to be deleted: they are appended again."""

from __future__ import annotations

from collections.abc import Callable

from rocketmq_tx.store.timer_done import DoneWith
from rocketmq_tx.store.timer_entries import Entry, entry_offset
from rocketmq_tx.store.timer_run_set import RunSet
from rocketmq_tx.store.timer_runs import BLOCK_ENTRIES, Run

_BLOCKS_AT_ONCE = 64
"""A call of `next` looks through so many blocks, 13,000 entries, at most."""


class Moving:
    """Goes through the runs, each once; `done` says up to where records go, and hears when all have gone.

    `spill_old` makes a run of what is in memory, if it has such records.
    """

    def __init__(self, runs: RunSet, done: DoneWith, spill_old: Callable[[], Run | None]) -> None:
        self._runs = runs
        self._done = done
        self._spill_old = spill_old
        self._looked_at: tuple[Run, int] | None = None

    def begin(self, below: int) -> None:
        """Records below this log offset are to go; one move after the other."""
        if not self._done.is_moving:
            self._done.moving_below = max(below, self._done.void_below)

    def next(self, max_count: int) -> list[Entry] | None:
        """Some entries, perhaps none, to be appended again before `moved`; None when all have been."""
        run = next((run for run in self._runs if self._has_old(run)), None) or self._spill_old()
        if run is None:
            self._done.void_below = max(self._done.void_below, self._done.moving_below)
            for each in self._runs:
                each.moved_to = 0
            return None
        found: list[Entry] = []
        place = max(run.moved_to, run.position)
        for _ in range(_BLOCKS_AT_ONCE):
            for entry in run.read(place, BLOCK_ENTRIES) if place < run.count else ():
                place += 1
                old = entry_offset(entry)[0] < self._done.moving_below
                if old and self._done.counts(run, place - 1, entry):
                    found.append(entry)
                if len(found) >= max_count:
                    break
            if len(found) >= max_count or place >= run.count:
                break
        self._looked_at = (run, place)
        return found

    def moved(self) -> None:
        """What `next` has given stands elsewhere now."""
        if self._looked_at is not None:
            run, run.moved_to = self._looked_at[0], self._looked_at[1]
            self._looked_at = None

    def _has_old(self, run: Run) -> bool:
        return run.remaining > 0 and run.oldest < self._done.moving_below and run.moved_to < run.count
