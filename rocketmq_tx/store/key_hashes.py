"""Hashes of many index keys at once: what `protocol.java.index_key_hash` gives, at a tenth of its cost.

Keys of up to 32 Latin-1 characters are laid side by side into one large integer, 32 bytes each, and
combined in lanes that double in width: 8, 16, 32, 64, 128, 256 bits. NULs in front do not change a hash.
Longer ones, as clients with an IPv6 address make them (56 characters), count as two of 32. Keys that one
client makes within a minute begin with the same 24 characters, whose hash is a constant; only their last 8
are laid side by side then.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Sequence

from rocketmq_tx.protocol.java import index_key_hash, string_hash

_KEY_CHARS = 32
COMMON_CHARS = 24
"""Of a Java client's key: its address, process, class loader, and its age in units of 65 s."""
_END_CHARS = _KEY_CHARS - COMMON_CHARS
_KEYS_AT_A_TIME = 256
_POWERS = tuple(pow(31, n, 1 << 32) for n in range(2 * _KEY_CHARS + 1))
_LOW_WORD = 0xFFFFFFFF
_LARGEST_INT = 0x7FFFFFFF
_NO_INT = 0x80000000
"""What would be the opposite of the smallest one; the index has 0 for it."""
_PREFIXES_MAX = 16_384


