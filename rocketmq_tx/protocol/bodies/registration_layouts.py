"""The layout inside a compressed registration, declared with construct."""

from __future__ import annotations

from typing import NamedTuple

from construct import ConstructError, Int32ub, PascalString, PrefixedArray, Struct, Terminated

REGISTRATION = Struct(
    "data_version" / PascalString(Int32ub, "utf8"),  # DataVersion as JSON
    "topics" / PrefixedArray(Int32ub, PascalString(Int32ub, "utf8")),  # TopicConfig's text form
    "filter_servers" / PascalString(Int32ub, "utf8"),  # a JSON array
    Terminated,
)


class RegistrationParts(NamedTuple):
    """The texts of a registration, not yet read."""

    data_version: str
    topics: list[str]
    filter_servers: str


def parse_registration(data: bytes) -> RegistrationParts:
    """Cuts the expanded bytes into their texts; ValueError when they are not that layout.

    A count or length beyond the bytes that are there ends the reading, so it costs no memory.
    """
    try:
        parsed = REGISTRATION.parse(data)
    except ConstructError as error:
        raise ValueError(f"the expanded registration cannot be read: {error}") from error
    return RegistrationParts(parsed.data_version, list(parsed.topics), parsed.filter_servers)


def build_registration(data_version: str, topics: list[str], filter_servers: str) -> bytes:
    """The bytes to compress."""
    data: bytes = REGISTRATION.build(RegistrationParts(data_version, topics, filter_servers)._asdict())
    return data
