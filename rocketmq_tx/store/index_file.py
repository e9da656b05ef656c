"""One file of the message index: a header, hash slots, and entries chained from each slot, newest first.

Entries go to the file as they come; the slots stay in memory and follow at checkpoints, then the header. So
what the header counts is always complete on disk, and whatever a crash leaves beyond is built again from
the header's `end_offset`. Facts: `spec/store.yaml`, index_file.
"""

from __future__ import annotations

import mmap
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from operator import itemgetter
from typing import TYPE_CHECKING

from rocketmq_tx.store.disk import Disk, DiskFile
from rocketmq_tx.store.layouts import (
    INDEX_ENTRY,
    INDEX_ENTRY_BYTES,
    INDEX_HEADER,
    INDEX_HEADER_BYTES,
    INDEX_SLOT_BYTES,
)
from rocketmq_tx.store.segments import OpenFiles

if TYPE_CHECKING:
    Slots = array[int] | memoryview[int]

_PAGE_SHIFT = 10
_PAGE_SLOTS = 1 << _PAGE_SHIFT
_RUN_PAGES = 24
"""A checkpoint writes so many pages at once, at most: a few make it cheap already."""
_LOOKED_AT = 256 * _PAGE_SLOTS
_MAX_SECONDS = 0x7FFFFFFF


