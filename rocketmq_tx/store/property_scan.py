"""Reading for a consumer that filters by the properties of messages: each record is looked at on the way.

Records that lie close together are read at once, and only their properties are taken out; nothing else of
them is decoded. One scan looks at a bounded number of entries and bytes: behind that the consumer asks
again, so that a filter which rejects everything holds up nobody.
Facts: `spec/processors.yaml` store_read, `spec/filter.yaml` broker_pull_filter.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import compress
from operator import add
from struct import Struct
from typing import NamedTuple

from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.entry_blocks import WORDS, EntryBlocks, codes_of, sizes_of, starts_of
from rocketmq_tx.store.layouts import EXT_ADDRESS_MAX, FILLER_SIZE
from rocketmq_tx.store.queue_ext import QueueExt
from rocketmq_tx.store.records import (
    BORN_HOST_V6,
    HEAD_BYTES_MAX,
    STORE_HOST_V6,
    properties_of,
    topic_place,
)

Matches = Callable[[int], bool]
"""Says by its tags code whether a message is wanted."""
Wants = Callable[[bytes], bool]
"""Says by its stored properties whether a message is wanted."""
Verified = Callable[[int, int], bytes]
"""The record of (commit log offset, size) if it is sound, else no bytes; for what others wrote."""

READ_BYTES_MAX = 4 << 20
_BLOCK_ENTRIES = 32
_FEW_ENTRIES = 4
_SPAN_BYTES_MAX = 256 << 10
_SPAN_WASTE_MAX = 8
_HOSTS_V6 = BORN_HOST_V6 | STORE_HOST_V6
_body_length = Struct(">i").unpack_from
_BIG_RECORD_BYTES = 64 << 10
"""Of a longer record the properties are read alone."""


class Limits(NamedTuple):
    """How much one answer may hold."""

    messages: int
    size_bytes: int


class PropertyScan:
    """One scan: `run`, then the result is in the attributes; records wanted are in `records`."""

    def __init__(
        self,
        log: CommitLog,
        queue: ConsumeQueue,
        blocks: EntryBlocks,
        ext: QueueExt,
        matches: Matches | None,
        wants: Wants,
        verified: Verified,
        may_block: bool,
    ) -> None:
        self.at = 0
        """The next queue offset to look at."""
        self.records: list[bytes] = []
        self.removed = 0
        """Entries whose record is gone or damaged."""
        self.last_start = 0
        """Where in the log the last record lies that was looked at."""
        self._log = log
        self._queue = queue
        self._blocks = blocks
        self._ext = ext
        self._matches = matches
        self._wants = wants
        self._verified = verified
        self._may_block = may_block
        self._taken_bytes = self._read_bytes = 0

    def run(self, offset: int, end: int, count_max: int, bytes_max: int) -> None:
        """Looks at the entries in [offset, end) until it has enough: always one, at most as many as given.

        Where bytes are not in memory it ends with what it has so far; WouldBlock when that is nothing.
        """
        self.at = offset
        try:
            full = False
            while self.at < end and not full:
                # who lacks a few hardly needs all the next ones for that
                most = max(_FEW_ENTRIES, 2 * (count_max - len(self.records)))
                entries = self._blocks.read(
                    self._queue, self.at, min(_BLOCK_ENTRIES, most, end - self.at), self._may_block
                )
                full = self._look_at(entries, count_max, bytes_max)
        except WouldBlock:
            if self.at == offset:
                raise

    def _look_at(self, entries: array[int], count_max: int, bytes_max: int) -> bool:
        """True when no more is to be looked at."""
        log_min, log_end = self._log.min_offset, self._log.written_to
        starts, sizes = starts_of(entries), sizes_of(entries)
        begin, span = self._span(starts, sizes)
        if span and self._matches is None:
            full = self._look_together(begin, span, starts, sizes, Limits(count_max, bytes_max))
            if full is not None:
                return full
        matches, wants, records = self._matches, self._wants, self.records
        for index, (start, size) in enumerate(zip(starts, sizes, strict=True)):
            if self._read_bytes >= READ_BYTES_MAX:
                return True
            if records and (len(records) >= count_max or self._taken_bytes + size > bytes_max):
                return True
            self.last_start = start
            if matches is not None and not matches(self._code(entries, index)):
                pass
            elif size == FILLER_SIZE or not log_min <= start <= log_end - size:
                self.removed += 1
            elif span:
                at = start - begin
                if wants(properties_of(span, at, size)):
                    records.append(span[at : at + size])
                    self._taken_bytes += size
            else:
                self._look_at_one(start, size)
            self.at += 1
        self._read_bytes += len(span)
        return False

    def _look_together(
        self, begin: int, span: bytes, starts: Sequence[int], sizes: Sequence[int], limits: Limits
    ) -> bool | None:
        """As looking at one after the other, where the span has all of them and the answer room for all.

        None elsewhere.
        """
        places = [start - begin for start in starts]
        ends = list(map(add, places, sizes))
        room = limits.messages - len(self.records)
        if (
            max(ends) > len(span)  # a filler's would be
            or room <= 0
            or self._taken_bytes + sum(sizes) > limits.size_bytes
            or self._read_bytes >= READ_BYTES_MAX
        ):
            return None
        found = []
        for at, end in zip(places, ends, strict=True):
            # `properties_of` without its calls, where both hosts are IPv4
            if span[at + 39] & _HOSTS_V6:
                found.append(properties_of(span, at, end - at))
            else:
                topic_at = at + 88 + _body_length(span, at + 84)[0]
                found.append(span[topic_at + 3 + span[topic_at] : end])
        wanted = list(compress(range(len(found)), map(self._wants, found)))
        is_full = len(wanted) >= room
        looked_at = wanted[room - 1] + 1 if is_full else len(found)
        taken = [span[places[index] : ends[index]] for index in wanted[:room]]
        self.records += taken
        self._taken_bytes += sum(map(len, taken))
        self._read_bytes += len(span)
        self.last_start = starts[looked_at - 1]
        self.at += looked_at
        return is_full

    def _code(self, entries: array[int], index: int) -> int:
        """The tags code of one of the entries."""
        entry = entries[index * WORDS : (index + 1) * WORDS]
        code = codes_of(entry)[0]
        if code > EXT_ADDRESS_MAX:
            return code
        return self._ext.tags_code(self._queue, (starts_of(entry)[0], entry[2], code), self._may_block)

    def _span(self, starts: Sequence[int], sizes: Sequence[int]) -> tuple[int, bytes]:
        """Where the records of all entries begin, and their bytes; none unless they lie close together."""
        log = self._log
        begin = starts[0]
        end = starts[-1] + sizes[-1]
        most = min(_SPAN_BYTES_MAX, _SPAN_WASTE_MAX * sum(sizes))
        is_ours = begin >= max(log.trusted_from, log.min_offset) and end <= log.written_to
        # where numbers were damaged, a queue need not be in the order of the log
        in_order = min(starts) == begin and max(starts) == starts[-1]
        if not (is_ours and in_order and 0 < end - begin <= most and end <= log.segments.end_of(begin)):
            return begin, b""
        try:
            return begin, log.read(begin, end - begin, self._may_block)
        except WouldBlock:
            raise
        except StoreError:
            return begin, b""  # which one of them it is, is found one by one

    def _look_at_one(self, start: int, size: int) -> None:
        if start >= self._log.trusted_from:
            try:
                self._look_at_trusted(start, size)
            except WouldBlock:
                raise
            except StoreError:
                pass  # is said below
            else:
                return
        record = self._verified(start, size)
        if not record:
            self.removed += 1
            return
        self._read_bytes += size
        if self._wants(properties_of(record, 0, size)):
            self._take(record)

    def _look_at_trusted(self, start: int, size: int) -> None:
        log, may_block = self._log, self._may_block
        if size > _BIG_RECORD_BYTES:
            head = log.read(start, HEAD_BYTES_MAX, may_block)
            topic_at = topic_place(head, 0)
            tail = log.read(start + topic_at, size - topic_at, may_block)
            self._read_bytes += len(head) + len(tail)
            if not self._wants(tail[3 + tail[0] :]):
                return
            self._take(log.read(start, size, may_block))
            return
        record = log.read(start, size, may_block)
        self._read_bytes += size
        if self._wants(properties_of(record, 0, size)):
            self._take(record)

    def _take(self, record: bytes) -> None:
        self.records.append(record)
        self._taken_bytes += len(record)
