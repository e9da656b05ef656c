"""Runs of plain records of one shape, read as columns: what is the same in all is compared at once, in C.

Whoever sends many messages sends such: one topic, one size, properties that differ in the unique key only.
Such a record costs a quarter of what `plain_records` needs for a single one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import compress, groupby, repeat
from typing import Any, NamedTuple

from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.layouts import QUEUE_ENTRY
from rocketmq_tx.store.pending_keys import KeyColumn, PendingKeys
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.records import HEADS

LEAST_RECORDS = 16
"""Fewer are not worth the setting up."""
_FIRST_ROWS, _MOST_ROWS = 64, 4096
_FEW_QUEUES = 8
"""Going through a run once for each of its queues costs less than going through it record by record."""
_CRC_MASK = 0x7FFFFFFF
_HEAD_BYTES = HEADS[8, 8].size
_pack_entry = QUEUE_ENTRY.pack


class Shape(NamedTuple):
    """What the records of a run have in common, taken from its first one.

    `start` is size and magic, `sys_flag` four bytes; behind the body stand `before`, the unique key, `after`.
    A run of `key_bytes` 0 has no keys, and `before` is all that stands there.
    """

    start: bytes
    sys_flag: bytes
    body_length: bytes
    before: bytes
    key_bytes: int
    after: bytes
    topic: str
    tags_code: int

    @property
    def size(self) -> int:
        """Bytes of a record."""
        return int.from_bytes(self.start[:4], "big")


def shape_of(data: bytes, at: int, key_at: int, key_bytes: int, topic: str, tags_code: int) -> Shape:
    """The shape of the plain record at `data[at:]`; its unique key is at `key_at`."""
    size = int.from_bytes(data[at : at + 4], "big")
    body_length = data[at + _HEAD_BYTES - 4 : at + _HEAD_BYTES]
    body_end = at + _HEAD_BYTES + int.from_bytes(body_length, "big")
    return Shape(
        data[at : at + 8],
        data[at + 36 : at + 40],
        body_length,
        data[body_end:key_at],
        key_bytes,
        data[key_at + key_bytes : at + size],
        topic,
        tags_code,
    )


@lru_cache(maxsize=256)
def _layout(body: int, before: int, key: int, after: int) -> struct.Struct:
    """A record by its columns; hosts of IPv4. What nobody needs to know is left out."""
    return struct.Struct(f">8sIi4xqq4s16xq20x4s{body}s{before}s{key}s{after}s")


class Run(NamedTuple):
    """Whole records of one shape, read as columns, that are in no queue yet."""

    shape: Shape
    places: range
    """Where they begin in the commit log."""
    queue_ids: tuple[int, ...]
    numbers: tuple[int, ...]
    """In their queues."""
    keys: bytes
    """Back to back."""
    times: tuple[int, ...]
    """At which they were stored."""


class PlainRuns:
    """Enters runs into queues and the list of keys that wait for the index."""

    def __init__(self, queues: QueueTable, pending_keys: PendingKeys) -> None:
        self._queues = queues
        self._pending_keys = pending_keys
        self.last_store_timestamp = -1

    def take(self, data: bytes, at: int, base: int, shape: Shape, touched: list[ConsumeQueue]) -> int:
        """Enters the records of that shape at `data[at:]`; returns where the first other one begins.

        `base` is the commit log offset of `data[0]`; `touched` gets the queue of each. Their topic must not
        have been deleted behind them.
        """
        size = shape.size
        rows = _FIRST_ROWS
        while (count := min((len(data) - at) // size, rows)) > 0:
            run = self.judge(memoryview(data)[at : at + count * size], base + at, shape)
            taken = 0 if run is None else self.enter(run, touched)
            at += taken * size
            if taken < rows:
                break
            rows = min(rows * 4, _MOST_ROWS)
        return at

    def judge(self, data: memoryview, begin: int, shape: Shape) -> Run | None:
        """The whole records of that shape that `data` begins with; it may end with the last of them only.

        They stand in the log from `begin` on. None when there is none.
        """
        start, sys_flag, body_length, before, key_bytes, after, _, _ = shape
        size = shape.size
        layout = _layout(int.from_bytes(body_length, "big"), len(before), key_bytes, len(after))
        rows: Any = zip(*layout.iter_unpack(data), strict=True)
        starts, crcs, queue_ids, numbers, offsets, flags, times, lengths, bodies, befores, keys, afters = rows
        places = range(begin, begin + len(data), size)
        alike = min(
            _same(starts, start),
            _same(flags, sys_flag),
            _same(lengths, body_length),
            _same(befores, before),
            _same(afters, after),
            _equal(offsets, places),
        )
        if bodies[0]:
            own_crcs = [crc & _CRC_MASK for crc in map(zlib.crc32, bodies[:alike])]
            alike = _equal(crcs[:alike], own_crcs)
        joined = b"".join(keys[:alike])
        if not alike or 0 in joined or 2 in joined or not joined.isascii():
            return None  # such keys nobody sends
        return Run(shape, places[:alike], queue_ids[:alike], numbers[:alike], joined, times[:alike])

    def enter(self, run: Run, touched: list[ConsumeQueue]) -> int:
        """Enters its records as long as each number is its queue's next; returns how many."""
        shape, places, queue_ids, numbers, keys, times = run
        entries = list(map(_pack_entry, places, repeat(shape.size), repeat(shape.tags_code)))
        columns = shape.topic, queue_ids, numbers, entries, touched
        taken = self._enter_by_queue(*columns) or self._enter_one_by_one(*columns)
        if taken:
            self.last_store_timestamp = times[taken - 1]
            if shape.key_bytes:
                self._keep_keys(shape.topic, keys, shape.key_bytes, places, times[:taken])
        return taken

    def _enter_by_queue(
        self,
        topic: str,
        queue_ids: tuple[int, ...],
        numbers: tuple[int, ...],
        entries: list[bytes],
        touched: list[ConsumeQueue],
    ) -> int:
        """Enters all records if each number is its queue's next, and queues are few, else none; how many."""
        different = dict.fromkeys(queue_ids)
        if len(different) > _FEW_QUEUES:
            return 0
        found: list[tuple[ConsumeQueue, list[bytes]]] = []
        for queue_id in different:
            own_numbers, own_entries = list(numbers), entries
            if len(different) > 1:
                is_own = list(map(queue_id.__eq__, queue_ids))
                own_numbers, own_entries = list(compress(numbers, is_own)), list(compress(entries, is_own))
            queue = self._queues.queues.get((topic, queue_id))
            if queue is None or not (following := queue.max_offset):
                return 0
            if own_numbers != list(range(following, following + len(own_numbers))):
                return 0
            found.append((queue, own_entries))
        for queue, own_entries in found:
            queue.tail += b"".join(own_entries)
            queue.max_offset += len(own_entries)
            touched += repeat(queue, len(own_entries))
        return len(entries)

    def _enter_one_by_one(
        self,
        topic: str,
        queue_ids: tuple[int, ...],
        numbers: tuple[int, ...],
        entries: list[bytes],
        touched: list[ConsumeQueue],
    ) -> int:
        """Enters records as long as each number is its queue's next; returns how many."""
        queues = self._queues.queues
        known: dict[int, ConsumeQueue | None] = {}
        before = len(touched)
        for queue_id, number, entry in zip(queue_ids, numbers, entries, strict=True):
            queue = known.get(queue_id)
            if queue is None:
                queue = known[queue_id] = queues.get((topic, queue_id))
            if queue is None or queue.max_offset != number or not number:
                break
            queue.tail += entry
            queue.max_offset = number + 1
            touched.append(queue)
        return len(touched) - before

    def _keep_keys(
        self, topic: str, joined: bytes, key_bytes: int, places: range, times: Sequence[int]
    ) -> None:
        """A column for each store time: of one write of a broker's, most of the time."""
        done = 0
        for time, same in groupby(times):
            end = done + len(list(same))
            keys = joined[done * key_bytes : end * key_bytes]
            self._pending_keys.add_column(KeyColumn(topic, keys, key_bytes, places[done:end], time))
            done = end


def _same(column: tuple[bytes, ...], wanted: bytes) -> int:
    """How many values in front are the one that is wanted."""
    if column.count(wanted) == len(column):
        return len(column)
    return next(at for at, value in enumerate(column) if value != wanted)


def _equal(column: Sequence[int], wanted: Sequence[int]) -> int:
    """How many values in front are those that are wanted."""
    if list(column) == list(wanted):
        return len(column)
    return next(at for at, (one, other) in enumerate(zip(column, wanted, strict=True)) if one != other)
