"""What is in the files becomes what a store's parts know: at its opening, and again when its log was cut."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.errors import StoreError, StoreUnavailable
from rocketmq_tx.store.checkpointing import Checkpointer
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.deleted_topics import DeletedTopics
from rocketmq_tx.store.derived_files import DerivedFiles
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.dispatcher import Dispatcher
from rocketmq_tx.store.dropped_end import keep_dropped
from rocketmq_tx.store.flush import LogFlusher
from rocketmq_tx.store.known_damage import KnownDamage
from rocketmq_tx.store.message_index import MessageIndex
from rocketmq_tx.store.multi_dispatch import MultiDispatch
from rocketmq_tx.store.opening_progress import QUEUE_WORK, OpeningProgress
from rocketmq_tx.store.pending_keys import PendingKeys
from rocketmq_tx.store.plain_records import PlainRecords
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.recovery import Recovery, RecoveryReport
from rocketmq_tx.store.segments import OpenFiles
from rocketmq_tx.store.store_directory import StoreDirectory
from rocketmq_tx.store.tail_cut import boundary_at


class Opening:
    """Loads and recovers the parts of a store. `notice` is told how far it is, by `seconds`, a clock."""

    def __init__(
        self,
        config: MessageStoreConfig,
        disk: Disk,
        directory: StoreDirectory,
        files: OpenFiles,
        log: CommitLog,
        queues: QueueTable,
        index: MessageIndex,
        pending_keys: PendingKeys,
        deleted: DeletedTopics,
        damage: KnownDamage,
        dispatcher: Dispatcher,
        multi_dispatch: MultiDispatch,
        flusher: LogFlusher,
        checkpointer: Checkpointer,
        derived: DerivedFiles,
        notice: Callable[[str], None],
        seconds: Callable[[], float],
    ) -> None:
        self._config = config
        self._disk = disk
        self._directory = directory
        self._files = files
        self._log = log
        self._queues = queues
        self._index = index
        self._pending_keys = pending_keys
        self._deleted = deleted
        self._damage = damage
        self._dispatcher = dispatcher
        self._multi_dispatch = multi_dispatch
        self._flusher = flusher
        self._checkpointer = checkpointer
        self._derived = derived
        self._notice = notice
        self._seconds = seconds

    def recover(self, now_ms: int) -> RecoveryReport:
        """StoreDamaged or StoreError when that cannot be done safely. Its warnings are said as well."""
        config, log = self._config, self._log
        checkpoint = self._checkpointer.read()
        # Whoever stops in order makes a checkpoint: without one, somebody has removed the file `abort`.
        clean = self._directory.was_left_in_order and checkpoint.times.commit_log_ms > 0
        self._deleted.load()
        configured = log.segment_size
        log.load()
        progress = OpeningProgress(self._notice, self._seconds)
        broken = self._queues.load(lambda count: progress.did(QUEUE_WORK, "opening: found {} queues", count))
        recovery = Recovery(
            log,
            self._queues,
            self._index if config.message_index_enable else None,
            self._dispatcher,
            PlainRecords(self._queues, self._pending_keys, self._deleted, self._multi_dispatch),
            self._deleted,
            checkpoint,
            clean,
            config.check_crc_on_recover,
            lambda: self._write_if_there_is_room(now_ms),
            lambda end: keep_dropped(self._disk, log, config.below_root("cut"), end),
            bool(broken),
            progress,
        )
        report = recovery.run()
        self._cut_deletions(report)
        self._damage.found(report.damage, log.min_offset)
        self._multi_dispatch.take_arrived()
        if log.segment_size != configured:
            report.warnings.append(
                f"the commit log has segments of {log.segment_size} bytes and keeps them; "
                f"mappedFileSizeCommitLog={configured} is for a new one"
            )
        self._start_at(log.written_to, recovery.flushed_to, recovery.claimed_to)
        if report.records_walked and recovery.claimed_to is None:
            self._save_checkpoint(report, now_ms)
        for warning in report.warnings:
            self._notice(warning)
        return report

    def _cut_deletions(self, report: RecoveryReport) -> None:
        """A power cut may have taken the log's end, but not the note of a topic deleted behind it."""
        try:
            self._deleted.cut_to(self._log.written_to)
        except StoreUnavailable as error:
            report.warnings.append(f"deleted topics are not written down: {error}")

    def _write_if_there_is_room(self, now_ms: int) -> None:
        """A full disk is no reason not to start: what is derived waits in memory, and old messages can go."""
        with contextlib.suppress(StoreUnavailable):
            self._derived.write_while_starting(now_ms)

    def _start_at(self, written_to: int, flushed_to: int, claimed_to: int | None) -> None:
        if claimed_to is not None:
            # As while a broker runs: whoever goes on has it flushed, and a checkpoint made, without waiting.
            self._derived.start_at(written_to, claimed_to)
            self._flusher.start_at(flushed_to)
            return
        if flushed_to < written_to:
            # A process that was killed has left writes that nobody has synced.
            self._log.sync_from(flushed_to)
        self._derived.start_at(written_to, written_to)
        self._flusher.start_at(written_to)

    def _save_checkpoint(self, report: RecoveryReport, now_ms: int) -> None:
        try:
            self._derived.save_checkpoint(now_ms)
        except StoreUnavailable as error:
            report.warnings.append(f"no checkpoint is made until there is room: {error}")

    def cut_tail(self, offset: int, now_ms: int) -> RecoveryReport:
        """As `MessageStore.cut_tail`, which has seen to it that nothing else is under way."""
        boundary = boundary_at(self._log, offset)
        if boundary.offset != offset:
            raise StoreError(f"no record ends at {offset}, where the log was to be cut")
        self._derived.save_checkpoint(now_ms)
        # Whatever happens now, queues and index have all messages that are older than this.
        self._checkpointer.claim_times_only(boundary.last_store_timestamp, self._config.message_index_enable)
        self._deleted.cut_to(offset)
        self._damage.cut_to(offset)
        self._log.set_end(offset)
        self._log.sync_from(offset)
        self._forget_all()
        return self.recover(now_ms)

    def _forget_all(self) -> None:
        """As before opening: what is in the files counts."""
        self._pending_keys.clear()
        self._queues.dirty.clear()
        self._index.forget()
        self._files.forget_all()
        if not self._log.segments.starts:
            self._log.written_to = 0
        self._log.last_record_at, self._log.last_store_timestamp = -1, 0
