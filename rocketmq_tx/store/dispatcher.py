"""Entering records of the log into queues and index: at recovery, and for records that come as raw bytes.

Messages that are appended one by one never come through here. Facts: `spec/store.yaml`, consume_queue and
index_file; `spec/schedule.yaml`, delay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rocketmq_tx.protocol import property_names
from rocketmq_tx.protocol.java import tags_code
from rocketmq_tx.protocol.names import SCHEDULE_TOPIC, is_light
from rocketmq_tx.protocol.properties import unpack_properties
from rocketmq_tx.store.consume_queue import ConsumeQueue, Entry
from rocketmq_tx.store.deleted_topics import DeletedTopics
from rocketmq_tx.store.layouts import FILLER_SIZE
from rocketmq_tx.store.multi_dispatch import MultiDispatch
from rocketmq_tx.store.pending_keys import PendingKeys
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.records import (
    SHORTEST_RECORD,
    TRANSACTION_MASK,
    TRANSACTION_NOT_QUEUED,
    TRANSACTION_ROLLBACK,
    RecordFacts,
)

_UNKNOWN_LEVEL_MS = 1000


class QueueGap(Exception):
    """A record's number in its queue is higher than the next free one: entries before it are missing."""


class Dispatcher:
    """Enters one record after another, in the order of the log."""

    def __init__(
        self,
        queues: QueueTable,
        pending_keys: PendingKeys,
        deleted: DeletedTopics,
        delay_levels_ms: Sequence[int],
        multi_dispatch: MultiDispatch,
    ) -> None:
        self._queues = queues
        self._pending_keys = pending_keys
        self._deleted = deleted
        self._delay_levels_ms = delay_levels_ms
        self._multi_dispatch = multi_dispatch

    def enter(self, record: RecordFacts, queue: bool, index: bool, fill_gaps: bool) -> bool:
        """Enters a record into its queues, the index, or both; False when its queue offset is impossible.

        A number that is taken already is left alone. Numbers left out get filler entries with `fill_gaps`,
        else QueueGap is raised. With it a queue begins anew, too, where the number of a newer message is 0:
        somebody has deleted the topic there, or an Apache master has removed the empty queue.
        """
        topic = record.topic.decode("utf-8", "replace")
        is_gone = self._deleted.is_gone(topic, record.commit_log_offset)
        properties = unpack_properties(record.properties)
        if queue and not record.sys_flag & TRANSACTION_NOT_QUEUED:
            entry = (record.commit_log_offset, record.size, self._code(record, topic, properties))
            own = self._queues.get(topic, record.queue_id) if not is_gone else None
            if own is not None and not self._enter_queue(own, record.queue_offset, entry, fill_gaps):
                return False
            self._enter_further(record.queue_id, properties, entry, fill_gaps)
        if index and not is_gone and record.sys_flag & TRANSACTION_MASK != TRANSACTION_ROLLBACK:
            keys = index_keys(properties)
            if keys:
                self._pending_keys.append((topic, keys, record.commit_log_offset, record.store_timestamp))
        return True

    def enter_damaged(self, record: RecordFacts, queue: bool) -> None:
        """Enters a record that is to be withheld into its queue, so that it keeps its number.

        Its own words count only where they agree with what the queue expects next.
        """
        topic = record.topic.decode("utf-8", "replace")
        known = self._queues.queues.get((topic, record.queue_id))
        if not queue or known is None or known.max_offset != record.queue_offset:
            return
        if self._deleted.is_gone(topic, record.commit_log_offset):
            return
        if not record.sys_flag & TRANSACTION_NOT_QUEUED:
            properties = unpack_properties(record.properties)
            entry = (record.commit_log_offset, record.size, self._code(record, topic, properties))
            self._enter_queue(known, record.queue_offset, entry, fill_gaps=False)
            for further in self._multi_dispatch.entries_of(properties, record.queue_id):
                light = self._queues.queues.get((further.topic, further.queue_id))
                if light is not None and light.max_offset == further.queue_offset:
                    self._enter_queue(light, further.queue_offset, entry, fill_gaps=False)

    def _enter_further(
        self, queue_id: int, properties: Mapping[str, str], entry: Entry, fill_gaps: bool
    ) -> None:
        """Enters a record into the further queues that it names."""
        for further in self._multi_dispatch.entries_of(properties, queue_id):
            topic, its_queue_id, number = further
            if self._deleted.is_gone(topic, entry[0]):
                continue
            self._enter_queue(self._queues.get(topic, its_queue_id), number, entry, fill_gaps)
            self._multi_dispatch.has_arrived(further)

    def code_of(self, record: RecordFacts) -> int:
        """The tags code that the record's entry has, as far as the record tells."""
        topic = record.topic.decode("utf-8", "replace")
        return self._code(record, topic, unpack_properties(record.properties))

    def _enter_queue(self, queue: ConsumeQueue, number: int, entry: Entry, fill_gaps: bool) -> bool:
        if number < queue.max_offset:
            if fill_gaps and _begins_anew(queue, number, entry):
                self._queues.begin_anew(queue)
                queue.put(entry)
                self._queues.dirty[queue] = None
                return True
            if number >= queue.min_offset and queue.entry(number)[1] == FILLER_SIZE:
                queue.replace(number, entry)
                self._queues.dirty[queue] = None
            return True
        if number > queue.max_offset:
            # No checksum covers the number. That many messages must have had room in the log in between.
            if number - queue.max_offset > (entry[0] - queue.log_end()) // SHORTEST_RECORD:
                return False
            if not fill_gaps:
                raise QueueGap(f"{queue.topic} queue {queue.queue_id} lacks entries before {number}")
            if queue.max_offset:
                queue.skip_to(number)
            else:
                queue.begin_at(number)
        queue.put(entry)
        self._queues.dirty[queue] = None
        return True

    def _code(self, record: RecordFacts, topic: str, properties: Mapping[str, str]) -> int:
        """The hash of the tags; in the schedule topic the time of delivery."""
        delay = properties.get(property_names.DELAY, "")
        if topic == SCHEDULE_TOPIC and delay.isdecimal() and int(delay) > 0:
            levels = self._delay_levels_ms
            level = min(int(delay), len(levels))
            return record.store_timestamp + (levels[level - 1] if level else _UNKNOWN_LEVEL_MS)
        return tags_code(properties.get(property_names.TAGS))


def _begins_anew(queue: ConsumeQueue, number: int, entry: Entry) -> bool:
    """Light queues do not: Apache may give the number 0 to two messages of one."""
    return number == 0 and entry[0] >= queue.log_end() and not is_light(queue.topic)


def index_keys(properties: dict[str, str]) -> tuple[str, ...]:
    """What the index finds a message by: its UNIQ_KEY, then each of its KEYS."""
    unique = properties.get(property_names.UNIQ_KEY)
    keys = [key for key in properties.get(property_names.KEYS, "").split(property_names.KEY_SEPARATOR) if key]
    return tuple([unique, *keys] if unique else keys)
