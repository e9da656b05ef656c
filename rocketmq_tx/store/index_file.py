"""One file of the message index: a header, hash slots, and entries chained from each slot, newest first.

Entries go to the file as they come; the slots stay in memory and follow at checkpoints, then the header. So
what the header counts is always complete on disk, and whatever a crash leaves beyond is built again from
the header's `end_offset`. Facts: `spec/store.yaml`, index_file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING

from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.index_slots import (
    PAGE_SHIFT,
    PAGE_SLOTS,
    SlotReading,
    big_endian,
    empty_slots,
    native_slots,
    previous_numbers,
)
from rocketmq_tx.store.layouts import (
    INDEX_ENTRY,
    INDEX_ENTRY_BYTES,
    INDEX_HEADER,
    INDEX_HEADER_BYTES,
    INDEX_SLOT_BYTES,
)
from rocketmq_tx.store.segments import OpenFiles

if TYPE_CHECKING:
    from rocketmq_tx.store.index_slots import Slots

_RUN_PAGES = 24
"""A checkpoint writes so many pages at once, at most: a few make it cheap already."""
_DAMAGED = -1
"""In place of the slots' number, from when a damaged table is made good until it is written."""
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
            file.pwrite(big_endian(native), INDEX_HEADER_BYTES + page * PAGE_SLOTS * INDEX_SLOT_BYTES)
        file.sync()
        file.pwrite(self._header, 0)
        file.sync()

    @property
    def pages(self) -> list[int]:
        """Numbers of the slot pages it holds."""
        page_bytes = PAGE_SLOTS * INDEX_SLOT_BYTES
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
        self._reading: SlotReading | None = None
        self.is_mended = False
        """The slots were damaged, and have been made again from the entries."""
        self.lacks_entries = False
        """Then entries were damaged, too: keys may be missing."""

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
        self.index_count = min(max(1, index_count), self._entries_max)
        self._slots_on_disk = True

    def header(self, slot_count: int | None = None) -> bytes:
        """The header as it should stand in the file now, with another number of slots if one is given."""
        return INDEX_HEADER.pack(
            self.begin_timestamp,
            self.end_timestamp,
            self.begin_offset,
            self.end_offset,
            self.slot_count if slot_count is None else slot_count,
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
        previous = previous_numbers(slots, taken, first)
        for number, slot in enumerate(taken, first):
            slots[slot] = number
            dirty[slot >> PAGE_SHIFT] = 1
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

    def newest(self, key_hash: int, may_block: bool) -> int:
        """The number that the slot of a hash has: that of the newest entry of its chain, whatever it is."""
        if self._reading is not None:
            self._ready_slots()
        slot = key_hash % self._slots_max
        if self._slots is not None:
            return self._slots[slot]
        file = self._files.open(self.path)
        read = file.pread if may_block else file.pread_cached
        data = read(INDEX_SLOT_BYTES, INDEX_HEADER_BYTES + slot * INDEX_SLOT_BYTES)
        return int.from_bytes(data, "big", signed=True)

    def entry(self, number: int, may_block: bool) -> tuple[int, int, int, int]:
        """Hash, commit log offset, seconds from the first entry's on, number of the one before in its chain.

        Zeros where the file has been cut short.
        """
        file = self._files.open(self.path)
        read = file.pread if may_block else file.pread_cached
        data = read(INDEX_ENTRY_BYTES, self._entries_at + number * INDEX_ENTRY_BYTES)
        return INDEX_ENTRY.unpack(data.ljust(INDEX_ENTRY_BYTES, b"\0"))

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
                runs.append((page, slots[page * PAGE_SLOTS : end * PAGE_SLOTS].tobytes()))
                dirty[page:end] = bytes(end - page)
                page = dirty.find(1, end)
        return IndexSnapshot(self._files.disk, self.path, runs, self.header())

    def take_back(self, snapshot: IndexSnapshot) -> None:
        """A snapshot that could not be written: its pages still have to be."""
        for page in snapshot.pages:
            self._dirty_pages[page] = 1

    # -- slots that a crash has left -----------------------------------------------------------------------

    def drop_newer_slots(self) -> bool:
        """Slots that name entries behind the header's count, as a crash leaves them, go back to older ones.

        False when the slots are not those that the header counts: then the file is damaged.
        """
        file, reading = self._files.open(self.path), self._new_reading()
        while reading.look(file):
            pass
        if not reading.is_damaged:
            self._take_over(reading)
        return not reading.is_damaged

    def read_slots_later(self) -> None:
        """The same, by calls of `read_on`; whoever needs the slots before that has it done."""
        self._reading = self._new_reading()

    def read_on(self) -> bool:
        """Does some of what is left of it, and says whether some is left. StoreError: try again.

        A damaged table is made good from the entries.
        """
        reading = self._reading
        if reading is None:
            return False
        file = self._files.open(self.path)
        if not reading.is_looked_through:
            if reading.look(file) or reading.is_damaged:
                return True
        elif not reading.is_mending:
            file.pwrite(self.header(_DAMAGED), 0)  # should it be written half, it is made good again
            if reading.mend(file):
                return True
        elif reading.mend(file):
            return True
        self._take_over(reading)
        return False

    @property
    def reading_progress(self) -> str:
        """How far `read_on` is, for people."""
        return "all is done" if self._reading is None else self._reading.progress

    def _new_reading(self) -> SlotReading:
        begin = self.begin_timestamp
        last_s = next(iter(_seconds([self.end_timestamp], begin)))
        ends = (self.begin_offset, 0), (self.end_offset, last_s)
        counts = self.index_count, self.slot_count
        return SlotReading(self._slots_max, self._entries_max, self._entries_at, *counts, ends)

    def _take_over(self, reading: SlotReading) -> None:
        self._slots, self._dirty_pages = reading.slots, reading.dirty_pages
        self.slot_count = reading.slot_count
        self._reading = None
        if reading.is_damaged:
            self.is_mended = True
            self.lacks_entries = not (reading.entries_fit and reading.ends_fit(self._files.open(self.path)))

    def release_slots(self) -> None:
        """A full file that is written needs no table in memory: queries read its slots from the file."""
        self._slots = None

    def _ready_slots(self) -> Slots:
        if self._slots is None and self._reading is not None:
            while self.read_on():
                pass
        if self._slots is None:
            self._slots = self._read_slots() if self._slots_on_disk else empty_slots(self._slots_max)
            self._dirty_pages = bytearray(self._slots_max // PAGE_SLOTS + 1)
        return self._slots

    def _read_slots(self) -> Slots:
        data = self._files.open(self.path).pread(self._slots_max * INDEX_SLOT_BYTES, INDEX_HEADER_BYTES)
        return native_slots(data)


def _seconds(timestamps: Sequence[int], begin: int) -> Iterable[int]:
    """Full seconds from `begin` (epoch ms) on, as an entry can hold them; mostly the same for all."""
    times = {min(timestamps), max(timestamps)}
    found = {min(max((time - begin) // 1000, 0), _MAX_SECONDS) for time in times}
    if len(found) == 1:
        return repeat(found.pop())
    return [min(max((time - begin) // 1000, 0), _MAX_SECONDS) for time in timestamps]
