"""The message record: the bytes of one message in the commit log, in pull answers and in check requests.

This is the `struct` fast path; `message_layouts.py` declares the same layout field by field and is its
referee. Facts: `spec/wire.yaml` stored_message_format, `spec/store.yaml` commit_log.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import attrs

from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol.flags import SysFlag
from rocketmq_tx.protocol.java import crc32
from rocketmq_tx.protocol.message_ids import offset_message_id, pack_host, unpack_host
from rocketmq_tx.protocol.properties import MAX_PROPERTIES_BYTES, decode_properties

__all__ = [
    "BLANK_MAGIC",
    "MAX_TOPIC_BYTES",
    "MESSAGE_MAGIC",
    "RECORD_FIXED_BYTES",
    "RECORD_HEAD",
    "MessageRecord",
    "decode_record",
    "decode_records",
    "encode_record",
    "fixed_bytes",
    "pack_host",
    "record_spans",
    "unpack_host",
]

MESSAGE_MAGIC: Final = 0xDAA320A7
BLANK_MAGIC: Final = 0xCBD43194
"""Marks the end filler of a commit log file; never sent to clients."""
RECORD_FIXED_BYTES: Final = 91
"""Size of a record with empty body, topic and properties when both hosts are IPv4."""
MAX_TOPIC_BYTES: Final = 127
"""The topic's length byte is read as a signed one."""

RECORD_HEAD: Final = struct.Struct(">iIiiiqqiq")
"""Total size, magic, body CRC, queue id, flag, queue offset, commit log offset, sys flag, born timestamp.

The part before the hosts, whose sizes depend on the sys flag; 48 bytes.
"""
_PREFIX = struct.Struct(">iI")
_SYS_FLAG = struct.Struct(">i")
_SYS_FLAG_AT = 36
_V6_MASK: Final = int(SysFlag.BORNHOST_V6 | SysFlag.STOREHOST_V6)
_UP_TO_BODY: Final = {
    0: struct.Struct(">iIiiiqqiq8sq8siqi"),
    int(SysFlag.BORNHOST_V6): struct.Struct(">iIiiiqqiq20sq8siqi"),
    int(SysFlag.STOREHOST_V6): struct.Struct(">iIiiiqqiq8sq20siqi"),
    _V6_MASK: struct.Struct(">iIiiiqqiq20sq20siqi"),
}
"""By the two address bits of the sys flag: everything up to and with the body's length."""


@attrs.define
class MessageRecord:
    """One stored message; sizes follow from the values, `body` is as stored (perhaps compressed).

    Hosts are (address, port); times are milliseconds; `properties` is the stored form (UTF-8).
    """

    topic: str
    body: bytes = b""
    properties: bytes = b""
    queue_id: int = 0
    flag: int = 0
    queue_offset: int = 0
    commit_log_offset: int = 0
    sys_flag: int = 0
    born_timestamp: int = 0
    born_host: tuple[str, int] = ("127.0.0.1", 0)
    store_timestamp: int = 0
    store_host: tuple[str, int] = ("127.0.0.1", 0)
    reconsume_times: int = 0
    prepared_transaction_offset: int = 0
    body_crc: int | None = None
    """Masked CRC-32 of the stored body; None lets `encode_record` compute it."""

    @property
    def property_map(self) -> dict[str, str]:
        """The decoded properties; decoded anew at each call."""
        return decode_properties(self.properties.decode("utf-8", "replace"))

    @property
    def offset_message_id(self) -> str:
        """The id that a broker gave this record."""
        return offset_message_id(*self.store_host, self.commit_log_offset)


def fixed_bytes(sys_flag: int) -> int:
    """Size of a record without body, topic and properties: 91, and 12 more for each IPv6 host."""
    return _UP_TO_BODY[sys_flag & _V6_MASK].size + 3


