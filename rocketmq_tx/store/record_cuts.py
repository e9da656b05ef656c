"""Cuts records out of a stretch of the log that holds others' records, too.

Where all are of one size, as those of one kind of message often are, whole patterns of places come again and
again - queues that are written in turn, every second tag - and a compiled `struct` cuts all of them in one
call: a pattern that is seen a second time is compiled. Everything else is cut one by one.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from struct import Struct
from typing import Any, Final

PATTERNS_MAX: Final = 512
"""So many are remembered, of some kilobytes each."""
_NUMBER = "q"
Cut = Callable[[Any], Sequence[bytes]]
"""Gives the records in a stretch from the begin of the first to the end of the last one."""
_Pattern = tuple[int, int, int]
"""Size and number of the records, and their places behind the first one as 64-bit digits of one number."""


class RecordCuts:
    """Makes cuts, and remembers patterns."""

    def __init__(self) -> None:
        self._cuts: dict[_Pattern, Cut | None] = {}

    def of(self, starts: Sequence[int], sizes: Sequence[int]) -> Cut | None:
        """The cut for these records (numbers from 0 on); None when they are not in the order of the log."""
        count, size = len(starts), sizes[0]
        pattern: _Pattern | None = None
        if sizes == sizes[:1] * count:  # type: ignore[operator]
            # No other places give this number, unless they are before the first one or overlap their like.
            pattern = size, count, _digits(starts) - starts[0] * _ones(count)
            cut = self._cuts.get(pattern)
            if cut is not None:
                return cut
        begin = starts[0]
        # Where numbers were damaged, a queue need not be in the order of the log.
        if min(starts) != begin or max(starts) != starts[-1]:
            return None
        if pattern is not None:
            self._note(pattern, starts)
        return lambda data: [
            data[start - begin : start - begin + size] for start, size in zip(starts, sizes, strict=True)
        ]

    def _note(self, pattern: _Pattern, starts: Sequence[int]) -> None:
        cuts, size = self._cuts, pattern[0]
        if pattern not in cuts:
            if len(cuts) >= PATTERNS_MAX:
                cuts.clear()
            cuts[pattern] = None
            return
        gaps = [after - before - size for before, after in pairwise(starts)]
        if min(gaps, default=0) >= 0:
            cuts[pattern] = Struct(f"{size}s" + "".join([f"{gap}x{size}s" for gap in gaps])).unpack


def _digits(numbers: Sequence[int]) -> int:
    """The numbers as 64-bit digits of one, the first one lowest."""
    ordered = array(_NUMBER, numbers)
    if sys.byteorder == "big":
        ordered.byteswap()
    return int.from_bytes(ordered.tobytes(), "little")


@lru_cache(maxsize=1024)
def _ones(count: int) -> int:
    """1 in each of `count` such digits."""
    return int.from_bytes(b"\1\0\0\0\0\0\0\0" * count, "little")
