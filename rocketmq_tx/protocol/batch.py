"""The body of a batch send: messages back to back, each with flag, body and property string.

Facts: `spec/wire.yaml` batch_body; the declared layout is `message_layouts.BATCH_ITEM`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol.properties import MAX_PROPERTIES_BYTES

_HEAD = struct.Struct(">iiiii")  # total size, magic, body CRC, flag, body length
_PROPERTIES_LENGTH = struct.Struct(">h")
_new_tuple = tuple.__new__
_FIXED_BYTES = _HEAD.size + _PROPERTIES_LENGTH.size


class BatchItem(NamedTuple):
    """One message of a batch; `properties` is the stored form (UTF-8)."""

    flag: int
    body: bytes
    properties: bytes


def decode_batch(data: bytes) -> list[BatchItem]:
    """The messages of a batch body; MessageError names the item that is not whole.

    Sizes are held against each other and against `data`; magic number and checksum are not looked at,
    as clients write 0 for both.
    """
    items: list[BatchItem] = []
    start, data_end = 0, len(data)
    unpack_head, unpack_length, head_size = _HEAD.unpack_from, _PROPERTIES_LENGTH.unpack_from, _HEAD.size
    while start < data_end:
        try:
            total_size, _, _, flag, body_length = unpack_head(data, start)
            body_start = start + head_size
            body_end = body_start + body_length
            properties_start = body_end + 2
            if body_length < 0 or properties_start > start + total_size:
                raise MessageError(
                    f"batch item {len(items)}: {total_size} bytes with a body of {body_length}"
                )
            (properties_length,) = unpack_length(data, body_end)
        except struct.error as error:
            raise MessageError(f"batch item {len(items)} is cut off") from error
        end = properties_start + properties_length
        if properties_length < 0 or end != start + total_size or end > data_end:
            raise MessageError(f"batch item {len(items)}: lengths do not add up to its {total_size} bytes")
        items.append(_new_tuple(BatchItem, (flag, data[body_start:body_end], data[properties_start:end])))
        start = end
    return items


def encode_batch(items: Iterable[BatchItem]) -> bytes:
    """The body of a batch send."""
    parts: list[bytes] = []
    for flag, body, properties in items:
        if len(properties) > MAX_PROPERTIES_BYTES:
            raise MessageError(f"properties need {len(properties)} bytes, more than {MAX_PROPERTIES_BYTES}")
        total_size = _FIXED_BYTES + len(body) + len(properties)
        parts += (
            _HEAD.pack(total_size, 0, 0, flag, len(body)),
            body,
            _PROPERTIES_LENGTH.pack(len(properties)),
            properties,
        )
    return b"".join(parts)
