"""Where a recovery begins: what of queues and index the checkpoint covers is kept, the rest of them is cut.

What the checkpoint's claim covers is taken as it is. Without a claim (Apache wrote last, or the file is lost)
its store times decide, as with Apache.
"""

from __future__ import annotations

from typing import NamedTuple

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.checkpoint import Checkpoint, Claim, StoreTimes
from rocketmq_tx.store.log_walk import walk
from rocketmq_tx.store.message_index import MessageIndex
from rocketmq_tx.store.opening_progress import QUEUE_WORK
from rocketmq_tx.store.records import SHORTEST_RECORD, Verdict, examine, facts
from rocketmq_tx.store.recoverable import Recoverable

_FIRST_READ_BYTES = 4096


class Starts(NamedTuple):
    """From which commit log offset on records go into the queues, and into the index."""

    queues_from: int
    index_from: int


class StartFinder:
    """Finds the starts of one recovery. `queues_damaged` says that files of some are not what they were."""

    def __init__(self, store: Recoverable, queues_damaged: bool) -> None:
        self._log = store.log
        self._queues = store.queues
        self._index = store.index
        self._deleted = store.deleted
        self._check_crc = store.check_crc
        self._queues_damaged = queues_damaged
        self._index_missing_from = store.index_missing_from
        self._progress = store.progress
        self.report = store.report
        self._times = StoreTimes()
        self.claimed = False
        """Whether a claim was believed."""
        self.sure_to = 0
        """A record ended there for certain."""

    def find(self, checkpoint: Checkpoint) -> Starts:
        """Cuts what is not certain; returns from where on records have to be entered."""
        self._times = checkpoint.times
        claim = self._believable_claim(checkpoint)
        self.claimed = claim is not None
        self.sure_to = claim.dispatched_to if claim is not None else 0
        if claim is not None:
            self._log.last_record_at = claim.last_record_at
        queues_from = self._keep_queues(claim)
        self.sure_to = max(self.sure_to, queues_from or 0)
        index_from = self._keep_index(claim)
        if queues_from is None or self._deleted_topics_remain():
            self.report.warnings.append("queues do not match the log and are built again from all of it")
            return self.from_the_beginning(index_from)
        if index_from <= self._log.min_offset < queues_from:
            self.say_index_is_built()
        return Starts(queues_from, index_from)

    def from_the_beginning(self, index_from: int) -> Starts:
        """Everything is entered again into queues, and from `index_from` on into the index."""
        self.report.rebuilt = True
        log_min = self._log.min_offset
        for queue in self._queues:
            if not queue.find_end(log_min, log_min, tidy=False):
                queue.remove()
        self._queues.dirty.clear()
        return Starts(log_min, index_from)

    def _believable_claim(self, checkpoint: Checkpoint) -> Claim | None:
        """The checkpoint's claim, if the record that it names as the last one ends where it says."""
        claim = checkpoint.claim
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
        safe = self._times.safe_ms
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
        missing_from = self._index_missing_from
        if missing_from is not None:
            index.drop_from(missing_from)
        if claim is not None and missing_from is None:
            entered = index.keep_claimed(claim.index_name, claim.index_entries, self.report.clean)
            self._mend_index_times(index)
            if entered == claim.index_entries:
                return claim.dispatched_to
            complete = entered is not None
        else:
            believed = self.report.clean and missing_from is None
            complete = believed or index.keep_to(self._times.index_ms)
            self._mend_index_times(index)
        if complete and index.files and self._begins_record(index.end_offset):
            return index.complete_to
        index.remove_all()
        return log.min_offset

    def _mend_index_times(self, index: MessageIndex) -> None:
        if not self.report.clean:
            index.mend_times(self._store_time_of)

    def _store_time_of(self, offset: int) -> int | None:
        """Of the whole record that begins there; None, too, when it cannot be read: the walk tells it."""
        log = self._log
        if not log.segments.has(offset):
            return None
        room = log.segments.end_of(offset) - offset
        try:
            data = log.read(offset, min(_FIRST_READ_BYTES, room))
            verdict, size = examine(data, 0, offset)
            if verdict is Verdict.MORE and size <= room:
                data = log.read(offset, size)
                verdict, _ = examine(data, 0, offset)
        except StoreError:
            return None
        return facts(data, 0).store_timestamp if verdict is Verdict.WHOLE else None

    def say_index_is_built(self) -> None:
        """It takes long, so somebody should know."""
        self.report.warnings.append("there is no complete message index: it is built from the whole log")

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
                self._queues.remove_topics({topic})
                remain = True
        return remain
