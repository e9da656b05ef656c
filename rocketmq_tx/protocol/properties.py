"""The property string of a message: name 0x01 value pairs, 0x02 between them.

Apache 4.9.7 writes no separator after the last pair, older clients do; both are read. Nothing is escaped,
so a separator inside a name or value changes what is read back, exactly as with Apache's clients.
"""

from __future__ import annotations

from collections.abc import Mapping

from rocketmq_tx.errors import MessageError

NAME_VALUE_SEPARATOR = "\x01"
PAIR_SEPARATOR = "\x02"
MAX_PROPERTIES_BYTES = 32767
"""The length field is a signed 16-bit number; the limit counts characters and UTF-8 bytes alike."""
_SHORTEST_PAIR = 3


def encode_properties(properties: Mapping[str, str | None] | None) -> str:
    """The property string in the mapping's order; pairs without a value (None) are left out."""
    if not properties:
        return ""
    return PAIR_SEPARATOR.join(
        f"{name}{NAME_VALUE_SEPARATOR}{value}" for name, value in properties.items() if value is not None
    )


def decode_properties(text: str | None) -> dict[str, str]:
    """The pairs of a property string, by Java's rules (MessageDecoder.string2messageProperties).

    Pieces without a separator, with an empty name or with an empty value are dropped; of equal names
    the last one counts; the first 0x01 of a piece separates.
    """
    found: dict[str, str] = {}
    if not text:
        return found
    for piece in text.split(PAIR_SEPARATOR):
        if len(piece) < _SHORTEST_PAIR:
            continue
        name, _, value = piece.partition(NAME_VALUE_SEPARATOR)
        if name and value:
            found[name] = value
    return found


def pack_properties(properties: Mapping[str, str | None] | None) -> bytes:
    """The stored form (UTF-8); MessageError when it is longer than a record can hold."""
    try:
        stored = encode_properties(properties).encode()
    except UnicodeEncodeError as error:
        raise MessageError(f"properties hold a lone surrogate: {error}") from error
    if len(stored) > MAX_PROPERTIES_BYTES:
        raise MessageError(f"properties need {len(stored)} bytes, more than {MAX_PROPERTIES_BYTES}")
    return stored


def unpack_properties(stored: bytes) -> dict[str, str]:
    """The pairs of the stored form; bytes that are no UTF-8 are replaced, as Java does."""
    return decode_properties(stored.decode("utf-8", "replace"))


def join_properties(stored: bytes, more: bytes) -> bytes:
    """Two property strings as one: what a broker does with its own pairs and with those of a batch."""
    if not stored or not more:
        return stored or more
    return stored + more if stored.endswith(b"\x02") else stored + b"\x02" + more
