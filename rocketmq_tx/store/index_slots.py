"""The slot table of an index file that a crash has left: read, looked through and made good in bites.

A start need not wait for five million slots (`MessageIndex.write_bite`). Entries that the file's header
counts are on the device; slots may name newer ones, where a checkpoint was not finished, and then go back to
older ones. A damaged table is made anew from the entries: each says by its hash to which slot it belongs.
"""

from __future__ import annotations

import mmap
import sys
from array import array
from collections.abc import Sequence
from operator import itemgetter, le
from typing import TYPE_CHECKING

from rocketmq_tx.store.disk import DiskFile
from rocketmq_tx.store.layouts import INDEX_ENTRY, INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES, INDEX_SLOT_BYTES

if TYPE_CHECKING:
    Slots = array[int] | memoryview[int]

PAGE_SHIFT = 10
PAGE_SLOTS = 1 << PAGE_SHIFT
_LOOKED_AT = 128 * PAGE_SLOTS
"""Slots that are read and looked through at a time: a millisecond."""
_STEPS_BACK = 1024
"""Entries that slots are led back over at a time, where a crash came in the middle of a checkpoint."""
_ENTERED_AGAIN = 2048
"""Entries that are entered again at a time: a bit more than a millisecond, 13 s for 20 million of them."""


