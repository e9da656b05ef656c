"""The queue offset that belongs to a time: the search that Apache does, without its file modification times.

Facts: `spec/store.yaml`, offset_by_time. Within one file the halving is Apache's own, so that of several
messages with one store time the same one is found.
"""

from __future__ import annotations

from collections.abc import Callable

from rocketmq_tx.store.consume_queue import ConsumeQueue

StoreTime = Callable[[int], int]
"""The store time (epoch ms) of the record at a commit log offset; -1 when it cannot be read."""


def offset_by_time(queue: ConsumeQueue, timestamp: int, log_min_offset: int, store_time: StoreTime) -> int:
    """The message stored at `timestamp`, or else the nearest in its file, the older one of two equally near.

    The last message for times after it; 0 for a queue without messages.
    """
    if queue.max_offset == 0:
        return 0
    first, last = _file_for(queue, timestamp, store_time)
    return _search(queue, max(first, queue.min_offset), last, timestamp, log_min_offset, store_time)


def _file_for(queue: ConsumeQueue, timestamp: int, store_time: StoreTime) -> tuple[int, int]:
    """First and last queue offset of the first file whose last message is not older than `timestamp`.

    Apache takes the file's modification time for that, which is the time of its last message.
    """
    end = queue.max_offset
    size = queue.file_entries
    first = queue.min_offset - queue.min_offset % size
    while first + size < end:
        if store_time(queue.entry(first + size - 1)[0]) >= timestamp:
            return first, first + size - 1
        first += size
    return first, end - 1


def _search(
    queue: ConsumeQueue, low: int, high: int, timestamp: int, log_min_offset: int, store_time: StoreTime
) -> int:
    left = right = -1
    left_time = right_time = -1
    # Apache counts in bytes from the file's start, which is a multiple of the entry size: halves agree.
    origin = low - low % queue.file_entries
    while low <= high:
        middle = origin + (low + high - 2 * origin) // 2
        offset = queue.entry(middle)[0]
        if offset < log_min_offset:
            low = middle + 1
            continue
        found = store_time(offset)
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
