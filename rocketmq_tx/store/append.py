"""Appending: records of many messages made, written with one call, and entered into queues and index.

This is the hot path: about 2 us a message, one `pwrite` a call (`docs/storage.md`). Layout of a record:
`protocol/message_layouts.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol.message import MESSAGE_MAGIC
from rocketmq_tx.store.append_alone import AloneAppender
from rocketmq_tx.store.commit_log import Chunk, CommitLog
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.layouts import QUEUE_ENTRY
from rocketmq_tx.store.pending_keys import PendingKeys
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.records import (
    BORN_HOST_V6,
    HEADS,
    IPV6_HOST_BYTES,
    STORE_HOST_V6,
    TAIL_BYTES,
    TRANSACTION_MASK,
    TRANSACTION_NOT_QUEUED,
    TRANSACTION_ROLLBACK,
)


class NewMessage(NamedTuple):
    """A message to store; a plain tuple of this shape does as well.

    `properties` is the stored form; `born_host` is packed (8 or 20 bytes); `body_crc` is the masked CRC-32
    of `body`; `tags_code` is the delivery time (epoch ms) in the schedule topic; `keys` are what the index
    finds it by, the UNIQ_KEY first: a single one may be given as its ASCII bytes.
    """

    topic: str
    queue_id: int
    body: bytes
    body_crc: int
    properties: bytes
    flag: int
    sys_flag: int
    born_timestamp: int
    born_host: bytes
    reconsume_times: int
    prepared_transaction_offset: int
    tags_code: int
    keys: tuple[str, ...] | bytes


class Placed(NamedTuple):
    """Where a message stands: offset and size of its record, and its number in the queue."""

    commit_log_offset: int
    size: int
    queue_offset: int


Numbering = Callable[[list[Placed], list[ConsumeQueue]], Iterable[NewMessage]]
"""Gives the messages one by one, each when those before it are placed; see `multi_dispatch`."""

_pack_properties_length = struct.Struct(">h").pack
_pack_entry = QUEUE_ENTRY.pack
_new_tuple = tuple.__new__


class Appender:
    """Puts messages into the log, the queues' tails and the list of keys that wait for the index."""

    def __init__(
        self,
        log: CommitLog,
        queues: QueueTable,
        pending_keys: PendingKeys,
        store_host: bytes,
    ) -> None:
        self._log = log
        self._queues = queues
        self._pending_keys = pending_keys
        self._store_host = store_host
        self._sys_flag = STORE_HOST_V6 if len(store_host) == IPV6_HOST_BYTES else 0
        self._head_v4 = HEADS[8, len(store_host)]
        self._head_v6 = HEADS[20, len(store_host)]
        self._fixed_v4 = self._head_v4.size + TAIL_BYTES - 1
        self._fixed_v6 = self._head_v6.size + TAIL_BYTES - 1
        self.append_alone = AloneAppender(log, queues, pending_keys, store_host).append

    def append_all(
        self,
        messages: Sequence[NewMessage],
        now_ms: int,
        whole: bool = False,
        numbered: Numbering | None = None,
        spare_bytes: int = 0,
    ) -> list[Placed]:
        """Places all messages in order, with one write (one more for each segment begun).

        With `whole` all go into one segment: a client's batch is never torn apart. MessageError for
        what cannot be stored, StoreError when writing failed; in both cases nothing was appended.
        `numbered` may change messages right before they are placed, `spare_bytes` longer in all.
        """
        if not messages:
            return []
        if len(messages) == 1 and numbered is None:
            alone = self.append_alone(messages[0], now_ms)
            if alone is not None:
                return [_new_tuple(Placed, alone)]
        placed: list[Placed] = []
        touched: list[ConsumeQueue] = []
        keys_before = len(self._pending_keys)
        try:
            needed = self._size_of(messages) + spare_bytes if whole else 0
            coming = messages if numbered is None else numbered(placed, touched)
            chunks, end = self._build(coming, now_ms, needed, placed, touched)
            self._log.append(chunks, end)
        except BaseException as error:
            for queue in reversed(touched):
                queue.take_back()
            del self._pending_keys[keys_before:]
            if isinstance(error, struct.error | TypeError):
                raise MessageError(f"a message cannot be stored as it is: {error}") from error
            raise
        self._queues.dirty.update(dict.fromkeys(touched))
        self._log.last_record_at = placed[-1][0]
        self._log.last_store_timestamp = now_ms
        return placed

    def _build(
        self,
        messages: Iterable[NewMessage],
        now_ms: int,
        needed: int,
        placed: list[Placed],
        touched: list[ConsumeQueue],
    ) -> tuple[list[Chunk], int]:
        """Makes the bytes; queues and keys have the messages already when it returns.

        `needed` bytes go into one segment; 0 when they may be torn apart.
        """
        queues = self._queues.queues
        pending_keys = self._pending_keys
        store_host, store_flag = self._store_host, self._sys_flag
        pack_v4, fixed_v4 = self._head_v4.pack, self._fixed_v4
        pack_v6, fixed_v6 = self._head_v6.pack, self._fixed_v6
        chunks: list[Chunk] = []
        parts: list[bytes] = []
        begin = offset = self._log.written_to
        limit = self._log.record_limit(offset)
        if needed and offset + needed > limit:
            limit = offset  # makes the first message roll
        for (
            topic, queue_id, body, body_crc, properties, flag, sys_flag, born_timestamp, born_host,
            reconsume_times, prepared_offset, tags_code, keys,
        ) in messages:  # fmt: skip
            queue = queues.get((topic, queue_id)) or self._queues.get(topic, queue_id)
            topic_field = queue.topic_field
            body_length = len(body)
            properties_length = len(properties)
            if len(born_host) == IPV6_HOST_BYTES:
                pack, size, sys_flag = pack_v6, fixed_v6, sys_flag | store_flag | BORN_HOST_V6
            else:
                pack, size, sys_flag = pack_v4, fixed_v4, sys_flag | store_flag
            size += body_length + len(topic_field) + properties_length
            if offset + size > limit:
                parts.append(self._log.blank(offset))
                chunks.append((begin, b"".join(parts)))
                parts.clear()
                begin = offset = self._log.segments.end_of(offset)
                limit = self._log.record_limit(offset)
                if offset + size > limit:
                    raise MessageError(f"a record of {size} bytes does not fit into a segment")
            if sys_flag & TRANSACTION_NOT_QUEUED:
                queue_offset = 0
            else:
                queue_offset = queue.max_offset
                queue.tail += _pack_entry(offset, size, tags_code)
                queue.max_offset = queue_offset + 1
                touched.append(queue)
            parts += (
                pack(
                    size, MESSAGE_MAGIC, body_crc, queue_id, flag, queue_offset, offset, sys_flag,
                    born_timestamp, born_host, now_ms, store_host, reconsume_times, prepared_offset,
                    body_length,
                ),
                body,
                topic_field,
                _pack_properties_length(properties_length),
                properties,
            )  # fmt: skip
            placed.append(_new_tuple(Placed, (offset, size, queue_offset)))
            if keys and sys_flag & TRANSACTION_MASK != TRANSACTION_ROLLBACK:
                pending_keys.append((topic, keys, offset, now_ms))
            offset += size
        chunks.append((begin, b"".join(parts)))
        return chunks, offset

    def _size_of(self, messages: Iterable[NewMessage]) -> int:
        """Bytes that the records of a batch need, which must fit into one segment."""
        total, topic, topic_bytes = 0, "", 0
        fixed_v4, fixed_v6 = self._head_v4.size + TAIL_BYTES, self._head_v6.size + TAIL_BYTES
        for message in messages:
            if message[0] is not topic:
                topic = message[0]
                topic_bytes = len(topic.encode())
            fixed = fixed_v6 if len(message[8]) == IPV6_HOST_BYTES else fixed_v4
            total += fixed + len(message[2]) + topic_bytes + len(message[4])
        if total > self._log.record_limit(0):
            raise MessageError(
                f"a batch of {total} bytes does not fit into a segment of {self._log.segment_size}"
            )
        return total
