"""Which entries of a queue are for a consumer: looked at by tags code, within the limits of one answer.

Entries are looked at together, by columns, wherever each of them is plain; what that gives is what looking at
one after the other gives. Facts: `spec/store.yaml` get_message.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import compress
from typing import NamedTuple

from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.entry_blocks import (
    ENTRIES_AT_A_TIME,
    EntryBlocks,
    codes_of,
    sizes_of,
    starts_of,
)
from rocketmq_tx.store.layouts import EXT_ADDRESS_MAX, FILLER_SIZE
from rocketmq_tx.store.property_scan import Limits, Matches
from rocketmq_tx.store.queue_ext import QueueExt
from rocketmq_tx.store.tag_codes import TagCodes


class _Wanted(NamedTuple):
    """Which of some entries are for a consumer, and how many were looked at for that."""

    starts: list[int]
    sizes: list[int]
    looked_at: int


def _wanted(entries: array[int], starts: Sequence[int], matches: Matches, room: Limits) -> _Wanted | None:
    """The entries that match, up to the last one for which there is room, all at once.

    None where that is not enough: an entry that is a filler or whose code stands elsewhere, or so many bytes
    that they have to be counted one by one.
    """
    all_sizes, flags = sizes_of(entries), _flags(entries, matches)
    largest = max(all_sizes)
    if flags is None or largest == FILLER_SIZE:
        return None
    if flags.count(1) >= room.messages:
        flags = _cut_behind(flags, room.messages)
    looked_at = len(flags)
    wanted_starts, sizes = list(compress(starts, flags)), list(compress(all_sizes, flags))
    # An answer is full at the first entry, wanted or not, that it has no room for.
    fits = sum(sizes) + largest <= room.size_bytes
    return _Wanted(wanted_starts, sizes, looked_at) if fits else None


def tagged(entries: array[int], matches: Matches, most: int) -> tuple[bytes, int] | None:
    """(1 for each entry that matches, up to the last one of `most`, else 0; how many do).

    None where none does, or where a code stands elsewhere.
    """
    flags = _flags(entries, matches)
    if flags is None:
        return None
    count = flags.count(1)
    if count >= most:
        flags, count = _cut_behind(flags, most), most
    return (flags, count) if count else None


def _flags(entries: array[int], matches: Matches) -> bytes | None:
    """1 for each entry that matches, else 0; None where a code stands elsewhere."""
    if isinstance(matches, TagCodes):
        flags = matches.flags(entries)
        if flags is not None:
            return flags
        matches = matches.look_up
    codes = codes_of(entries)
    return None if min(codes) <= EXT_ADDRESS_MAX else bytes(map(matches, codes))


def _cut_behind(flags: bytes, count: int) -> bytes:
    """What ends with the 1 of that number; there are so many."""
    if flags.count(1) == count:
        return flags[: flags.rindex(1) + 1]
    places = list(compress(range(len(flags)), flags))
    return flags[: places[count - 1] + 1]


class TagScan:
    """One scan: `run`, then the result is in the attributes."""

    def __init__(
        self,
        log: CommitLog,
        queue: ConsumeQueue,
        blocks: EntryBlocks,
        ext: QueueExt,
        matches: Matches | None,
        may_block: bool,
    ) -> None:
        self.at = 0
        """The next queue offset to look at."""
        self.starts: list[int] = []
        self.sizes: list[int] = []
        """Where the records wanted are in the log, and how long."""
        self.removed = 0
        """Entries whose record is gone."""
        self.last_start = 0
        """Where in the log the last record lies that was looked at."""
        self._log = log
        self._queue = queue
        self._blocks = blocks
        self._ext = ext
        self._matches = matches
        self._may_block = may_block
        self._wanted_bytes = 0

    def run(self, offset: int, end: int, limits_from: Callable[[int], Limits]) -> None:
        """Looks at the entries in [offset, end) until the answer is full.

        `limits_from` gives the limits of an answer whose first record begins there in the log.
        """
        self.at = offset
        log_min, log_end = self._log.min_offset, self._log.written_to
        limits: Limits | None = None
        full = False
        while self.at < end and not full:
            entries = self._blocks.read(
                self._queue, self.at, min(ENTRIES_AT_A_TIME, end - self.at), self._may_block
            )
            starts = starts_of(entries)
            if limits is None:
                limits = limits_from(starts[0])
            if self._matches is not None and log_min <= starts[0] and starts[-1] + entries[-3] <= log_end:
                room = Limits(limits.messages - len(self.starts), limits.size_bytes - self._wanted_bytes)
                plain = _wanted(entries, starts, self._matches, room)
                if plain is not None:
                    self.starts += plain.starts
                    self.sizes += plain.sizes
                    self._wanted_bytes += sum(plain.sizes)
                    self.last_start = starts[plain.looked_at - 1]
                    self.at += plain.looked_at
                    full = len(self.starts) >= limits.messages
                    continue
            # Who has as many as it may at the end of these need not look at the next ones for that.
            full = self._look_at(entries, starts, limits) or len(self.starts) >= limits.messages

    def _look_at(self, entries: array[int], starts: Sequence[int], limits: Limits) -> bool:
        """Looks at one after the other; True when the answer is full."""
        log_min, log_end = self._log.min_offset, self._log.written_to
        matches = self._matches
        for start, size, code in zip(starts, sizes_of(entries), codes_of(entries), strict=True):
            count = len(self.starts)
            if count and (count >= limits.messages or self._wanted_bytes + size > limits.size_bytes):
                return True
            self.at += 1
            self.last_start = start
            if matches is not None:
                if code <= EXT_ADDRESS_MAX:
                    code = self._ext.tags_code(self._queue, (start, size, code), self._may_block)
                if not matches(code):
                    continue
            if size == FILLER_SIZE or not log_min <= start <= log_end - size:
                self.removed += 1
                continue
            self.starts.append(start)
            self.sizes.append(size)
            self._wanted_bytes += size
        return False
