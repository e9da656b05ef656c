"""Sorted runs of timer entries: immutable files that are read from the front, a block at a time.

A run holds what once filled the memory, in the order in which it is due. However many messages wait, a run
costs one block of memory; many runs are merged into one, in bites.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import attrs

from rocketmq_tx.errors import StoreDamaged
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.timer_entries import (
    AFTER_ALL,
    ENTRY_BYTES,
    Entry,
    entry_offset,
    split_entries,
)

NO_OFFSET = (1 << 63) - 1
"""Above every log offset: the oldest record of a run without any."""
BLOCK_ENTRIES = 204
"""4080 bytes: what is read of a run at once."""


@attrs.define(eq=False)
class Run:
    """One run, of which the entries from `position` on are pending.

    `blob` holds the entries until they are on disk. `oldest` is the lowest log offset among its records.
    Those before the place `moved_to` have been looked at for old records, which stand elsewhere by now.
    """

    disk: Disk
    path: str
    count: int
    position: int
    oldest: int
    moved_to: int = 0
    blob: bytes | None = None
    is_synced: bool = True
    _block: list[Entry] = attrs.field(factory=list, init=False)
    _block_from: int = attrs.field(default=0, init=False)

    @property
    def remaining(self) -> int:
        """How many entries are pending, void ones included."""
        return self.count - self.position

    def head(self) -> Entry:
        """The entry that is due next; AFTER_ALL when the run is used up."""
        if self.position >= self.count:
            return AFTER_ALL
        at = self.position - self._block_from
        if not 0 <= at < len(self._block):
            self._block = self.read(self.position, BLOCK_ENTRIES)
            self._block_from, at = self.position, 0
        return self._block[at]

    def read(self, position: int, count: int) -> list[Entry]:
        """Up to `count` entries from a place on; StoreDamaged when the file has lost some."""
        count = min(count, self.count - position)
        begin, length = position * ENTRY_BYTES, count * ENTRY_BYTES
        if self.blob is not None:
            data = self.blob[begin : begin + length]
        else:
            data = self.disk.open(self.path).pread(length, begin)
            if len(data) < length:
                raise StoreDamaged(f"{self.path} ends before entry {position + count} of {self.count}")
        return split_entries(data)

    def entries_from(self, place: int) -> Iterator[tuple[int, Entry]]:
        """(place, entry) from there to the end; independent of `position`."""
        while place < self.count:
            for entry in self.read(place, BLOCK_ENTRIES):
                yield place, entry
                place += 1

    def place_of(self, key: bytes) -> int:
        """The place of the first entry that is not less than `key`."""
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            if self.read(middle, 1)[0] < key:
                low = middle + 1
            else:
                high = middle
        return low

    def write(self) -> None:
        """Puts it onto the device; touches no state, for a thread."""
        if self.blob is not None:
            file = self.disk.create(self.path, 0)
            file.truncate(0)
            file.pwrite(self.blob, 0)
            file.sync()
        elif not self.is_synced:
            self.disk.open(self.path).sync()


Counts = Callable[[Run, int, Entry], bool]
"""Whether the entry at a place of a run still counts."""


class Merge:
    """Makes one run of several, a bite at a time; the several go on being read meanwhile."""

    def __init__(self, disk: Disk, path: str, inputs: Sequence[Run], counts: Counts) -> None:
        self.inputs = list(inputs)
        self._disk = disk
        self.path = path
        self._file = disk.create(path, 0)
        self._file.truncate(0)
        self._count = 0
        self._oldest = NO_OFFSET
        self._entries = heapq.merge(*(_pending(run, counts) for run in inputs))

    def step(self, count: int) -> bool:
        """Merges up to `count` more entries; True when that was all."""
        entries = list(islice(self._entries, count))
        if entries:
            self._file.pwrite(b"".join(entries), self._count * ENTRY_BYTES)
            self._count += len(entries)
            self._oldest = min(self._oldest, min(map(entry_offset, entries))[0])
        return len(entries) < count

    def result(self) -> Run:
        """The merged run, not yet synced, without what was taken from the several in the meantime.

        They were read in order, so what was taken from any of them is less than all that is left.
        """
        run = Run(self._disk, self.path, self._count, 0, self._oldest, is_synced=False)
        run.position = run.place_of(min(each.head() for each in self.inputs))
        return run


def _pending(run: Run, counts: Counts) -> Iterator[Entry]:
    return (entry for place, entry in run.entries_from(run.position) if counts(run, place, entry))
