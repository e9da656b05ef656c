"""The end of a commit log that another broker's log does not have: where to cut, and a copy of what is cut.

Cutting itself is `MessageStore.cut_tail`. A copy is whole or missing, and one that is there is never
overwritten: when a crash came between copy and cut, the next one finds less to copy, not more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.log_walk import walk
from rocketmq_tx.store.records import Verdict, facts

_COPY_BYTES = 1 << 20


class KeptTail(NamedTuple):
    """The log's bytes from `offset` to `end`, `records` whole messages, copied to `path`."""

    path: str
    offset: int
    end: int
    records: int


class Boundary(NamedTuple):
    """Where a record ends and the next one begins; and the last record before, -1 and 0 without one."""

    offset: int
    last_record_at: int
    last_store_timestamp: int


def boundary_at(log: CommitLog, offset: int) -> Boundary:
    """The last place from which on the log may be cut that does not lie behind `offset`.

    What follows a blank belongs to it. StoreError when the log does not reach from its segment to `offset`.
    """
    if not log.min_offset <= offset <= log.written_to:
        raise StoreError(f"the log has {log.min_offset} to {log.written_to}, and cannot be cut at {offset}")
    start = log.segments.start_of(offset)
    if start == offset and start > log.min_offset:
        start -= log.segment_size  # for the last record before
    boundary = Boundary(start, -1, 0)
    if offset == log.min_offset:
        return boundary._replace(offset=offset)
    for step in walk(log, start, check_crc=False, skip_gaps=True):
        end = step.offset + step.size
        if end > offset:
            break
        boundary = boundary._replace(offset=end)
        if step.verdict is Verdict.WHOLE:
            boundary = Boundary(end, step.offset, facts(step.data, step.at).store_timestamp)
    return boundary


def keep_tail(disk: Disk, log: CommitLog, path: str, offset: int) -> KeptTail:
    """Copies the log from `offset`, where a record begins, to `path`; on the device when this returns.

    A file that is there and begins with the same bytes is the copy already, else another name is taken.
    StoreError when it cannot be written.
    """
    end = log.written_to
    kept = keep_stretch(disk, log, path, offset, end)
    records = 0
    for step in walk(log, offset, check_crc=False, skip_gaps=True):
        if step.offset >= end:
            break
        records += step.verdict is Verdict.WHOLE
    return KeptTail(kept, offset, end, records)


def keep_stretch(disk: Disk, log: CommitLog, path: str, offset: int, end: int) -> str:
    """Copies these bytes of the log, whatever they are, as `keep_tail` does; returns the path taken."""
    kept = _name_for(disk, log, path, offset, end)
    if disk.file_size(kept) is None:
        _copy(disk, log, kept, offset, end)
    return kept


def _name_for(disk: Disk, log: CommitLog, path: str, offset: int, end: int) -> str:
    stem, _, suffix = path.rpartition(".")
    for number in itertools.count(2):
        if disk.file_size(path) is None or _begins_with(disk, log, path, offset, end):
            break
        path = f"{stem}-{number}.{suffix}"
    return path


def _begins_with(disk: Disk, log: CommitLog, path: str, offset: int, end: int) -> bool:
    file = disk.open(path)
    if file.size() < end - offset:
        return False
    return all(file.pread(len(data), at - offset) == data for at, data in _pieces(log, offset, end))


def _copy(disk: Disk, log: CommitLog, path: str, offset: int, end: int) -> None:
    directory = path.rpartition("/")[0]
    disk.make_directory(directory)
    disk.sync_directory(directory.rpartition("/")[0] or ".")
    copy = disk.create(f"{path}.tmp", 0)
    copy.truncate(0)
    copy.truncate(end - offset)
    for at, data in _pieces(log, offset, end):
        if data.strip(b"\0"):
            copy.pwrite(data, at - offset)
    copy.sync()
    disk.rename(f"{path}.tmp", path)
    disk.sync_directory(directory)


def _pieces(log: CommitLog, offset: int, end: int) -> Iterator[tuple[int, bytes]]:
    while offset < end:
        data = log.read(offset, min(_COPY_BYTES, log.segments.end_of(offset) - offset, end - offset))
        yield offset, data
        offset += len(data)
