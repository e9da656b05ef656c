"""Reading messages of a queue for a consumer: which entries, how many, and their records as they stand.

This is a hot path: one read of queue entries and one of the log for a pull of 32 (`docs/storage.md`).
Facts: `spec/store.yaml` get_message, `spec/processors.yaml` store_read.
"""

from __future__ import annotations

import enum
import functools
import struct
from collections.abc import Callable, Sequence
from itertools import compress
from typing import NamedTuple

import attrs

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.layouts import EXT_ADDRESS_MAX, FILLER_SIZE, QUEUE_ENTRY, QUEUE_ENTRY_BYTES
from rocketmq_tx.store.multi_dispatch import stands_further_in
from rocketmq_tx.store.property_scan import Matches, PropertyScan, Wants
from rocketmq_tx.store.queue_ext import QueueExt
from rocketmq_tx.store.records import Verdict, examine, facts


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


ENTRIES_AT_A_TIME = 64
"""A filtered read looks at so many entries at once: few are wasted, and few reads are needed."""
_SCAN_BYTES_MIN = 16_000
_SCAN_ENTRIES_MAX = 32_000
"""However many messages a consumer asks for: a filter that matches nothing must not hold up all others."""
_SPAN_BYTES_MAX = 1 << 20
_READ_COST_BYTES = 8 << 10
"""A read of its own costs as much as reading so many bytes that nobody wants."""


@functools.lru_cache(maxsize=1024)
def _unpack_entries(count: int) -> Callable[[bytes], tuple[int, ...]]:
    return struct.Struct(">" + "qiq" * count).unpack


@functools.lru_cache(maxsize=1024)
def _unpack_places(count: int) -> Callable[[bytes], tuple[int, ...]]:
    """Offsets and sizes only, for who wants whatever its tags."""
    return struct.Struct(">" + "qi8x" * count).unpack


class _Limits(NamedTuple):
    """How much one answer may hold."""

    messages: int
    size_bytes: int


class _Wanted(NamedTuple):
    """Which of some entries are for a consumer, and how many were looked at for that."""

    starts: list[int]
    sizes: list[int]
    looked_at: int


def _wanted(fields: tuple[int, ...], matches: Matches, room: _Limits) -> _Wanted | None:
    """The entries that match, up to the last one for which there is room, all at once.

    None where that is not enough: an entry that is a filler or whose code stands elsewhere, or so many bytes
    that they have to be counted one by one.
    """
    all_starts, all_sizes, codes = fields[::3], fields[1::3], fields[2::3]
    if min(codes) <= EXT_ADDRESS_MAX or max(all_sizes) == FILLER_SIZE:
        return None
    flags = list(map(matches, codes))
    starts, sizes = list(compress(all_starts, flags)), list(compress(all_sizes, flags))
    looked_at = len(flags)
    if len(starts) >= room.messages:
        starts, sizes = starts[: room.messages], sizes[: room.messages]
        looked_at = all_starts.index(starts[-1]) + 1
    # An answer is full at the first entry, wanted or not, that it has no room for.
    fits = sum(sizes) + max(all_sizes) <= room.size_bytes
    return _Wanted(starts, sizes, looked_at) if fits else None