def decode_record(data: bytes, offset: int = 0, *, check_crc: bool = False) -> MessageRecord:
    """The record at `offset`; MessageError when its bytes cannot be one.

    Each length is held against the record's total size and that against `data`. The checksum covers the
    body only and is checked on request: clients do not, the store does on its own.
    """
    try:
        layout = _UP_TO_BODY[_SYS_FLAG.unpack_from(data, offset + _SYS_FLAG_AT)[0] & _V6_MASK]
        (
            total_size, magic, body_crc, queue_id, flag, queue_offset, commit_log_offset, sys_flag,
            born_timestamp, born_host, store_timestamp, store_host, reconsume_times,
            prepared_transaction_offset, body_length,
        ) = layout.unpack_from(data, offset)  # fmt: skip
    except struct.error as error:
        raise MessageError(
            f"the record at {offset} is cut off in its head: {len(data)} bytes in all"
        ) from error
    if magic != MESSAGE_MAGIC:
        raise MessageError(f"the record at {offset} has the magic number {magic:#010x}")
    end = offset + total_size
    body_start = offset + layout.size
    topic_start = body_start + body_length + 1
    if end > len(data) or body_length < 0 or topic_start > end:
        raise MessageError(f"the record at {offset}: {total_size} bytes with a body of {body_length}")
    topic_end = topic_start + data[topic_start - 1]
    properties_start = topic_end + 2
    if (
        properties_start > end
        or int.from_bytes(data[topic_end:properties_start], "big") != end - properties_start
    ):
        raise MessageError(
            f"the record at {offset}: lengths of topic and properties do not add up to its size"
        )
    body = data[body_start : topic_start - 1]
    if check_crc and crc32(body) != body_crc:
        raise MessageError(f"the record at {offset}: the body does not match its checksum")
    try:
        topic = data[topic_start:topic_end].decode()
    except UnicodeDecodeError as error:
        raise MessageError(f"the record at {offset}: the topic is no UTF-8") from error
    return MessageRecord(
        topic, body, data[properties_start:end], queue_id, flag, queue_offset, commit_log_offset, sys_flag,
        born_timestamp, unpack_host(born_host), store_timestamp, unpack_host(store_host), reconsume_times,
        prepared_transaction_offset, body_crc,
    )  # fmt: skip


def record_spans(data: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of each record of `data`, which holds whole ones back to back; nothing is decoded."""
    start = 0
    while start < len(data):
        try:
            total_size, magic = _PREFIX.unpack_from(data, start)
        except struct.error as error:
            raise MessageError(f"the record at {start} is cut off in its head") from error
        end = start + total_size
        if magic != MESSAGE_MAGIC or total_size < RECORD_FIXED_BYTES or end > len(data):
            raise MessageError(f"the record at {start}: magic {magic:#010x}, {total_size} bytes")
        yield start, end
        start = end


def decode_records(data: bytes, *, check_crc: bool = False) -> list[MessageRecord]:
    """All records of a pull or query answer, back to back; MessageError when one is not whole."""
    return [decode_record(data, start, check_crc=check_crc) for start, _ in record_spans(data)]


def encode_record(record: MessageRecord) -> bytes:
    """The record's bytes; the address bits of its sys flag follow the kinds of its hosts."""
    try:
        topic = record.topic.encode()
    except UnicodeEncodeError as error:
        raise MessageError(f"the topic holds a lone surrogate: {error}") from error
    if not 0 < len(topic) <= MAX_TOPIC_BYTES:
        raise MessageError(f"a topic has 1 to {MAX_TOPIC_BYTES} bytes, not {len(topic)}")
    if len(record.properties) > MAX_PROPERTIES_BYTES:
        raise MessageError(
            f"properties need {len(record.properties)} bytes, more than {MAX_PROPERTIES_BYTES}"
        )
    born_host = pack_host(*record.born_host)
    store_host = pack_host(*record.store_host)
    sys_flag = record.sys_flag & ~_V6_MASK
    if len(born_host) > 8:
        sys_flag |= SysFlag.BORNHOST_V6
    if len(store_host) > 8:
        sys_flag |= SysFlag.STOREHOST_V6
    layout = _UP_TO_BODY[sys_flag & _V6_MASK]
    body_crc = crc32(record.body) if record.body_crc is None else record.body_crc
    total_size = layout.size + len(record.body) + 1 + len(topic) + 2 + len(record.properties)
    try:
        head = layout.pack(
            total_size, MESSAGE_MAGIC, body_crc, record.queue_id, record.flag, record.queue_offset,
            record.commit_log_offset, sys_flag, record.born_timestamp, born_host, record.store_timestamp,
            store_host, record.reconsume_times, record.prepared_transaction_offset, len(record.body),
        )  # fmt: skip
    except struct.error as error:
        raise MessageError(f"a number of the record does not fit its field: {error}") from error
    return b"".join(
        (
            head,
            record.body,
            bytes((len(topic),)),
            topic,
            len(record.properties).to_bytes(2, "big"),
            record.properties,
        )
    )
