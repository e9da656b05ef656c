"""Making a checkpoint: sync the log, then queues and index, and only then write what may be claimed.

What it claims is of one moment. Writing the entries that wait then takes many turns of the reactor where
there are thousands of queues, and more messages come meanwhile: those are for the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.checkpoint import (
    Checkpoint,
    Claim,
    StoreTimes,
    read_checkpoint,
    write_checkpoint,
    write_times,
)
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.flush import FlushJob, LogFlusher
from rocketmq_tx.store.index_file import IndexSnapshot
from rocketmq_tx.store.log_marks import marked_files, read_marks
from rocketmq_tx.store.message_index import MessageIndex
from rocketmq_tx.store.queue_table import QueueTable

MANY_QUEUES = 64
"""Measured: up to so many files, syncing each costs less than what else may wait for the disk."""
NO_INDEX = -1
"""Claimed as the newest index file by a process that keeps no index: then none counts as complete."""


class Claimed(NamedTuple):
    """What a checkpoint will say, of the moment at which it was taken, and what has to be synced for it."""

    times: StoreTimes
    claim: Claim
    snapshots: list[IndexSnapshot]
    marked: list[tuple[int, str]]
    condemned: list[str]


class CheckpointJob:
    """Takes values, waits for the device, keeps its error; `run` touches no state of the store.

    But it asks `is_condemned` of each file before it removes it: that may not be so any more.
    """

    def __init__(
        self,
        disk: Disk,
        path: str,
        flush: FlushJob,
        queue_paths: dict[str, bool],
        claimed: Claimed,
        is_condemned: Callable[[str], bool],
    ) -> None:
        self._disk = disk
        self._path = path
        self.flush = flush
        self.queue_paths = queue_paths
        self.claimed = claimed
        self._is_condemned = is_condemned
        self.error: StoreError | None = None

    def run(self) -> None:
        """Does all of it; call it in a thread. A StoreError is kept for `finish_checkpoint`."""
        self.flush.run()
        self.error = self.flush.uncovered()
        if self.error is not None:
            return
        try:
            self._run()
        except StoreError as error:
            self.error = error

    def _run(self) -> None:
        directories = set()
        if not self._sync_all_queues():
            for path, is_new in self.queue_paths.items():
                if self._disk.file_size(path) is None:
                    continue  # its topic has been deleted meanwhile
                self._disk.open(path).sync()
                if is_new:
                    directories.update(_parents(path, 3))
        for snapshot in self.claimed.snapshots:
            snapshot.run()
            directories.update(_parents(snapshot.path, 1))
        for directory in sorted(directories):
            if self._disk.is_directory(directory):
                self._disk.sync_directory(directory)
        times, claim, _, marked, condemned = self.claimed
        claim = claim._replace(marks=tuple(read_marks(self._disk, marked)))
        write_checkpoint(self._disk, self._path, times, claim)
        # Only now, that it is known on the device that they do not count any more.
        for path in condemned:
            if self._is_condemned(path):
                self._disk.remove(path)
        for directory in sorted({path.rpartition("/")[0] for path in condemned}):
            if self._disk.is_directory(directory):
                self._disk.sync_directory(directory)

    def _sync_all_queues(self) -> bool:
        """A sync for each of very many files would take minutes: then one is done for all of the disk."""
        if len(self.queue_paths) <= MANY_QUEUES:
            return False
        return self._disk.sync_file_system(_parents(next(iter(self.queue_paths)), 3)[2])


class Checkpointer:
    """Makes checkpoint jobs from the parts of a store and takes them back; one at a time."""

    def __init__(
        self,
        disk: Disk,
        path: str,
        log: CommitLog,
        queues: QueueTable,
        index: MessageIndex,
        flusher: LogFlusher,
    ) -> None:
        self._disk = disk
        self._path = path
        self._log = log
        self._queues = queues
        self._index = index
        self._flusher = flusher
        self._times = StoreTimes()
        self._claimed: Claimed | None = None

    @property
    def is_running(self) -> bool:
        """Whether one was claimed, and neither given up nor taken back."""
        return self._claimed is not None

    def read(self) -> Checkpoint:
        """What the file says; later checkpoints never claim less time than it does."""
        checkpoint = read_checkpoint(self._disk, self._path)
        self._times = checkpoint.times
        return checkpoint

    def claim_times_only(self, store_timestamp: int, with_index: bool) -> None:
        """Writes that messages stored by then (epoch ms) are on the device, in log, queues and index.

        They must be. Takes back what later checkpoints said, and without an index that there is any.
        """
        times = StoreTimes(*(min(time, store_timestamp) for time in self._times))
        if not with_index:  # what an earlier process has left of one may name messages that are cut off now
            times = times._replace(index_ms=0)
        write_times(self._disk, self._path, times)
        self._times = times

    def claim(self, dispatched_to: int, with_index: bool) -> Claimed:
        """What queues and index know of now. Keys are in their files; entries of queues may wait in memory.

        StoreError while another one is under way, which could write older slots over newer ones.
        """
        if self._claimed is not None:
            raise StoreError("the checkpoint before has not ended")
        log, index, before = self._log, self._index, self._times
        queue_count, entry_count = self._queues.totals()
        with_index = with_index and not index.is_incomplete
        newest = index.files[-1] if index.files else None
        times = StoreTimes(
            log.last_store_timestamp or before.commit_log_ms,
            log.last_store_timestamp or before.queues_ms,
            # After a crash Apache removes every index file that ends later, and with it older keys.
            0 if index.is_incomplete else index.end_timestamp or before.index_ms,
        )
        claim = Claim(
            log.min_offset,
            dispatched_to,
            log.last_record_at,
            queue_count,
            entry_count,
            sum(self._queues.condemned.values()),
            (newest.name if newest else 0) if with_index else NO_INDEX,
            index.entry_count,
        )
        marked = marked_files(log.segments, dispatched_to)
        condemned = [*self._queues.condemned, *index.condemned]
        self._claimed = Claimed(times, claim, index.snapshots(), marked, condemned)
        return self._claimed

    def give_up(self, claimed: Claimed) -> None:
        """Entries that it claims could not be written."""
        self._claimed = None
        self._index.take_back(claimed.snapshots)

    def begin(self, claimed: Claimed) -> CheckpointJob:
        """The job, when all entries that are claimed are in their files; newer ones may be, too.

        On StoreError (the log cannot be opened once more) it is given up.
        """
        try:
            flush = self._flusher.begin_again()
        except BaseException:
            self.give_up(claimed)
            raise
        unsynced = self._queues.take_unsynced()
        return CheckpointJob(self._disk, self._path, flush, unsynced, claimed, self._is_condemned)

    def _is_condemned(self, path: str) -> bool:
        """Any thread may ask. A topic of a deleted one's name begins anew, with files of the same names."""
        return path in self._queues.condemned or path in self._index.condemned

    def finish(self, job: CheckpointJob) -> None:
        """StoreError when the job failed; what it was to sync stays due."""
        self._claimed = None
        if job.error is not None:
            self._queues.give_back_unsynced(job.queue_paths)
            self._index.take_back(job.claimed.snapshots)
        else:
            self._index.snapshots_written()
            self._times = job.claimed.times
            self._forget_condemned(job.claimed.condemned)
        self._flusher.finish(job.flush)
        if job.error is not None:
            raise job.error

    def _forget_condemned(self, removed: list[str]) -> None:
        for path in removed:
            self._queues.condemned.pop(path, None)
        gone = set(removed)
        self._index.condemned = [path for path in self._index.condemned if path not in gone]


def _parents(path: str, levels: int) -> list[str]:
    found = []
    for _ in range(levels):
        path = path.rpartition("/")[0]
        found.append(path)
    return found
