"""Holding the message index against the commit log: keys, chains of slots, headers.

Entries stand in the order of the log, so one walk along both tells what is missing, doubled or wrong.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from rocketmq_tx.protocol.java import index_key_hash
from rocketmq_tx.store.dispatcher import index_keys
from rocketmq_tx.store.findings import Findings
from rocketmq_tx.store.layouts import (
    INDEX_ENTRY,
    INDEX_ENTRY_BYTES,
    INDEX_HEADER,
    INDEX_HEADER_BYTES,
    INDEX_SLOT_BYTES,
)
from rocketmq_tx.store.records import TRANSACTION_MASK, TRANSACTION_ROLLBACK, RecordFacts
from rocketmq_tx.store.store_files import IndexSize, Segment, StoreFiles

_BLOCK_ENTRIES = 50_000
_MAX_SECONDS = 0x7FFFFFFF


class IndexHead(NamedTuple):
    """The header of an index file; `next_number` is what the next entry gets."""

    begin_ms: int
    end_ms: int
    begin_offset: int
    end_offset: int
    used_slots: int
    next_number: int


class IndexRow(NamedTuple):
    """One entry of an index file with its number."""

    number: int
    key_hash: int
    commit_log_offset: int
    seconds: int
    previous: int


def read_head(files: StoreFiles, file: Segment) -> IndexHead:
    """The header; zeros for a file that is too short to have one."""
    data = files.files.open(file.path).pread(INDEX_HEADER_BYTES, 0)
    return IndexHead(*INDEX_HEADER.unpack(data.ljust(INDEX_HEADER_BYTES, b"\0")))


def read_rows(files: StoreFiles, file: Segment, size: IndexSize, count: int) -> Iterator[IndexRow]:
    """Entries 1 to `count` - 1, or as many as the file has."""
    entries_at = INDEX_HEADER_BYTES + size.slots * INDEX_SLOT_BYTES
    number, count = 1, min(count, size.entries)
    while number < count:
        wanted = min(_BLOCK_ENTRIES, count - number) * INDEX_ENTRY_BYTES
        data = files.files.open(file.path).pread(wanted, entries_at + number * INDEX_ENTRY_BYTES)
        if len(data) < INDEX_ENTRY_BYTES:
            return
        for fields in INDEX_ENTRY.iter_unpack(data[: len(data) - len(data) % INDEX_ENTRY_BYTES]):
            yield IndexRow(number, *fields)
            number += 1


class IndexVerifier:
    """Gets every whole record of the log in order, then `finish`."""

    def __init__(self, files: StoreFiles, findings: Findings, covers: Callable[[RecordFacts], bool]) -> None:
        self._files = files
        self._findings = findings
        self._covers = covers
        self.file_count = 0
        self.entry_count = 0
        self.is_readable = True
        self._missing = self._missing_settled = self._older = 0
        self._first_missing = self._last_offset = self._first_strange = -1
        self._strange = 0
        self._rows = self._all_rows()
        self._row = next(self._rows, None)
        self._begin_offset = self._row.commit_log_offset if self._row is not None else -1

    def record(
        self, record: RecordFacts, properties: Mapping[str, str], may_be_missing: bool = False
    ) -> None:
        """A whole record, whose keys come next in the index, unless they are older than it."""
        if record.sys_flag & TRANSACTION_MASK == TRANSACTION_ROLLBACK or not self.is_readable:
            return
        keys = index_keys(dict(properties))
        offset = record.commit_log_offset
        self._skip_to(offset)
        topic = record.topic.decode("utf-8", "replace")
        hashes = [index_key_hash(f"{topic}#{key}") for key in keys]
        found = []
        while self._row is not None and self._row.commit_log_offset == offset:
            found.append(self._row.key_hash)
            self._row = next(self._rows, None)
        if any(key_hash not in hashes for key_hash in found):
            self._findings.damage(f"the index has a key for the message at {offset} that it has not got")
        if may_be_missing or all(key_hash in found for key_hash in hashes):
            return
        if offset < self._begin_offset:
            self._older += 1
        else:
            self._missing += 1
            self._first_missing = offset if self._first_missing < 0 else self._first_missing
            if self._covers(record):
                self._missing_settled += 1

    def lost(self, start: int, end: int) -> None:
        """A stretch of the log that has no whole record; its keys may well be in the index."""
        self._skip_to(start)
        while self._row is not None and self._row.commit_log_offset < end:
            self._row = next(self._rows, None)

    def _skip_to(self, offset: int) -> None:
        """Entries before `offset` have found no record: strange, unless they are older than the log."""
        log_min = self._files.log[0].start
        while self._row is not None and self._row.commit_log_offset < offset:
            if self._row.commit_log_offset >= log_min:
                self._strange += 1
                if self._first_strange < 0:
                    self._first_strange = self._row.commit_log_offset
            self._row = next(self._rows, None)

    def finish(self, log_min: int, log_end: int) -> None:
        """Sums up what is missing and what names nothing."""
        if not self.is_readable:
            return
        behind = 0
        while self._row is not None:
            behind += 1
            self._row = next(self._rows, None)
        if not self.file_count:
            if self._missing:
                self._findings.note("there is no index; a start builds it unless messageIndexEnable is false")
            return
        if self._strange:
            self._findings.damage(
                f"{self._strange} entries of the index name no message, first {self._first_strange}"
            )
        if self._older:
            self._findings.note(f"{self._older} messages with keys are older than the index")
        if behind:
            self._findings.behind_the_end(
                f"{behind} entries of the index lie behind the end of the log at {log_end}"
            )
        if self._missing_settled:
            self._findings.damage(
                f"keys of {self._missing} messages are not in the index, from the one at "
                f"{self._first_missing} on"
            )
        elif self._missing:
            self._findings.note(
                f"keys of {self._missing} messages are not in the index yet, from the one at "
                f"{self._first_missing} on; a start adds them"
            )

    # -- the files -----------------------------------------------------------------------------------------

    def _all_rows(self) -> Iterator[IndexRow]:
        for file in self._files.index_files():
            self.file_count += 1
            size = self._files.index_size(file)
            if size is None:
                self._findings.note(
                    f"{file.path}: its numbers of slots and entries are unknown, so the index was left "
                    "out; name the broker's file with -c"
                )
                self.is_readable = False
                return
            yield from self._rows_of(file, size)

    def _rows_of(self, file: Segment, size: IndexSize) -> Iterator[IndexRow]:
        head = read_head(self._files, file)
        newest = array("i", bytes(4 * size.slots))
        used = 0
        row = None
        for row in read_rows(self._files, file, size, head.next_number):
            self.entry_count += 1
            slot = row.key_hash % size.slots
            if row.previous != newest[slot] or not 0 <= row.seconds <= _MAX_SECONDS:
                self._findings.damage(f"{file.path}: entry {row.number} is not chained to the one before it")
            used += not newest[slot]
            newest[slot] = row.number
            if row.commit_log_offset < self._last_offset:
                self._findings.damage(f"{file.path}: entry {row.number} names an older message than the last")
                continue
            self._last_offset = row.commit_log_offset
            yield row
        if row is not None:
            self._check_slots(file, size, head, newest, used)
            if head.end_offset != row.commit_log_offset:
                self._findings.damage(f"{file.path}: its header ends at another message than its entries")

    def _check_slots(
        self, file: Segment, size: IndexSize, head: IndexHead, newest: array[int], used: int
    ) -> None:
        data = self._files.files.open(file.path).pread(size.slots * INDEX_SLOT_BYTES, INDEX_HEADER_BYTES)
        slots = array("i", data)
        if sys.byteorder == "little":
            slots.byteswap()
        if slots == newest and head.used_slots == used:
            return
        wrong = sum(one != other for one, other in zip(slots, newest, strict=False))
        if self._files.crashed and all(
            one == other or one >= head.next_number for one, other in zip(slots, newest, strict=False)
        ):
            self._findings.note(f"{file.path}: {wrong} slots are ahead of its header; a start puts them back")
        else:
            self._findings.damage(f"{file.path}: {wrong} of its slots do not lead to their newest entry")
