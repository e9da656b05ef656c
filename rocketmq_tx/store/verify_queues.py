"""Holding consume queues against the commit log: every message has its entry, every entry its message."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping

import attrs

from rocketmq_tx.protocol import property_names
from rocketmq_tx.protocol.java import tags_code
from rocketmq_tx.protocol.names import SCHEDULE_TOPIC
from rocketmq_tx.protocol.properties import unpack_properties
from rocketmq_tx.protocol.property_names import INNER_MULTI_DISPATCH
from rocketmq_tx.store.findings import Findings
from rocketmq_tx.store.layouts import EXT_ADDRESS_MAX, FILLER_SIZE, QUEUE_ENTRY_BYTES
from rocketmq_tx.store.multi_dispatch import further_queues
from rocketmq_tx.store.records import TRANSACTION_NOT_QUEUED, RecordFacts
from rocketmq_tx.store.store_files import NO_ENTRY, QueueFiles, StoreFiles

Covers = Callable[[RecordFacts], bool]
IsGone = Callable[[str, int], bool]
"""Whether the record at a commit log offset was deleted together with that topic."""


@attrs.define
class _Watched:
    """A queue that is followed along the log."""

    files: QueueFiles
    next_number: int = -1
    """The number that the queue's next record must have; -1 before its first one."""
    matched: int = 0
    missing: int = 0
    missing_settled: int = 0
    first_missing: int = -1
    damaged: int = 0


