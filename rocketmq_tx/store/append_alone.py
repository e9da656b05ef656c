"""Appending one message that comes alone, as from a sender who awaits each answer, in few steps.

The bytes are those of `append.Appender`, which takes whatever does not fit in here; tests hold both against
each other. All that one read costs is this one message's, with caches that others have emptied since the one
before: so every step counts for two.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from rocketmq_tx.protocol.message import MESSAGE_MAGIC
from rocketmq_tx.store.layouts import QUEUE_ENTRY
from rocketmq_tx.store.records import (
    BORN_HOST_V6,
    HEADS,
    IPV6_HOST_BYTES,
    STORE_HOST_V6,
    TAIL_BYTES,
    TRANSACTION_NOT_QUEUED,
)

if TYPE_CHECKING:
    from rocketmq_tx.store.append import NewMessage
    from rocketmq_tx.store.commit_log import CommitLog
    from rocketmq_tx.store.pending_keys import PendingKeys
    from rocketmq_tx.store.queue_table import QueueTable

_pack_properties_length = struct.Struct(">h").pack
_pack_entry = QUEUE_ENTRY.pack


class AloneAppender:
    """Appends to the same log, queues and list of keys as `append.Appender`."""

    def __init__(
        self, log: CommitLog, queues: QueueTable, pending_keys: PendingKeys, store_host: bytes
    ) -> None:
        self._log = log
        self._queues = queues.queues
        self._dirty = queues.dirty
        self._pending_keys = pending_keys
        self._store_host = store_host
        own_flag = STORE_HOST_V6 if len(store_host) == IPV6_HOST_BYTES else 0
        self._heads = {
            born_bytes: (head.pack, head.size + TAIL_BYTES - 1, flag | own_flag)
            for born_bytes, flag in ((8, 0), (IPV6_HOST_BYTES, BORN_HOST_V6))
            for head in (HEADS[born_bytes, len(store_host)],)
        }
        """By the length of the sender's address: how a head is packed, bytes of a record that are always
        there, and the flags of both addresses."""

    def append(self, message: NewMessage, now_ms: int) -> tuple[int, int, int] | None:
        """Where the message stands, as in `append.Placed`.

        None, and nothing has changed, when only `Appender.append_all` can do it or say what is wrong: the
        queue is new, the segment ends, the message is not queued. StoreError as from that.
        """
        (
            topic, queue_id, body, body_crc, properties, flag, sys_flag, born_timestamp, born_host,
            reconsume_times, prepared_offset, tags_code, keys,
        ) = message  # fmt: skip
        queue = self._queues.get((topic, queue_id))
        if queue is None or sys_flag & TRANSACTION_NOT_QUEUED:
            return None
        log = self._log
        offset, queue_offset, topic_field = log.written_to, queue.max_offset, queue.topic_field
        pack, size, host_flags = self._heads[len(born_host)]
        sys_flag |= host_flags
        try:
            body_length, properties_length = len(body), len(properties)
            size += body_length + len(topic_field) + properties_length
            entry = _pack_entry(offset, size, tags_code)
            parts = (
                pack(
                    size, MESSAGE_MAGIC, body_crc, queue_id, flag, queue_offset, offset, sys_flag,
                    born_timestamp, born_host, now_ms, self._store_host, reconsume_times, prepared_offset,
                    body_length,
                ),
                body,
                topic_field,
                _pack_properties_length(properties_length),
                properties,
            )  # fmt: skip
            record = b"".join(parts)
        except (struct.error, TypeError):
            return None
        if not log.append_alone(record, now_ms):
            return None
        queue.tail += entry
        queue.max_offset = queue_offset + 1
        self._dirty[queue] = None
        if keys:
            self._pending_keys.append((topic, keys, offset, now_ms))
        return offset, size, queue_offset
