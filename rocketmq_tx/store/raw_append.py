"""Appending bytes of another log as they are: what a slave does with the pieces of its master's log.

Pieces end anywhere. The bytes go to the file at once; a record enters queues and index when its last byte
has come. What is not a whole record yet is kept in memory, so nothing is read back from the file.
"""

from __future__ import annotations

from rocketmq_tx.errors import StoreError
from rocketmq_tx.protocol.message import MESSAGE_MAGIC
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.dispatcher import Dispatcher
from rocketmq_tx.store.flush import LogFlusher
from rocketmq_tx.store.layouts import BLANK_BYTES
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.records import TRANSACTION_NOT_QUEUED, RecordFacts, Verdict, examine, facts

NO_RECORD_MAX_BYTES = 8 << 20
"""Bytes without any record, after which this is taken for no commit log."""
_MAGIC = MESSAGE_MAGIC.to_bytes(4, "big")

Arrived = set[tuple[str, int]]
"""(topic, queue id) of the queues that got messages."""


class RawAppender:
    """Writes to `log` and enters whole records; `dispatched_to` is where the first unfinished one begins."""

    def __init__(
        self, log: CommitLog, queues: QueueTable, dispatcher: Dispatcher, flusher: LogFlusher
    ) -> None:
        self._log = log
        self._queues = queues
        self._dispatcher = dispatcher
        self._flusher = flusher
        self._unfinished: list[bytes] = []
        self._unfinished_bytes = 0
        self._wanted_bytes = 0
        self.dispatched_to = 0

    def begin_at(self, dispatched_to: int) -> None:
        """The log ends here, and everything in it is entered."""
        if dispatched_to != self.dispatched_to:
            self.dispatched_to = dispatched_to
            self._keep(b"", 0)

    def append(self, data: bytes, start: int) -> Arrived:
        """Appends `data`, which begins at `start`: the end of the log, or in an empty log any file's start.

        StoreError when it does not fit there, or cannot be written; then the log is as it was. StoreError,
        too, when the other log turns out to have files of another size.
        """
        log = self._log
        self._begin_if_empty(start)
        if start != log.written_to:
            raise StoreError(f"the log ends at {log.written_to}: bytes that begin at {start} do not fit")
        if start + len(data) > log.segments.end_of(start):
            raise self._other_size(start + len(data))
        log.append([(start, data)], start + len(data))
        return self._enter(data)

    def _begin_if_empty(self, start: int) -> None:
        log = self._log
        if log.segments.starts or start == log.written_to:
            return
        if start != log.segments.start_of(start):
            raise StoreError(f"the log is empty: it can begin at the start of a file only, not at {start}")
        log.written_to = self.dispatched_to = start
        self._flusher.start_at(start)

    def _other_size(self, offset: int) -> StoreError:
        size = self._log.segment_size
        return StoreError(
            f"the files of the other commit log do not end where those of {size} bytes do (seen at {offset}):"
            " give both brokers the same mappedFileSizeCommitLog, and this one an empty store"
        )

    def _enter(self, data: bytes) -> Arrived:
        """Enters the records that are whole now."""
        arrived: Arrived = set()
        self._unfinished.append(data)
        self._unfinished_bytes += len(data)
        if self._unfinished_bytes < self._wanted_bytes:
            return arrived
        base, end = self.dispatched_to, self._log.written_to
        data = b"".join(self._unfinished)
        at = wanted = 0
        while at < len(data):
            verdict, size = examine(data, at, base + at)
            if verdict is Verdict.MORE:
                wanted = size
                break
            if verdict is Verdict.BLANK:
                segment_end = self._log.segments.end_of(base + at)
                if base + at + size != segment_end:
                    raise self._other_size(base + at + size)
                if end < segment_end:  # what follows the blank is of no interest, only that it has come
                    self.dispatched_to = base + at
                    self._keep(data[at : at + BLANK_BYTES], 0)
                    return arrived
                at = len(data)  # a piece never goes beyond the end of a file
            elif verdict is Verdict.NOTHING:
                following = self._next_whole(data, at + 1, base)
                if following is None:
                    break
                at = following
            else:
                self._enter_record(facts(data, at), verdict, arrived)
                at += size
        self.dispatched_to = base + at if at < len(data) else end
        self._keep(data[at:], wanted)
        return arrived

    def _keep(self, unfinished: bytes, wanted_bytes: int) -> None:
        self._unfinished = [unfinished] if unfinished else []
        self._unfinished_bytes = len(unfinished)
        self._wanted_bytes = wanted_bytes

    def _enter_record(self, record: RecordFacts, verdict: Verdict, arrived: Arrived) -> None:
        log = self._log
        topic = record.topic.decode("utf-8", "replace")
        if verdict is Verdict.WHOLE:
            self._dispatcher.enter(record, queue=True, index=True, fill_gaps=True)
            log.last_record_at, log.last_store_timestamp = record.commit_log_offset, record.store_timestamp
            if not record.sys_flag & TRANSACTION_NOT_QUEUED:
                arrived.add((topic, record.queue_id))
            return
        # Damaged on the master already: it keeps its number, reading withholds it.
        queue = self._queues.queues.get((topic, record.queue_id))
        if queue is not None and queue.max_offset == record.queue_offset:
            self._dispatcher.enter(record, queue=True, index=False, fill_gaps=False)
        log.trusted_from = record.commit_log_offset + record.size

    def _next_whole(self, data: bytes, at: int, base: int) -> int | None:
        """Where in `data` the next whole record begins, after bytes that are none on the master either."""
        found = data.find(_MAGIC, at + 4)
        while found >= 0:
            if examine(data, found - 4, base + found - 4)[0] is Verdict.WHOLE:
                return found - 4
            found = data.find(_MAGIC, found + 1)
        if len(data) - at > NO_RECORD_MAX_BYTES:
            raise StoreError(f"no record within {NO_RECORD_MAX_BYTES} bytes from {base + at - 1} on")
        return None
