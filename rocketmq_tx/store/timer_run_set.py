"""All sorted runs of a timer index: which entry is due next, which files there are, fewer by merging."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.timer_entries import AFTER_ALL, Entry, entry_offset
from rocketmq_tx.store.timer_manifest import RunFacts
from rocketmq_tx.store.timer_runs import Counts, Merge, Run

_MERGED_AT_ONCE = 32


class RunSet:
    """Runs in one directory, in files named by number; `counts` says which of their entries still do."""

    def __init__(self, disk: Disk, directory: str, counts: Counts) -> None:
        self._disk = disk
        self._directory = directory
        self._counts = counts
        self._runs: list[Run] = []
        self.heads: list[tuple[Entry, int, Run]] = []
        """A heap of what is due next in each run that has something left."""
        self.next_number = 1
        self._obsolete: list[str] = []
        self._merge: Merge | None = None

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def path(self, number: int) -> str:
        """Where the run of a number lies."""
        return f"{self._directory}/{number:010d}"

    def _new_path(self) -> str:
        self.next_number += 1
        return self.path(self.next_number - 1)

    # -- what is there -------------------------------------------------------------------------------------

    def take_over(self, facts: Sequence[RunFacts], next_number: int) -> None:
        """Those that a manifest tells of."""
        self.next_number = next_number
        for number, count, position, oldest, moved_to in facts:
            self._runs.append(Run(self._disk, self.path(number), count, position, oldest, moved_to))
        self._order_heads()

    def facts(self) -> tuple[RunFacts, ...]:
        """For a manifest."""
        return tuple(
            RunFacts(_number(run.path), run.count, run.position, run.oldest, run.moved_to)
            for run in self._runs
            if run.remaining
        )

    def remove_strangers(self) -> None:
        """Removes files that are named like runs and are none of these. StoreError."""
        ours = {run.path for run in self._runs}
        for name in self._disk.names(self._directory):
            path = f"{self._directory}/{name}"
            if name.isdecimal() and path not in ours:
                self._disk.remove(path)
                self.next_number = max(self.next_number, int(name) + 1)

    def add(self, entries: Sequence[Entry]) -> Run:
        """Makes entries a run, in memory until it is saved."""
        oldest = min(map(entry_offset, entries))[0]
        blob = b"".join(sorted(entries))
        run = Run(self._disk, self._new_path(), len(entries), 0, oldest, blob=blob, is_synced=False)
        self._runs.append(run)
        heapq.heappush(self.heads, (run.head(), id(run), run))
        return run

    def abandon_all(self) -> None:
        """None of them counts any more."""
        self._obsolete += [run.path for run in self._runs]
        if self._merge is not None:
            self._obsolete.append(self._merge.path)
        self._runs, self.heads, self._merge = [], [], None

    def take_obsolete(self) -> list[str]:
        """Files that may be removed once a manifest without them is on the device."""
        obsolete, self._obsolete = self._obsolete, []
        return obsolete

    def give_back_obsolete(self, paths: list[str]) -> None:
        """They have not been removed."""
        self._obsolete += paths

    # -- what is due ---------------------------------------------------------------------------------------

    def least(self) -> Entry:
        """What is due next; AFTER_ALL without any."""
        return self.heads[0][0] if self.heads else AFTER_ALL

    def advance(self, run: Run) -> None:
        """The least entry, which is that run's, has been taken."""
        run.position += 1
        if run.remaining:
            heapq.heapreplace(self.heads, (run.head(), id(run), run))
        else:
            heapq.heappop(self.heads)
            self._drop(run)

    def _drop(self, run: Run) -> None:
        if self._merge is None or run not in self._merge.inputs:
            self._runs.remove(run)
            self._obsolete.append(run.path)

    def _order_heads(self) -> None:
        self.heads = [(run.head(), id(run), run) for run in self._runs if run.remaining]
        heapq.heapify(self.heads)

    # -- fewer runs ----------------------------------------------------------------------------------------

    @property
    def is_merging(self) -> bool:
        return self._merge is not None

    def begin_merge(self) -> None:
        """Begins to make one of the shortest runs, if there are two on the device."""
        synced = sorted((run for run in self._runs if run.is_synced), key=lambda run: run.remaining)
        if len(synced) > 1:
            inputs = synced[:_MERGED_AT_ONCE]
            self._merge = Merge(self._disk, self._new_path(), inputs, self._counts)

    def merge_step(self, count: int) -> bool:
        """Merges some more entries; True when that was all. StoreError gives the merge up."""
        merge = self._merge
        if merge is None:
            return True
        try:
            if not merge.step(count):
                return False
            result = merge.result()
        except StoreError:
            self._obsolete.append(merge.path)
            self._merge = None
            self._runs = [run for run in self._runs if run.remaining]
            raise
        self._merge = None
        self._runs = [run for run in self._runs if run not in merge.inputs]
        self._obsolete += [run.path for run in merge.inputs]
        if result.remaining:
            self._runs.append(result)
        else:
            self._obsolete.append(result.path)
        self._order_heads()
        return True


def _number(path: str) -> int:
    return int(path.rpartition("/")[2])
