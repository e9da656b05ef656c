"""The hot path of a slave: records as nearly all are, judged and entered in one pass.

Plain is: hosts of IPv4, no transaction, a topic that is known and not the schedule topic, the number that
comes next in its queue, no further queues, nothing wrong. Whatever is not is left to `records.examine` and
the `Dispatcher`; tests prove both ways equal. About 5 us a message instead of 20, and less where many of one
shape follow each other (`plain_runs`).
"""

from __future__ import annotations

import zlib

from rocketmq_tx.protocol.java import tags_code
from rocketmq_tx.protocol.message import MESSAGE_MAGIC
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.deleted_topics import DeletedTopics
from rocketmq_tx.store.layouts import QUEUE_ENTRY
from rocketmq_tx.store.multi_dispatch import MARK, MultiDispatch
from rocketmq_tx.store.pending_keys import PendingKeys
from rocketmq_tx.store.plain_runs import LEAST_RECORDS, PlainRuns, Run, Shape, TopicNames, shape_of
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.records import (
    BORN_HOST_V6,
    HEADS,
    STORE_HOST_V6,
    TAIL_BYTES,
    TRANSACTION_MASK,
)

_HEAD = HEADS[8, 8]
_HEAD_BYTES = _HEAD.size
_SHORTEST = _HEAD_BYTES + TAIL_BYTES
_NOT_PLAIN = BORN_HOST_V6 | STORE_HOST_V6 | TRANSACTION_MASK
_KNOWN_MAX = 10_000
_ROWS_AGAIN = 256
_PAUSE_RECORDS_MAX = 1024
"""Where records are of one size, but of many shapes, each look for a run is for nothing."""
_unpack_head = _HEAD.unpack_from
_pack_entry = QUEUE_ENTRY.pack


