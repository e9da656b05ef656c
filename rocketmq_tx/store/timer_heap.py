"""The entries of a timer index that stand in no run yet: a heap, and from where on a crash would lose it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from rocketmq_tx.store.timer_entries import AFTER_ALL, Entry, entry_offset


class TimerHeap:
    """What the timer queue has given since the last run was made, the entry that is due next in front."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        """For `heapq`; read it from outside, and change it by the methods only."""
        self.intake_from = 0
        """The next queue offset to enter."""
        self.entered_to = 0
        """Everything entered so far lies below this log offset."""
        self._begun_at = (0, 0)
        self._is_newest = True

    def __len__(self) -> int:
        return len(self.entries)

    def take_over(self, intake_from: int, entered_to: int, in_force: Sequence[Entry]) -> None:
        """What a manifest tells: up to where the queue is in runs, and what besides is to be taken again."""
        self.intake_from, self.entered_to = self._begun_at = intake_from, entered_to
        if in_force:
            self.entries = sorted(in_force)
            self._is_newest = False

    def enter(self, entries: Sequence[Entry], intake_from: int, entered_to: int) -> None:
        """All that counts of the queue before `intake_from`, whose records end by `entered_to`, is in."""
        for entry in entries:
            heapq.heappush(self.entries, entry)
        self.intake_from = intake_from
        self.entered_to = max(self.entered_to, entered_to)

    def give_back(self, entries: Sequence[Entry]) -> None:
        """These were taken from the heap or from runs, and are due as before."""
        for entry in entries:
            heapq.heappush(self.entries, entry)
        if entries:
            self._is_newest = False

    def least(self) -> Entry:
        """The entry that is due next; AFTER_ALL without any."""
        return self.entries[0] if self.entries else AFTER_ALL

    def empty(self) -> None:
        """Lets go of all entries: they stand in a run now, and the runs cover the queue up to here."""
        self.entries = []
        self._is_newest = True
        self._begun_at = (self.intake_from, self.entered_to)

    @property
    def is_newest(self) -> bool:
        """Whether entering the queue again, from where the runs end, would bring all of it back."""
        return self._is_newest

    @property
    def covered(self) -> tuple[int, int]:
        """`intake_from` and `entered_to` of what the runs hold: what was entered later may be in the heap."""
        if not self.entries:
            self._begun_at = (self.intake_from, self.entered_to)
        return self._begun_at

    def has_record_below(self, log_offset: int) -> bool:
        """Whether an entry names a record that begins below that offset of the log."""
        return any(entry_offset(entry)[0] < log_offset for entry in self.entries)
