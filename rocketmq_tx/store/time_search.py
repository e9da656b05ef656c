"""The queue offset that belongs to a time: the search that Apache does, without its file modification times.

Facts: `spec/store.yaml`, offset_by_time. Within one file the halving is Apache's own, so that of several
messages with one store time the same one is found. What a search costs is reads, two a step: so what its
first steps find, where searches of a file all pass, is kept, and its last ones share one read of the queue,
and those behind them one read of the log.
"""

from __future__ import annotations

from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.consume_queue import ConsumeQueue, Entry
from rocketmq_tx.store.disk import DiskFile
from rocketmq_tx.store.layouts import QUEUE_ENTRY, QUEUE_ENTRY_BYTES
from rocketmq_tx.store.records import STORE_TIMESTAMP_HEAD_BYTES, store_timestamp

_BLOCK_ENTRIES = 600
"""So many, 12 KB, are read for less than two single ones."""
_NEAR_BYTES = 32 << 10
"""Of the log: where the records of all entries left are so near, one read takes the place of five or six."""
_KEPT_ENTRIES = 1000
"""Steps among more entries than this are kept: some 300 of a full file."""
KNOWN_TIMES_MAX = 4096
_WARMED_BYTES = 64 << 10
"""So much is fetched where something is not in memory: the next steps, and other searches, go near it."""


class KnownTimes(dict[tuple[object, int], tuple[int, int]]):
    """Where the message of a queue offset stands in the log, and its store time, for some once asked for.

    The key is the `files_state` of a queue and the offset: entries that are written change only with that,
    and their records only when the log is cut, which all queues are looked through for.
    """

    def __init__(self) -> None:
        self.room = memoryview(bytearray(_NEAR_BYTES))
        """Searches read the log into it."""

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
        self._near = memoryview(b"")
        self._near_from = self._near_end = 0

    def offset_at(self, timestamp: int) -> int:
        """The message stored at `timestamp`, or else the nearest in its file, the older of two equally near.

        The last message for times after it; 0 for a queue without messages.
        """
        queue = self._queue
        if queue.max_offset == 0:
            return 0
        try:
            first, last = self._file_for(timestamp)
            return self._search(max(first, queue.min_offset), last, timestamp)
        except WouldBlock as cold:
            begin = cold.offset - cold.offset % _WARMED_BYTES
            raise WouldBlock(
                cold.path, begin, max(_WARMED_BYTES, cold.offset + cold.length - begin)
            ) from None

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
                offset = _log_offset(block, middle - block_from)
                if block_end > high and not self._near_from <= offset < self._near_end:
                    self._read_near(*(_log_offset(block, at - block_from) for at in (low, high)))
                found = self._store_time(offset)
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

    def _read_near(self, first: int, last: int) -> None:
        """Reads the log from one record to the time of another, unless that is much or not in one segment."""
        log, room = self._log, self._known.room
        size = last + STORE_TIMESTAMP_HEAD_BYTES - first
        if not (0 < size <= len(room) and log.min_offset <= first):
            return
        if first + size > min(log.written_to, log.segments.end_of(first)):
            return
        try:
            if self._may_block:
                self._near = memoryview(log.read(first, size))
            else:
                self._near = room[:size]
                log.read_cached_into(self._near, first)
        except WouldBlock:
            raise
        except StoreError:
            return  # the records that are needed may be sound
        self._near_from, self._near_end = first, last + 1

    def _store_time(self, log_offset: int) -> int:
        """Epoch ms; -1 when no record can be read there."""
        if self._near_from <= log_offset < self._near_end:
            at = log_offset - self._near_from
            return store_timestamp(bytes(self._near[at : at + STORE_TIMESTAMP_HEAD_BYTES]))
        log = self._log
        if not log.min_offset <= log_offset <= log.written_to - STORE_TIMESTAMP_HEAD_BYTES:
            return -1
        if self._segment is None or not self._segment_start <= log_offset < self._segment_end:
            self._segment_start = log.segments.start_of(log_offset)
            self._segment_end = log.segments.end_of(log_offset)
            self._segment = log.segments.file(log_offset)
        read = self._segment.pread if self._may_block else self._segment.pread_cached
        return store_timestamp(read(STORE_TIMESTAMP_HEAD_BYTES, log_offset - self._segment_start))


def _log_offset(entries: bytes, number: int) -> int:
    """Where the message of one of them stands."""
    entry: Entry = QUEUE_ENTRY.unpack_from(entries, number * QUEUE_ENTRY_BYTES)
    return entry[0]