class PlainRecords:
    """Enters plain records into queues and the list of keys that wait for the index."""

    def __init__(
        self,
        queues: QueueTable,
        pending_keys: PendingKeys,
        deleted: DeletedTopics,
        multi_dispatch: MultiDispatch,
    ) -> None:
        self._queues = queues
        self._pending_keys = pending_keys
        self._deleted = deleted
        self._multi_dispatch = multi_dispatch
        self._topics = TopicNames()
        self._codes: dict[bytes, int] = {}
        self.touched: list[ConsumeQueue] = []
        """One for each record that `take` entered, to be taken back when they cannot be written."""
        self._runs = PlainRuns(queues, pending_keys, deleted, self._topics)
        self._pause = LEAST_RECORDS
        """So many records are taken one by one before a run is looked for again."""
        self._shape: Shape | None = None
        """Of the last run: most likely of the next one, too."""
        self.last_record_at = self.last_store_timestamp = -1

    def take(self, data: bytes, at: int, base: int) -> int:
        """Enters the plain records that begin at `data[at:]`; returns where the first other one begins.

        `base` is the commit log offset of `data[0]`.
        """
        queues, topics, codes = self._queues.queues, self._topics, self._codes
        pending_keys, is_gone = self._pending_keys, self._deleted.is_gone
        crc32, view, may_stand_further = zlib.crc32, memoryview(data), self._multi_dispatch.is_on
        touched = self.touched = []
        end = len(data)
        if self._shape is not None and not may_stand_further:
            at = self._take_run_again(data, at, base, self._shape)
        no_run_before = 0
        while end - at >= _SHORTEST:
            (
                size, magic, crc, queue_id, _, queue_offset, offset, sys_flag, _, _, store_timestamp, _, _, _,
                body_length,
            ) = _unpack_head(data, at)  # fmt: skip
            record_end = at + size
            topic_at = at + _HEAD_BYTES + body_length + 1
            if (
                magic != MESSAGE_MAGIC
                or offset != base + at
                or sys_flag & _NOT_PLAIN
                or body_length < 0
                or record_end > end
                or topic_at + 2 > record_end
            ):
                break
            properties_at = topic_at + data[topic_at - 1] + 2
            if (
                properties_at > record_end
                or properties_at + int.from_bytes(data[properties_at - 2 : properties_at], "big")
                != record_end
            ):
                break
            topic = topics[data[topic_at - 1 : properties_at - 2]]
            queue = queues.get((topic, queue_id))
            if (
                queue is None
                or queue.max_offset != queue_offset
                or not queue_offset
                or (body_length and crc32(view[at + _HEAD_BYTES : topic_at - 1]) & 0x7FFFFFFF != crc)
                or is_gone(topic, offset)
            ):
                break
            properties = b"\x02" + data[properties_at:record_end] + b"\x02"
            if 0 in properties or (may_stand_further and MARK in properties):
                break
            code = 0
            found = properties.rfind(b"\x02TAGS\x01")
            if found >= 0:
                tags = properties[found + 6 : properties.index(2, found + 6)]
                if not tags:
                    break
                known = codes.get(tags)
                code = self._code(tags) if known is None else known
            found_keys = _keys(properties)
            if found_keys is None:
                break
            keys, key_at, key_bytes = found_keys
            queue.tail += _pack_entry(offset, size, code)
            queue.max_offset = queue_offset + 1
            touched.append(queue)
            if keys:
                pending_keys.append((topic, keys, offset, store_timestamp))
            self.last_record_at, self.last_store_timestamp = offset, store_timestamp
            further = at + size * LEAST_RECORDS
            if record_end >= no_run_before and data[further : further + 8] == data[at : at + 8]:
                if key_bytes >= 0 and not may_stand_further:
                    self._shape = shape_of(data, at, properties_at + key_at - 1, key_bytes, code)
                    record_end = self._take_run(data, record_end, base, self._shape)
                no_run_before = record_end + size * self._pause
            at = record_end
        return at

    def judge_again(self, data: bytes, at: int, base: int) -> Run | None:
        """The records at `data[at:]` that have the shape of the last run, for `enter_again`; None, if few.

        They are whole, and in no queue yet: whoever waits for the log need not wait for that.
        """
        shape = self._shape
        if shape is None or self._multi_dispatch.is_on or not self._may_go_on(data, at, shape):
            return None
        size = shape.size
        count = min((len(data) - at) // size, _ROWS_AGAIN)
        run = self._runs.judge(memoryview(data)[at : at + count * size], base + at, shape)
        if run is None or len(run.places) < LEAST_RECORDS:
            self._shape = None  # of another shape, but of the same size: not to be tried each time
            return None
        return run

    def enter_again(self, run: Run) -> int:
        """Enters its records up to the first whose number is not its queue's next; returns how many.

        Those behind are for the `Dispatcher`.
        """
        self.touched = []
        return self._runs.enter(run, self.touched)

    def _may_go_on(self, data: bytes, at: int, shape: Shape) -> bool:
        """Whether records of that shape may be there: then no first one has to tell what they are."""
        following = at + shape.size * (LEAST_RECORDS - 1)
        return data[at : at + 8] == shape.start == data[following : following + 8]

    def _take_run_again(self, data: bytes, at: int, base: int, shape: Shape) -> int:
        """As `_take_run`, if records of that shape may be there."""
        if not self._may_go_on(data, at, shape):
            return at
        end = self._take_run(data, at, base, shape)
        if end == at:
            self._shape = None  # one of another shape, but of the same size: not to be tried each time
        return end

    def _take_run(self, data: bytes, at: int, base: int, shape: Shape) -> int:
        """Takes the records of that shape behind one that was; returns where they end."""
        end = self._runs.take(data, at, base, shape, self.touched)
        self._pause = LEAST_RECORDS if end > at else min(2 * self._pause, _PAUSE_RECORDS_MAX)
        if end > at:
            self.last_record_at = base + end - shape.size
            self.last_store_timestamp = self._runs.last_store_timestamp
        return end

    def take_back(self, keys_before: tuple[int, int]) -> None:
        """They cannot be written; `keys_before` is what keys waited before them (`PendingKeys.mark`)."""
        for queue in reversed(self.touched):
            queue.take_back()
        self._pending_keys.back_to(keys_before)

    def _code(self, tags: bytes) -> int:
        code = tags_code(tags.decode("utf-8", "replace"))
        if len(self._codes) >= _KNOWN_MAX:
            self._codes.clear()
        self._codes[tags] = code
        return code


def _keys(properties: bytes) -> tuple[tuple[str, ...], int, int] | None:
    """The keys of properties that stand between separators, and the unique one's place and length.

    A length of -1 says that there may be others; None, that the keys are odd.
    """
    keys: tuple[str, ...] = ()
    key_at, key_bytes = len(properties) - 1, 0
    found = properties.rfind(b"\x02UNIQ_KEY\x01")
    if found >= 0:
        key_at = found + 10
        unique = properties[key_at : properties.index(2, key_at)]
        if not unique:
            return None
        key_bytes = len(unique)
        keys = (unique.decode("utf-8", "replace"),)
    found = properties.rfind(b"\x02KEYS\x01")
    if found >= 0:
        text = properties[found + 6 : properties.index(2, found + 6)]
        if not text:
            return None
        keys += tuple(key for key in text.decode("utf-8", "replace").split(" ") if key)
        key_bytes = -1
    return keys, key_at, key_bytes
