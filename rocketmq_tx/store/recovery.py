"""Opening a store: where the log ends, which entries of queues and index are missing, and making it so.

What the checkpoint's claim covers is taken as it is; what lies behind is walked record by record and entered
again. Without a claim (Apache wrote last, or the file is lost) its store times decide, as with Apache. What
does not add up is built again from the oldest record: slower, never wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import attrs

from rocketmq_tx.errors import StoreDamaged
from rocketmq_tx.store.checkpoint import Checkpoint, Claim
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.deleted_topics import DeletedTopics
from rocketmq_tx.store.dispatcher import Dispatcher, QueueGap
from rocketmq_tx.store.log_marks import Origin, origin_of, read_head
from rocketmq_tx.store.log_walk import PlainFrom, Step, record_behind, walk
from rocketmq_tx.store.message_index import MessageIndex
from rocketmq_tx.store.opening_progress import QUEUE_WORK, RECORD_WORK, OpeningProgress
from rocketmq_tx.store.plain_records import PlainRecords
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.records import SHORTEST_RECORD, Verdict, facts

_WRITTEN_OUT_EVERY = 65_536
"""Records whose entries and keys wait in memory at most."""


class Damage(NamedTuple):
    """A stretch of the log that is no whole record, before one that is."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


@attrs.define
class RecoveryReport:
    """What opening found and did; `warnings` are sentences for the operator."""

    clean: bool = True
    log_min_offset: int = 0
    log_end_offset: int = 0
    queue_count: int = 0
    records_walked: int = 0
    records_withheld: list[int] = attrs.field(factory=list)
    damage: list[Damage] = attrs.field(factory=list)
    bytes_walked: int = 0
    rebuilt: bool = False
    warnings: list[str] = attrs.field(factory=list)


class _Starts(NamedTuple):
    """From which commit log offset on records go into the queues, and into the index."""

    queues_from: int
    index_from: int


