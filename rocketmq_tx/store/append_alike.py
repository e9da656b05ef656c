"""Appending messages whose records have one size and differ in few places: what `append` does, by columns.

Whoever sends many messages without waiting mostly sends such. Here a message costs a few calls of C functions
and hardly a statement of its own. The bytes are those of `append.Appender`, which takes whatever does not fit
in here; tests hold both against each other.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import count, repeat
from operator import attrgetter
from typing import NamedTuple

from rocketmq_tx.protocol.message import MESSAGE_MAGIC
from rocketmq_tx.store.append import Placed
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.pending_keys import KeyColumn, PendingKeys
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.records import BORN_HOST_V6, HEADS, IPV6_HOST_BYTES, STORE_HOST_V6, TRANSACTION_MASK


class AlikeMessages(NamedTuple):
    """Messages to store, some given one by one, in order, and some for all of them.

    `queues` are those that get some, as `MessageStore.queue` gives them; `queue_numbers` says by its place
    among them which one each message goes to: a range when each has one of its own. Bodies are of one length,
    keys as well. The stored properties of a message are `before`, its key, `after`; the index finds it by
    that key, ASCII, alone. The rest is as in `append.NewMessage`.
    """

    queues: dict[ConsumeQueue, None]
    queue_numbers: Sequence[int]
    bodies: Sequence[bytes]
    body_crcs: Sequence[int]
    before: bytes
    keys: Sequence[bytes]
    after: bytes
    flag: int
    sys_flag: int
    born_timestamps: Sequence[int]
    born_host: bytes
    reconsume_times: int
    tags_code: int


class PlacedAlike(NamedTuple):
    """Where they stand: the offset of each record, their size, its topic, queue, and number in that."""

    offsets: range
    size: int
    topics: str | Sequence[str]
    """That of all, or of each."""
    queue_ids: list[int]
    queue_offsets: Sequence[int]
    queue_counts: Sequence[int]
    """How many messages each of the queues got."""

    def each(self) -> list[Placed]:
        """The same one by one."""
        return list(map(Placed, self.offsets, repeat(self.size), self.queue_offsets))


_BORN_HOST_AT = 48
_RECORD_BEGINS = struct.Struct(">II")
_PROPERTIES_LENGTH = struct.Struct(">h")
_ENTRY_END = struct.Struct(">iq")
_pack_entry = struct.Struct(f">q{_ENTRY_END.size}s").pack
"""A queue entry; behind its offset it is the same in all of them."""
_max_offset, _queue_id = attrgetter("max_offset"), attrgetter("queue_id")
_topic, _topic_field = attrgetter("topic"), attrgetter("topic_field")


@lru_cache(maxsize=256)
def _record(rest_of_head: int, body: int, topic: int, before: int, key: int, after: int) -> struct.Struct:
    """A record: fields up to the born time as in `records.HEADS`, then bytes of these lengths."""
    return struct.Struct(f">8sIiiqqiq{rest_of_head}s{body}s{topic}s{before}s{key}s{after}s")


class AlikeAppender:
    """Appends to the same log, queues and list of keys as `append.Appender`."""

    def __init__(
        self, log: CommitLog, queues: QueueTable, pending_keys: PendingKeys, store_host: bytes
    ) -> None:
        self._log = log
        self._queues = queues
        self._pending_keys = pending_keys
        self._store_host = store_host
        self._sys_flag = STORE_HOST_V6 if len(store_host) == IPV6_HOST_BYTES else 0

    def append_alike(self, messages: AlikeMessages, now_ms: int) -> PlacedAlike | None:
        """Places all messages in order, with one write.

        None, and nothing was appended, when only `Appender.append_all` can do it or say what is wrong: the
        segment ends among them, topics are not of one length, they belong to a transaction, a value is out of
        range. StoreError when writing failed; then nothing was appended either.
        """
        if messages.sys_flag & TRANSACTION_MASK:
            return None
        topic_fields = list(map(_topic_field, messages.queues))
        if len(topic_fields) > 1 and len(set(map(len, topic_fields))) > 1:
            return None
        try:
            records, placed = self._records(messages, topic_fields, now_ms)
        except struct.error:
            return None
        begin, end = placed.offsets.start, placed.offsets.stop
        if end > self._log.record_limit(begin):
            return None
        self._log.append([(begin, records)], end)
        self._enter(messages, placed, now_ms)
        self._log.last_record_at = placed.offsets[-1]
        self._log.last_store_timestamp = now_ms
        return placed

    def _records(
        self, messages: AlikeMessages, topic_fields: Sequence[bytes], now_ms: int
    ) -> tuple[bytes, PlacedAlike]:
        """The records back to back, and where they will stand. struct.error for a value out of range."""
        bodies, key_bytes, born_host = messages.bodies, len(messages.keys[0]), messages.born_host
        sys_flag = messages.sys_flag | self._sys_flag
        if len(born_host) == IPV6_HOST_BYTES:
            sys_flag |= BORN_HOST_V6
        rest_of_head = HEADS[len(born_host), len(self._store_host)].pack(
            0, 0, 0, 0, 0, 0, 0, 0, 0, born_host, now_ms, self._store_host, messages.reconsume_times, 0,
            len(bodies[0]),
        )[_BORN_HOST_AT:]  # fmt: skip
        properties_length = len(messages.before) + key_bytes + len(messages.after)
        before = _PROPERTIES_LENGTH.pack(properties_length) + messages.before
        layout = _record(
            len(rest_of_head), len(bodies[0]), len(topic_fields[0]), len(before), key_bytes,
            len(messages.after),
        )  # fmt: skip
        size, begin = layout.size, self._log.written_to
        placed = _placed(messages, range(begin, begin + size * len(bodies), size), size)
        fields: Iterable[bytes] = topic_fields
        if len(topic_fields) == 1:
            fields = repeat(topic_fields[0])
        elif len(topic_fields) < len(bodies):
            fields = map(topic_fields.__getitem__, messages.queue_numbers)
        records = map(
            layout.pack, repeat(_RECORD_BEGINS.pack(size, MESSAGE_MAGIC)), messages.body_crcs,
            placed.queue_ids, repeat(messages.flag), placed.queue_offsets, placed.offsets, repeat(sys_flag),
            messages.born_timestamps, repeat(rest_of_head), bodies, fields, repeat(before), messages.keys,
            repeat(messages.after),
        )  # fmt: skip
        return b"".join(records), placed

    def _enter(self, messages: AlikeMessages, placed: PlacedAlike, now_ms: int) -> None:
        """They are written: now their queues and the list of keys have them."""
        queues, offsets = messages.queues, placed.offsets
        entry_end = _ENTRY_END.pack(placed.size, messages.tags_code)
        entries = map(_pack_entry, offsets, repeat(entry_end))
        if len(queues) == 1:
            (queue,) = queues
            queue.tail += b"".join(entries)
            queue.max_offset += len(offsets)
        elif len(queues) == len(offsets):
            for queue, entry in zip(queues, entries, strict=True):
                queue.tail += entry
                queue.max_offset += 1
        else:
            tails = [queue.tail for queue in queues]
            for entry, number in zip(entries, messages.queue_numbers, strict=True):
                tails[number] += entry
            for queue, got in zip(queues, placed.queue_counts, strict=True):
                queue.max_offset += got
        self._queues.dirty.update(queues)
        keys = messages.keys
        self._pending_keys.add_column(KeyColumn(placed.topics, b"".join(keys), len(keys[0]), offsets, now_ms))


def _placed(messages: AlikeMessages, offsets: range, size: int) -> PlacedAlike:
    """Where the messages will stand whose records begin at `offsets`."""
    queues, numbers, total = messages.queues, messages.queue_numbers, len(offsets)
    topics: str | Sequence[str]
    if len(queues) == 1:
        (queue,) = queues
        of_one = range(queue.max_offset, queue.max_offset + total)
        return PlacedAlike(offsets, size, queue.topic, [queue.queue_id] * total, of_one, (total,))
    of_queues = list(map(_topic, queues))
    one_topic = of_queues[0] == of_queues[-1] and of_queues.count(of_queues[0]) == len(of_queues)
    topics = of_queues[0] if one_topic else of_queues
    queue_ids = list(map(_queue_id, queues))
    if len(queues) == total:
        return PlacedAlike(offsets, size, topics, queue_ids, list(map(_max_offset, queues)), (1,) * total)
    if not one_topic:
        topics = list(map(topics.__getitem__, numbers))
    queue_ids = list(map(queue_ids.__getitem__, numbers))
    ends = [count(queue.max_offset) for queue in queues]
    queue_offsets = list(map(next, map(ends.__getitem__, numbers)))
    counts = [next(end) - queue.max_offset for end, queue in zip(ends, queues, strict=True)]
    return PlacedAlike(offsets, size, topics, queue_ids, queue_offsets, counts)
