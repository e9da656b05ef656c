"""The order in which a Java HashMap lists its entries: the order of extFields in Apache's frames.

Receivers do not depend on it, but with it our frames equal recorded ones byte for byte, in whatever order
the fields were put together. Entries of one bucket keep the order in which they came.
"""

from __future__ import annotations

from rocketmq_tx.protocol.java import string_hash

_SMALLEST_TABLE = 16
# Key sets seen so far and their order. Frames that are relayed bring key sets of strangers: bounded.
_KNOWN: dict[tuple[str, ...], tuple[str, ...]] = {}
_KNOWN_LIMIT = 1024
_KNOWN_KEYS_LIMIT = 32


def in_hash_map_order(entries: dict[str, str]) -> dict[str, str]:
    """The same entries in HashMap order; the very dict that was given when it has that order already."""
    keys = tuple(entries)
    order = _KNOWN.get(keys)
    if order is None:
        order = _order(keys)
        if len(keys) <= _KNOWN_KEYS_LIMIT:
            if len(_KNOWN) >= _KNOWN_LIMIT:
                _KNOWN.clear()
            _KNOWN[keys] = order
    return entries if order == keys else {key: entries[key] for key in order}


def _order(keys: tuple[str, ...]) -> tuple[str, ...]:
    size = _SMALLEST_TABLE
    while len(keys) > size * 3 // 4:
        size *= 2

    def bucket(key: str) -> int:
        unsigned = string_hash(key) & 0xFFFFFFFF
        return (unsigned ^ unsigned >> 16) & size - 1

    return tuple(sorted(keys, key=bucket))
