"""Runs of plain records of one shape, read as columns: what is the same in all is compared at once, in C.

Whoever sends many messages sends such: of one size, with properties that differ in the unique key only, to
one topic or to many whose names are equally long. Such a record costs a quarter of what `plain_records` needs
for a single one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import compress, groupby, repeat
from typing import Any, NamedTuple

from rocketmq_tx.protocol.names import SCHEDULE_TOPIC
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.deleted_topics import DeletedTopics
from rocketmq_tx.store.layouts import QUEUE_ENTRY
from rocketmq_tx.store.pending_keys import KeyColumn, PendingKeys
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.records import HEADS

LEAST_RECORDS = 16
"""Fewer are not worth the setting up."""
_FIRST_ROWS, _MOST_ROWS = 64, 4096
_FEW_QUEUES = 8
"""Going through a run once for each of its queues costs less than going through it record by record."""
_NAMES_MAX = 10_000
_CRC_MASK = 0x7FFFFFFF
_HEAD_BYTES = HEADS[8, 8].size
_pack_entry = QUEUE_ENTRY.pack


class Shape(NamedTuple):
    """What the records of a run have in common, taken from its first one.

    `start` is size and magic, `sys_flag` four bytes; behind the body stand the topic with its length, of
    `topic_bytes` together, `before`, the unique key, `after`. A run of `key_bytes` 0 has no keys, and
    `before` is all that stands behind the topic.
    """

    start: bytes
    sys_flag: bytes
    body_length: bytes
    topic_bytes: int
    before: bytes
    key_bytes: int
    after: bytes
    tags_code: int

    @property
    def size(self) -> int:
        """Bytes of a record."""
        return int.from_bytes(self.start[:4], "big")


def shape_of(data: bytes, at: int, key_at: int, key_bytes: int, tags_code: int) -> Shape:
    """The shape of the plain record at `data[at:]`; its unique key is at `key_at`."""
    size = int.from_bytes(data[at : at + 4], "big")
    body_length = data[at + _HEAD_BYTES - 4 : at + _HEAD_BYTES]
    body_end = at + _HEAD_BYTES + int.from_bytes(body_length, "big")
    topic_end = body_end + 1 + data[body_end]
    return Shape(
        data[at : at + 8],
        data[at + 36 : at + 40],
        body_length,
        topic_end - body_end,
        data[topic_end:key_at],
        key_bytes,
        data[key_at + key_bytes : at + size],
        tags_code,
    )


@lru_cache(maxsize=256)
def _layout(body: int, topic: int, before: int, key: int, after: int) -> struct.Struct:
    """A record by its columns; hosts of IPv4. What nobody needs to know is left out."""
    return struct.Struct(f">8sIi4xqq4s16xq20x4s{body}s{topic}s{before}s{key}s{after}s")


class Run(NamedTuple):
    """Whole records of one shape, read as columns, that are in no queue yet."""

    shape: Shape
    places: range
    """Where they begin in the commit log."""
    topics: str | list[str]
    """That of all, or those of each: plain names, as `TopicNames` has them."""
    queue_ids: tuple[int, ...]
    numbers: tuple[int, ...]
    """In their queues: above 0, since the first of one is never plain."""
    keys: bytes
    """Back to back."""
    times: tuple[int, ...]
    """At which they were stored."""


class TopicNames(dict[bytes, str]):
    """Topics by how they stand in records, a byte of length in front; "" for what is no plain name of one.

    Whether there is such a topic is not known here.
    """

    def __missing__(self, field: bytes) -> str:
        topic = field[1:].decode("utf-8", "replace")
        if (
            topic == SCHEDULE_TOPIC
            or topic.encode() != field[1:]
            or len(field) != field[0] + 1
            or "\0" in topic
        ):
            return ""
        if len(self) >= _NAMES_MAX:
            self.clear()
        self[field] = topic
        return topic


class PlainRuns:
    """Enters runs into queues and the list of keys that wait for the index."""

    def __init__(
        self, queues: QueueTable, pending_keys: PendingKeys, deleted: DeletedTopics, names: TopicNames
    ) -> None:
        self._queues = queues
        self._pending_keys = pending_keys
        self._deleted = deleted
        self._names = names
        self.last_store_timestamp = -1

    def take(self, data: bytes, at: int, base: int, shape: Shape, touched: list[ConsumeQueue]) -> int:
        """Enters the records of that shape at `data[at:]`; returns where the first other one begins.

        `base` is the commit log offset of `data[0]`; `touched` gets the queue of each.
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
        start, sys_flag, body_length, topic_bytes, before, key_bytes, after, _ = shape
        size = shape.size
        layout = _layout(int.from_bytes(body_length, "big"), topic_bytes, len(before), key_bytes, len(after))
        rows: Any = zip(*layout.iter_unpack(data), strict=True)
        (
            starts, crcs, queue_ids, numbers, offsets, flags, times, lengths,
            bodies, topics, befores, keys, afters,
        ) = rows  # fmt: skip
        places = range(begin, begin + len(data), size)
        alike = min(
            _same(starts, start),
            _same(flags, sys_flag),
            _same(lengths, body_length),
            _same(befores, before),
            _same(afters, after),
            _equal(offsets, places),
            numbers.index(0) if 0 in numbers else len(numbers),
        )
        if bodies[0]:
            own_crcs = [crc & _CRC_MASK for crc in map(zlib.crc32, bodies[:alike])]
            alike = _equal(crcs[:alike], own_crcs)
        fields = topics[:alike]
        names: str | list[str] = self._names[fields[0]] if fields else ""
        if fields and fields.count(fields[0]) < alike:
            names = list(map(self._names.__getitem__, fields))
            if "" in names:  # no checksum covers them
                alike = names.index("")
                del names[alike:]
        elif not names:
            return None
        joined = b"".join(keys[:alike])
        if not alike or 0 in joined or 2 in joined or not joined.isascii():
            return None  # such keys nobody sends
        return Run(shape, places[:alike], names, queue_ids[:alike], numbers[:alike], joined, times[:alike])

    def enter(self, run: Run, touched: list[ConsumeQueue]) -> int:
        """Enters its records as long as each number is its queue's next; returns how many.

        Where one of their topics has been deleted behind the first of them, none is entered.
        """
        shape, places, topics, queue_ids, numbers, keys, times = run
        if self._are_gone(topics, places[0]):
            return 0
        entries = list(map(_pack_entry, places, repeat(shape.size), repeat(shape.tags_code)))
        taken = 0
        if isinstance(topics, str):
            taken = self._enter_by_queue(topics, queue_ids, numbers, entries, touched)
        if not taken:
            taken = self._enter_one_by_one(topics, queue_ids, numbers, entries, touched)
        if taken:
            self.last_store_timestamp = times[taken - 1]
            if shape.key_bytes:
                self._keep_keys(topics, keys, shape.key_bytes, places, times[:taken])
        return taken

    def _are_gone(self, topics: str | Sequence[str], place: int) -> bool:
        """Whether one of the topics was deleted when the log went beyond that place."""
        gone = {topic for topic, end in self._deleted.items() if place < end}
        return not gone.isdisjoint((topics,) if isinstance(topics, str) else topics)

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
            if queue is None:
                return 0
            following = queue.max_offset
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
        topics: str | Sequence[str],
        queue_ids: tuple[int, ...],
        numbers: tuple[int, ...],
        entries: list[bytes],
        touched: list[ConsumeQueue],
    ) -> int:
        """Enters records as long as each number is its queue's next; returns how many."""
        of_each = repeat(topics) if isinstance(topics, str) else topics
        queues = list(map(self._queues.queues.get, zip(of_each, queue_ids, strict=False)))
        before = len(touched)
        for queue, number, entry in zip(queues, numbers, entries, strict=True):
            if queue is None or queue.max_offset != number:
                break
            queue.tail += entry
            queue.max_offset = number + 1
            touched.append(queue)
        return len(touched) - before

    def _keep_keys(
        self,
        topics: str | Sequence[str],
        joined: bytes,
        key_bytes: int,
        places: range,
        times: Sequence[int],
    ) -> None:
        """A column for each store time: of one write of a broker's, most of the time."""
        done = 0
        for time, same in groupby(times):
            end = done + len(list(same))
            of_these = topics if isinstance(topics, str) else topics[done:end]
            keys = joined[done * key_bytes : end * key_bytes]
            self._pending_keys.add_column(KeyColumn(of_these, keys, key_bytes, places[done:end], time))
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