class QueueVerifier:
    """Gets every record of the log in order, then `finish`. `covers` says whose entries must be on disk.

    `topics` are those that the broker knows; None when nobody can tell.
    """

    def __init__(
        self, files: StoreFiles, findings: Findings, covers: Covers, topics: Container[str] | None
    ) -> None:
        self._files = files
        self._topics = topics
        self._findings = findings
        self._covers = covers
        self._queues: dict[tuple[bytes, int], _Watched] = {}
        self.lost = False
        """Part of the log is lost: numbers may be left out in any queue."""
        self.queue_count = 0
        self.entry_count = 0

    def record(self, record: RecordFacts, properties: Mapping[str, str]) -> None:
        """A whole record."""
        if not record.sys_flag & TRANSACTION_NOT_QUEUED:
            self._stands_in(self._watched(record.topic, record.queue_id), record, properties)

    def further(self, record: RecordFacts, properties: Mapping[str, str], is_gone: IsGone) -> None:
        """The same record in the further queues that it names; `is_gone` knows what was deleted.

        The setting that gives all light queues the id 0 is not known here: the queue that is there counts.
        """
        if record.sys_flag & TRANSACTION_NOT_QUEUED or INNER_MULTI_DISPATCH not in properties:
            return
        for topic, queue_id, number in dict.fromkeys(further_queues(properties, record.queue_id, True)):
            key = topic.encode()
            is_own = key == record.topic and queue_id == record.queue_id
            if is_own or is_gone(topic, record.commit_log_offset):
                continue
            queue = self._watched(key, queue_id)
            if not queue.files.segments and queue_id != record.queue_id:
                queue = self._watched(key, record.queue_id)
            if queue.files.segments:  # else the setting was off, and the message stands in its queue only
                self._stands_in(queue, record._replace(queue_offset=number), properties)

    def _stands_in(self, queue: _Watched, record: RecordFacts, properties: Mapping[str, str]) -> None:
        self._check_number(queue, record)
        entry = queue.files.entry(record.queue_offset)
        offset, size, code = entry
        if offset == record.commit_log_offset and size == record.size:
            queue.matched += 1
            wanted = tags_code(properties.get(property_names.TAGS))
            if code != wanted and code > EXT_ADDRESS_MAX and queue.files.topic != SCHEDULE_TOPIC:
                self._findings.damage(
                    f"{_name(queue.files)}: entry {record.queue_offset} has the tags code {code} and not "
                    f"{wanted}"
                )
        elif entry == NO_ENTRY:
            self._missing(queue, record)
        else:
            self._findings.damage(
                f"{_name(queue.files)}: entry {record.queue_offset} names {size} bytes at {offset}, "
                f"where the log has that message with {record.size} at {record.commit_log_offset}"
            )
            queue.matched += 1

    def damaged(self, record: RecordFacts) -> None:
        """A record that is withheld; its own words may be wrong, but its entry may be there all the same."""
        if record.sys_flag & TRANSACTION_NOT_QUEUED:
            return
        known = self._queues.get((record.topic, record.queue_id))
        if known is None:
            self.lost = True
            return
        if known.files.entry(record.queue_offset)[0] == record.commit_log_offset:
            known.damaged += 1
        if known.next_number == record.queue_offset:
            known.next_number += 1
        for topic, queue_id, number in further_queues(
            unpack_properties(record.properties), record.queue_id, light=True
        ):
            light = self._queues.get((topic.encode(), queue_id))
            if light is not None and light.files.entry(number)[0] == record.commit_log_offset:
                light.damaged += 1
                light.next_number = number + 1

    def _watched(self, topic: bytes, queue_id: int) -> _Watched:
        queue = self._queues.get((topic, queue_id))
        if queue is None:
            files = self._files.queue(topic.decode("utf-8", "replace"), queue_id)
            queue = self._queues[topic, queue_id] = _Watched(files)
        return queue

    def _check_number(self, queue: _Watched, record: RecordFacts) -> None:
        number = record.queue_offset
        if number != queue.next_number and queue.next_number >= 0 and not self.lost:
            self._findings.damage(
                f"{_name(queue.files)}: the record at {record.commit_log_offset} has the number {number} "
                f"and not {queue.next_number}"
            )
        queue.next_number = number + 1

    def _missing(self, queue: _Watched, record: RecordFacts) -> None:
        queue.missing += 1
        if queue.first_missing < 0:
            queue.first_missing = record.queue_offset
        if self._covers(record):
            queue.missing_settled += 1

    def finish(self, log_min: int, log_end: int) -> None:
        """Looks for entries that no record has, and sums up what is missing."""
        for queue in self._queues.values():
            self._report_missing(queue)
        for files in self._files.queues():
            watched = self._queues.get((files.topic.encode(), files.queue_id))
            self._check_files(files)
            self._check_entries(files, watched, log_min, log_end)

    def _report_missing(self, queue: _Watched) -> None:
        topic = queue.files.topic
        if queue.missing and not queue.files.segments and self._topics and topic not in self._topics:
            self._findings.note(
                f"{_name(queue.files)}: is gone with its topic; the log has {queue.missing} messages"
            )
        elif queue.missing_settled:
            self._findings.damage(
                f"{_name(queue.files)}: {queue.missing} entries are missing, from {queue.first_missing} on"
            )
        elif queue.missing:
            self._findings.note(
                f"{_name(queue.files)}: {queue.missing} entries are not there, from "
                f"{queue.first_missing} on; a start adds them"
            )

    def _check_files(self, files: QueueFiles) -> None:
        expected = None
        for segment in files.segments:
            if expected is not None and segment.start != expected:
                self._findings.damage(
                    f"{_name(files)}: a file is missing between {expected // QUEUE_ENTRY_BYTES} and "
                    f"{segment.start // QUEUE_ENTRY_BYTES}"
                )
            if segment.size < files.file_bytes:
                self._findings.note(f"{segment.path} is shorter than the others; a start mends it")
            expected = segment.start + files.file_bytes

    def _check_entries(self, files: QueueFiles, watched: _Watched | None, log_min: int, log_end: int) -> None:
        self.queue_count += 1
        inside = 0
        behind = strange = -1
        before = 0
        for number, (offset, size, _) in files.entries():
            self.entry_count += 1
            if size == FILLER_SIZE:
                continue
            if size <= 0 or offset < before:
                strange = number if strange < 0 else strange
                continue
            before = offset
            if offset >= log_end:
                behind = number if behind < 0 else behind
            elif offset >= log_min:
                inside += 1
        if strange >= 0:
            self._findings.damage(f"{_name(files)}: entry {strange} is none")
        if behind >= 0:
            self._findings.behind_the_end(f"{_name(files)}: entry {behind} lies behind the end of the log")
        known = watched.matched + watched.damaged if watched is not None else 0
        if watched is not None and self._findings.being_written:
            known += watched.missing  # they may have come since
        if inside > known and not self.lost:
            self._findings.damage(f"{_name(files)}: {inside - known} entries name no message of the queue")


def _name(files: QueueFiles) -> str:
    return f"{files.topic} queue {files.queue_id}"
