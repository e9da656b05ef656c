"""Numbers that Java programs compute and store: string hashes, tag codes, index key hashes, masked CRCs."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence
from operator import mul

_POWERS: tuple[int, ...] = tuple(pow(31, n, 1 << 32) for n in range(255, -1, -1))
"""31**255 .. 31**0 modulo 2**32: the weights of a string's last 256 UTF-16 units."""
_CHUNK = len(_POWERS)
_CHUNK_WEIGHT: int = pow(31, _CHUNK, 1 << 32)
_NATIVE_UTF16 = "utf-16-le" if sys.byteorder == "little" else "utf-16-be"


def _utf16_units(text: str) -> Sequence[int]:
    """The 16-bit units that Java's `charAt` sees; lone surrogates count as themselves."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return memoryview(text.encode(_NATIVE_UTF16, "surrogatepass")).cast("H")


def string_hash(text: str) -> int:
    """`String.hashCode()`: h = 31 * h + unit over UTF-16 units, as a signed 32-bit number."""
    units = _utf16_units(text)
    length = len(units)
    if length <= _CHUNK:
        total: int = sum(map(mul, units, _POWERS[_CHUNK - length :]))
    else:
        head = length % _CHUNK
        total = sum(map(mul, units[:head], _POWERS[_CHUNK - head :]))
        for start in range(head, length, _CHUNK):
            chunk = sum(map(mul, units[start : start + _CHUNK], _POWERS))
            total = (total * _CHUNK_WEIGHT + chunk) & 0xFFFFFFFF
    total &= 0xFFFFFFFF
    return total - (1 << 32) if total & 0x80000000 else total


def tags_code(tags: str | None) -> int:
    """What a consume queue stores for a TAGS property: the hash of the whole value; 0 without tags."""
    return string_hash(tags) if tags else 0


def index_key_hash(key: str) -> int:
    """The absolute hash that the message index stores for `topic#key`; int32's minimum has none and is 0."""
    number = abs(string_hash(key))
    return 0 if number == 1 << 31 else number


def crc32(data: bytes) -> int:
    """CRC-32 without its top bit, as Apache stores it for message bodies and registrations."""
    return zlib.crc32(data) & 0x7FFFFFFF
