"""The queue offset that belongs to a time: the search that Apache does, without its file modification times.

Facts: `spec/store.yaml`, offset_by_time. Within one file the halving is Apache's own, so that of several
messages with one store time the same one is found.
"""

from __future__ import annotations

from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.layouts import QUEUE_ENTRY


class TimeSearch:
    """One search in one queue; WouldBlock when it may not wait for bytes that are not in memory."""

    def __init__(self, queue: ConsumeQueue, log: CommitLog, may_block: bool) -> None:
        self._queue = queue
        self._log = log
        self._may_block = may_block

    def offset_at(self, timestamp: int) -> int:
        """The message stored at `timestamp`, or else the nearest in its file, the older of two equally near.

        The last message for times after it; 0 for a queue without messages.
        """
        queue = self._queue
        if queue.max_offset == 0:
            return 0
        first, last = self._file_for(timestamp)
        return self._search(max(first, queue.min_offset), last, timestamp)

    def _log_offset(self, queue_offset: int) -> int:
        offset: int = QUEUE_ENTRY.unpack(self._queue.read(queue_offset, 1, self._may_block))[0]
        return offset

    def _store_time(self, log_offset: int) -> int:
        """Epoch ms; -1 when no record can be read there."""
        return self._log.store_timestamp(log_offset, self._may_block)

    def _file_for(self, timestamp: int) -> tuple[int, int]:
        """First and last queue offset of the first file whose last message is not older than `timestamp`.

        Apache takes the file's modification time for that, which is the time of its last message.
        """
        queue = self._queue
        end = queue.max_offset
        size = queue.file_entries
        first = queue.min_offset - queue.min_offset % size
        while first + size < end:
            if self._store_time(self._log_offset(first + size - 1)) >= timestamp:
                return first, first + size - 1
            first += size
        return first, end - 1

    def _search(self, low: int, high: int, timestamp: int) -> int:
        left = right = -1
        left_time = right_time = -1
        # Apache counts in bytes from the file's start, which is a multiple of the entry size: halves agree.
        origin = low - low % self._queue.file_entries
        while low <= high:
            middle = origin + (low + high - 2 * origin) // 2
            offset = self._log_offset(middle)
            if offset < self._log.min_offset:
                low = middle + 1
                continue
            found = self._store_time(offset)
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
