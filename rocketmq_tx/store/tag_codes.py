"""Which tags codes a consumer wants, asked for one message or for many at once.

The code of a message is the Java hash of its tag: 32 bits, which a queue entry has as 64. Many are asked for
in one number that has 32 bits for each of them: what is wanted becomes 0 there by XOR, and no step carries
from one code into the next. For 64 entries that takes half as long as looking each code up.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from functools import lru_cache

from rocketmq_tx.store.entry_blocks import CODE_HIGH, CODE_LOW, WORDS

_LANE_BYTES = 4
_LANE_MASK = 0xFFFFFFFF
_LANES_MAX = 8
"""More wanted codes are dearer than looking up each message's."""


class TagCodes:
    """A filter of messages by the codes of their tags; `look_up` is the same as a call, and faster."""

    __slots__ = ("_lanes", "look_up")

    def __init__(self, codes: Iterable[int]) -> None:
        wanted = frozenset(codes)
        self.look_up = wanted.__contains__
        # no message that is looked at by columns has a code beyond 32 bits
        self._lanes = [code & _LANE_MASK for code in wanted if -(1 << 31) <= code < 1 << 31]

    def __call__(self, code: int) -> bool:
        return self.look_up(code)

    def flags(self, entries: array[int]) -> bytes | None:
        """1 for each entry that is wanted, else 0; None where codes are to be looked up one by one.

        `entries` are words, as `entry_blocks` makes them.
        """
        if len(self._lanes) > _LANES_MAX or sys.byteorder != "little":
            return None
        lows = entries[CODE_LOW::WORDS]
        codes, ones = int.from_bytes(lows, "little"), lanes_of_one(len(lows))
        sign_words = ((codes >> 31) & ones) * _LANE_MASK
        if sign_words != int.from_bytes(entries[CODE_HIGH::WORDS], "little"):
            return None  # a code beyond 32 bits
        most = ones * (_LANE_MASK >> 1)
        unlike = ones
        for lane in self._lanes:
            difference = codes ^ ones * lane
            unlike &= ((difference & most) + most | difference) >> 31
        return (ones ^ unlike).to_bytes(_LANE_BYTES * len(lows), "little")[::_LANE_BYTES]


@lru_cache(maxsize=256)
def lanes_of_one(count: int) -> int:
    """1 in each of so many lanes of 32 bits."""
    return int.from_bytes(b"\1\0\0\0" * count, "little")
