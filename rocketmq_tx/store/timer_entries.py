"""One pending message of the timer index: when it is due, and where its record lies.

Packed entries compare, as bytes, like (time due, place in the log), so sorting, merging and searching need
no unpacking. The layout (`file_layouts.TimerEntryLayout`) is ours: Apache keeps such messages in a wheel of
linked lists.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_ENTRY = struct.Struct(">QQI")
ENTRY_BYTES = 20
_CANCELLATION = 1 << 31
_LAST_MS = (1 << 63) - 1

Entry = bytes
"""A packed entry of `ENTRY_BYTES` bytes."""
AFTER_ALL = b"\xff" * ENTRY_BYTES
"""Compares greater than every entry."""

entry_offset = struct.Struct(">8xQ4x").unpack
"""(commit log offset,) of a packed entry: the one field that is asked for in bulk."""


class TimerEntry(NamedTuple):
    """The fields of an entry; times are epoch ms."""

    due_ms: int
    commit_log_offset: int
    size: int
    is_cancellation: bool


def pack_entry(due_ms: int, commit_log_offset: int, size: int, is_cancellation: bool = False) -> Entry:
    """The packed entry; times before 1970 count as 1970, those beyond all time as its end."""
    due_ms = min(max(due_ms, 0), _LAST_MS)
    return _ENTRY.pack(due_ms, commit_log_offset, size | _CANCELLATION if is_cancellation else size)


def unpack_entry(entry: Entry) -> TimerEntry:
    """The fields of a packed entry."""
    due_ms, commit_log_offset, size = _ENTRY.unpack(entry)
    return TimerEntry(due_ms, commit_log_offset, size & ~_CANCELLATION, bool(size & _CANCELLATION))


def due_ms_of(entry: Entry) -> int:
    """When it is due (epoch ms)."""
    return int.from_bytes(entry[:8], "big")


def after_ms(time_ms: int) -> bytes:
    """Compares greater than every entry that is due at `time_ms` or before, and less than the others."""
    return min(max(time_ms + 1, 0), _LAST_MS).to_bytes(8, "big")


def split_entries(data: bytes | bytearray) -> list[Entry]:
    """The entries of a whole number of packed ones."""
    return [bytes(data[at : at + ENTRY_BYTES]) for at in range(0, len(data), ENTRY_BYTES)]
