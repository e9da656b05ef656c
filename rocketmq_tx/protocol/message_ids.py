"""Message ids: where a message is stored (offset id), and which message it is (the client's unique id).

Both are upper-case hex texts of 32 characters with an IPv4 address and 56 with an IPv6 one
(`spec/wire.yaml`, message_ids).
"""

from __future__ import annotations

import binascii
import ipaddress
import struct
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from rocketmq_tx.errors import MessageError

_PORT = struct.Struct(">i")
_PORT_AND_OFFSET = struct.Struct(">iq")
_PID_AND_LOADER = struct.Struct(">HI")
_UNIQUE_TAIL = struct.Struct(">HIIH")
IPV4_HOST_BYTES = 8
IPV6_HOST_BYTES = 20
IPV4_ID_CHARS = 32
IPV6_ID_CHARS = 56


def pack_ip(ip: str) -> bytes:
    """4 or 16 bytes of a numeric address; MessageError for anything else (host names are not looked up)."""
    try:
        return ipaddress.ip_address(ip).packed
    except ValueError as error:
        raise MessageError(f"{ip!r} is no numeric IP address") from error


def unpack_ip(packed: bytes) -> str:
    """The text of 4 or 16 address bytes; IPv6 in its usual short form."""
    if len(packed) == 4:
        return ".".join(map(str, packed))
    if len(packed) == 16:
        return ipaddress.IPv6Address(packed).compressed
    raise MessageError(f"an address has 4 or 16 bytes, not {len(packed)}")


@lru_cache(maxsize=4096)
def pack_host(ip: str, port: int) -> bytes:
    """8 bytes (IPv4) or 20 (IPv6): the address and its port as a 32-bit number, as records hold hosts."""
    return pack_ip(ip) + _PORT.pack(port)


@lru_cache(maxsize=4096)
def unpack_host(packed: bytes) -> tuple[str, int]:
    """(address, port) of the 8 or 20 bytes that a record holds."""
    if len(packed) not in (IPV4_HOST_BYTES, IPV6_HOST_BYTES):
        raise MessageError(f"a host has 8 or 20 bytes, not {len(packed)}")
    return unpack_ip(packed[:-4]), _PORT.unpack(packed[-4:])[0]


def offset_message_id(host_ip: str, port: int, commit_log_offset: int) -> str:
    """The id that a broker answers with: its address and the physical offset of the record."""
    return (pack_ip(host_ip) + _PORT_AND_OFFSET.pack(port, commit_log_offset)).hex().upper()


def packed_offset_message_id(store_host: bytes, commit_log_offset: int) -> str:
    """The same for a host that is packed already."""
    return (store_host + commit_log_offset.to_bytes(8, "big", signed=True)).hex().upper()


class MessagePlace(NamedTuple):
    """What an offset message id says."""

    host_ip: str
    port: int
    commit_log_offset: int


def decode_offset_message_id(message_id: str) -> MessagePlace:
    """The place that an offset message id names; MessageError when it is none."""
    packed = _unhex(message_id)
    port, commit_log_offset = _PORT_AND_OFFSET.unpack(packed[-12:])
    return MessagePlace(unpack_ip(packed[:-12]), port, commit_log_offset)


class UniqueIdParts(NamedTuple):
    """What a client's unique id says: `ms_of_month` counts from the start of a month in local time."""

    host_ip: str
    pid: int
    loader_hash: int
    ms_of_month: int
    counter: int


def decode_unique_id(unique_id: str) -> UniqueIdParts:
    """The parts of a client's unique id; MessageError when it is none."""
    packed = _unhex(unique_id)
    return UniqueIdParts(unpack_ip(packed[:-12]), *_UNIQUE_TAIL.unpack(packed[-12:]))


def _unhex(text: str) -> bytes:
    if len(text) not in (IPV4_ID_CHARS, IPV6_ID_CHARS):
        raise MessageError(f"a message id has 32 or 56 characters, not {len(text)}")
    try:
        return binascii.unhexlify(text)
    except ValueError as error:
        raise MessageError(f"{text!r} is not hexadecimal") from error


class UniqueIdSource:
    """Makes the UNIQ_KEY of each message of one process: `next_id(now_ms)`.

    `loader_hash` is any number that stays the same in the process. 65,536 ids a millisecond are
    distinct; a clock set back makes repetitions possible, as with Apache's client.
    """

    def __init__(self, ip: str, pid: int, loader_hash: int) -> None:
        fixed = pack_ip(ip) + _PID_AND_LOADER.pack(pid & 0xFFFF, loader_hash & 0xFFFFFFFF)
        self._prefix = fixed.hex().upper()
        self._counter = 0
        self._month_start_ms = 0
        self._next_month_ms = 0

    def next_id(self, now_ms: int) -> str:
        """The next id; `now_ms` is the wall clock in milliseconds."""
        if not self._month_start_ms <= now_ms < self._next_month_ms:
            self._month_start_ms, self._next_month_ms = month_around(now_ms)
        counter = self._counter
        self._counter = (counter + 1) & 0xFFFF
        return f"{self._prefix}{(now_ms - self._month_start_ms) & 0xFFFFFFFF:08X}{counter:04X}"


def month_around(now_ms: int) -> tuple[int, int]:
    """Start of the month of `now_ms` and of the next one, in local time, as milliseconds."""
    now = datetime.fromtimestamp(now_ms / 1000)
    start = datetime(now.year, now.month, 1)
    following = datetime(now.year + now.month // 12, now.month % 12 + 1, 1)
    return int(start.timestamp() * 1000), int(following.timestamp() * 1000)
