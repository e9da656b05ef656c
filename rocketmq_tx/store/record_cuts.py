"""Cuts records out of a stretch of the log that holds others' records, too: many at once, if they are alike.

Where all are of one size, as those of one kind of message often are, whole patterns of places come again and
again - queues that are written in turn, every second tag. A pattern is known by the low words of its offsets,
put into one number; when it is seen a second time, a `struct` is compiled that cuts all records in one call.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Sequence
from itertools import compress, pairwise
from struct import Struct
from typing import Any, Final, NamedTuple

from rocketmq_tx.store.entry_blocks import LOW_WORD, WORDS, starts_of
from rocketmq_tx.store.tag_codes import lanes_of_one

PATTERNS_MAX: Final = 512
"""So many are remembered, of some kilobytes each."""
GAP_BYTES_MAX: Final = 8 << 10
"""Of a pattern whose records are farther apart, each is better read alone."""
_Pattern = tuple[int, int, bytes]
"""Size of a record; offsets behind the first one as 32-bit digits; which of the entries are wanted."""


class Cut(NamedTuple):
    """A stretch of the log, `begin` behind the first entry's record, and what takes the records out of it."""

    begin: int
    span: int
    end: int
    """Where the last record looked at ends, behind the begin of the first."""
    unpack: Callable[[Any], Sequence[bytes]]


class RecordCuts:
    """Remembers patterns."""

    def __init__(self) -> None:
        self._cuts: dict[_Pattern, Cut | None] = {}

    def of(self, entries: array[int], wanted: bytes) -> Cut | None:
        """The cut for the records of entries, of those that `wanted` has a 1 for; None where none is known.

        `entries` are words, as `entry_blocks` makes them; their sizes are equal.
        """
        lows, highs = entries[1::WORDS], entries[0::WORDS]
        low = lows[0] & LOW_WORD
        pattern = entries[2], int.from_bytes(lows, "little") - low * lanes_of_one(len(lows)), wanted
        cut = self._cuts.get(pattern)
        if cut is None:
            self._note(pattern, entries)
            return None
        # No other offsets have that number where the low word overflows nowhere.
        if low + cut.end > LOW_WORD or highs != highs[:1] * len(highs):
            return None
        return cut

    def _note(self, pattern: _Pattern, entries: array[int]) -> None:
        cuts = self._cuts
        if pattern not in cuts:
            if len(cuts) >= PATTERNS_MAX:
                cuts.clear()
            cuts[pattern] = None
            return
        starts, size, wanted = starts_of(entries), entries[2], pattern[2]
        first, end = starts[0], starts[-1] + size
        places = list(compress(starts, wanted))
        gaps = [after - before - size for before, after in pairwise(places)]
        if (
            sys.byteorder == "little"  # else the words would be other digits
            and all(before < after for before, after in pairwise(starts))
            and first >= 0
            and first >> 32 == end >> 32
            and all(0 <= gap <= GAP_BYTES_MAX for gap in gaps)
        ):
            layout = Struct(f"{size}s" + "".join([f"{gap}x{size}s" for gap in gaps]))
            cuts[pattern] = Cut(places[0] - first, layout.size, end - first, layout.unpack)