class IndexSnapshot:
    """What a checkpoint writes of an index file: slots, then the header. `run` touches no state of it.

    `runs` are pages that follow one another: the number of the first, and their slots.
    """

    def __init__(self, disk: Disk, path: str, runs: list[tuple[int, bytes]], header: bytes) -> None:
        self._disk = disk
        self.path = path
        self._runs = runs
        self._header = header

    def run(self) -> None:
        """Syncs between the steps, so that slots never name entries that are not on the device."""
        file = self._disk.open(self.path)
        file.sync()
        for page, native in self._runs:
            file.pwrite(_big_endian(native), INDEX_HEADER_BYTES + page * _PAGE_SLOTS * INDEX_SLOT_BYTES)
        file.sync()
        file.pwrite(self._header, 0)
        file.sync()

    @property
    def pages(self) -> list[int]:
        """Numbers of the slot pages it holds."""
        page_bytes = _PAGE_SLOTS * INDEX_SLOT_BYTES
        return [first + at for first, native in self._runs for at in range(-(-len(native) // page_bytes))]


class IndexFile:
    """Up to `entries_max - 1` entries; `index_count` is the number that the next one gets, starting at 1."""

    def __init__(self, files: OpenFiles, path: str, slots_max: int, entries_max: int) -> None:
        self.path = path
        self.begin_timestamp = self.end_timestamp = 0
        self.begin_offset = self.end_offset = 0
        self.slot_count = 0
        self.index_count = 1
        self._files = files
        self._slots_max = slots_max
        self._entries_max = entries_max
        self._entries_at = INDEX_HEADER_BYTES + slots_max * INDEX_SLOT_BYTES
        self._slots: Slots | None = None
        self._dirty_pages = bytearray()
        self._slots_on_disk = False

    @staticmethod
    def size_of(slots_max: int, entries_max: int) -> int:
        """Bytes of a file."""
        return INDEX_HEADER_BYTES + slots_max * INDEX_SLOT_BYTES + entries_max * INDEX_ENTRY_BYTES

    @property
    def name(self) -> int:
        """Its name as a number: local time of creation, yyyyMMddHHmmssSSS."""
        return int(self.path.rpartition("/")[2])

    def create(self) -> None:
        """Makes the file, with a header that goes on from the file before it, as Apache's does.

        Should this process be killed before a checkpoint, a broker of Apache's tells by it that the file is
        newer than what is safe; a file of zeros it would fill with keys that the one before has, too.
        """
        file = self._files.create(self.path, self.size_of(self._slots_max, self._entries_max))
        file.pwrite(self.header(), 0)

    def load(self) -> None:
        """Reads the header of an existing file; its slots are read when first needed."""
        header = self._files.open(self.path).pread(INDEX_HEADER_BYTES, 0)
        (
            self.begin_timestamp,
            self.end_timestamp,
            self.begin_offset,
            self.end_offset,
            self.slot_count,
            index_count,
        ) = INDEX_HEADER.unpack(header)
        self.index_count = max(1, index_count)
        self._slots_on_disk = True

    def header(self) -> bytes:
        """The header as it should stand in the file now."""
        return INDEX_HEADER.pack(
            self.begin_timestamp,
            self.end_timestamp,
            self.begin_offset,
            self.end_offset,
            self.slot_count,
            self.index_count,
        )

    @property
    def is_full(self) -> bool:
        return self.index_count >= self._entries_max

    def add(self, hashes: Sequence[int], offsets: Sequence[int], timestamps: Sequence[int]) -> int:
        """Enters keys in order until the file is full, with one write; returns how many it took.

        Of each key are given its hash, its message's commit log offset and store timestamp.
        """
        hashes = hashes[: self._entries_max - self.index_count]
        count = len(hashes)
        if not count:
            return 0
        if self.index_count <= 1:
            self.begin_offset, self.begin_timestamp = offsets[0], timestamps[0]
        slots, begin, dirty = self._ready_slots(), self.begin_timestamp, self._dirty_pages
        first = self.index_count
        slots_max = self._slots_max
        taken = [key_hash % slots_max for key_hash in hashes]
        previous = _previous(slots, taken, first)
        for number, slot in enumerate(taken, first):
            slots[slot] = number
            dirty[slot >> _PAGE_SHIFT] = 1
        packed = map(INDEX_ENTRY.pack, hashes, offsets, _seconds(timestamps, begin), previous)
        at = self._entries_at + first * INDEX_ENTRY_BYTES
        try:
            self._files.open(self.path).pwrite(b"".join(packed), at)
        except BaseException:
            for slot, before in zip(reversed(taken), reversed(previous), strict=True):
                slots[slot] = before
            raise
        self.slot_count += previous.count(0)
        self.index_count = first + count
        self.end_offset, self.end_timestamp = offsets[count - 1], timestamps[count - 1]
        return count

    def candidates(self, key_hash: int, may_block: bool) -> Iterator[tuple[int, int]]:
        """(commit log offset, store time in full seconds from the first entry's) of a hash, newest first."""
        file = self._files.open(self.path)
        read = file.pread if may_block else file.pread_cached
        slot = key_hash % self._slots_max
        if self._slots is not None:
            number = self._slots[slot]
        else:
            data = read(INDEX_SLOT_BYTES, INDEX_HEADER_BYTES + slot * INDEX_SLOT_BYTES)
            number = int.from_bytes(data, "big", signed=True)
        below = self.index_count
        while 0 < number < self.index_count:
            data = read(INDEX_ENTRY_BYTES, self._entries_at + number * INDEX_ENTRY_BYTES)
            found_hash, offset, seconds, previous = INDEX_ENTRY.unpack(data)
            if found_hash == key_hash and seconds >= 0 and number < below:
                yield offset, self.begin_timestamp + seconds * 1000
            if previous >= number:
                return  # chains only lead to older entries; anything else is damage
            below, number = number, previous

    def snapshot(self) -> IndexSnapshot:
        """Everything that the file lacks: the slots changed since the last snapshot, and the header."""
        runs = []
        slots, dirty = self._slots, self._dirty_pages
        if slots is not None:
            page = dirty.find(1)
            while page >= 0:
                end = dirty.find(0, page, page + _RUN_PAGES)
                if end < 0:
                    end = min(page + _RUN_PAGES, len(dirty))
                runs.append((page, slots[page * _PAGE_SLOTS : end * _PAGE_SLOTS].tobytes()))
                dirty[page:end] = bytes(end - page)
                page = dirty.find(1, end)
        return IndexSnapshot(self._files.disk, self.path, runs, self.header())

    def take_back(self, snapshot: IndexSnapshot) -> None:
        """A snapshot that could not be written: its pages still have to be."""
        for page in snapshot.pages:
            self._dirty_pages[page] = 1

    def drop_newer_slots(self) -> bool:
        """Slots that name entries behind the header's count, as a crash leaves them, go back to older ones.

        False when the slots are not those that the header counts: then the file is damaged.
        """
        slots = self._ready_slots()
        newest, in_use = self._look_through()
        if newest >= self.index_count:
            file = self._files.open(self.path)
            for slot, number in enumerate(slots):
                if number >= self.index_count:
                    slots[slot] = self._older(file, number)
                    self._dirty_pages[slot // _PAGE_SLOTS] = 1
            _, in_use = self._look_through()
        return in_use == self.slot_count

    def _look_through(self) -> tuple[int, int]:
        """The highest number in a slot, and how many slots have one. Measured: 35 ms for five million."""
        newest = in_use = 0
        slots = self._ready_slots()
        for start in range(0, self._slots_max, _LOOKED_AT):
            numbers = list(filter(None, slots[start : start + _LOOKED_AT]))
            newest = max(newest, max(numbers, default=0))
            in_use += len(numbers)
        return newest, in_use

    def _older(self, file: DiskFile, number: int) -> int:
        """The newest entry of a chain that the header counts; 0 when there is none."""
        while number >= self.index_count:
            data = file.pread(INDEX_ENTRY_BYTES, self._entries_at + number * INDEX_ENTRY_BYTES)
            previous = INDEX_ENTRY.unpack(data)[3] if len(data) == INDEX_ENTRY_BYTES else 0
            number = previous if 0 <= previous < number else 0
        return number

    def release_slots(self) -> None:
        """A full file that is written needs no table in memory: queries read its slots from the file."""
        self._slots = None

    def _ready_slots(self) -> Slots:
        if self._slots is None:
            self._slots = self._read_slots() if self._slots_on_disk else self._empty_slots()
            self._dirty_pages = bytearray(self._slots_max // _PAGE_SLOTS + 1)
        return self._slots

    def _empty_slots(self) -> Slots:
        # Anonymous pages: memory is taken as slots are used, not with the first key.
        return memoryview(mmap.mmap(-1, self._slots_max * INDEX_SLOT_BYTES)).cast("i")

    def _read_slots(self) -> Slots:
        slots = array("i")
        data = self._files.open(self.path).pread(self._slots_max * INDEX_SLOT_BYTES, INDEX_HEADER_BYTES)
        slots.frombytes(data)
        if sys.byteorder == "little":
            slots.byteswap()
        return slots


def _previous(slots: Slots, taken: Sequence[int], first: int) -> Sequence[int]:
    """What each of the taken slots holds when its turn comes; each then gets its number, from `first` on.

    Fetched all at once, as one by one each would be waited for: they lie far apart in memory.
    """
    count = len(taken)
    found: tuple[int, ...] = itemgetter(*taken)(slots) if count > 1 else (slots[taken[0]],)
    if len({*taken}) == count:
        return found
    latest: dict[int, int] = {}
    previous = []
    for number, slot, before in zip(range(first, first + count), taken, found, strict=True):
        previous.append(latest.get(slot, before))
        latest[slot] = number
    return previous


def _seconds(timestamps: Sequence[int], begin: int) -> Iterable[int]:
    """Full seconds from `begin` (epoch ms) on, as an entry can hold them; mostly the same for all."""
    times = {min(timestamps), max(timestamps)}
    found = {min(max((time - begin) // 1000, 0), _MAX_SECONDS) for time in times}
    if len(found) == 1:
        return repeat(found.pop())
    return [min(max((time - begin) // 1000, 0), _MAX_SECONDS) for time in timestamps]


def _big_endian(native: bytes) -> bytes:
    slots = array("i", native)
    if sys.byteorder == "little":
        slots.byteswap()
    return slots.tobytes()
