"""Walking through the commit log record by record when nothing but its bytes is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rocketmq_tx.protocol.message import MESSAGE_MAGIC
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.plain_records import PlainRecords
from rocketmq_tx.store.records import ZEROS_AT_END, Verdict, examine, facts

_CHUNK_BYTES = 1 << 20
_RESYNC_BYTES = 8 << 20
_PIECE_BYTES = 64 << 10
_MAGIC = MESSAGE_MAGIC.to_bytes(4, "big")


class Step(NamedTuple):
    """One step: `size` bytes at `offset`, which are at `data[at:]`.

    WHOLE, DAMAGED and BLANK as `records.Verdict` says; NOTHING is a stretch that is no record although one
    follows behind it; ENTERED is one of whole records that `PlainRecords` has entered already.
    """

    verdict: Verdict
    offset: int
    size: int
    data: bytes
    at: int


class PlainFrom(NamedTuple):
    """Enters the plain records that a walk comes to from `offset` on, unless it has just seen damage."""

    offset: int
    records: PlainRecords


def walk(
    log: CommitLog,
    start: int,
    check_crc: bool,
    skip_gaps: bool,
    plain: PlainFrom | None = None,
    sure_to: int = 0,
) -> Iterator[Step]:
    """Steps from `start`, where a record begins, to the last place from which no step leads on.

    With `skip_gaps`, bytes that are no record are stepped over when a whole record stands behind them that
    is not older than the last one: one flipped bit in a length must not cost everything after it. It is
    off where a clean end is known, since Apache leaves old bytes behind an end that it cut. Whatever is found
    before `sure_to`, where a record ended for certain, is stepped over in any case.
    """
    position = start
    newest_ms = 0
    sound = True
    while log.segments.has(position):
        segment_end = log.segments.end_of(position)
        base, data = position, log.read(position, min(_CHUNK_BYTES, segment_end - position))
        while position < segment_end:
            if plain is not None and sound and position >= plain.offset:
                at = position - base
                size = plain.records.take(data, at, base) - at
                if size:
                    newest_ms = plain.records.last_store_timestamp
                    yield Step(Verdict.ENTERED, position, size, data, at)
                    position += size
                    if position == segment_end:
                        break
            verdict, size = examine(data, position - base, position, check_crc)
            if verdict is Verdict.MORE and size <= segment_end - position:
                length = min(max(_CHUNK_BYTES, size), segment_end - position)
                base, data = position, log.read(position, length)
                continue
            if verdict is Verdict.BLANK:
                yield Step(verdict, position, segment_end - position, data, position - base)
                position = segment_end
            elif verdict in (Verdict.WHOLE, Verdict.DAMAGED):
                yield Step(verdict, position, size, data, position - base)
                sound = verdict is Verdict.WHOLE
                if sound and skip_gaps:
                    newest_ms = facts(data, position - base).store_timestamp
                position += size
            else:
                following = _behind_gap(log, position, sure_to, newest_ms if skip_gaps else None)
                if following is None:
                    return
                yield Step(Verdict.NOTHING, position, following - position, data, position - base)
                sound = False
                position = following
                break


def _behind_gap(log: CommitLog, position: int, sure_to: int, not_before_ms: int | None) -> int | None:
    """Where the walk goes on behind what is no record; None where it ends."""
    if position < sure_to:
        return _resume(log, position, sure_to)
    return None if not_before_ms is None else _next_whole(log, position, not_before_ms)


def _resume(log: CommitLog, position: int, sure_to: int) -> int:
    """Where records go on behind a gap that lies before the end: whatever is there has been written there."""
    following = _next_whole(log, position, 0)
    if following is None:  # a large gap: files behind it may be whole
        starts = [start for start in log.segments.starts if position < start < sure_to]
        whole = (start for start in starts if _is_whole(log.read(start, _first_bytes(log)), 0, start, 0))
        following = next(whole, sure_to)
    return min(following, sure_to)


def _first_bytes(log: CommitLog) -> int:
    return min(_RESYNC_BYTES, log.segment_size)


def record_behind(log: CommitLog, end: int) -> int | None:
    """Where a whole record begins behind the end to which a walk came, which took it for too old."""
    return _next_whole(log, end, 0) if log.segments.has(end) else None


def _next_whole(log: CommitLog, position: int, not_before_ms: int) -> int | None:
    """Where the next whole record begins: within some megabytes, or at the start of the next segment."""
    segment_end = log.segments.end_of(position)
    data = log.read(position, _filled_bytes(log, position, min(_RESYNC_BYTES, segment_end - position)))
    found = data.find(_MAGIC, 5)
    while found >= 0:
        if _is_whole(data, found - 4, position + found - 4, not_before_ms):
            return position + found - 4
        found = data.find(_MAGIC, found + 1)
    if log.segments.has(segment_end):
        data = log.read(segment_end, min(_RESYNC_BYTES, log.segment_size))
        if _is_whole(data, 0, segment_end, not_before_ms):
            return segment_end
    return None


def _filled_bytes(log: CommitLog, position: int, length: int) -> int:
    """So many of those bytes are worth reading: what is left is a hole, as at the end of most logs."""
    file, at = log.segments.file(position), position % log.segment_size
    end, filled_to = at + length, at
    while (place := file.data_from(filled_to)) is not None and place < end:
        filled_to = place + _PIECE_BYTES
    return min(filled_to + ZEROS_AT_END, end) - at


def _is_whole(data: bytes, at: int, offset: int, not_before_ms: int) -> bool:
    if examine(data, at, offset)[0] is not Verdict.WHOLE:
        return False
    return facts(data, at).store_timestamp >= not_before_ms