class Puller:
    """Answers reads from the log and a queue; keeps no state of its own between them."""

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
        self._notice = notice

    def get(
        self,
        queue: ConsumeQueue | None,
        offset: int,
        max_count: int,
        matches: Matches | None,
        may_block: bool,
        wants: Wants | None = None,
    ) -> GetResult:
        """Reads from `offset` on; see `MessageStore.get_messages`."""
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
        log = self._log
        hot_bytes = self._memory_bytes * self._config.access_message_in_memory_max_ratio // 100
        if matches is None:
            step = min(max(max_count, 1), ENTRIES_AT_A_TIME, queue.max_offset - offset)
            data = queue.read(offset, step, may_block)
            found = len(data) // QUEUE_ENTRY_BYTES
            fields = _unpack_places(found)(data)
            limits = self._limits(log.written_to - fields[0] > hot_bytes, max_count)
            count = min(limits.messages, found)
            starts, sizes = fields[: count * 2 : 2], fields[1 : count * 2 : 2]
            if sum(sizes) <= limits.size_bytes and starts[0] >= log.trusted_from:
                # The common case: every entry is ours, wanted, and fits.
                body, read = self._read(queue, starts, sizes, may_block)
                end = offset + count
                if read:
                    return GetResult(
                        GetStatus.FOUND, end, queue.min_offset, queue.max_offset, body, read,
                        log.written_to - starts[-1] > hot_bytes, end,
                    )  # fmt: skip
        return self._scan_by_entry(queue, offset, max_count, matches, may_block, hot_bytes)

    def _scan_by_entry(
        self,
        queue: ConsumeQueue,
        offset: int,
        max_count: int,
        matches: Matches | None,
        may_block: bool,
        hot_bytes: int,
    ) -> GetResult:
        log_min, log_end = self._log.min_offset, self._log.written_to
        entries = max(_SCAN_BYTES_MIN // QUEUE_ENTRY_BYTES, min(max_count, _SCAN_ENTRIES_MAX))
        scan_end = min(queue.max_offset, offset + entries)
        starts: list[int] = []
        sizes: list[int] = []
        wanted_bytes = removed = last_offset = 0
        limits: _Limits | None = None
        at = offset
        full = False
        while at < scan_end and not full:
            data = queue.read(at, min(ENTRIES_AT_A_TIME, scan_end - at), may_block)
            fields = _unpack_entries(len(data) // QUEUE_ENTRY_BYTES)(data)
            if limits is None:
                limits = self._limits(log_end - fields[0] > hot_bytes, max_count)
            if matches is not None and log_min <= fields[0] and fields[-3] + fields[-2] <= log_end:
                room = _Limits(limits.messages - len(starts), limits.size_bytes - wanted_bytes)
                plain = _wanted(fields, matches, room)
                if plain is not None:
                    starts += plain.starts
                    sizes += plain.sizes
                    wanted_bytes += sum(plain.sizes)
                    last_offset = fields[plain.looked_at * 3 - 3]
                    at += plain.looked_at
                    full = len(starts) >= limits.messages
                    continue
            for index, code in enumerate(fields[2::3]):
                start, size = fields[index * 3], fields[index * 3 + 1]
                if starts and (len(starts) >= limits.messages or wanted_bytes + size > limits.size_bytes):
                    full = True
                    at += index
                    break
                last_offset = start
                if matches is not None:
                    if code <= EXT_ADDRESS_MAX:
                        code = self._ext.tags_code(queue, (start, size, code), may_block)
                    if not matches(code):
                        continue
                if size == FILLER_SIZE or not log_min <= start <= log_end - size:
                    removed += 1
                    continue
                starts.append(start)
                sizes.append(size)
                wanted_bytes += size
            else:
                at += len(fields) // 3
        return self._answer(queue, at, starts, sizes, removed, log_end - last_offset > hot_bytes, may_block)

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
            return self._read_verified(queue, (start,), (size,), may_block)[0]

        hot_bytes = self._memory_bytes * self._config.access_message_in_memory_max_ratio // 100
        first_start = QUEUE_ENTRY.unpack(queue.read(offset, 1, may_block))[0]
        limits = self._limits(log.written_to - first_start > hot_bytes, max_count)
        scan = PropertyScan(log, queue, self._ext, matches, wants, verified, may_block)
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

    def _limits(self, cold: bool, max_count: int) -> _Limits:
        config = self._config
        if cold:
            count = config.max_transfer_count_on_message_in_disk
            size = config.max_transfer_bytes_on_message_in_disk
        else:
            count = config.max_transfer_count_on_message_in_memory
            size = config.max_transfer_bytes_on_message_in_memory
        return _Limits(max(1, min(count, max_count)), size)

    def _answer(
        self,
        queue: ConsumeQueue,
        next_offset: int,
        starts: list[int],
        sizes: list[int],
        removed: int,
        suggest_slave: bool,
        may_block: bool,
    ) -> GetResult:
        count = len(starts)
        body = b""
        if starts:
            body, count = self._read(queue, starts, sizes, may_block)
            removed += len(starts) - count
        if count:
            status = GetStatus.FOUND
        else:
            status = GetStatus.MESSAGE_WAS_REMOVING if removed else GetStatus.NO_MATCHED_MESSAGE
        return GetResult(
            status, next_offset, queue.min_offset, queue.max_offset, body, count, suggest_slave, next_offset
        )

    def _read(
        self, queue: ConsumeQueue, starts: Sequence[int], sizes: Sequence[int], may_block: bool
    ) -> tuple[bytes, int]:
        """(records back to back, how many); those that cannot be read or trusted are left out."""
        if starts[0] >= self._log.trusted_from:
            try:
                return self._read_close(starts, sizes, may_block), len(starts)
            except WouldBlock:
                raise
            except StoreError:
                pass  # which one of them it is, is found one by one
        return self._read_verified(queue, starts, sizes, may_block)

    def _read_close(self, starts: Sequence[int], sizes: Sequence[int], may_block: bool) -> bytes:
        """Records back to back. One read where they lie close together in one segment."""
        log = self._log
        begin = starts[0]
        span = starts[-1] + sizes[-1] - begin
        total = sum(sizes)
        if begin + span <= log.segments.end_of(begin):
            if span == total:
                return log.read(begin, total, may_block)
            is_near = span <= min(total + len(starts) * _READ_COST_BYTES, _SPAN_BYTES_MAX)
            # Where numbers were damaged, a queue need not be in the order of the log.
            if is_near and min(starts) == begin and max(starts) == starts[-1]:
                data = log.read(begin, span, may_block)
                return b"".join(
                    [
                        data[start - begin : start - begin + size]
                        for start, size in zip(starts, sizes, strict=True)
                    ]
                )
        return b"".join([log.read(start, size, may_block) for start, size in zip(starts, sizes, strict=True)])

    def _read_verified(
        self, queue: ConsumeQueue, starts: Sequence[int], sizes: Sequence[int], may_block: bool
    ) -> tuple[bytes, int]:
        """(records, how many) that another process wrote: each is checked, and what is wrong is withheld."""
        good = []
        for offset, size in zip(starts, sizes, strict=True):
            try:
                data = self._log.read(offset, size, may_block)
            except WouldBlock:
                raise
            except StoreError as error:
                self._notice(f"the record at {offset} is withheld: {error}")
                continue
            if examine(data, 0, offset) != (Verdict.WHOLE, size):
                self._notice(f"the record of {size} bytes at {offset} is withheld: it is damaged")
                continue
            record = facts(data, 0)
            is_own = record.topic == queue.topic_field[1:] and record.queue_id == queue.queue_id
            if not is_own and not stands_further_in(
                record.properties, record.queue_id, queue.topic, queue.queue_id
            ):
                self._notice(f"the record at {offset} is withheld: {queue.directory} names it wrongly")
                continue
            good.append(data)
        return b"".join(good), len(good)
