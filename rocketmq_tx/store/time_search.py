"""The queue offset that belongs to a time: the search that Apache does, without its file modification times.

Facts: `spec/store.yaml`, offset_by_time. Within one file the halving is Apache's own, so that of several
messages with one store time the same one is found. What a search costs is reads, two a step: so what its
first steps find, where searches of a file all pass, is kept, and its last ones share one read of the queue.
"""

from __future__ import annotations

from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.consume_queue import ConsumeQueue, Entry
from rocketmq_tx.store.disk import DiskFile
from rocketmq_tx.store.layouts import QUEUE_ENTRY, QUEUE_ENTRY_BYTES
from rocketmq_tx.store.records import STORE_TIMESTAMP_HEAD_BYTES, store_timestamp

_BLOCK_ENTRIES = 200
"""So many, 4 KB, are read as cheaply as one."""
_KEPT_ENTRIES = 1000
"""Steps among more entries than this are kept: some 300 of a full file."""
KNOWN_TIMES_MAX = 4096


class KnownTimes(dict[tuple[object, int], tuple[int, int]]):
    """Where the message of a queue offset stands in the log, and its store time, for some once asked for.

    The key is the `files_state` of a queue and the offset: entries that are written change only with that,
    and their records only when the log is cut, which all queues are looked through for.
    """

    def keep(self, key: tuple[object, int], place: int, time: int) -> None:
        """Takes the room of the one kept for longest when there are many."""
        if len(self) >= KNOWN_TIMES_MAX:
            del self[next(iter(self))]
        self[key] = place, time


class TimeSearch:
    """One search in one queue; WouldBlock when it may not wait for bytes that are not in memory."""

    def __init__(self, queue: ConsumeQueue, log: CommitLog, may_block: bool, known: KnownTimes) -> None:
        self._queue = queue
        self._log = log
        self._may_block = may_block
        self._known = known
        self._segment: DiskFile | None = None
        self._segment_start = self._segment_end = 0

    def offset_at(self, timestamp: int) -> int:
        """The message stored at `timestamp`, or else the nearest in its file, the older of two equally near.

        The last message for times after it; 0 for a queue without messages.
        """
        queue = self._queue
        if queue.max_offset == 0:
            return 0
        first, last = self._file_for(timestamp)
        return self._search(max(first, queue.min_offset), last, timestamp)

    def _file_for(self, timestamp: int) -> tuple[int, int]:
        """First and last queue offset of the first file whose last message is not older than `timestamp`.

        Apache takes the file's modification time for that, which is the time of its last message, and looks
        at one file after the other. Times ascend with the files, so that halving finds the same one.
        """
        queue = self._queue
        size = queue.file_entries
        low, high = queue.min_offset // size, (queue.max_offset - 1) // size
        while low < high:
            middle = (low + high) // 2
            if self._known_place((middle + 1) * size - 1)[1] >= timestamp:
                high = middle
            else:
                low = middle + 1
        return low * size, min((low + 1) * size, queue.max_offset) - 1

    def _search(self, low: int, high: int, timestamp: int) -> int:
        queue, log_min_offset = self._queue, self._log.min_offset
        left = right = -1
        left_time = right_time = -1
        block, block_from, block_end = b"", 0, 0
        # Apache counts in bytes from the file's start, which is a multiple of the entry size: halves agree.
        origin = low - low % queue.file_entries
        while low <= high:
            middle = origin + (low + high - 2 * origin) // 2
            if high - low >= _KEPT_ENTRIES:
                offset, found = self._known_place(middle)
            else:
                if not block_from <= middle < block_end:
                    block_from, count = (low, high + 1 - low) if high - low < _BLOCK_ENTRIES else (middle, 1)
                    block = queue.read(block_from, count, self._may_block)
                    block_end = block_from + count
                entry: Entry = QUEUE_ENTRY.unpack_from(block, (middle - block_from) * QUEUE_ENTRY_BYTES)
                offset, found = entry[0], self._store_time(entry[0])
            if offset < log_min_offset:
                low = middle + 1
                continue
            if found < 0:
                return 0
            if found == timestamp:
                return middle
            if found > timestamp:
                right, right_time, high = middle, found, middle - 1
            else:
                left, left_time, low = middle, found, middle + 1
        if left < 0:
            return max(right, 0)
        if right < 0:
            return left
        return left if timestamp - left_time <= right_time - timestamp else right

    def _known_place(self, queue_offset: int) -> tuple[int, int]:
        """(commit log offset, store time) of a message, by `KnownTimes` when it is there."""
        key = self._queue.files_state, queue_offset
        known = self._known.get(key)
        if known is None:
            offset: int = QUEUE_ENTRY.unpack(self._queue.read(queue_offset, 1, self._may_block))[0]
            known = offset, self._store_time(offset)
            if known[1] >= 0 and queue_offset < self._queue.tail_from:
                self._known.keep(key, *known)
        return known

    def _store_time(self, log_offset: int) -> int:
        """Epoch ms; -1 when no record can be read there."""
        log = self._log
        if not log.min_offset <= log_offset <= log.written_to - STORE_TIMESTAMP_HEAD_BYTES:
            return -1
        if self._segment is None or not self._segment_start <= log_offset < self._segment_end:
            self._segment_start = log.segments.start_of(log_offset)
            self._segment_end = log.segments.end_of(log_offset)
            self._segment = log.segments.file(log_offset)
        read = self._segment.pread if self._may_block else self._segment.pread_cached
        return store_timestamp(read(STORE_TIMESTAMP_HEAD_BYTES, log_offset - self._segment_start))