class Recovery:
    """Recovers one store; used once. `flushed_to` is up to where the log was known to be on the device."""

    def __init__(
        self,
        log: CommitLog,
        queues: QueueTable,
        index: MessageIndex | None,
        dispatcher: Dispatcher,
        plain: PlainRecords,
        deleted: DeletedTopics,
        checkpoint: Checkpoint,
        clean: bool,
        check_crc: bool,
        write_out: Callable[[], None],
        keep_dropped: Callable[[int], str | None],
        queues_damaged: bool,
        progress: OpeningProgress,
    ) -> None:
        self._log = log
        self._queues = queues
        self._index = index
        self._dispatcher = dispatcher
        self._plain = plain
        self._deleted = deleted
        self._checkpoint = checkpoint
        self._check_crc = check_crc
        self._write_out = write_out
        self._keep_dropped = keep_dropped
        self._queues_damaged = queues_damaged
        self._progress = progress
        self._claimed = False
        self._sure_to = 0
        self._damage: list[str] = []
        self.report = RecoveryReport(clean=clean)
        self.flushed_to = 0
        self.claimed_to: int | None = None
        """Up to where the checkpoint covers the store as it is now; None when another one is due at once."""

    def run(self) -> RecoveryReport:
        """Recovers; StoreDamaged or StoreError when that cannot be done safely."""
        log, report = self._log, self.report
        if self._index is not None:
            report.warnings += self._index.load()
        self._leave_out_a_strange_checkpoint()
        self._check_nothing_is_missing()
        if not log.segments.starts:
            self._forget_derived()
            return report
        short = log.segments.extend_short_files()
        report.warnings += [f"{path} was shorter than a segment and has been extended" for path in short]
        starts = self._starts()
        self.flushed_to = log.segments.end if report.clean else min(starts.queues_from, log.segments.end)
        everything = starts.queues_from == log.min_offset
        try:
            end = self._catch_up(starts, fill_gaps=everything)
            if not everything:
                self._check_times()
        except QueueGap as problem:
            report.warnings.append(f"queues are built again from the whole log: {problem}")
            end = self._catch_up(self._from_the_beginning(self._entered_to(starts)), fill_gaps=True)
        if self._index is not None and self._index.end_offset >= end:
            self._say_index_is_built()
            self._index.remove_all()
            self._catch_up(_Starts(end, log.min_offset), fill_gaps=True)
        report.warnings += self._damage
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
        if self._claimed and not (report.rebuilt or report.damage or report.warnings):
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
        if not self._claimed and not self.report.clean and max(times.commit_log_ms, times.queues_ms) > newest:
            raise QueueGap(f"the checkpoint is of {max(times)}, later than any message")

    def _entered_to(self, starts: _Starts) -> int:
        """The index start for a second walk: what the first one has entered stays."""
        if self._index is None:
            return starts.index_from
        self._index.pending.clear()
        return max(starts.index_from, self._index.end_offset + 1)

    # -- where to begin ------------------------------------------------------------------------------------

    def _forget_derived(self) -> None:
        """Without a log, queues and index name nothing."""
        for topic in {queue.topic for queue in self._queues}:
            self._queues.remove_topic(topic)
        if self._index is not None:
            self._index.remove_all()

    def _starts(self) -> _Starts:
        claim = self._believable_claim()
        self._claimed = claim is not None
        self._sure_to = claim.dispatched_to if claim is not None else 0
        if claim is not None:
            self._log.last_record_at = claim.last_record_at
        queues_from = self._keep_queues(claim)
        self._sure_to = max(self._sure_to, queues_from or 0)
        index_from = self._keep_index(claim)
        if queues_from is None or self._deleted_topics_remain():
            self.report.warnings.append("queues do not match the log and are built again from all of it")
            return self._from_the_beginning(index_from)
        if index_from <= self._log.min_offset < queues_from:
            self._say_index_is_built()
        return _Starts(queues_from, index_from)

    def _from_the_beginning(self, index_from: int) -> _Starts:
        self.report.rebuilt = True
        log_min = self._log.min_offset
        for queue in self._queues:
            if not queue.find_end(log_min, log_min, tidy=False):
                queue.remove()
        self._queues.dirty.clear()
        return _Starts(log_min, index_from)

    def _believable_claim(self) -> Claim | None:
        """The checkpoint's claim, if the record that it names as the last one ends where it says."""
        claim = self._checkpoint.claim
        log = self._log
        if claim is None:
            return None
        if claim.last_record_at < log.min_offset:
            return claim if claim.dispatched_to == log.min_offset else None
        if not claim.last_record_at + SHORTEST_RECORD <= claim.dispatched_to <= log.segments.end:
            return None
        step = next(walk(log, claim.last_record_at, self._check_crc, skip_gaps=False), None)
        # A damaged last record still has its lengths, and so the place where the next one begins.
        if step is None or step.offset + step.size != claim.dispatched_to:
            return None
        return claim

    def _keep_queues(self, claim: Claim | None) -> int | None:
        """Cuts the queues to what is certain; returns from where on records have to be entered.

        None when something does not add up, and everything has to be entered again.
        """
        if claim is not None:
            self._find_queue_ends(claim.dispatched_to)
            queue_count, entry_count = self._queues.totals()
            extra = entry_count - claim.entry_count
            whole = queue_count == claim.queue_count and 0 <= extra <= claim.condemned_entries
            return claim.dispatched_to if whole and not self._queues_damaged else None
        if not self.report.clean:
            start = self._segment_by_time()
            self._find_queue_ends(start)
            return None if self._queues_damaged else start
        self._find_queue_ends(self._log.segments.end)
        return None if self._queues_damaged else self._end_of_queues()

    def _find_queue_ends(self, log_end: int) -> None:
        count = len(self._queues.queues)
        for done, queue in enumerate(self._queues):
            self._progress.did(QUEUE_WORK, "recovering: looked at {} of {} queues", done, count)
            if not queue.find_end(self._log.min_offset, log_end, self.report.clean):
                self._queues_damaged = True

    def _end_of_queues(self) -> int | None:
        """Where the last message ends that any queue knows of; None when the log has no such record."""
        newest, newest_size = self._log.min_offset, 0
        for queue in self._queues:
            if queue.max_offset > queue.min_offset:
                offset, size, _ = queue.entry(queue.max_offset - 1)
                if offset >= newest:
                    newest, newest_size = offset, size
        if not newest_size:
            return self._log.min_offset
        step = next(walk(self._log, newest, self._check_crc, skip_gaps=False), None)
        if step is None or step.size != newest_size:
            return None
        self._log.last_record_at = newest
        return newest + newest_size

    def _segment_by_time(self) -> int:
        """The newest segment that begins before everything that may be missing, by Apache's rule."""
        safe = self._checkpoint.times.safe_ms
        for start in reversed(self._log.segments.starts):
            if 0 < self._first_store_time(start) <= safe:
                return start
        return self._log.min_offset

    def _first_store_time(self, start: int) -> int:
        step = next(walk(self._log, start, check_crc=False, skip_gaps=False), None)
        if step is None or step.verdict is Verdict.BLANK:
            return 0
        return facts(step.data, step.at).store_timestamp

    def _keep_index(self, claim: Claim | None) -> int:
        """Removes index files that may not be complete; returns from where on records have to be entered."""
        index, log = self._index, self._log
        if index is None:
            return log.segments.end
        if claim is not None:
            entered = index.keep_claimed(claim.index_name, claim.index_entries, self.report.clean)
            if entered == claim.index_entries:
                return claim.dispatched_to
            complete = entered is not None
        else:
            complete = self.report.clean or index.keep_to(self._checkpoint.times.index_ms)
        if complete and index.files and self._begins_record(index.end_offset):
            return index.end_offset + 1
        index.remove_all()
        return log.min_offset

    def _say_index_is_built(self) -> None:
        self.report.warnings.append("there is no complete message index: it is built from the whole log")

    def _withheld(self, step: Step) -> None:
        self.report.records_withheld.append(step.offset)
        self.report.damage.append(Damage(step.offset, step.size))
        self._damage.append(f"{step.size} damaged bytes at {step.offset} of the log are withheld")

    def _begins_record(self, offset: int) -> bool:
        if not self._log.segments.has(offset):
            return False
        step = next(walk(self._log, offset, self._check_crc, skip_gaps=False), None)
        return step is not None and step.verdict is not Verdict.BLANK

    def _deleted_topics_remain(self) -> bool:
        """Whether a crash came between the note that a topic is deleted and the removal of its queues."""
        self._deleted.forget_below(self._log.min_offset)
        remain = False
        for topic, end in self._deleted.items():
            queues = [queue for queue in self._queues if queue.topic == topic]
            if any(queue.max_offset and queue.entry(queue.file_starts()[0])[0] < end for queue in queues):
                self._queues.remove_topic(topic)
                remain = True
        return remain

    # -- catching up ---------------------------------------------------------------------------------------

    def _catch_up(self, starts: _Starts, fill_gaps: bool) -> int:
        """Walks to the end of the log and enters what is missing; returns where the log ends."""
        walk_from, index_from = self._walk_from(starts)
        log, report = self._log, self.report
        report.records_walked = report.bytes_walked = 0
        report.records_withheld.clear()
        report.damage.clear()
        self._damage.clear()
        log.trusted_from = walk_from if self._check_crc else log.segments.end
        end, log_end = walk_from, log.segments.end
        doubtful: list[Step] = []
        both_from = starts.queues_from if self._index is None else max(starts.queues_from, index_from)
        plain = PlainFrom(both_from, self._plain)
        skip_gaps = not report.clean or starts.queues_from == log.min_offset
        for step in walk(log, walk_from, self._check_crc, skip_gaps, plain, self._sure_to):
            if step.verdict in (Verdict.DAMAGED, Verdict.NOTHING):
                doubtful.append(step)
                continue
            if doubtful and step.verdict is Verdict.WHOLE:
                fill_gaps = fill_gaps or any(bad.verdict is Verdict.NOTHING for bad in doubtful)
                self._withhold(doubtful, starts.queues_from)
                log.trusted_from = step.offset
                doubtful = []
            records = 1
            if step.verdict is Verdict.ENTERED:
                records = self._entered()
            elif step.verdict is Verdict.WHOLE:
                record = facts(step.data, step.at)
                queue, index = step.offset >= starts.queues_from, step.offset >= index_from
                if not self._dispatcher.enter(record, queue, index, fill_gaps):
                    self._withheld(step)
                log.last_record_at = step.offset
                log.last_store_timestamp = record.store_timestamp
                self._count(1)
            elif step.offset == log.segments.start_of(step.offset):
                # A segment of nothing, put there by a repair: queues may name what it once held.
                log.trusted_from = step.offset + step.size
            share = (step.offset - walk_from) * 100 // (log_end - walk_from)
            self._progress.did(
                step.size + records * RECORD_WORK,
                "recovering: read the log to {} of at most {}, {}%", step.offset, log_end, share,
            )  # fmt: skip
            if not doubtful:
                end = step.offset + step.size
        lost = [step for step in doubtful if step.offset < self._sure_to]
        if lost:
            # The log is known to go on, or to have gone on, behind them.
            self._withhold(lost, starts.queues_from)
            end = log.trusted_from = lost[-1].offset + lost[-1].size
            doubtful = doubtful[len(lost) :]
        if doubtful:
            self._damage.append(f"the damaged record at {doubtful[0].offset} ends the log and was cut off")
        report.bytes_walked = end - walk_from
        self._write_out()
        return end

    def _entered(self) -> int:
        """Notes what the plain records have entered; returns how many those were."""
        log, plain = self._log, self._plain
        self._queues.dirty.update(dict.fromkeys(plain.touched))
        log.last_record_at, log.last_store_timestamp = plain.last_record_at, plain.last_store_timestamp
        self._count(len(plain.touched))
        return len(plain.touched)

    def _count(self, records: int) -> None:
        """Counts records; what waits in memory is written out every so often."""
        before = self.report.records_walked // _WRITTEN_OUT_EVERY
        self.report.records_walked += records
        if self.report.records_walked // _WRITTEN_OUT_EVERY > before:
            self._write_out()

    def _walk_from(self, starts: _Starts) -> tuple[int, int]:
        """Where to begin walking, and the index start: an index that reaches too far back is begun anew."""
        index_from = starts.index_from
        if index_from >= starts.queues_from:
            return starts.queues_from, index_from
        if self._index is not None and 0 < index_from == self._index.end_offset + 1:
            return self._index.end_offset, index_from
        return self._log.min_offset, index_from

    def _withhold(self, doubtful: list[Step], queues_from: int) -> None:
        """Damaged records before a whole one keep their numbers in their queues, but nobody gets them."""
        for step in doubtful:
            self._withheld(step)
            if step.verdict is Verdict.DAMAGED:
                self._dispatcher.enter_damaged(facts(step.data, step.at), step.offset >= queues_from)
