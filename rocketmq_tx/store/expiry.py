"""Letting go of the oldest messages: first a segment of the log, then the queue and index files about it.

In memory a file goes at once, so no new reader finds it; who has it open reads on. The file itself is
removed in a thread. Whatever of that a crash undoes is done again: the log's segments go one by one, oldest
first, and files of queues and index only after a checkpoint that no longer counts them.
"""

from __future__ import annotations

from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.flush import LogFlusher
from rocketmq_tx.store.message_index import MessageIndex
from rocketmq_tx.store.old_segments import OldSegment, RemovalJob
from rocketmq_tx.store.queue_table import QueueTable


class Expiry:
    """Takes the oldest files out of a store; what is old enough is for `retention` to say."""

    def __init__(
        self, disk: Disk, log: CommitLog, queues: QueueTable, index: MessageIndex, flusher: LogFlusher
    ) -> None:
        self._disk = disk
        self._log = log
        self._queues = queues
        self._index = index
        self._flusher = flusher
        self._condemned: list[str] = []
        self._derived_for = -1

    def oldest(self) -> OldSegment | None:
        """The oldest segment, open; None when it may not go: the last one, or one that is not flushed."""
        segments = self._log.segments
        start, end = segments.first, segments.first + segments.segment_size
        if len(segments.starts) < 2 or end > self._flusher.flushed_to:
            return None
        return OldSegment(start, segments.segment_size, segments.file(start), segments.file(end))

    def drop(self, oldest: OldSegment) -> None:
        """Its messages are gone from now on; its file is, after the next removal.

        Nothing happens when it is not the oldest one any more.
        """
        now = self.oldest()
        if now is not None and now.start == oldest.start:
            self._condemned.append(self._log.forget_first_segment())

    def begin_removal(self) -> RemovalJob:
        """A job that removes the files of all segments dropped: call its `run` in a thread."""
        return RemovalJob(self._disk, self._condemned)

    def finish_removal(self, job: RemovalJob) -> None:
        """Takes back a job that has run. StoreError when it failed; the files that remain stay due."""
        self._condemned = [path for path in self._condemned if path not in job.removed]
        if job.error is not None:
            raise job.error

    def condemn_derived(self) -> None:
        """Queue and index files about nothing but dropped messages go with the next checkpoint."""
        log_min = self._log.min_offset
        if log_min != self._derived_for:
            self._derived_for = log_min
            self._queues.condemn_below(log_min)
            self._index.condemn_below(log_min)

    def expired_topics(self) -> set[str]:
        """Topics that had messages, all of which were dropped."""
        return self._queues.expired_topics(self._log.min_offset)
