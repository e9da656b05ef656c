"""Verifying a store: every record's checksum, queues against the log, index against the log, the checkpoint.

Nothing is changed. The log is read once, from end to end; queues and index are followed beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from rocketmq_tx.protocol.properties import unpack_properties
from rocketmq_tx.store.checkpoint import Checkpoint
from rocketmq_tx.store.findings import Findings
from rocketmq_tx.store.log_marks import MARK_BYTES, Origin, origin_of
from rocketmq_tx.store.log_scan import LogScan
from rocketmq_tx.store.log_walk import Step
from rocketmq_tx.store.records import RecordFacts, Verdict, facts
from rocketmq_tx.store.store_files import StoreFiles
from rocketmq_tx.store.verify_index import IndexVerifier
from rocketmq_tx.store.verify_queues import QueueVerifier
from rocketmq_tx.store.verify_tables import Tables


class Settled:
    """Tells what must be in queues and index by now, and not only in the log."""

    def __init__(self, checkpoint: Checkpoint, crashed: bool) -> None:
        self._crashed = crashed
        self._times = checkpoint.times
        self._claim = checkpoint.claim

    def in_queues(self, record: RecordFacts) -> bool:
        """Whether a record's entry must be on disk. After a crash only what the checkpoint vouches for."""
        return self._is_covered(record, self._times.safe_ms)

    def in_index(self, record: RecordFacts) -> bool:
        """Whether its keys must be on disk."""
        return self._is_covered(record, self._times.index_ms)

    def _is_covered(self, record: RecordFacts, safe_ms: int) -> bool:
        if not self._crashed:
            return True
        if self._claim is not None:
            return record.commit_log_offset < self._claim.dispatched_to
        return record.store_timestamp <= safe_ms


@attrs.define
class VerifyReport:
    """What was looked at and what is wrong."""

    findings: Findings
    records: int = 0
    log_min_offset: int = 0
    log_end_offset: int = 0
    queue_count: int = 0
    queue_entries: int = 0
    index_files: int = 0
    index_entries: int = 0
    index_looked_at: bool = True

    @property
    def is_clean(self) -> bool:
        return not self.findings.damage_count


class StoreVerifier:
    """Verifies one store; used once. `progress` is told the commit log offset reached, now and then."""

    def __init__(self, files: StoreFiles, progress: Callable[[int], None], findings: Findings) -> None:
        self._files = files
        self._progress = progress
        self._findings = findings
        self._checkpoint = self._own_checkpoint()
        settled = Settled(self._checkpoint, files.crashed)
        self._tables = Tables(files, self._findings)
        self._queues = QueueVerifier(files, self._findings, settled.in_queues, self._tables.topics)
        self._index = IndexVerifier(files, self._findings, settled.in_index)
        self._newest_ms = 0

    def run(self) -> VerifyReport:
        """StoreError when a file cannot be read at all."""
        files, findings = self._files, self._findings
        report = VerifyReport(findings)
        self._look_at_files()
        scan = LogScan(files)
        report.log_min_offset = scan.end
        for step in self._steps(scan):
            if step.verdict is Verdict.WHOLE:
                record = facts(step.data, step.at)
                self._newest_ms = record.store_timestamp
                self._record(record)
                report.records += 1
            elif step.verdict is Verdict.DAMAGED:
                findings.damage(f"the record at {step.offset} ({step.size} bytes) is damaged")
                self._queues.damaged(facts(step.data, step.at))
                self._index.lost(step.offset, step.offset + step.size)
            elif step.verdict is Verdict.NOTHING:
                self._nothing(step)
            elif step.size == files.segment_bytes:
                findings.note(f"the file for {step.offset} holds no record: a repair has filled a gap")
                self._queues.lost = True
                self._index.lost(step.offset, step.offset + step.size)
        report.log_end_offset = scan.end
        if scan.torn_bytes:
            findings.note(
                f"behind the end of the log at {scan.end} lie {scan.torn_bytes} bytes that are no record"
            )
        self._queues.finish(report.log_min_offset, scan.end)
        self._index.finish(report.log_min_offset, scan.end)
        self._look_at_checkpoint(scan.end)
        report.queue_count, report.queue_entries = self._queues.queue_count, self._queues.entry_count
        report.index_files, report.index_entries = self._index.file_count, self._index.entry_count
        report.index_looked_at = self._index.is_readable
        return report

    def _steps(self, scan: LogScan) -> Iterator[Step]:
        told = 0
        for step in scan:
            yield step
            if step.offset - told >= 1 << 20:
                told = step.offset
                self._progress(told)

    def _nothing(self, step: Step) -> None:
        if step.data:
            self._findings.damage(f"{step.size} bytes at {step.offset} of the log are no record")
        else:
            self._findings.damage(f"{step.size} bytes at {step.offset} of the log are in no file")
        self._queues.lost = True
        self._index.lost(step.offset, step.offset + step.size)

    def _record(self, record: RecordFacts) -> None:
        properties = unpack_properties(record.properties)
        is_gone = self._tables.is_gone(record)
        if not is_gone:
            self._queues.record(record, properties)
        self._queues.further(record, properties, self._tables.is_gone_from)
        self._index.record(record, properties, may_be_missing=is_gone)

    def _look_at_files(self) -> None:
        files = self._files
        if files.crashed:
            self._findings.note("the last broker did not stop in order, or it is running now (file abort)")
        for segment in files.log:
            if segment.size < files.segment_bytes:
                self._findings.damage(
                    f"{segment.path} has {segment.size} bytes instead of {files.segment_bytes}"
                )

    def _own_checkpoint(self) -> Checkpoint:
        """The checkpoint; an empty one when it was copied from another store: it vouches for nothing here."""
        files, checkpoint = self._files, self._files.checkpoint()
        marks = checkpoint.claim.marks if checkpoint.claim is not None else ()
        wanted = {mark.offset for mark in marks}
        heads = (
            (segment.start, files.files.open(segment.path).pread(MARK_BYTES, 0))
            for segment in files.log
            if segment.start in wanted
        )
        if origin_of(marks, heads) is not Origin.OTHER:
            return checkpoint
        self._findings.note("the checkpoint is that of another store, whose log begins with other records")
        return Checkpoint()

    def _look_at_checkpoint(self, log_end: int) -> None:
        checkpoint = self._checkpoint
        claim = checkpoint.claim
        if claim is not None and claim.dispatched_to > log_end:
            self._findings.damage(
                f"the checkpoint vouches for the log up to {claim.dispatched_to}, which ends at {log_end}"
            )
        if max(checkpoint.times) > self._newest_ms:
            self._findings.note("the checkpoint's times are later than any message")


def verify(
    files: StoreFiles,
    progress: Callable[[int], None] = lambda offset: None,
    most_findings: int = 1000,
    being_written: bool = False,
) -> VerifyReport:
    """Looks at everything; StoreError when a file cannot be read. `being_written`: a broker has it open."""
    return StoreVerifier(files, progress, Findings(most_findings, being_written)).run()
