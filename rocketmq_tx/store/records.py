"""Record heads by struct: making them when appending, judging them when nothing but bytes is known.

Layout: `spec/store.yaml` commit_log.record_fields; declared in `protocol/message_layouts.py`.
"""

from __future__ import annotations

import enum
import struct
import zlib
from typing import NamedTuple

from rocketmq_tx.protocol.message import BLANK_MAGIC, MESSAGE_MAGIC

BORN_HOST_V6 = 0x10
STORE_HOST_V6 = 0x20
TRANSACTION_NOT_QUEUED = 0x4
"""Set in PREPARED (0x4) and ROLLBACK (0xC), not in COMMIT (0x8): such records stand in no queue."""
TRANSACTION_ROLLBACK = 0xC
TRANSACTION_MASK = 0xC
IPV6_HOST_BYTES = 20

# Everything before the body, with hosts of 8 or 20 bytes: total size .. body length.
HEADS = {
    (born, store): struct.Struct(f">IIIiiqqiq{born}sq{store}siqi") for born in (8, 20) for store in (8, 20)
}
TAIL_BYTES = 3  # the lengths of topic (1) and properties (2)
SHORTEST_RECORD = HEADS[8, 8].size + TAIL_BYTES + 1
ZEROS_AT_END = 2
"""A whole record ends with so many zeros at most: the length of properties that it has none of."""

_FIXED = struct.Struct(">IIIi4xqqi")  # total size .. sys flag
_AFTER_BORN_HOST = {length: struct.Struct(f">q{length}xiqi") for length in (8, 20)}
_BORN_HOST_AT = 48
_PROPERTIES_LENGTH = struct.Struct(">h")
_MAX_TOPIC_BYTES = 127


class Verdict(enum.Enum):
    """What the bytes at a place of the commit log are."""

    WHOLE = "a record whose lengths, checksum and texts are right"
    DAMAGED = "a record whose lengths are right, but not its checksum or texts"
    BLANK = "the end mark of a file"
    NOTHING = "no record"
    ENTERED = "whole records that are in their queues already"
    MORE = "a record that goes on after the bytes given"


class RecordFacts(NamedTuple):
    """What the queues and the index need to know of a record."""

    commit_log_offset: int
    size: int
    queue_id: int
    queue_offset: int
    sys_flag: int
    store_timestamp: int
    prepared_transaction_offset: int
    topic: bytes
    properties: bytes


def examine(  # noqa: PLR0911, PLR0912 - one check after another, each with its own outcome
    data: bytes, at: int, commit_log_offset: int, check_crc: bool = True
) -> tuple[Verdict, int]:
    """Judges the bytes at `data[at:]`, which stand at `commit_log_offset`: (verdict, record size).

    The size is that of the record (WHOLE, DAMAGED), of the blank (BLANK), the bytes needed to judge (MORE),
    or 0. No checksum covers topic and properties: a NUL in them, or an empty topic, counts as damage.
    """
    room = len(data) - at
    if room < 8:
        return Verdict.MORE, 8
    size, magic = struct.unpack_from(">II", data, at)
    if magic == BLANK_MAGIC:
        return Verdict.BLANK, size
    if magic != MESSAGE_MAGIC or size < SHORTEST_RECORD:
        return Verdict.NOTHING, 0
    if room < SHORTEST_RECORD:
        return Verdict.MORE, SHORTEST_RECORD
    _, _, crc, _, _, own_offset, sys_flag = _FIXED.unpack_from(data, at)
    if own_offset != commit_log_offset:
        return Verdict.NOTHING, 0
    after_born = at + _BORN_HOST_AT + (20 if sys_flag & BORN_HOST_V6 else 8)
    layout = _AFTER_BORN_HOST[20 if sys_flag & STORE_HOST_V6 else 8]
    body_at = after_born + layout.size
    if size < body_at - at + TAIL_BYTES + 1:
        return Verdict.NOTHING, 0
    if room < size:
        return Verdict.MORE, size
    body_length = layout.unpack_from(data, after_born)[3]
    topic_at = body_at + body_length + 1
    if not 0 <= body_length <= size - (body_at - at) - TAIL_BYTES - 1:
        return Verdict.NOTHING, 0
    topic_length = data[topic_at - 1]
    properties_at = topic_at + topic_length + 2
    if properties_at > at + size:
        return Verdict.NOTHING, 0
    (properties_length,) = _PROPERTIES_LENGTH.unpack_from(data, properties_at - 2)
    if properties_length < 0 or properties_at + properties_length != at + size:
        return Verdict.NOTHING, 0
    if not 0 < topic_length <= _MAX_TOPIC_BYTES or data.find(0, topic_at, topic_at + topic_length) >= 0:
        return Verdict.DAMAGED, size
    if data.find(0, properties_at, at + size) >= 0:
        return Verdict.DAMAGED, size
    if 3 * topic_length > _MAX_TOPIC_BYTES and _is_too_long(data[topic_at : topic_at + topic_length]):
        return Verdict.DAMAGED, size
    if check_crc and body_length and zlib.crc32(data[body_at : topic_at - 1]) & 0x7FFFFFFF != crc:
        return Verdict.DAMAGED, size
    return Verdict.WHOLE, size


