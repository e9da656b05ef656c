"""Records of the log by their places: read together where they lie close, else one by one."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.multi_dispatch import stands_further_in
from rocketmq_tx.store.record_cuts import RecordCuts
from rocketmq_tx.store.records import Verdict, examine, facts

_SPAN_BYTES_MAX = 1 << 20
_ROOM_BYTES = 128 << 10
_READ_COST_BYTES = 8 << 10
"""A read of its own costs as much as reading so many bytes that nobody wants."""


class RecordReads:
    """Reads records; `notice` hears of those that are withheld."""

    def __init__(self, log: CommitLog, notice: Callable[[str], None]) -> None:
        self._log = log
        self._notice = notice
        self._cuts = RecordCuts()
        self._room = memoryview(bytearray(_ROOM_BYTES))

    def read(
        self, queue: ConsumeQueue, starts: Sequence[int], sizes: Sequence[int], may_block: bool
    ) -> tuple[bytes, int]:
        """(records back to back, how many); those that cannot be read or trusted are left out."""
        if starts[0] >= self._log.trusted_from:
            try:
                return self.close(starts, sizes, may_block), len(starts)
            except WouldBlock:
                raise
            except StoreError:
                pass  # which one of them it is, is found one by one
        return self.verified(queue, starts, sizes, may_block)

    def close(self, starts: Sequence[int], sizes: Sequence[int], may_block: bool) -> bytes:
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

    def alike(self, entries: array[int], wanted: bytes, first: int, may_block: bool) -> bytes | None:
        """Records of those entries, all of one size, for which `wanted` has a 1, back to back.

        The first entry's record begins at `first`. None where one read is not enough, or not known to be.
        """
        log = self._log
        cut = self._cuts.of(entries, wanted)
        if cut is None or first + cut.end > log.segments.end_of(first) or cut.span > _SPAN_BYTES_MAX:
            return None
        if may_block or cut.span > _ROOM_BYTES:
            return b"".join(cut.unpack(log.read(first + cut.begin, cut.span, may_block)))
        # What is cut away is most of it: it is not worth memory of its own for each read.
        part = self._room[: cut.span]
        log.read_cached_into(part, first + cut.begin)
        return b"".join(cut.unpack(part))

    def verified(
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