@functools.lru_cache(maxsize=3 * _KEYS_AT_A_TIME)
def _lanes(count: int, key_chars: int) -> tuple[tuple[int, int, int], ...]:
    """For each step: mask of a lane's lower half, that half's width in bits, power of 31 between both."""
    steps = []
    half_bytes = 1
    while half_bytes < key_chars:
        # From 64 bits on, what is above the lower 32 bits of a half is of no interest any more.
        kept = min(half_bytes, 4)
        lane = bytes(2 * half_bytes - kept) + b"\xff" * kept
        mask = int.from_bytes(lane * (count * key_chars // len(lane)), "big")
        steps.append((mask, half_bytes * 8, _POWERS[half_bytes]))
        half_bytes *= 2
    return tuple(steps)


@functools.lru_cache(maxsize=3 * _KEYS_AT_A_TIME)
def _last_words(count: int, key_chars: int, kind: str) -> struct.Struct:
    """The last word of each of so many keys' lanes; `kind` is I or i."""
    return struct.Struct(">" + f"{key_chars - 4}x{kind}" * count)


@functools.lru_cache(maxsize=2 * _KEYS_AT_A_TIME)
def _ones(count: int, key_chars: int) -> int:
    """1 in each of so many keys' lanes."""
    return int.from_bytes((bytes(key_chars - 1) + b"\1") * count, "big")


def _combined(padded: bytes, count: int, key_chars: int = _KEY_CHARS) -> int:
    """A lane for each of `count` keys of 8 or 32 bytes, as wide as these; its last word is the hash."""
    number = int.from_bytes(padded, "big")
    for mask, shift, power in _lanes(count, key_chars):
        number = (number & mask) + ((number >> shift) & mask) * power
    return number


def _short_hashes(padded: bytes, count: int) -> tuple[int, ...]:
    """Unsigned 32-bit hashes of `count` keys of 32 bytes."""
    lanes = _combined(padded, count)
    return _last_words(count, _KEY_CHARS, "I").unpack(lanes.to_bytes(count * _KEY_CHARS, "big"))


def _short_index_hashes(topics: str | Sequence[str], padded: bytes, count: int) -> list[int]:
    """The same of `topic#key`, as the index wants them; of one topic or of one each."""
    ends = _ends(padded, count)
    if ends is None:
        lane_bytes, common, lanes = _KEY_CHARS, 0, _combined(padded, count)
    else:
        lane_bytes, common = _END_CHARS, _common_hash(padded[:COMMON_CHARS])
        lanes = _combined(ends, count, _END_CHARS)
    if isinstance(topics, str):
        lanes += (_prefix_of_32(topics) + common) * _ones(count, lane_bytes)
    else:
        prefixes = _last_words(count, lane_bytes, "I").pack(*map(_prefix_of_32, topics))
        lanes += int.from_bytes(prefixes, "big") + common * _ones(count, lane_bytes)
    hashes = list(
        map(abs, _last_words(count, lane_bytes, "i").unpack(lanes.to_bytes(count * lane_bytes, "big")))
    )
    if _NO_INT in hashes:
        hashes = [number & _LARGEST_INT for number in hashes]
    return hashes


def _ends(padded: bytes, count: int) -> bytes | None:
    """The last 8 bytes of each of `count` keys of 32 whose others are the same; None when they are not."""
    if padded[-_KEY_CHARS:-_END_CHARS] != padded[:COMMON_CHARS]:
        return None
    words = memoryview(padded).cast("Q")
    for at in range(3):
        if words[at::4].tobytes() != padded[8 * at : 8 * at + 8] * count:
            return None
    return words[3::4].tobytes()


@functools.lru_cache(maxsize=_KEYS_AT_A_TIME)
def _common_hash(begin: bytes) -> int:
    """What these 24 characters in front add to the hash of the last 8 of a key."""
    return string_hash(begin.decode("latin-1")) * _POWERS[_END_CHARS] & _LOW_WORD


class _Prefixes(dict[str, int]):
    """By topic: what `topic#` in front adds to the hash of a key of so many characters."""

    def __init__(self, key_chars: int) -> None:
        super().__init__()
        self._power = _POWERS[key_chars]

    def __missing__(self, topic: str) -> int:
        if len(self) >= _PREFIXES_MAX:
            self.clear()
        prefix = self[topic] = string_hash(topic + "#") * self._power & _LOW_WORD
        return prefix


_prefix_hash = _Prefixes(0).__getitem__
_prefix_of_32 = _Prefixes(_KEY_CHARS).__getitem__


def index_key_hashes(topics: Sequence[str], keys: Sequence[str]) -> list[int]:
    """`index_key_hash(topic + "#" + key)` for each pair."""
    if len(keys) == 1:  # lanes pay from two on
        return [index_key_hash(f"{topics[0]}#{keys[0]}")]
    found: list[int] = []
    for start in range(0, len(keys), _KEYS_AT_A_TIME):
        part = keys[start : start + _KEYS_AT_A_TIME]
        found += _hashes(topics[start : start + _KEYS_AT_A_TIME], part)
    return found


def _index_hashes(topic: str, key_chars: int, hashes: Iterable[int]) -> list[int]:
    """Hashes of `topic#key`, for keys of that length with these unsigned hashes of their own."""
    prefix = _prefix_hash(topic) * _POWERS[key_chars] & _LOW_WORD
    numbers = [(prefix + own) & _LOW_WORD for own in hashes]
    return [number if number <= _LARGEST_INT else -number & _LARGEST_INT for number in numbers]


def column_hashes(topics: str | Sequence[str], keys: bytes, key_bytes: int) -> list[int]:
    """The same for Latin-1 keys of one length that stand back to back, of one topic or of one each.

    Of 32 bytes, as Java clients make them, they are hashed as they stand.
    """
    if key_bytes != _KEY_CHARS:
        text = keys.decode("latin-1")
        cut = [text[start : start + key_bytes] for start in range(0, len(text), key_bytes)]
        return index_key_hashes([topics] * len(cut) if isinstance(topics, str) else topics, cut)
    found: list[int] = []
    step = _KEYS_AT_A_TIME * _KEY_CHARS
    for start in range(0, len(keys), step):
        part = keys[start : start + step]
        of_part = topics if isinstance(topics, str) else topics[len(found) : len(found) + _KEYS_AT_A_TIME]
        found += _short_index_hashes(of_part, part, len(part) // _KEY_CHARS)
    return found


def _hashes(topics: Sequence[str], keys: Sequence[str]) -> list[int]:
    width = _KEY_CHARS
    text = "".join([key.rjust(width, "\0") for key in keys])
    if len(text) != len(keys) * width:
        width = 2 * _KEY_CHARS
        text = "".join([key.rjust(width, "\0") for key in keys])
    if len(text) != len(keys) * width or not (text.isascii() or _is_latin(text)):
        return [index_key_hash(f"{topic}#{key}") for topic, key in zip(topics, keys, strict=True)]
    hashes: Sequence[int] = _short_hashes(text.encode("latin-1"), len(text) // _KEY_CHARS)
    if width != _KEY_CHARS:
        hashes = [
            high * _POWERS[_KEY_CHARS] + low for high, low in zip(hashes[::2], hashes[1::2], strict=True)
        ]
    size = len(keys[0])
    if len({*topics}) == len({*map(len, keys)}) == 1:
        return _index_hashes(topics[0], size, hashes)
    found = []
    for topic, key, own in zip(topics, keys, hashes, strict=True):
        number = (_prefix_hash(topic) * _POWERS[len(key)] + own) & _LOW_WORD
        if number & 0x80000000:
            number = (1 << 32) - number
            if number == 1 << 31:
                number = 0
        found.append(number)
    return found


def _is_latin(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True
