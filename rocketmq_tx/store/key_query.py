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
WORK_MAX = 1 << 20
"""A query looks at so many entries of the index at most, some seconds' worth; then what was found is all."""
WORK_A_TURN = 2048
"""Five milliseconds."""
_WORK_OF_A_MESSAGE = 16


class QueryResult(NamedTuple):
    """Records found by key, back to back in `body`, and how far the index reaches (0 when it is empty)."""

    offsets: list[int]
    body: bytes
    index_last_update_timestamp: int
    index_last_update_offset: int


class KeyQuery:
    """One question: messages of `topic` with `key`, stored from `begin_ms` to `end_ms` (epoch ms).

    The newest `max_count` of them that fit a frame. The index knows hashes and seconds only: the messages
    themselves say whether they are those.
    """

    def __init__(
        self,
        index: MessageIndex,
        log: CommitLog,
        deleted: DeletedTopics,
        topic: str,
        key: str,
        max_count: int,
        begin_ms: int,
        end_ms: int,
    ) -> None:
        self._index = index
        self._log = log
        self._deleted = deleted
        self._topic = topic
        self._key = key
        self._max_count = max_count
        self._begin_ms = begin_ms
        self._end_ms = end_ms
        self._walk = index.walk(topic, key, begin_ms, end_ms)
        self._next: int | None = None
        """What the index has named, and nobody has looked at yet."""
        self._records: dict[int, bytes] = {}
        self._room = BODY_BYTES_MAX
        self._messages_read = 0

    def run(self, may_block: bool, work: int = WORK_MAX) -> QueryResult | None:
        """What was found, oldest first; None when it is to be called again, as there was too much to do.

        `work` is how many entries may be looked at, or a sixteenth as many messages. WouldBlock when bytes
        may not be waited for: it goes on there with the next call.
        """
        until = self._work_done + work
        while not self._is_over:
            if self._work_done >= until:
                return None
            if self._next is None:
                self._next = self._walk.step(may_block)
            if self._next is not None:
                self._look_at(self._next, may_block)
                self._next = None
        offsets = sorted(self._records)
        body = b"".join([self._records[offset] for offset in offsets])
        return QueryResult(offsets, body, self._index.end_timestamp, max(0, self._index.end_offset))

    @property
    def _is_over(self) -> bool:
        if len(self._records) >= self._max_count or self._room <= 0 or self._work_done >= WORK_MAX:
            return True
        return self._walk.is_over and self._next is None

    @property
    def _work_done(self) -> int:
        return self._walk.looked_at + self._messages_read * _WORK_OF_A_MESSAGE

    def _look_at(self, offset: int, may_block: bool) -> None:
        if offset in self._records or self._deleted.is_gone(self._topic, offset):
            return
        record = self._record(offset, may_block)
        self._messages_read += 1
        if record is not None:
            self._room -= len(record)
            if self._room >= 0 or not self._records:
                self._records[offset] = record

    def _record(self, offset: int, may_block: bool) -> bytes | None:
        """The record at `offset` if it is one that was asked for; a damaged one is not."""
        try:
            data = self._log.record_at(offset, may_block)
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
