"""The places of a consumer group's bits in Apache's bit maps of a topic.

Ours keeps no bit maps, but consumerFilter.json names the places, and Apache ignores the whole file when they
are not what it would choose itself. Facts: spec/filter.yaml (bit_map).
"""

from __future__ import annotations

import math
from typing import NamedTuple

_MASK = 0xFFFFFFFFFFFFFFFF
_C1, _C2 = 0x87C37B91114253D5, 0x4CF5AD432745937F


class BloomSize(NamedTuple):
    """How many bits a group has, in how many."""

    bits_of_group: int
    bits: int


def bloom_size(error_percent: int, groups: int) -> BloomSize:
    """For `groups` groups with `error_percent` (1 to 99) false hits; nonsense counts as the defaults."""
    if not 0 < error_percent < 100 or groups < 1:
        error_percent, groups = 20, 32
    halvings = -math.log2(error_percent / 100)
    bits = math.ceil(groups * halvings * math.log2(math.e))
    return BloomSize(math.ceil(halvings), -(-bits // 8) * 8)


def bloom_places(text: str, size: BloomSize) -> tuple[int, ...]:
    """Places of the bits for `group#topic`."""
    low = murmur3_low64(text.encode())
    first, second = low & 0xFFFFFFFF, low >> 32
    places = []
    for number in range(1, size.bits_of_group + 1):
        place = (first + number * second) & 0xFFFFFFFF
        if place & 0x80000000:
            place ^= 0xFFFFFFFF
        places.append(place % size.bits)
    return tuple(places)


def murmur3_low64(data: bytes) -> int:
    """The first half of MurmurHash3_x64_128 with seed 0 (Guava's `murmur3_128().asLong()`, unsigned)."""
    h1 = h2 = 0
    whole = len(data) // 16 * 16
    for at in range(0, whole, 16):
        h1 = (_rotated(h1 ^ _mixed1(data[at : at + 8]), 27) + h2) * 5 + 0x52DCE729 & _MASK
        h2 = (_rotated(h2 ^ _mixed2(data[at + 8 : at + 16]), 31) + h1) * 5 + 0x38495AB5 & _MASK
    h2 ^= _mixed2(data[whole + 8 :])
    h1 ^= _mixed1(data[whole : whole + 8])
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = (h1 + h2) & _MASK
    h2 = (h2 + h1) & _MASK
    return (_finished(h1) + _finished(h2)) & _MASK


def _mixed1(piece: bytes) -> int:
    return _rotated(int.from_bytes(piece, "little") * _C1 & _MASK, 31) * _C2 & _MASK


def _mixed2(piece: bytes) -> int:
    return _rotated(int.from_bytes(piece, "little") * _C2 & _MASK, 33) * _C1 & _MASK


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & _MASK


def _finished(value: int) -> int:
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & _MASK
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return value ^ value >> 33