def _is_too_long(topic: bytes) -> bool:
    """Whether it is too long for a topic when what is no UTF-8 is replaced, each by three bytes."""
    return len(topic.decode("utf-8", "replace").encode()) > _MAX_TOPIC_BYTES


def facts(data: bytes, at: int) -> RecordFacts:
    """The facts of a record at `data[at:]` that `examine` called WHOLE or DAMAGED."""
    size, _, _, queue_id, queue_offset, commit_log_offset, sys_flag = _FIXED.unpack_from(data, at)
    after_born = at + _BORN_HOST_AT + (20 if sys_flag & BORN_HOST_V6 else 8)
    layout = _AFTER_BORN_HOST[20 if sys_flag & STORE_HOST_V6 else 8]
    store_timestamp, _, prepared, body_length = layout.unpack_from(data, after_born)
    topic_at = after_born + layout.size + body_length + 1
    topic_end = topic_at + data[topic_at - 1]
    return RecordFacts(
        commit_log_offset,
        size,
        queue_id,
        queue_offset,
        sys_flag,
        store_timestamp,
        prepared,
        data[topic_at:topic_end],
        data[topic_end + 2 : at + size],
    )


HEAD_BYTES_MAX = HEADS[20, 20].size
"""So many bytes of a record hold everything before its body, with hosts of either kind."""
_BODY_LENGTH = struct.Struct(">i")


def topic_place(data: bytes, at: int) -> int:
    """Where in the sound record at `data[at:]` its topic's length stands; its head is enough of it."""
    flags = data[at + 39]
    body_at = 88 + (12 if flags & BORN_HOST_V6 else 0) + (12 if flags & STORE_HOST_V6 else 0)
    (body_length,) = _BODY_LENGTH.unpack_from(data, at + body_at - 4)
    return body_at + int(body_length)


def properties_of(data: bytes, at: int, size: int) -> bytes:
    """The stored properties of the sound record of `size` bytes at `data[at:]`."""
    topic_at = at + topic_place(data, at)
    return data[topic_at + 3 + data[topic_at] : at + size]


STORE_TIMESTAMP_HEAD_BYTES = 76
"""So many bytes of a record hold its store timestamp, with hosts of either kind."""


def store_timestamp(head: bytes) -> int:
    """The store timestamp (epoch ms) of the record that begins with `head`; -1 when no record does."""
    if int.from_bytes(head[4:8], "big") != MESSAGE_MAGIC:
        return -1
    at = 68 if head[39] & BORN_HOST_V6 else 56
    return int.from_bytes(head[at : at + 8], "big", signed=True)
