"""Reading messages of a queue for a consumer: which entries, how many, and their records as they stand.

This is a hot path: one read of queue entries and one of the log for a pull of 32 (`docs/storage.md`).
Facts: `spec/store.yaml` get_message, `spec/processors.yaml` store_read.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import attrs

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.entry_blocks import ENTRIES_AT_A_TIME, LOW_WORD, WORDS, EntryBlocks, starts_of
from rocketmq_tx.store.layouts import QUEUE_ENTRY_BYTES
from rocketmq_tx.store.property_scan import Limits, Matches, PropertyScan, Wants
from rocketmq_tx.store.queue_ext import QueueExt
from rocketmq_tx.store.record_reads import RecordReads
from rocketmq_tx.store.tag_scan import TagScan, tagged

_SIZES = slice(2, None, WORDS)
"""Of the words of entries."""


class GetStatus(enum.Enum):
    """Outcome of a read; names are Apache's and go out as remarks."""

    FOUND = "FOUND"
    NO_MATCHED_MESSAGE = "NO_MATCHED_MESSAGE"
    MESSAGE_WAS_REMOVING = "MESSAGE_WAS_REMOVING"
    OFFSET_FOUND_NULL = "OFFSET_FOUND_NULL"
    OFFSET_OVERFLOW_BADLY = "OFFSET_OVERFLOW_BADLY"
    OFFSET_OVERFLOW_ONE = "OFFSET_OVERFLOW_ONE"
    OFFSET_TOO_SMALL = "OFFSET_TOO_SMALL"
    NO_MATCHED_LOGIC_QUEUE = "NO_MATCHED_LOGIC_QUEUE"
    NO_MESSAGE_IN_QUEUE = "NO_MESSAGE_IN_QUEUE"


@attrs.define
class GetResult:
    """What a consumer gets: `count` records back to back in `body`, and where to go on.

    `suggest_slave`: the reader is so far behind that the data is likely not in memory any more.
    `tested_to`: entries below this offset were looked at; a held pull goes on from there.
    """

    status: GetStatus
    next_offset: int
    min_offset: int
    max_offset: int
    body: bytes
    count: int
    suggest_slave: bool
    tested_to: int


_SCAN_BYTES_MIN = 16_000
_SCAN_ENTRIES_MAX = 32_000
"""However many messages a consumer asks for: a filter that matches nothing must not hold up all others."""


