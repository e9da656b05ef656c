"""Telling one commit log from another: checksums of the records with which its files begin.

A checkpoint keeps two of them, so that one that was copied from another store is not taken for the word of
this one. What a file begins with never changes, and times and places in it differ from log to log.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.disk import Disk, DiskFile
from rocketmq_tx.store.log_segments import LogSegments
from rocketmq_tx.store.records import STORE_TIMESTAMP_HEAD_BYTES, store_timestamp

MARK_BYTES = STORE_TIMESTAMP_HEAD_BYTES
NO_MARK_AT = -1
Place = TypeVar("Place")


class LogMark(NamedTuple):
    """CRC-32 of the first bytes of the segment that begins at a commit log offset; -1 and 0 for none."""

    offset: int = NO_MARK_AT
    crc: int = 0


class Origin(enum.Enum):
    """Whose marks these are."""

    SAME = "this log's"
    OTHER = "another log's"
    UNKNOWN = "nothing is there to compare with"


def mark_of(data: bytes, offset: int) -> LogMark:
    """The mark of a segment that begins with `data`."""
    return LogMark(offset, zlib.crc32(data[:MARK_BYTES]))


def marked_files(segments: LogSegments, end: int) -> list[tuple[int, str]]:
    """(offset, path) of the oldest and the newest segment with a record before `end`."""
    starts = [start for start in segments.starts if start + MARK_BYTES <= end]
    return [(start, segments.path(start)) for start in (starts[:1] + starts[-1:])]


def read_marks(disk: Disk, files: Iterable[tuple[int, str]]) -> list[LogMark]:
    """Reads them, which may wait for the device; none for a file that has gone meanwhile or is unreadable."""
    heads = ((offset, read_head(disk.open, path)) for offset, path in files)
    return [mark_of(head, offset) for offset, head in heads if head]


def read_head(opened: Callable[[Place], DiskFile], place: Place) -> bytes:
    """What a segment begins with; nothing when it cannot be read: marks only help, and others matter more."""
    try:
        return opened(place).pread(MARK_BYTES, 0)
    except StoreError:
        return b""


def origin_of(marks: Sequence[LogMark], heads: Iterable[tuple[int, bytes]]) -> Origin:
    """Compares marks with what the segments of a log begin with: (offset, first bytes) of each.

    One that agrees is enough. Bytes that are no record (lost, never written) say nothing.
    """
    wanted = {mark.offset: mark for mark in marks if mark.offset != NO_MARK_AT}
    differs = False
    for offset, data in heads:
        if offset in wanted and len(data) >= MARK_BYTES:
            if mark_of(data, offset) == wanted[offset]:
                return Origin.SAME
            differs = differs or store_timestamp(data) >= 0
    return Origin.OTHER if differs else Origin.UNKNOWN
