"""The message store: its life from opening to closing, and what is cut and removed meanwhile.

Pure: files are reached through a `Disk`, times come in, nothing waits for a device unless told so, and
nothing here is safe to call from two threads, except `warm` and the `run` of jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.store.arriving_messages import ArrivingMessages
from rocketmq_tx.store.catching_up import enter_again
from rocketmq_tx.store.checkpointing import CheckpointJob
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.disk_use import DiskUse, disk_use
from rocketmq_tx.store.expiry import Expiry
from rocketmq_tx.store.log_room import LogRoom
from rocketmq_tx.store.opening import Opening
from rocketmq_tx.store.recovery import Damage, RecoveryReport
from rocketmq_tx.store.segments import OPEN_FILES_MAX
from rocketmq_tx.store.store_parts import make_parts
from rocketmq_tx.store.tail_cut import KeptTail, boundary_at, keep_tail

DEFAULT_MEMORY_BYTES = 8 << 30


def _ignore(sentence: str) -> None:
    """Drops what the store has to say."""


def _no_clock() -> float:
    return 0.0


class MessageStore(ArrivingMessages):
    """Apache's store directory, opened by `open`, closed by `close`.

    `store_host` is the packed address and port (8 or 20 bytes) that records carry; `memory_bytes` is the
    machine's memory, which tells hot data from cold; `notice` gets a sentence for whatever an operator
    should know, and how far opening is when it takes long by `seconds`, a clock that never goes back. So many
    `open_files` are kept open at most.
    """

    def __init__(
        self,
        config: MessageStoreConfig,
        disk: Disk,
        store_host: bytes,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        notice: Callable[[str], None] = _ignore,
        seconds: Callable[[], float] = _no_clock,
        open_files: int = OPEN_FILES_MAX,
    ) -> None:
        parts = make_parts(config, disk, store_host, notice, open_files)
        super().__init__(parts, memory_bytes)
        self._files = parts.files
        self._directory = parts.directory
        self._damage = parts.damage
        self._opening = Opening(parts, seconds)
        self.room = LogRoom(parts.log)
        self.expiry = Expiry(disk, parts.log, parts.queues, parts.index, parts.flusher)

    # -- opening and closing -------------------------------------------------------------------------------

    def open(self, now_ms: int) -> RecoveryReport:
        """Locks the directory and recovers what is in it.

        StoreLocked when another broker has it, StoreDamaged when it cannot be opened safely, StoreError when
        the disk fails. May take long after a crash; nothing else may be called meanwhile.
        """
        self._directory.take()
        try:
            report = self._opening.recover(now_ms)
            self._directory.mark_open()
        except BaseException:
            self._directory.let_go()
            raise
        self.accept("open")
        return report

    def close(self, now_ms: int) -> None:
        """Writes and syncs everything, so that the next start has nothing to recover; lets the lock go.

        After a failed flush the next start is one after a crash. StoreError when something cannot be written
        now; then, too.
        """
        job = self.begin_close(now_ms)
        if job is not None:
            job.run()
        self.finish_close(job)

    def begin_close(self, now_ms: int) -> CheckpointJob | None:
        """The last checkpoint: call its `run` in a thread, then `finish_close`; None when none can be made.

        From now on no message is taken. StoreError when something cannot be written, and the store is closed.
        """
        self.end_writing()
        if not self._directory.is_taken or self._flusher.failure is not None:
            return None
        try:
            return self.derived.begin_checkpoint(now_ms)
        except BaseException:
            self._let_go()
            raise

    def end_writing(self) -> None:
        """From now on no message is taken, until the store is opened again."""
        self.refuse("open", "the message store has been shut down")

    def finish_close(self, job: CheckpointJob | None) -> None:
        """Takes back a job that has run, and lets the lock go. StoreError as for `close`."""
        try:
            if job is not None:
                self.derived.finish_checkpoint(job)
                self._directory.mark_closed()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        self._files.forget_all()
        self._log.unsynced.clear()
        self._directory.let_go()

    # -- cutting what another log does not have ------------------------------------------------------------

    def record_boundary(self, offset: int) -> int:
        """The last offset up to `offset` at which the log can be cut: a record ends there. StoreError."""
        return boundary_at(self._log, offset).offset

    def keep_tail(self, path: str, offset: int) -> KeptTail:
        """Copies the log from a boundary on to `path`, which is on the device then. StoreError."""
        return keep_tail(self._disk, self._log, path, offset)

    def cut_tail(self, offset: int, now_ms: int) -> RecoveryReport:
        """Drops the log from a boundary on, and what queues, index and checkpoint know of it.

        Waits for the device; no flush or checkpoint may be under way. A crash at any step leaves a store that
        opens, and a log that ends somewhere between `offset` and where it did. StoreError: take no message
        then, and start again.
        """
        self.refuse("cut", "the end of the log is being cut")
        self._raw.drop_unfinished()
        report = self._opening.cut_tail(offset, now_ms)
        self._raw.forget()
        self.accept("cut")
        return report

    # -- removing ------------------------------------------------------------------------------------------

    def delete_topic(self, topic: str) -> None:
        """As `delete_topics`, of one."""
        self.delete_topics({topic})

    def delete_topics(self, topics: AbstractSet[str]) -> None:
        """Removes their queues. One of such a name begins anew; no recovery brings the messages back."""
        if not topics:
            return
        self._deleted.add(dict.fromkeys(topics, self._log.written_to))
        self._remove_queues(topics)
        self.derived.queues_removed(self._log.last_store_timestamp)

    def _remove_queues(self, topics: AbstractSet[str]) -> None:
        self._queues.remove_topics(topics)
        for topic in topics:
            self._ext.remove_topic(topic)

    def topics_were_deleted(self, ends: Mapping[str, int]) -> list[str]:
        """Deletes here what a master has deleted, whose log ended at these offsets then.

        Returns the topics of which that was news. Newer messages begin their queues anew; of those that have
        come already some may have found their numbers taken. What a log has that is not as far yet is older.
        """
        written_to = self._log.written_to
        news = {topic: min(end, written_to) for topic, end in ends.items() if end > self.min_offset}
        news = {topic: end for topic, end in news.items() if end > self._deleted.end_of(topic)}
        if not news:
            return []
        self._deleted.add(news)
        known = news.keys() & {topic for topic, _ in self.queues()}
        if known:
            self._remove_queues(known)
            enter_again(self._log, self._dispatcher, min(news[topic] for topic in known))
            self.derived.queues_removed(self._log.last_store_timestamp)
        return list(news)

    @property
    def damage(self) -> list[Damage]:
        """What starts have found damaged in the log between records that are not."""
        return self._damage.stretches

    # -- the disk ------------------------------------------------------------------------------------------

    def disk_use(self) -> list[DiskUse]:
        """How full the file systems are: of each directory of the commit log, and last of the queues."""
        paths = (*self._log.segments.directories, self._queues.directory)
        return [disk_use(self._disk, path) for path in paths]

    def check_files(self) -> None:
        """Takes no more messages once the file that they go to has been removed by somebody else.

        Writing and syncing an open file goes on to succeed then, though nobody will ever find it again.
        """
        path = self._log.last_path
        if (
            path is not None
            and "removed" not in self._refusals.by_cause
            and self._disk.file_size(path) is None
        ):
            sentence = f"{path} was removed under this broker; no message is taken until it is started again"
            self.refuse("removed", sentence)
            self._notice(sentence)

    def close_idle_files(self) -> None:
        """Closes the files that are open for the next who reads or writes them; who does opens them again."""
        self._files.forget_all()

    def avoid_directories(self, full: frozenset[str]) -> None:
        """The commit log gets no new file in these while others have room."""
        self._log.segments.full = full
