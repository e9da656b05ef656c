"""Messages by key: what the index names is held against the records themselves.

Apache trusts hashes and seconds; here a message is found only if it has the key and was stored in the span.
"""

from __future__ import annotations

from typing import NamedTuple

from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.protocol.properties import unpack_properties
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.deleted_topics import DeletedTopics
from rocketmq_tx.store.dispatcher import index_keys
from rocketmq_tx.store.message_index import MessageIndex
from rocketmq_tx.store.records import facts

BODY_BYTES_MAX = 15 << 20
"""Clients take frames of 16 MB at most; one message is always answered."""


class QueryResult(NamedTuple):
    """Records found by key, back to back in `body`, and how far the index reaches (0 when it is empty)."""

    offsets: list[int]
    body: bytes
    index_last_update_timestamp: int
    index_last_update_offset: int


class KeyQuery:
    """One question: messages of `topic` with `key`, stored from `begin_ms` to `end_ms` (epoch ms)."""

    def __init__(self, topic: str, key: str, begin_ms: int, end_ms: int, may_block: bool) -> None:
        self._topic = topic
        self._key = key
        self._begin_ms = begin_ms
        self._end_ms = end_ms
        self._may_block = may_block

    def run(self, index: MessageIndex, log: CommitLog, deleted: DeletedTopics, max_count: int) -> QueryResult:
        """The newest `max_count` of them that fit a frame, oldest first.

        WouldBlock when bytes may not be waited for.
        """
        records: dict[int, bytes] = {}
        room = BODY_BYTES_MAX

        def is_wanted(offset: int) -> bool:
            nonlocal room
            if room <= 0 or deleted.is_gone(self._topic, offset):
                return False
            record = self._record(log, offset)
            if record is None:
                return False
            room -= len(record)
            if room < 0 and records:
                return False
            records[offset] = record
            return True

        offsets = index.find(
            self._topic, self._key, max_count, self._begin_ms, self._end_ms, is_wanted, self._may_block
        )
        body = b"".join([records[offset] for offset in offsets])
        return QueryResult(offsets, body, index.end_timestamp, max(0, index.end_offset))

    def _record(self, log: CommitLog, offset: int) -> bytes | None:
        """The record at `offset` if it is one that was asked for; a damaged one is not."""
        try:
            data = log.record_at(offset, self._may_block)
        except WouldBlock:
            raise
        except StoreError:
            return None
        record = facts(data, 0)
        if record.topic.decode("utf-8", "replace") != self._topic:
            return None
        if not self._begin_ms <= record.store_timestamp <= self._end_ms:
            return None
        return data if self._key in index_keys(unpack_properties(record.properties)) else None
