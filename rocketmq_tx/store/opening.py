"""What is in the files becomes what a store's parts know: at its opening, and again when its log was cut."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from rocketmq_tx.errors import StoreError, StoreUnavailable, Unreadable
from rocketmq_tx.store.dropped_end import keep_dropped
from rocketmq_tx.store.opening_progress import QUEUE_WORK, OpeningProgress
from rocketmq_tx.store.plain_records import PlainRecords
from rocketmq_tx.store.recoverable import Recoverable
from rocketmq_tx.store.recovery import Recovery, RecoveryReport
from rocketmq_tx.store.store_parts import StoreParts
from rocketmq_tx.store.tail_cut import boundary_at
from rocketmq_tx.store.unreadable import UnreadableFiles


class Opening:
    """Loads and recovers the parts of a store, and says how far it is by `seconds`, a clock."""

    def __init__(self, parts: StoreParts, seconds: Callable[[], float]) -> None:
        self._parts = parts
        self._seconds = seconds

    def recover(self, now_ms: int) -> RecoveryReport:
        """StoreDamaged or StoreError when that cannot be done safely. Its warnings are said as well.

        Files of queues and index that the device cannot read are set aside, and built again from the log.
        """
        parts = self._parts
        root, queues, index = parts.config.store_path_root_dir, parts.queues, parts.index
        missing = UnreadableFiles(parts.disk, root, queues.directory, index.directory, parts.notice)
        while True:
            try:
                return self._recover(now_ms, missing)
            except Unreadable as error:
                if not missing.take(error):
                    raise
                queues.forget_all()
                self._forget_all()

    def _recover(self, now_ms: int, missing: UnreadableFiles) -> RecoveryReport:
        parts, log = self._parts, self._parts.log
        configured = log.segment_size
        recovery = self._recovery(now_ms, missing)
        report = recovery.run()
        self._cut_deletions(report)
        parts.damage.found(report.damage, log.min_offset)
        parts.multi_dispatch.take_arrived()
        if log.segment_size != configured:
            report.warnings.append(
                f"the commit log has segments of {log.segment_size} bytes and keeps them; "
                f"mappedFileSizeCommitLog={configured} is for a new one"
            )
        self._start_at(log.written_to, recovery.flushed_to, recovery.claimed_to)
        if report.records_walked and recovery.claimed_to is None:
            self._save_checkpoint(report, now_ms)
        for warning in report.warnings[len(missing.warnings) :]:
            parts.notice(warning)
        return report

    def _recovery(self, now_ms: int, missing: UnreadableFiles) -> Recovery:
        """Loads what is in the files, for a recovery that judges it."""
        parts = self._parts
        config, log = parts.config, parts.log
        checkpoint = parts.checkpointer.read()
        # Whoever stops in order makes a checkpoint: without one, somebody has removed the file `abort`.
        clean = parts.directory.was_left_in_order and checkpoint.times.commit_log_ms > 0
        parts.deleted.load()
        log.load()
        progress = OpeningProgress(parts.notice, self._seconds)
        broken = parts.queues.load(lambda count: progress.did(QUEUE_WORK, "opening: found {} queues", count))
        store = Recoverable(
            log=log,
            queues=parts.queues,
            index=parts.index if config.message_index_enable else None,
            deleted=parts.deleted,
            dispatcher=parts.dispatcher,
            plain=PlainRecords(parts.queues, parts.pending_keys, parts.deleted, parts.multi_dispatch),
            check_crc=config.check_crc_on_recover,
            progress=progress,
            report=RecoveryReport(clean=clean, warnings=list(missing.warnings)),
            index_missing_from=missing.index_from,
        )
        return Recovery(
            store,
            checkpoint,
            bool(broken) or missing.of_queues,
            lambda: self._write_if_there_is_room(now_ms),
            lambda end: keep_dropped(parts.disk, log, config.below_root("cut"), end),
        )

    def _cut_deletions(self, report: RecoveryReport) -> None:
        """A power cut may have taken the log's end, but not the note of a topic deleted behind it."""
        try:
            self._parts.deleted.cut_to(self._parts.log.written_to)
        except StoreUnavailable as error:
            report.warnings.append(f"deleted topics are not written down: {error}")

    def _write_if_there_is_room(self, now_ms: int) -> None:
        """A full disk is no reason not to start: what is derived waits in memory, and old messages can go."""
        with contextlib.suppress(StoreUnavailable):
            self._parts.derived.write_while_starting(now_ms)

    def _start_at(self, written_to: int, flushed_to: int, claimed_to: int | None) -> None:
        if claimed_to is not None:
            # As while a broker runs: whoever goes on has it flushed, and a checkpoint made, without waiting.
            self._parts.derived.start_at(written_to, claimed_to)
            self._parts.flusher.start_at(flushed_to)
            return
        if flushed_to < written_to:
            # A process that was killed has left writes that nobody has synced.
            self._parts.log.sync_from(flushed_to)
        self._parts.derived.start_at(written_to, written_to)
        self._parts.flusher.start_at(written_to)

    def _save_checkpoint(self, report: RecoveryReport, now_ms: int) -> None:
        try:
            self._parts.derived.save_checkpoint(now_ms)
        except StoreUnavailable as error:
            report.warnings.append(f"no checkpoint is made until there is room: {error}")

    def cut_tail(self, offset: int, now_ms: int) -> RecoveryReport:
        """As `MessageStore.cut_tail`, which has seen to it that nothing else is under way."""
        parts = self._parts
        boundary = boundary_at(parts.log, offset)
        if boundary.offset != offset:
            raise StoreError(f"no record ends at {offset}, where the log was to be cut")
        parts.derived.save_checkpoint(now_ms)
        # Whatever happens now, queues and index have all messages that are older than this.
        parts.checkpointer.claim_times_only(boundary.last_store_timestamp, parts.config.message_index_enable)
        parts.deleted.cut_to(offset)
        parts.damage.cut_to(offset)
        parts.log.set_end(offset)
        parts.log.sync_from(offset)
        self._forget_all()
        return self.recover(now_ms)

    def _forget_all(self) -> None:
        """As before opening: what is in the files counts."""
        parts = self._parts
        parts.pending_keys.clear()
        parts.queues.dirty.clear()
        parts.index.forget()
        parts.files.forget_all()
        if not parts.log.segments.starts:
            parts.log.written_to = 0
        parts.log.last_record_at, parts.log.last_store_timestamp = -1, 0
