r"""The body of a batch send as columns, where its messages differ in body and unique key only.

So are nearly all: a client sends objects of one kind together, and its library numbers them. The bytes
between one message's key and the next one's body, and between a body and the key behind it, are then the same
in all of them:

    head, BODY, properties' length and before UNIQ_KEY\1, KEY, after, head, BODY, ...
                |--------------- middle -------------|      |-- gap --|

With bodies of one length too, one `struct` takes all messages apart at once; what was found out about the
first of them is kept for the next batch that looks like it. Else each length is read on its own. Tests prove
that the columns say what `batch.decode_batch` does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rocketmq_tx.protocol import property_names as prop

UNIQUE_KEY_NAME = f"{prop.UNIQ_KEY}\1".encode()
_HEAD = struct.Struct(">i8xii")  # total size, magic and CRC that nobody looks at, flag, body length
_HEAD_BYTES = _HEAD.size
_LENGTH = struct.Struct(">h")
_SEPARATOR = b"\2"
_new_tuple = tuple.__new__


class BatchColumns(NamedTuple):
    """Messages with the properties `before`, UNIQ_KEY, 0x01, their key, `after`; keys are of one length.

    What stands where a key is expected may be anything, even nothing.
    """

    flag: int
    bodies: Sequence[bytes]
    before: bytes
    keys: Sequence[bytes]
    after: bytes


class _Layout(NamedTuple):
    """How a batch is taken apart whose messages are all as long as the first one, part by part."""

    members: int
    unpack_from: Callable[[bytes, int], tuple[bytes, ...]]
    """Body, middle, key and gap of each message, from the first body on; the last gap is `after` alone."""
    middle: bytes
    gap: bytes
    flag: int
    before: bytes
    after: bytes


_layouts: dict[tuple[bytes, int], _Layout] = {}
"""By the first message's head and the size of all."""
LAYOUTS_MAX = 64
_COUNT_MAX = 256
"""Batches of more messages are seldom, and their layouts large."""


def read_columns(data: bytes) -> BatchColumns | None:
    """The messages of a batch body; None when they differ in more, or when it is torn."""
    head = data[:_HEAD_BYTES]
    layout = _layouts.get((head, len(data)))
    if layout is not None:
        columns = _even_columns(data, layout)
        if columns is not None:
            return columns
    layout = _layout_of(data)
    if layout is None:
        return None
    if layout.members:
        columns = _even_columns(data, layout)
        if columns is not None:
            if layout.members <= _COUNT_MAX:
                if len(_layouts) >= LAYOUTS_MAX:
                    _layouts.clear()
                _layouts[head, len(data)] = layout
            return columns
    return _uneven_columns(data, layout)


def _even_columns(data: bytes, layout: _Layout) -> BatchColumns | None:
    members, unpack_from, middle, gap, flag, before, after = layout
    fields = unpack_from(data, _HEAD_BYTES)
    if (
        fields[1::4].count(middle) == members
        and fields[3:-1:4].count(gap) == members - 1
        and fields[-1] == after
    ):
        return _new_tuple(BatchColumns, (flag, fields[0::4], before, fields[2::4], after))
    return None


def _layout_of(data: bytes) -> _Layout | None:
    """From the first message; its `members` is 0 when that is no even part of the whole."""
    try:
        total_bytes, flag, body_bytes = _HEAD.unpack_from(data)
    except struct.error:
        return None
    properties_at = _HEAD_BYTES + body_bytes + 2
    if body_bytes < 0 or properties_at > total_bytes or total_bytes > len(data):
        return None
    length = int.from_bytes(data[properties_at - 2 : properties_at], "big", signed=True)
    if properties_at + length != total_bytes:
        return None
    name_at = data.find(UNIQUE_KEY_NAME, properties_at, total_bytes)
    if name_at < 0:
        return None
    key_at = name_at + len(UNIQUE_KEY_NAME)
    key_end = data.find(_SEPARATOR, key_at, total_bytes)
    if key_end < 0:
        key_end = total_bytes
    middle, after = data[properties_at - 2 : key_at], data[key_end:total_bytes]
    count, rest = divmod(len(data), total_bytes)
    if rest:
        count = 0
    row = f"{body_bytes}s{len(middle)}s{key_end - key_at}s"
    rows = f"{len(after) + _HEAD_BYTES}s".join([row] * count)
    return _Layout(
        count,
        struct.Struct(f"{rows}{len(after)}s").unpack_from,
        middle,
        after + data[:_HEAD_BYTES],
        flag,
        data[properties_at:name_at],
        after,
    )


def _uneven_columns(data: bytes, layout: _Layout) -> BatchColumns | None:
    flag, middle, before, after = layout.flag, layout.middle, layout.before, layout.after
    key_bytes = _LENGTH.unpack_from(middle)[0] - (len(middle) - 2) - len(after)
    bodies, keys = [], []
    unpack_head, middle_bytes = _HEAD.unpack_from, len(middle)
    after_bytes = len(after)
    start, data_end = 0, len(data)
    while start < data_end:
        try:
            total_bytes, own_flag, body_bytes = unpack_head(data, start)
        except struct.error:
            return None
        body_at = start + _HEAD_BYTES
        body_end = body_at + body_bytes
        key_at = body_end + middle_bytes
        key_end = key_at + key_bytes
        start += total_bytes
        if (
            own_flag != flag
            or body_bytes < 0
            or key_end + after_bytes != start
            or data[body_end:key_at] != middle
            or data[key_end:start] != after
        ):
            return None
        bodies.append(data[body_at:body_end])
        keys.append(data[key_at:key_end])
    if start != data_end:
        return None
    return _new_tuple(BatchColumns, (flag, bodies, before, keys, after))
