"""Catching up: the log is walked to its end, and what queues and index lack of it is entered."""

from __future__ import annotations

from collections.abc import Callable

from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.dispatcher import Dispatcher
from rocketmq_tx.store.log_walk import PlainFrom, Step, walk
from rocketmq_tx.store.opening_progress import RECORD_WORK
from rocketmq_tx.store.records import Verdict, facts
from rocketmq_tx.store.recoverable import Recoverable
from rocketmq_tx.store.recovery_report import Damage
from rocketmq_tx.store.recovery_starts import Starts

_WRITTEN_OUT_EVERY = 65_536
"""Records whose entries wait in memory at most."""
BITE_KEYS = 2048
"""From so many on keys are a bite: those of a chunk of the log, some 3,000, which take 3 ms to enter."""


class CatchUp:
    """Walks one log, more than once if need be; the report gets the figures of the last walk.

    `write_out` writes what waits in memory; `damage` are sentences about what was found damaged.
    """

    def __init__(self, store: Recoverable, write_out: Callable[[], None]) -> None:
        self._log = store.log
        self._queues = store.queues
        self._index = store.index
        self._dispatcher = store.dispatcher
        self._plain = store.plain
        self._check_crc = store.check_crc
        self._write_out = write_out
        self._progress = store.progress
        self.report = store.report
        self.damage: list[str] = []

    def run(self, starts: Starts, fill_gaps: bool, sure_to: int) -> int:
        """Walks to the end of the log and enters what is missing; returns where the log ends.

        Numbers left out of queues get fillers with `fill_gaps`; else QueueGap is raised. Up to `sure_to` the
        log is known to go.
        """
        walk_from = self._walk_from(starts)
        log, report = self._log, self.report
        report.records_walked = report.bytes_walked = 0
        report.records_withheld.clear()
        report.damage.clear()
        self.damage.clear()
        log.trusted_from = walk_from if self._check_crc else log.segments.end
        end, log_end = walk_from, log.segments.end
        doubtful: list[Step] = []
        both_from = starts.queues_from if self._index is None else max(starts)
        plain = PlainFrom(both_from, self._plain)
        skip_gaps = not report.clean or starts.queues_from == log.min_offset
        for step in walk(log, walk_from, self._check_crc, skip_gaps, plain, sure_to):
            if step.verdict in (Verdict.DAMAGED, Verdict.NOTHING):
                doubtful.append(step)
                continue
            if doubtful and step.verdict is Verdict.WHOLE:
                fill_gaps = fill_gaps or any(bad.verdict is Verdict.NOTHING for bad in doubtful)
                self._withhold(doubtful, starts.queues_from)
                log.trusted_from = step.offset
                doubtful = []
            records = self._take(step, starts, fill_gaps)
            share = (step.offset - walk_from) * 100 // (log_end - walk_from)
            self._progress.did(
                step.size + records * RECORD_WORK,
                "recovering: read the log to {} of at most {}, {}%", step.offset, log_end, share,
            )  # fmt: skip
            if not doubtful:
                end = step.offset + step.size
        end = self._judge_end(doubtful, end, sure_to, starts.queues_from)
        report.bytes_walked = end - walk_from
        self._write_out()
        return end

    def _take(self, step: Step, starts: Starts, fill_gaps: bool) -> int:
        """Enters what is missing of a step on sound ground; returns how many records it counts for."""
        log = self._log
        if step.verdict is Verdict.ENTERED:
            return self._entered()
        if step.verdict is Verdict.WHOLE:
            record = facts(step.data, step.at)
            queue, index = step.offset >= starts.queues_from, step.offset >= starts.index_from
            if not self._dispatcher.enter(record, queue, index, fill_gaps):
                self._withheld(step)
            log.last_record_at = step.offset
            log.last_store_timestamp = record.store_timestamp
            self._count(1)
        elif step.offset == log.segments.start_of(step.offset):
            # A segment of nothing, put there by a repair: queues may name what it once held.
            log.trusted_from = step.offset + step.size
        return 1

    def _judge_end(self, doubtful: list[Step], end: int, sure_to: int, queues_from: int) -> int:
        """Where the log ends, when the walk came to an end with these steps behind the last sound one."""
        lost = [step for step in doubtful if step.offset < sure_to]
        if lost:
            # The log is known to go on, or to have gone on, behind them.
            self._withhold(lost, queues_from)
            end = self._log.trusted_from = lost[-1].offset + lost[-1].size
            doubtful = doubtful[len(lost) :]
        if doubtful:
            self.damage.append(f"the damaged record at {doubtful[0].offset} ends the log and was cut off")
        return end

    def _entered(self) -> int:
        """Notes what the plain records have entered; returns how many those were."""
        log, plain = self._log, self._plain
        self._queues.dirty.update(dict.fromkeys(plain.touched))
        log.last_record_at, log.last_store_timestamp = plain.last_record_at, plain.last_store_timestamp
        self._count(len(plain.touched))
        return len(plain.touched)

    def _count(self, records: int) -> None:
        """Counts records; what waits in memory is put aside, or written out, every so often."""
        if self._index is not None and self._index.pending.waiting >= BITE_KEYS:
            self._index.pending.put_aside()
        before = self.report.records_walked // _WRITTEN_OUT_EVERY
        self.report.records_walked += records
        if self.report.records_walked // _WRITTEN_OUT_EVERY > before:
            self._write_out()

    def _walk_from(self, starts: Starts) -> int:
        """Where to begin walking: an index that reaches too far back is begun anew."""
        queues_from, index_from = starts
        if index_from >= queues_from:
            return queues_from
        if self._index is not None and index_from - self._index.end_offset in (0, 1):
            return max(self._index.end_offset, self._log.min_offset)
        return self._log.min_offset

    def _withhold(self, doubtful: list[Step], queues_from: int) -> None:
        """Damaged records before a whole one keep their numbers in their queues, but nobody gets them."""
        for step in doubtful:
            self._withheld(step)
            if step.verdict is Verdict.DAMAGED:
                self._dispatcher.enter_damaged(facts(step.data, step.at), step.offset >= queues_from)

    def _withheld(self, step: Step) -> None:
        self.report.records_withheld.append(step.offset)
        self.report.damage.append(Damage(step.offset, step.size))
        self.damage.append(f"{step.size} damaged bytes at {step.offset} of the log are withheld")


def enter_again(log: CommitLog, dispatcher: Dispatcher, start: int) -> None:
    """Enters the messages from `start` on into queues that have lost them; the others have their numbers."""
    start = max(start, log.min_offset)
    if start >= log.written_to:
        return
    for step in walk(log, start, check_crc=False, skip_gaps=False, sure_to=log.written_to):
        if step.verdict is Verdict.WHOLE:
            dispatcher.enter(facts(step.data, step.at), queue=True, index=False, fill_gaps=True)