class SlotReading:
    """Call `look` until it says that nothing is left; then, if the table `is_damaged`, `mend` likewise.

    Of the header are given how many entries and slots it counts, and what its first and last entry are by it,
    each a commit log offset and seconds: table, header and entries have to agree, as any may be damaged.
    `slots`, `dirty_pages` and `slot_count` then are what the header's entries make of the file. None of it is
    written here but links between entries that do not fit.
    """

    def __init__(
        self,
        slots_max: int,
        entries_max: int,
        entries_at: int,
        index_count: int,
        slot_count: int,
        ends: tuple[tuple[int, int], tuple[int, int]],
    ) -> None:
        self._slots_max = slots_max
        self._entries_max = entries_max
        self._entries_at = entries_at
        self._index_count = index_count
        self._ends = ends
        self._looked_to = self._in_use = self._newest = 0
        self._block: array[int] | None = None
        self._strange: list[int] = []
        """Places in the block that is being looked through of slots that name no entry of the header's."""
        self._next_entry = 1
        self._last_offset = -1
        self.slots: Slots = empty_slots(slots_max)
        self.dirty_pages = bytearray(slots_max // PAGE_SLOTS + 1)
        self.slot_count = slot_count
        self.is_damaged = False
        """Slots are not those that the header counts, or lead to others' entries; or the header is wrong."""
        self.entries_fit = True
        """Whether the entries that the table was made of can be those that were written."""

    @property
    def progress(self) -> str:
        """How far it is, for people."""
        if self.is_mending:
            return f"{self._next_entry - 1} of {self._index_count - 1} entries have been entered again"
        return f"{self._looked_to} of {self._slots_max} slots have been looked through"

    @property
    def is_looked_through(self) -> bool:
        """Whether nothing is left for `look`."""
        return self._looked_to == self._slots_max

    @property
    def is_mending(self) -> bool:
        """Whether entries have been entered again."""
        return self._next_entry > 1

    def look(self, file: DiskFile) -> bool:
        """Reads some more slots; newer entries give way to older ones. Whether some are left. StoreError."""
        if self.is_looked_through:
            return False
        block = self._block
        if block is None:
            begin, length = self._looked_to, min(_LOOKED_AT, self._slots_max - self._looked_to)
            data = file.pread(length * INDEX_SLOT_BYTES, INDEX_HEADER_BYTES + begin * INDEX_SLOT_BYTES)
            self._block = block = native_slots(data.ljust(length * INDEX_SLOT_BYTES, b"\0"))
            used = list(filter(None, block))
            if used and not 0 < min(used) <= max(used) < self._index_count:
                in_use = range(self._index_count)
                self._strange = [at for at, number in enumerate(block) if number not in in_use]
        if self._strange:
            if not self._put_back(file, block):
                return True
            used = list(filter(None, block))
        self._take(block, used)
        if self.is_looked_through and not self.is_damaged:
            counted = self._in_use, self._newest
            self.is_damaged = counted != (self.slot_count, self._index_count - 1) or not self.ends_fit(file)
        return not self.is_looked_through

    def _take(self, block: array[int], used: list[int]) -> None:
        begin, end = self._looked_to, self._looked_to + len(block)
        self.slots[begin:end] = block
        self._in_use += len(used)
        self._newest = max(self._newest, max(used, default=0))
        self._block = None
        self._looked_to = self._slots_max if self.is_damaged else end  # the rest is made anew in any case

    def _put_back(self, file: DiskFile, block: array[int]) -> bool:
        """Lets slots name their newest entry that the header counts, or 0; False when some are left."""
        begin, steps = self._looked_to, 0
        while self._strange and not self.is_damaged:
            at = self._strange[-1]
            while block[at] >= self._index_count:
                if steps == _STEPS_BACK:
                    return False
                block[at] = self._older(file, begin + at, block[at])
                steps += 1
            self.is_damaged = self.is_damaged or block[at] < 0
            self.dirty_pages[begin + at >> PAGE_SHIFT] = 1
            self._strange.pop()
        return True

    def ends_fit(self, file: DiskFile) -> bool:
        """Whether first and last entry are those that the header tells of. StoreError."""
        if self._index_count == 1:
            return True
        return self._ends == (self._entry(file, 1)[1:3], self._entry(file, self._index_count - 1)[1:3])

    def _entry(self, file: DiskFile, number: int) -> tuple[int, int, int, int]:
        """Hash, commit log offset, seconds and link; zeros where the file ends before."""
        data = file.pread(INDEX_ENTRY_BYTES, self._entries_at + number * INDEX_ENTRY_BYTES)
        return INDEX_ENTRY.unpack(data.ljust(INDEX_ENTRY_BYTES, b"\0"))

    def _older(self, file: DiskFile, slot: int, number: int) -> int:
        """The entry before that one in a slot's chain; 0 when there is none."""
        if number >= self._entries_max:
            self.is_damaged = True
            return 0
        entry = self._entry(file, number)
        key_hash, _, _, previous = entry
        if any(entry) and key_hash % self._slots_max != slot:
            self.is_damaged = True  # written by somebody who did not know of this slot
        return previous if 0 <= previous < number else 0

    def mend(self, file: DiskFile) -> bool:
        """Enters some more of the file's entries again, in their order; whether some are left. StoreError."""
        first = self._next_entry
        if first == 1:
            self.slots, self.slot_count = empty_slots(self._slots_max), 0
            self.dirty_pages = bytearray(b"\1" * len(self.dirty_pages))
        count = min(_ENTERED_AGAIN, self._index_count - first)
        if count <= 0:
            return False
        at = self._entries_at + first * INDEX_ENTRY_BYTES
        data = file.pread(count * INDEX_ENTRY_BYTES, at).ljust(count * INDEX_ENTRY_BYTES, b"\0")
        hashes, offsets, seconds, links = zip(*INDEX_ENTRY.iter_unpack(data), strict=True)
        taken = [key_hash % self._slots_max for key_hash in hashes]
        previous = previous_numbers(self.slots, taken, first)
        if list(previous) != list(links):
            file.pwrite(b"".join(map(INDEX_ENTRY.pack, hashes, offsets, seconds, previous)), at)
        for number, slot in enumerate(taken, first):
            self.slots[slot] = number
        self.slot_count += previous.count(0)
        ascend = all(map(le, (self._last_offset, *offsets), offsets))
        # A hash of 0 is one in two billions, and what stands in blocks that the disk has lost.
        self.entries_fit = self.entries_fit and ascend and min(hashes) > 0 and min(seconds) >= 0
        self._last_offset = offsets[-1]
        self._next_entry = first + count
        return self._next_entry < self._index_count


def empty_slots(slots_max: int) -> Slots:
    """Anonymous pages: memory is taken as slots are used, not with the first key."""
    return memoryview(mmap.mmap(-1, slots_max * INDEX_SLOT_BYTES)).cast("i")


def previous_numbers(slots: Slots, taken: Sequence[int], first: int) -> Sequence[int]:
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


def native_slots(data: bytes) -> array[int]:
    """Slots from how they stand in the file."""
    slots = array("i", data)
    if sys.byteorder == "little":
        slots.byteswap()
    return slots


def big_endian(native: bytes) -> bytes:
    """Slots as they stand in the file."""
    return native_slots(native).tobytes()
