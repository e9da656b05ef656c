"""Opening a store: where the log ends, which entries of queues and index are missing, and making it so.

What the checkpoint covers is taken as it is (`recovery_starts`); what lies behind is walked and entered again
(`catching_up`). What does not add up is built again from the oldest record: slower, never wrong.
"""

from __future__ import annotations

from collections.abc import Callable

from rocketmq_tx.errors import StoreDamaged
from rocketmq_tx.store.catching_up import CatchUp
from rocketmq_tx.store.checkpoint import Checkpoint
from rocketmq_tx.store.dispatcher import QueueGap
from rocketmq_tx.store.log_marks import Origin, origin_of, read_head
from rocketmq_tx.store.log_walk import record_behind
from rocketmq_tx.store.recoverable import Recoverable
from rocketmq_tx.store.recovery_report import Damage, RecoveryReport
from rocketmq_tx.store.recovery_starts import StartFinder, Starts

__all__ = ["Damage", "Recovery", "RecoveryReport"]


class Recovery:
    """Recovers one store; used once. `flushed_to` is up to where the log was known to be on the device."""

    def __init__(
        self,
        store: Recoverable,
        checkpoint: Checkpoint,
        queues_damaged: bool,
        write_out: Callable[[], None],
        keep_dropped: Callable[[int], str | None],
    ) -> None:
        """`write_out` writes what waits in memory, `keep_dropped` the bytes behind an end, to a file."""
        self._log = store.log
        self._queues = store.queues
        self._index = store.index
        self.report = store.report
        self._checkpoint = checkpoint
        self._keep_dropped = keep_dropped
        self._finder = StartFinder(store, queues_damaged)
        self._catch_up = CatchUp(store, write_out)
        self.flushed_to = 0
        self.claimed_to: int | None = None
        """Up to where the checkpoint covers the store as it is now; None when another one is due at once."""

    def run(self) -> RecoveryReport:
        """Recovers; StoreDamaged or StoreError when that cannot be done safely."""
        log, report, finder = self._log, self.report, self._finder
        if self._index is not None:
            report.warnings += self._index.load()
        self._leave_out_a_strange_checkpoint()
        self._check_nothing_is_missing()
        if not log.segments.starts:
            self._forget_derived()
            return report
        short = log.segments.extend_short_files()
        report.warnings += [f"{path} was shorter than a segment and has been extended" for path in short]
        starts = finder.find(self._checkpoint)
        self.flushed_to = log.segments.end if report.clean else min(starts.queues_from, log.segments.end)
        everything = starts.queues_from == log.min_offset
        try:
            end = self._catch_up.run(starts, everything, finder.sure_to)
            if not everything:
                self._check_times()
        except QueueGap as problem:
            report.warnings.append(f"queues are built again from the whole log: {problem}")
            again = finder.from_the_beginning(self._entered_to(starts))
            end = self._catch_up.run(again, True, finder.sure_to)
        if self._index is not None and self._index.end_offset >= end:
            finder.say_index_is_built()
            self._index.pending.clear()
            self._index.remove_all()
            self._catch_up.run(Starts(end, log.min_offset), True, finder.sure_to)
        report.warnings += self._catch_up.damage
        claim = self._checkpoint.claim
        if claim is not None and end < claim.dispatched_to:
            report.warnings.append(
                f"by the checkpoint the log was on the device up to {claim.dispatched_to}, "
                f"but it ends at {end}: the messages in between are lost"
            )
        self._keep_what_is_behind(end)
        log.set_end(end)
        if report.clean:
            self.flushed_to = end
        if finder.claimed and not (report.rebuilt or report.damage or report.warnings):
            self.claimed_to = self.flushed_to
        report.log_min_offset, report.log_end_offset = log.min_offset, end
        report.queue_count = len(self._queues.queues)
        return report

    def _keep_what_is_behind(self, end: int) -> None:
        """Bytes that may be messages to somebody are not dropped without a copy."""
        kept = self._keep_dropped(end)
        if kept is None:
            return
        is_older = record_behind(self._log, end) is not None
        self.report.warnings.append(
            f"the log ends at {end}; what stands behind is cut off and kept in {kept}"
            + ("; it has older messages: of before an earlier cut, or the clock was set back" * is_older)
        )

    def _leave_out_a_strange_checkpoint(self) -> None:
        """One that was copied from another store says nothing of this one, nor that files are gone."""
        log, claim = self._log, self._checkpoint.claim
        if claim is None:
            return
        heads = (
            (mark.offset, read_head(log.segments.file, mark.offset))
            for mark in claim.marks
            if mark.offset in log.segments.starts
        )
        if origin_of(claim.marks, heads) is Origin.OTHER:
            self.report.warnings.append(
                "the checkpoint is that of another store, whose log begins with other records: it is left out"
            )
            self._checkpoint = Checkpoint()

    def _check_nothing_is_missing(self) -> None:
        """A claim covers nothing but what is on the device: a log that ends before it has lost files."""
        log, claim = self._log, self._checkpoint.claim
        least = claim.dispatched_to if claim is not None else min(self._checkpoint.times.commit_log_ms, 1)
        if least > log.segments.end:
            had = f"messages up to {least}" if claim is not None else "messages"
            raise StoreDamaged(
                f"the commit log in {', '.join(log.segments.all_directories)} ends at {log.segments.end}, "
                f"but by the checkpoint it had {had}: files are missing (is the disk mounted?); move them "
                "back, or go on without them by `mqstore repair`"
            )
        if claim is not None and self.report.clean and log.min_offset > claim.log_min_offset:
            self.report.warnings.append(
                f"the first files of the commit log, from {claim.log_min_offset} to {log.min_offset}, were "
                "removed while no broker ran, and their messages with them"
            )

    def _check_times(self) -> None:
        """Store times that no record has reached are not this log's: then they said nothing of its queues."""
        times, newest = self._checkpoint.times, self._log.last_store_timestamp
        if (
            not self._finder.claimed
            and not self.report.clean
            and max(times.commit_log_ms, times.queues_ms) > newest
        ):
            raise QueueGap(f"the checkpoint is of {max(times)}, later than any message")

    def _entered_to(self, starts: Starts) -> int:
        """The index start for a second walk: what the first one has entered stays."""
        if self._index is None:
            return starts.index_from
        self._index.pending.clear()
        return max(starts.index_from, self._index.complete_to)

    def _forget_derived(self) -> None:
        """Without a log, queues and index name nothing."""
        self._queues.remove_topics({queue.topic for queue in self._queues})
        if self._index is not None:
            self._index.remove_all()