def _scan_end(queue: ConsumeQueue, offset: int, max_count: int) -> int:
    """So far a scan by tags goes."""
    entries = max(_SCAN_BYTES_MIN // QUEUE_ENTRY_BYTES, min(max_count, _SCAN_ENTRIES_MAX))
    return min(queue.max_offset, offset + entries)


class Puller:
    """Answers reads from the log and a queue; between them it keeps nothing but what spares reads."""

    def __init__(
        self,
        config: MessageStoreConfig,
        log: CommitLog,
        memory_bytes: int,
        notice: Callable[[str], None],
        ext: QueueExt,
    ) -> None:
        self._config = config
        self._log = log
        self._ext = ext
        self._memory_bytes = memory_bytes
        self._blocks = EntryBlocks()
        self._records = RecordReads(log, notice)

    def get(
        self,
        queue: ConsumeQueue | None,
        offset: int,
        max_count: int,
        matches: Matches | None,
        may_block: bool,
        wants: Wants | None = None,
    ) -> GetResult:
        """Reads from `offset` on; see `StoredMessages.get_messages`."""
        if queue is None or queue.max_offset == 0:
            return self._corrected(GetStatus.NO_MESSAGE_IN_QUEUE, offset, 0, 0, 0)
        first, end = queue.min_offset, queue.max_offset
        if offset < first:
            return self._corrected(GetStatus.OFFSET_TOO_SMALL, offset, first, first, end)
        if offset >= end:
            if offset == end:
                return GetResult(GetStatus.OFFSET_OVERFLOW_ONE, offset, first, end, b"", 0, False, offset)
            return self._corrected(GetStatus.OFFSET_OVERFLOW_BADLY, offset, end, first, end)
        if wants is not None:
            return self._scan_properties(queue, offset, max_count, matches, wants, may_block)
        return self._scan(queue, offset, max_count, matches, may_block)

    def _corrected(self, status: GetStatus, offset: int, correct: int, first: int, end: int) -> GetResult:
        """Sends the consumer elsewhere; a slave leaves its offset alone unless told to correct it."""
        config = self._config
        if config.broker_role is BrokerRole.SLAVE and not config.offset_check_in_slave:
            correct = offset
        return GetResult(status, correct, first, end, b"", 0, False, correct)

    def _scan(
        self, queue: ConsumeQueue, offset: int, max_count: int, matches: Matches | None, may_block: bool
    ) -> GetResult:
        hot_bytes = self._memory_bytes * self._config.access_message_in_memory_max_ratio // 100
        try:
            if matches is None:
                result = self._scan_together(queue, offset, max_count, may_block, hot_bytes)
            else:
                result = self._scan_alike(queue, offset, max_count, matches, may_block, hot_bytes)
            if result is not None:
                return result
        except WouldBlock:
            raise
        except StoreError:
            pass  # which record it is, is found one by one
        scan = TagScan(self._log, queue, self._blocks, self._ext, matches, may_block)
        log_end = self._log.written_to
        scan.run(
            offset,
            _scan_end(queue, offset, max_count),
            lambda first_start: self._limits(log_end - first_start > hot_bytes, max_count),
        )
        return self._answer(queue, scan, log_end - scan.last_start > hot_bytes, may_block)

    def _scan_together(
        self, queue: ConsumeQueue, offset: int, max_count: int, may_block: bool, hot_bytes: int
    ) -> GetResult | None:
        """The common case, decided by sums: every entry is ours and wanted, all fit, nothing left memory.

        None for every other one.
        """
        config, log = self._config, self._log
        first_kept, queue_end = queue.min_offset, queue.max_offset
        count = min(
            max_count, config.max_transfer_count_on_message_in_memory, ENTRIES_AT_A_TIME, queue_end - offset
        )
        entries = self._blocks.read(queue, offset, count if count > 0 else 1, may_block)
        sizes = entries[_SIZES]
        count = len(sizes)
        are_alike = sizes == sizes[:1] * count
        size_bytes = sizes[0] * count if are_alike else sum(sizes)
        first = (entries[0] << 32) | (entries[1] & LOW_WORD)
        last = (entries[-5] << 32) | (entries[-4] & LOW_WORD)
        written_to = log.written_to
        if (
            first < log.trusted_from
            or size_bytes > config.max_transfer_bytes_on_message_in_memory
            or written_to - first > hot_bytes
        ):
            return None
        room = log.segment_size - first % log.segment_size
        if last + sizes[-1] - first == size_bytes <= room:
            body = log.read(first, size_bytes, may_block)
        else:
            alike = None
            if are_alike:
                alike = self._records.alike(entries, b"\1" * count, first, may_block)
            body = alike or self._records.close(starts_of(entries), sizes, may_block)
        end = offset + count
        return GetResult(
            GetStatus.FOUND, end, first_kept, queue_end, body, count, written_to - last > hot_bytes, end
        )

    def _scan_alike(
        self,
        queue: ConsumeQueue,
        offset: int,
        max_count: int,
        matches: Matches,
        may_block: bool,
        hot_bytes: int,
    ) -> GetResult | None:
        """Messages by tag where some entries are enough, all ours and of one size, and nothing left memory.

        None for every other case.
        """
        config, log = self._config, self._log
        most = max(1, min(config.max_transfer_count_on_message_in_memory, max_count))
        scan_end = _scan_end(queue, offset, max_count)
        entries = self._blocks.read(queue, offset, min(ENTRIES_AT_A_TIME, scan_end - offset), may_block)
        found = tagged(entries, matches, most)
        if found is None:
            return None
        wanted, count = found
        looked_at, size = len(wanted), entries[2]
        if count < most and offset + looked_at < scan_end:
            return None
        entries = entries[: looked_at * WORDS]
        sizes = entries[_SIZES]
        first = (entries[0] << 32) | (entries[1] & LOW_WORD)
        last = (entries[-5] << 32) | (entries[-4] & LOW_WORD)
        written_to = log.written_to
        if (
            first < log.trusted_from
            or last + size > written_to
            # An answer is full at the first entry, wanted or not, that it has no room for.
            or (count + 1) * size > config.max_transfer_bytes_on_message_in_memory
            or written_to - first > hot_bytes
            or sizes != sizes[:1] * looked_at
        ):
            return None
        body = self._records.alike(entries, wanted, first, may_block)
        if body is None:
            return None
        end = offset + looked_at
        return GetResult(
            GetStatus.FOUND, end, queue.min_offset, queue.max_offset, body, count,
            written_to - last > hot_bytes, end,
        )  # fmt: skip

    def _scan_properties(
        self,
        queue: ConsumeQueue,
        offset: int,
        max_count: int,
        matches: Matches | None,
        wants: Wants,
        may_block: bool,
    ) -> GetResult:
        log = self._log

        def verified(start: int, size: int) -> bytes:
            return self._records.verified(queue, (start,), (size,), may_block)[0]

        hot_bytes = self._memory_bytes * self._config.access_message_in_memory_max_ratio // 100
        first_start = starts_of(self._blocks.read(queue, offset, 1, may_block))[0]
        limits = self._limits(log.written_to - first_start > hot_bytes, max_count)
        scan = PropertyScan(log, queue, self._blocks, self._ext, matches, wants, verified, may_block)
        end = min(queue.max_offset, offset + _SCAN_BYTES_MIN // QUEUE_ENTRY_BYTES)
        scan.run(offset, end, limits.messages, limits.size_bytes)
        count = len(scan.records)
        if count:
            status = GetStatus.FOUND
        else:
            status = GetStatus.MESSAGE_WAS_REMOVING if scan.removed else GetStatus.NO_MATCHED_MESSAGE
        suggest_slave = log.written_to - scan.last_start > hot_bytes
        return GetResult(
            status, scan.at, queue.min_offset, queue.max_offset, b"".join(scan.records), count,
            suggest_slave, scan.at,
        )  # fmt: skip

    def _limits(self, cold: bool, max_count: int) -> Limits:
        config = self._config
        if cold:
            count = config.max_transfer_count_on_message_in_disk
            size = config.max_transfer_bytes_on_message_in_disk
        else:
            count = config.max_transfer_count_on_message_in_memory
            size = config.max_transfer_bytes_on_message_in_memory
        return Limits(max(1, min(count, max_count)), size)

    def _answer(self, queue: ConsumeQueue, scan: TagScan, suggest_slave: bool, may_block: bool) -> GetResult:
        count, removed, body = len(scan.starts), scan.removed, b""
        if count:
            body, count = self._records.read(queue, scan.starts, scan.sizes, may_block)
            removed += len(scan.starts) - count
        if count:
            status = GetStatus.FOUND
        else:
            status = GetStatus.MESSAGE_WAS_REMOVING if removed else GetStatus.NO_MATCHED_MESSAGE
        return GetResult(
            status, scan.at, queue.min_offset, queue.max_offset, body, count, suggest_slave, scan.at
        )
