"""Rows of bytes that differ in an offset only, which grows evenly: entries of a queue, ids of messages.

All of them are one large number: what it is with offsets that begin at 0 is kept, and where they begin is
added to each row by one multiplication. That is a third of packing row by row.
"""

from __future__ import annotations

from functools import lru_cache

_OFFSET_BYTES = 8
_ROWS_MAX = 256
"""More rows are seldom, and numbers of them large to keep."""


def offset_rows(before: bytes, offsets: range, after: bytes) -> bytes:
    """`before`, eight bytes of the offset, `after`, for each of the ascending offsets, back to back."""
    count = len(offsets)
    if count > _ROWS_MAX:
        size = _OFFSET_BYTES
        return b"".join([before + offset.to_bytes(size, "big") + after for offset in offsets])
    from_0, ones = _rows(before, count, offsets.step, after)
    return (from_0 + offsets.start * ones).to_bytes(count * (len(before) + _OFFSET_BYTES + len(after)), "big")


@lru_cache(maxsize=64)
def _rows(before: bytes, count: int, step: int, after: bytes) -> tuple[int, int]:
    """The rows as one number when the first offset is 0, and that number with 1 for each offset alone."""
    offsets = range(0, count * step, step)
    rows = [before + offset.to_bytes(_OFFSET_BYTES, "big") + after for offset in offsets]
    one = bytes(len(before)) + (1).to_bytes(_OFFSET_BYTES, "big") + bytes(len(after))
    return int.from_bytes(b"".join(rows), "big"), int.from_bytes(one * count, "big")
