"""Which messages wait for their own time, and which of them are due: on disk, with little of it in memory.

New entries gather in a heap; a full heap becomes a sorted run on disk, many runs become one. The message that
is due next is the least of the heap's and the runs' heads, so memory holds one heap and a block of each run,
however many messages wait and however their times are spread.

All of it is derived from the queue of pending messages in the commit log. The manifest says up to where that
queue has been entered; what came later is entered again after a crash. Pure: no clock, no thread.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import attrs

from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.timer_done import DoneWith
from rocketmq_tx.store.timer_entries import (
    AFTER_ALL,
    Entry,
    after_ms,
    due_ms_of,
    entry_offset,
    pack_entry,
)
from rocketmq_tx.store.timer_heap import TimerHeap
from rocketmq_tx.store.timer_manifest import Claim, TimerManifest
from rocketmq_tx.store.timer_moving import Moving
from rocketmq_tx.store.timer_run_set import RunSet
from rocketmq_tx.store.timer_runs import Run
from rocketmq_tx.store.timer_saving import SavedIndex, SaveJob

SPILL_ENTRIES = 16_384
"""So many entries of 20 bytes in the heap (1.2 MB as Python objects) become a run of 320 KiB, in 6 ms."""
_HEAPS_IN_MEMORY = 4
"""With so many times as many entries not yet on disk, no more are entered."""
RUNS_MAX = 64
_VOIDS_AT_ONCE = 16
"""A call of `take` passes over so many times as many entries as it may return."""


class TimerIndex:
    """Opened by `load`; one batch of entries at a time is out between `take` and `done` or `give_back`."""

    def __init__(
        self,
        disk: Disk,
        directory: str,
        notice: Callable[[str], None],
        *,
        spill_entries: int = SPILL_ENTRIES,
        runs_max: int = RUNS_MAX,
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._file = SavedIndex(disk, directory, notice)
        self._spill_entries = spill_entries
        self._runs_max = runs_max
        self.in_force: Callable[[], Sequence[Entry]] = tuple
        """Taken and done, but to be taken again after a restart: cancellations that may still find theirs."""
        self._forget()

    def _forget(self) -> None:
        self._done = DoneWith()
        self._runs = RunSet(self._disk, self._directory, self._done.counts)
        self._forget_entries()

    def _forget_entries(self) -> None:
        self._heap = TimerHeap()
        self._out: list[Entry] = []
        self._moving = Moving(self._runs, self._done, self._spill_old)
        self._saved: TimerManifest | None = None

    # -- opening -------------------------------------------------------------------------------------------

    def load(self, log_end: int, queue_end: int) -> bool:
        """Reads what was saved; False when there is nothing that fits this log: all is to be entered anew.

        Whatever is wrong with the files is no reason to stop: they hold nothing that the log has not got.
        """
        self._forget()
        manifest = self._file.load(log_end, queue_end, self._runs.path)
        self._take_over(manifest or TimerManifest())
        self._runs.remove_strangers()
        return manifest is not None

    def discard(self) -> None:
        """Forgets everything, on disk as well: the next `load` finds nothing. Not while a job runs.

        StoreError when a file cannot be removed.
        """
        self._forget()
        self._file.remove()
        self._runs.remove_strangers()

    def _take_over(self, manifest: TimerManifest) -> None:
        self._heap.take_over(manifest.intake_from, manifest.entered_to, manifest.in_force)
        self._done.void_below, self._done.moving_below = manifest.void_below, manifest.moving_below
        self._runs.take_over(manifest.runs, manifest.next_run)
        self._done.claims = list(manifest.claims)

    @property
    def intake_from(self) -> int:
        """The next queue offset to enter."""
        return self._heap.intake_from

    @property
    def entered_to(self) -> int:
        """Everything entered so far lies below this log offset."""
        return self._heap.entered_to

    @property
    def void_below(self) -> int:
        """Records below this log offset have been appended again and count where they stand now."""
        return self._done.void_below

    def claim(self, claim: Claim, void_below: int = 0) -> None:
        """Somebody knows of messages that are done with: they are passed over."""
        self._done.claim(claim, void_below)

    def begin_anew(self, wrong: Entry = AFTER_ALL) -> None:
        """Forgets every entry, but not which messages are done with; intake begins at the first message.

        `wrong` is an entry that did not fit its record: nothing that is due then or later counts as done.
        """
        before, log_offset = self.position()
        before = min(before, pack_entry(due_ms_of(wrong), 0, 0))
        self._runs.abandon_all()
        self._forget_entries()
        self._done.claims.append(Claim(before, log_offset))
        self._done.moving_below = 0

    # -- entering ------------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether more may be entered; if not, something has to be saved first."""
        unsaved = sum(run.count for run in self._runs if run.blob is not None)
        return len(self._heap) + unsaved < _HEAPS_IN_MEMORY * self._spill_entries

    def enter(self, entries: Sequence[Entry], intake_from: int, entered_to: int) -> None:
        """Messages of the queue before `intake_from`, whose records end by `entered_to`, are entered."""
        is_done = self._done.covers
        self._heap.enter([entry for entry in entries if not is_done(entry)], intake_from, entered_to)

    # -- what is due ---------------------------------------------------------------------------------------

    def next_due_ms(self) -> int | None:
        """When the next message is due (epoch ms); None when none waits."""
        head = self._least()
        return None if head == AFTER_ALL else due_ms_of(head)

    def take(self, now_ms: int, max_count: int) -> list[Entry]:
        """Entries due by now, in order; they are out until `done` or `give_back` is called."""
        limit = after_ms(now_ms)
        taken: list[Entry] = []
        heap = self._heap.entries
        for _ in range(max_count * _VOIDS_AT_ONCE):
            in_heap = heap[0] if heap else AFTER_ALL
            in_runs, _, run = self._runs.heads[0] if self._runs.heads else (AFTER_ALL, 0, None)
            if min(in_heap, in_runs) >= limit or len(taken) >= max_count:
                break
            if in_heap <= in_runs or run is None:
                entry, counts = heapq.heappop(heap), True
            else:
                entry, counts = in_runs, self._done.counts(run, run.position, in_runs)
                self._runs.advance(run)
            if counts and entry_offset(entry)[0] >= self.void_below:
                taken.append(entry)
        self._out = taken
        return taken

    def done(self) -> None:
        """What was taken is delivered, or needs not be."""
        self._out = []

    def give_back(self, entries: Sequence[Entry]) -> None:
        """Of what was taken, these could not be delivered; they are due as before."""
        self._heap.give_back(entries)
        self._out = []

    def position(self) -> Claim:
        """Which of the messages entered so far are done with."""
        return Claim(min([self._least(), *self._out, *self.in_force()]), self.entered_to)

    @property
    def pending(self) -> int:
        """How many entries wait, those that do not count any more included."""
        return len(self._heap) + len(self._out) + sum(run.remaining for run in self._runs)

    @property
    def run_count(self) -> int:
        return len(self._runs)

    def _least(self) -> Entry:
        return min(self._heap.least(), self._runs.least())

    # -- saving --------------------------------------------------------------------------------------------

    def begin_save(self, log_end: int, everything: bool = False) -> SaveJob | None:
        """What is to be written so that this state is found again; None when nothing has changed.

        The job may run as soon as the log is flushed up to `log_end`, its present end; not while a batch is
        out. With `everything` the heap goes to disk, however small it is.
        """
        if self._out:
            return None
        if len(self._heap) >= self._spill_entries or everything or not self._heap.is_newest:
            self._spill()
        manifest = self._manifest(log_end)
        if self._saved is not None and manifest == attrs.evolve(self._saved, log_end=log_end):
            return None
        unsynced = [run for run in self._runs if not run.is_synced]
        return self._file.job(manifest, unsynced, self._runs.take_obsolete())

    def finish_save(self, job: SaveJob) -> None:
        """The job has run well."""
        for run in job.runs:
            run.blob, run.is_synced = None, True
        self._saved = job.manifest

    def take_back(self, job: SaveJob) -> None:
        """The job has failed, or never ran."""
        self._runs.give_back_obsolete(job.obsolete)

    def _spill(self) -> Run | None:
        """Makes the heap a run, if anything is in it."""
        run = self._runs.add(self._heap.entries) if self._heap else None
        self._heap.empty()
        return run

    def _manifest(self, log_end: int) -> TimerManifest:
        position = self.position()
        self._done.drop_claims_within(position)
        return TimerManifest(
            log_end,
            *self._heap.covered,
            (*self._done.claims, position),
            self._done.void_below,
            self._done.moving_below,
            self._runs.next_number,
            tuple(self.in_force()),
            self._runs.facts(),
        )

    @property
    def is_caught_up(self) -> bool:
        """Whether `position` says all that is known to be done with."""
        return self._done.says_no_more_than(self.position())

    # -- fewer runs ----------------------------------------------------------------------------------------

    def begin_merge(self) -> bool:
        """Begins to merge the shortest runs when there are too many; whether `merge_step` is to be called."""
        if not self.is_merging and len(self._runs) > self._runs_max and not self.is_moving:
            self._runs.begin_merge()
        return self.is_merging

    def merge_step(self, count: int) -> bool:
        """Merges some more entries; True when that was all. StoreError gives the merge up."""
        return self._runs.merge_step(count)

    @property
    def is_merging(self) -> bool:
        return self._runs.is_merging

    # -- records that are about to be deleted --------------------------------------------------------------

    @property
    def is_moving(self) -> bool:
        return self._done.is_moving

    def begin_move(self, below: int) -> None:
        """Records below this log offset are to be appended again: `next_to_move` tells which.

        A move that was interrupted is finished first; ask again afterwards. Not during a merge.
        """
        self._moving.begin(below)

    def next_to_move(self, max_count: int) -> list[Entry] | None:
        """Some entries whose records are to be appended again, perhaps none; then call `moved`.

        None when all of them have been: the old records count no more. Nothing while a batch is out.
        """
        if self._out:
            return []
        return self._moving.next(max_count)

    def _spill_old(self) -> Run | None:
        return self._spill() if self._heap.has_record_below(self._done.moving_below) else None

    def moved(self) -> None:
        """The records that `next_to_move` named have been appended again."""
        self._moving.moved()
