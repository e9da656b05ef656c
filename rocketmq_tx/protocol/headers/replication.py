"""Headers of the requests between a slave and its master that only this project knows."""

from __future__ import annotations

from rocketmq_tx.protocol.header_fields import Header, header, long_integer, string


@header
class CompareLogRequestHeader(Header):
    """COMPARE_LOG: which commit log do you have, and what is in it between these two offsets?"""

    from_offset: int = long_integer("fromOffset", required=True, needed=True)
    to_offset: int = long_integer("toOffset", required=True, needed=True)


@header
class CompareLogResponseHeader(Header):
    """The master's log; `digest` is missing where it does not have all of the bytes asked for."""

    min_offset: int = long_integer("minOffset", required=True)
    max_offset: int = long_integer("maxOffset", required=True)
    file_bytes: int = long_integer("fileBytes", required=True)
    digest: str | None = string("digest", default=None)
    """BLAKE2b of 16 bytes, as hex."""
    damage: str | None = string("damage", default=None)
    """What a crash has taken from the middle of the master's log: `offset+size`, separated by commas."""
