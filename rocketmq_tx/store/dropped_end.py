"""What a start drops behind the end of the log: kept in a file, unless it is certain to be nothing.

Zeros are nothing, and so is one record that was begun and not finished: nobody was told that it is stored.
All else may be messages to somebody: records that are older than the last one, or that cannot be read.
"""

from __future__ import annotations

import struct

from rocketmq_tx.errors import StoreError
from rocketmq_tx.protocol.message import BLANK_MAGIC, MESSAGE_MAGIC
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.records import ZEROS_AT_END
from rocketmq_tx.store.tail_cut import keep_stretch

_PIECE_BYTES = 64 << 10
_SIZE_AND_MAGIC = struct.Struct(">II")


def keep_dropped(disk: Disk, log: CommitLog, directory: str, end: int) -> str | None:
    """Copies what stands behind `end` to a file of that directory; its path, None when that is nothing.

    On the device when this returns. StoreError when it cannot be copied: then it must not be dropped either.
    """
    data_end = _data_end(log, end)
    if data_end is None or _is_torn(log, end, data_end):
        return None
    kept_to = min(data_end + ZEROS_AT_END, log.segments.end_of(data_end - 1))
    try:
        return keep_stretch(disk, log, f"{directory}/behind-{end}.log", end, kept_to)
    except StoreError as error:
        raise StoreError(
            f"the log ends at {end}, and what stands behind, up to {data_end}, is dropped by a start that "
            f"has a copy of it; none can be made: {error}"
        ) from error


def _data_end(log: CommitLog, end: int) -> int | None:
    """Where the last byte ends that is no zero; None without one. Passes over holes without reading them."""
    segments, found = log.segments, None
    for start in [start for start in segments.starts if start + log.segment_size > end]:
        file, at = segments.file(start), max(end - start, 0)
        while (place := file.data_from(at)) is not None and place < log.segment_size:
            data = file.pread(min(_PIECE_BYTES, log.segment_size - place), place).rstrip(b"\0")
            if data:
                found = start + place + len(data)
            at = place + _PIECE_BYTES
    return found


def _is_torn(log: CommitLog, end: int, data_end: int) -> bool:
    """Whether it is the beginning of one record, the rest of which has never been written."""
    if data_end - end < _SIZE_AND_MAGIC.size:
        return True
    segment_end = log.segments.end_of(end)
    if segment_end - end < _SIZE_AND_MAGIC.size:
        return False
    size, magic = _SIZE_AND_MAGIC.unpack(log.read(end, _SIZE_AND_MAGIC.size))
    if magic not in (MESSAGE_MAGIC, BLANK_MAGIC) or end + size > segment_end:
        return False
    return data_end < int(end + size - ZEROS_AT_END)
