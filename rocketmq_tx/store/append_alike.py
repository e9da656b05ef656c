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
from rocketmq_tx.store.layouts import QUEUE_ENTRY
from rocketmq_tx.store.pending_keys import KeyColumn, PendingKeys
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.records import BORN_HOST_V6, HEADS, IPV6_HOST_BYTES, STORE_HOST_V6, TRANSACTION_MASK


class AlikeMessages(NamedTuple):
    """Messages to store, some given one by one, in order, and some for all of them.

    `queues` are the different (topic, queue id), `queue_numbers` says which of them each message goes to: a
    range when each has one of its own. Bodies are of one length, keys as well. The stored properties of a
    message are `before`, its key, `after`; the index finds it by that key, ASCII, alone. The rest is as in
    `append.NewMessage`.
    """

    queues: Sequence[tuple[str, int]]
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
    """Where they stand: the offset of each record, their size, and the number of each in its queue."""

    offsets: range
    size: int
    queue_offsets: Sequence[int]
    queue_counts: Sequence[int]
    """How many messages each of the queues got."""

    @property
    def last(self) -> Placed:
        return Placed(self.offsets[-1], self.size, self.queue_offsets[-1])

    def each(self) -> list[Placed]:
        """The same one by one."""
        return list(map(Placed, self.offsets, repeat(self.size), self.queue_offsets))


_BORN_HOST_AT = 48
_PROPERTIES_LENGTH = struct.Struct(">h")
_pack_entry = QUEUE_ENTRY.pack
_max_offset, _queue_id = attrgetter("max_offset"), attrgetter("queue_id")
_topic_field = attrgetter("topic_field")


@lru_cache(maxsize=256)
def _record(rest_of_head: int, body: int, behind_body: int, key: int, after: int) -> struct.Struct:
    """A record: fields up to the born time as in `records.HEADS`, then bytes of these lengths."""
    return struct.Struct(f">IIIiiqqiq{rest_of_head}s{body}s{behind_body}s{key}s{after}s")


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
        known = self._queues.queues
        queues = [known.get(key) or self._queues.get(*key) for key in messages.queues]
        if len(queues) > 1 and len(set(map(len, map(_topic_field, queues)))) > 1:
            return None
        try:
            records, placed = self._records(messages, queues, now_ms)
        except struct.error:
            return None
        begin, end = placed.offsets.start, placed.offsets.stop
        if end > self._log.record_limit(begin):
            return None
        self._log.append([(begin, records)], end)
        self._enter(messages, queues, placed, now_ms)
        self._log.last_record_at = placed.offsets[-1]
        self._log.last_store_timestamp = now_ms
        return placed

    def _records(
        self, messages: AlikeMessages, queues: Sequence[ConsumeQueue], now_ms: int
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
        behind_bodies = [queue.topic_field + before for queue in queues]
        layout = _record(
            len(rest_of_head), len(bodies[0]), len(behind_bodies[0]), key_bytes, len(messages.after)
        )
        size, begin = layout.size, self._log.written_to
        offsets = range(begin, begin + size * len(bodies), size)
        if len(queues) == 1:
            (queue,) = queues
            queue_offsets: Sequence[int] = range(queue.max_offset, queue.max_offset + len(bodies))
            counts = [len(bodies)]
            queue_ids: Iterable[int] = repeat(queue.queue_id)
            behind: Iterable[bytes] = repeat(behind_bodies[0])
        elif isinstance(messages.queue_numbers, range):
            queue_offsets = list(map(_max_offset, queues))
            counts = [1] * len(bodies)
            queue_ids, behind = map(_queue_id, queues), behind_bodies
        else:
            numbers = messages.queue_numbers
            ends = [count(queue.max_offset) for queue in queues]
            queue_offsets = list(map(next, map(ends.__getitem__, numbers)))
            counts = [next(end) - queue.max_offset for end, queue in zip(ends, queues, strict=True)]
            queue_ids = map([queue.queue_id for queue in queues].__getitem__, numbers)
            behind = map(behind_bodies.__getitem__, numbers)
        records = map(
            layout.pack, repeat(size), repeat(MESSAGE_MAGIC), messages.body_crcs, queue_ids,
            repeat(messages.flag), queue_offsets, offsets, repeat(sys_flag), messages.born_timestamps,
            repeat(rest_of_head), bodies, behind, messages.keys, repeat(messages.after),
        )  # fmt: skip
        return b"".join(records), PlacedAlike(offsets, size, queue_offsets, counts)

    def _enter(
        self, messages: AlikeMessages, queues: Sequence[ConsumeQueue], placed: PlacedAlike, now_ms: int
    ) -> None:
        """They are written: now their queues and the list of keys have them."""
        offsets = placed.offsets
        entries = map(_pack_entry, offsets, repeat(placed.size), repeat(messages.tags_code))
        if len(queues) == 1:
            queues[0].tail += b"".join(entries)
            queues[0].max_offset += len(offsets)
        elif isinstance(messages.queue_numbers, range):
            for queue, entry in zip(queues, entries, strict=True):
                queue.tail += entry
                queue.max_offset += 1
        else:
            tails = [queue.tail for queue in queues]
            for entry, number in zip(entries, messages.queue_numbers, strict=True):
                tails[number] += entry
            for queue, got in zip(queues, placed.queue_counts, strict=True):
                queue.max_offset += got
        self._queues.dirty.update(dict.fromkeys(queues))
        names = [topic for topic, _ in messages.queues]
        topics: str | Sequence[str] = names[0]
        if names.count(names[0]) < len(names):
            topics = list(map(names.__getitem__, messages.queue_numbers))
        keys = messages.keys
        self._pending_keys.add_column(KeyColumn(topics, b"".join(keys), len(keys[0]), offsets, now_ms))
