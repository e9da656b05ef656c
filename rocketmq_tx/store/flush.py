"""What is on the device: flush jobs that run in a thread, and the offset up to which the log survived them.

A failed sync is final. The kernel may have dropped the data that it could not write and call the next sync
a success, so nothing behind the failed range ever counts as flushed; the store refuses further messages.

Linux tells each open file description once that a write failed, and only those that were open by then. So
syncs that overlap never share one: each has a lane of its own, opened before the first byte is written and
held until the file is on the device (`CommitLog.unsynced`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.disk import Disk, DiskFile

PAGE_BYTES = 4096


def is_flush_due(flushed_to: int, written_to: int, segment_size: int, least_pages: int) -> bool:
    """Whether so much of the log waits for the device that it goes there before the thorough interval ends.

    As Apache counts (`spec/store.yaml`, flush): so many pages have been begun since the last flush, whatever
    waits of a segment that is full; with 0 pages anything.
    """
    start = flushed_to - flushed_to % segment_size
    if least_pages <= 0 or written_to >= start + segment_size:
        return written_to > flushed_to
    return (written_to - start) // PAGE_BYTES - (flushed_to - start) // PAGE_BYTES >= least_pages


class FlushJob:
    """Syncs what the log held when the job was made. `run` touches no state of the store."""

    def __init__(
        self,
        disk: Disk,
        files: list[DiskFile],
        directories: tuple[str, ...],
        flush_to: int,
        lane: int,
        earlier: tuple[FlushJob, ...],
    ) -> None:
        self._disk = disk
        self._files = files
        self.directories = directories
        self.flush_to = flush_to
        self.lane = lane
        self.earlier = earlier
        """Jobs that had not ended when this one was begun."""
        self.done = False
        self.error: StoreError | None = None

    def run(self) -> None:
        """Waits for the device; call it in a thread. A StoreError is kept for `finish`, not raised."""
        try:
            for file in self._files:
                file.sync()
            for directory in self.directories:
                self._disk.sync_directory(directory)
        except StoreError as error:
            self.error = error
        self.done = True

    def uncovered(self) -> StoreError | None:
        """Why what it covers cannot be counted on, after it has run: its own error or an earlier job's.

        One that has not ended takes nothing away: this job's lane has heard of every failed write by itself.
        """
        return self.error or next((job.error for job in self.earlier if job.error is not None), None)


class LogFlusher:
    """Makes flush jobs and takes them back. `flushed_to` only grows, and never past a failed job.

    Jobs may overlap, but count in the order in which they were begun, and none any more once one has failed.
    """

    def __init__(self, disk: Disk, log: CommitLog, failed: Callable[[StoreError], None]) -> None:
        self._disk = disk
        self._log = log
        self._failed = failed
        self._running: deque[FlushJob] = deque()
        self._handed_out_to = 0
        self.flushed_to = 0
        self.failure: StoreError | None = None

    def start_at(self, offset: int) -> None:
        """After opening: what is in the log up to here is on the device."""
        self.flushed_to = self._handed_out_to = offset

    def begin(self) -> FlushJob | None:
        """A job for everything written since the last one; None when there is nothing or one failed.

        Jobs of `begin_again` are none of those: who waits for a flush does not hear when they end.
        """
        if self.failure is not None or self._log.written_to <= max(self._handed_out_to, self.flushed_to):
            return None
        job = self.begin_again()
        self._handed_out_to = job.flush_to
        return job

    def begin_again(self) -> FlushJob:
        """A job for everything that is not known to be flushed, whether another job is at it or not."""
        log = self._log
        files = []
        taken = {job.lane for job in self._running}
        lane = next(lane for lane in range(len(taken) + 1) if lane not in taken)
        # Work that is already in flight is synced again: its own job may still fail.
        at = log.segments.start_of(self.flushed_to)
        while at < log.written_to:
            files.append(log.to_sync(at, lane))
            at += log.segment_size
        # A new file's name as well: an earlier job that is to sync it may not have ended.
        is_named = not log.directory_changed and not any(job.directories for job in self._running)
        directories = () if is_named else log.segments.directories
        log.directory_changed = False
        job = FlushJob(self._disk, files, directories, log.written_to, lane, tuple(self._running))
        self._running.append(job)
        return job

    def finish(self, job: FlushJob) -> int:
        """Takes back a job that has run; returns `flushed_to`. StoreError when it or one before failed."""
        failed = next((begun.error for begun in self._running if begun.done and begun.error), None)
        if failed is not None and self.failure is None:
            self.failure = failed
            self._failed(failed)
        while self._running and self._running[0].done:
            ended = self._running.popleft()
            ended.earlier = ()
            if self.failure is None:
                self.flushed_to = max(self.flushed_to, ended.flush_to)
                self._log.synced_to(self.flushed_to)
        if self.failure is not None:
            raise StoreError(f"not flushed beyond {self.flushed_to}: {self.failure}") from self.failure
        return self.flushed_to
