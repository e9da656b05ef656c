"""Queue entries of a broker of Apache's with enableConsumeQueueExt, whose tags code is an address instead.

At the address, in `consumequeue_ext`, stands a unit with the tags code, the store time and a bit map. Such
files are read and never written: what this store enters has its tags code in the entry. They may be removed
at any time, since the record itself tells its tags code as well, only slower.
Facts: `spec/store.yaml`, consume_queue_ext.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable

from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.consume_queue import ConsumeQueue, Entry
from rocketmq_tx.store.layouts import EXT_ADDRESS_BASE, EXT_ADDRESS_MAX, EXT_UNIT, EXT_UNIT_BYTES
from rocketmq_tx.store.records import RecordFacts, facts
from rocketmq_tx.store.segments import OpenFiles, segment_name, segment_starts

_UNIT_BYTES_MAX = 0x7FFF


class QueueExt:
    """Tells the tags code of entries; `code_of` that of a record."""

    def __init__(
        self, files: OpenFiles, directory: str, log: CommitLog, code_of: Callable[[RecordFacts], int]
    ) -> None:
        self.directory = directory
        self._files = files
        self._log = log
        self._code_of = code_of
        self._starts: dict[tuple[str, int], list[int]] = {}

    def tags_code(self, queue: ConsumeQueue, entry: Entry, may_block: bool) -> int:
        """The entry's tags code, or delivery time in the schedule topic; the address when nothing tells it.

        WouldBlock when what tells it is not in memory and may not be waited for.
        """
        offset, _, code = entry
        if code > EXT_ADDRESS_MAX:
            return code
        found = self._of_unit(queue, code, may_block)
        if found is not None:
            return found
        try:
            return self._code_of(facts(self._log.record_at(offset, may_block), 0))
        except WouldBlock:
            raise
        except StoreError:
            return code

    def remove_topic(self, topic: str) -> None:
        """Its queues begin anew, without any of this. StoreError when files cannot be removed."""
        self._files.disk.remove_tree(f"{self.directory}/{topic}")
        self._starts.clear()

    def _of_unit(self, queue: ConsumeQueue, address: int, may_block: bool) -> int | None:
        """What the unit at an address says; None when it is missing, or is none."""
        at = address - EXT_ADDRESS_BASE
        directory = f"{self.directory}/{queue.topic}/{queue.queue_id}"
        try:
            starts = self._starts_of(queue, directory)
            number = bisect.bisect_right(starts, at) - 1
            if number < 0:
                return None
            file = self._files.open(f"{directory}/{segment_name(starts[number])}")
            read = file.pread if may_block else file.pread_cached
            data = read(EXT_UNIT_BYTES, at - starts[number])
        except WouldBlock:
            raise
        except StoreError:
            return None
        if len(data) < EXT_UNIT_BYTES:
            return None
        size, code, store_timestamp, bit_map_bytes = EXT_UNIT.unpack(data)
        is_unit = EXT_UNIT_BYTES + bit_map_bytes == size <= _UNIT_BYTES_MAX and bit_map_bytes >= 0
        return int(code) if is_unit and store_timestamp > 0 else None

    def _starts_of(self, queue: ConsumeQueue, directory: str) -> list[int]:
        """Where the queue's files begin; looked at once, since nobody writes any."""
        key = (queue.topic, queue.queue_id)
        starts = self._starts.get(key)
        if starts is None:
            starts = self._starts[key] = segment_starts(self._files.disk.names(directory))
        return starts
