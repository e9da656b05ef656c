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
_ENTERED_AGAIN = 2048
"""Entries that are entered again at a time: a bit more than a millisecond, 13 s for 20 million of them."""


class SlotReading:
    """Call `look` until it says that nothing is left; then, if the table `is_damaged`, `mend` likewise.

    `slots`, `dirty_pages` and `slot_count` then are what the header's entries make of the file. None of it is
    written here but links between entries that do not fit.
    """

    def __init__(self, slots_max: int, entries_at: int, index_count: int, slot_count: int) -> None:
        self._slots_max = slots_max
        self._entries_at = entries_at
        self._index_count = index_count
        self._looked_to = self._in_use = 0
        self._next_entry = 1
        self._last_offset = -1
        self.slots: Slots = empty_slots(slots_max)
        self.dirty_pages = bytearray(slots_max // PAGE_SLOTS + 1)
        self.slot_count = slot_count
        self.is_damaged = False
        """Slots are not those that the header counts, or lead to entries of others."""
        self.entries_fit = True
        """Whether the entries that the table was made of can be those that were written."""
        self.first_offset = -1

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

    @property
    def last_offset(self) -> int:
        """Commit log offset of the last entry that was entered again; `first_offset` is that of the first."""
        return self._last_offset

    def look(self, file: DiskFile) -> bool:
        """Reads some more slots; newer entries give way to older ones. Whether some are left. StoreError."""
        begin = self._looked_to
        if begin == self._slots_max:
            return False
        end = min(begin + _LOOKED_AT, self._slots_max)
        at = INDEX_HEADER_BYTES + begin * INDEX_SLOT_BYTES
        numbers = native_slots(file.pread((end - begin) * INDEX_SLOT_BYTES, at))
        used = list(filter(None, numbers))
        if used and not 0 < min(used) <= max(used) < self._index_count:
            for at, number in enumerate(numbers):
                if not 0 <= number < self._index_count:
                    numbers[at] = self._older(file, begin + at, number)
                    self.dirty_pages[begin + at >> PAGE_SHIFT] = 1
            used = list(filter(None, numbers))
        self.slots[begin:end] = numbers
        self._in_use += len(used)
        self._looked_to = end
        if end < self._slots_max:
            return True
        self.is_damaged = self.is_damaged or self._in_use != self.slot_count
        return False

    def _older(self, file: DiskFile, slot: int, number: int) -> int:
        """The newest entry of a slot's chain that the header counts; 0 when there is none."""
        while number >= self._index_count:
            data = file.pread(INDEX_ENTRY_BYTES, self._entries_at + number * INDEX_ENTRY_BYTES)
            key_hash, _, _, previous = INDEX_ENTRY.unpack(data.ljust(INDEX_ENTRY_BYTES, b"\0"))
            if any(data) and key_hash % self._slots_max != slot:
                self.is_damaged = True  # written by somebody who did not know of this slot
            number = previous if 0 <= previous < number else 0
        if number < 0:
            self.is_damaged = True
        return max(number, 0)

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
        data = file.pread(count * INDEX_ENTRY_BYTES, at)
        hashes, offsets, seconds, links = zip(*INDEX_ENTRY.iter_unpack(data), strict=True)
        taken = [key_hash % self._slots_max for key_hash in hashes]
        previous = previous_numbers(self.slots, taken, first)
        if list(previous) != list(links):
            file.pwrite(b"".join(map(INDEX_ENTRY.pack, hashes, offsets, seconds, previous)), at)
        for number, slot in enumerate(taken, first):
            self.slots[slot] = number
        self.slot_count += previous.count(0)
        if first == 1:
            self.first_offset = offsets[0]
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
