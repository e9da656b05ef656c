"""Appending bytes of another log as they are: what a slave does with the pieces of its master's log.

Pieces end anywhere, but only whole records are written: what is not whole yet is kept in memory. So the log
ends where a record does (or within what follows a blank), and nothing that the wire has spoilt gets into it
unseen: a record that does not look right ends the stream, and is believed when it comes again as it is.

Who waits for the log is told once it has the records: queues and keys come a moment later, in the same call.
Should that fail, the next call enters them, or the next start.
"""

from __future__ import annotations

from collections.abc import Callable

from rocketmq_tx.errors import StoreError
from rocketmq_tx.protocol.message import MESSAGE_MAGIC
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.deleted_topics import DeletedTopics
from rocketmq_tx.store.dispatcher import Dispatcher
from rocketmq_tx.store.flush import LogFlusher
from rocketmq_tx.store.log_walk import walk
from rocketmq_tx.store.multi_dispatch import MultiDispatch
from rocketmq_tx.store.pending_keys import PendingKeys
from rocketmq_tx.store.plain_records import PlainRecords
from rocketmq_tx.store.plain_runs import Run
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.records import TRANSACTION_NOT_QUEUED, RecordFacts, Verdict, examine, facts

NO_RECORD_MAX_BYTES = 8 << 20
"""Bytes without any record, after which this is taken for no commit log."""
_MAGIC = MESSAGE_MAGIC.to_bytes(4, "big")

Arrived = set[tuple[str, int]]
"""(topic, queue id) of the queues that got messages."""


def _nobody() -> None:
    """Who waits for the log, when nobody does."""


class RawAppender:
    """Writes to `log` and enters its records; `dispatched_to` is where the last of them ends."""

    def __init__(
        self,
        log: CommitLog,
        queues: QueueTable,
        pending_keys: PendingKeys,
        deleted: DeletedTopics,
        dispatcher: Dispatcher,
        flusher: LogFlusher,
        multi_dispatch: MultiDispatch,
    ) -> None:
        self._log = log
        self._queues = queues
        self._pending_keys = pending_keys
        self._plain = PlainRecords(queues, pending_keys, deleted, multi_dispatch)
        self._dispatcher = dispatcher
        self._flusher = flusher
        self._unfinished: list[bytes] = []
        self._unfinished_bytes = 0
        self._wanted_bytes = 0
        self._blank_to = 0
        self._begin: int | None = None
        self._doubted_at = -1
        self._owed_from = -1
        """From there on the log has records that are to be entered, or could not be; -1: it has not."""
        self._was_written: Callable[[], object] = _nobody
        self.dispatched_to = 0

    def drop_unfinished(self) -> None:
        """The stream has ended: what is not whole comes again."""
        self._begin = None
        self._keep(b"", 0)

    def end_stream(self) -> None:
        """Somebody else appends from now on: behind a blank that is the next file."""
        self.drop_unfinished()
        self._enter_owed(set())
        self._log.append([], max(self._log.written_to, self._blank_to))

    def forget(self) -> None:
        """The log was cut."""
        self.drop_unfinished()
        self._blank_to = 0
        self._doubted_at = -1
        if self._owed_from >= self._log.written_to:
            self._owed_from = -1

    def append(self, data: bytes, start: int, was_written: Callable[[], object] = _nobody) -> Arrived:
        """Takes `data`, from `start` on: where the last call ended, or in an empty log any file's start.

        `was_written` is called when the log has all that is whole of it, which may be before queues have;
        unless the records are out of the ordinary, or too few. StoreError when the bytes do not fit there,
        cannot be written or entered, hold something that is no record, or show that the other log has files
        of another size.
        """
        self._was_written = was_written
        log = self._log
        self._begin_if_empty(start)
        comes_next = self._base + self._unfinished_bytes
        if start != comes_next:
            raise StoreError(f"the log goes on at {comes_next}: bytes that begin at {start} do not fit")
        if start + len(data) > log.segments.end_of(start):
            raise self._other_size(start + len(data))
        if start < self._blank_to:  # of no interest, but the file is to be the same
            log.append([(start, data)], start + len(data))
            return set()
        self._unfinished.append(data)
        self._unfinished_bytes += len(data)
        return self._take_records() if self._unfinished_bytes >= self._wanted_bytes else set()

    @property
    def _base(self) -> int:
        """Where the first byte that is not written belongs."""
        return self._log.written_to if self._begin is None else self._begin

    def _begin_if_empty(self, start: int) -> None:
        """An empty log begins where the stream does; its first record must confirm that."""
        log = self._log
        if log.segments.starts or self._unfinished_bytes or start == log.written_to:
            return
        if start != log.segments.start_of(start):
            raise StoreError(f"the log is empty: it can begin at the start of a file only, not at {start}")
        self._begin = start

    def _confirm_begin(self, data: bytes, begin: int) -> bool:
        """False when that cannot be said yet."""
        verdict, size = examine(data, 0, begin)
        if verdict is Verdict.MORE and size <= self._log.segment_size:
            self._keep(data, size)
            return False
        if verdict is not Verdict.WHOLE:
            self.drop_unfinished()
            raise StoreError(f"what came for {begin}, where the empty log was to begin, is no record")
        self._log.written_to = self.dispatched_to = begin
        self._flusher.start_at(begin)
        self._begin = None
        return True

    def _other_size(self, offset: int) -> StoreError:
        size = self._log.segment_size
        return StoreError(
            f"the files of the other commit log do not end where those of {size} bytes do (seen at {offset}):"
            " give both brokers the same mappedFileSizeCommitLog, and this one an empty store"
        )

    def _take_records(self) -> Arrived:
        """Writes and enters what is whole by now."""
        data, base = b"".join(self._unfinished), self._base
        arrived: Arrived = set()
        if self._owed_from >= 0:
            self._enter_owed(arrived)
        if self._begin is not None and not self._confirm_begin(data, base):
            return arrived
        at, self._wanted_bytes = 0, 0
        try:
            while at < len(data) and not self._wanted_bytes:
                following = self._take_plain(data, at, base, arrived)
                if following == at:
                    following = self._take_other(data, at, base, arrived)
                at = following
        finally:
            self._keep(data[self._log.written_to - base :], self._wanted_bytes)
        return arrived

    def _take_plain(self, data: bytes, at: int, base: int, arrived: Arrived) -> int:
        """Takes the records that are like nearly all; returns where another one begins."""
        plain, log = self._plain, self._log
        run = plain.judge_again(data, at, base)
        if run is not None:
            return self._take_run(run, data, at, base, arrived)
        keys_before = self._pending_keys.mark()
        end = plain.take(data, at, base)
        if end == at:
            return at
        try:
            log.append([(base + at, data[at:end])], base + end)
        except StoreError:
            plain.take_back(keys_before)
            raise
        if end == len(data):
            self._was_written()
        self._were_entered(arrived)
        log.last_record_at, log.last_store_timestamp = plain.last_record_at, plain.last_store_timestamp
        self.dispatched_to = base + end
        return end

    def _take_run(self, run: Run, data: bytes, at: int, base: int, arrived: Arrived) -> int:
        """The same for records that are known to be whole, but not to come next in their queues."""
        log, size = self._log, run.shape.size
        end = at + len(run.places) * size
        log.append([(base + at, data[at:end])], base + end)
        self._owed_from = base + at
        if len(data) - end < size:  # no further record is whole
            self._was_written()
        entered = self._plain.enter_again(run)
        self._were_entered(arrived)
        for place in run.places[entered:]:
            self._enter(facts(data, place - base), Verdict.WHOLE, arrived)
        self._owed_from = -1
        log.last_record_at, log.last_store_timestamp = run.places[-1], run.times[-1]
        self.dispatched_to = base + end
        return end

    def _were_entered(self, arrived: Arrived) -> None:
        touched = dict.fromkeys(self._plain.touched)
        self._queues.dirty.update(touched)
        arrived.update([(queue.topic, queue.queue_id) for queue in touched])

    def _enter_owed(self, arrived: Arrived) -> None:
        """Enters what the log has and could not be entered before."""
        log, start = self._log, self._owed_from
        if start < 0:
            return
        for step in walk(log, start, check_crc=True, skip_gaps=False, sure_to=log.written_to):
            if step.verdict in (Verdict.WHOLE, Verdict.DAMAGED):
                self._enter(facts(step.data, step.at), step.verdict, arrived)
        self._owed_from = -1

    def _take_other(self, data: bytes, at: int, base: int, arrived: Arrived) -> int:
        """Takes one record, or what stands where one should; returns where the next one begins.

        When it is not whole yet, `_wanted_bytes` says how many bytes are needed, from the log's end on.
        """
        log = self._log
        segment_end = log.segments.end_of(base)
        verdict, size = examine(data, at, base + at)
        following = at + size
        record: RecordFacts | None = None
        if verdict is Verdict.MORE and base + following <= segment_end:
            self._wanted_bytes = following - (log.written_to - base)
            return at
        if verdict is Verdict.BLANK:
            if base + following != segment_end:
                raise self._other_size(base + following)
            self._blank_to = segment_end
            following = len(data)  # a piece never goes beyond the end of a file
        else:
            if verdict is not Verdict.WHOLE and self._is_doubted(base + at):
                raise StoreError(f"what came for {base + at} is no whole record")
            if verdict in (Verdict.WHOLE, Verdict.DAMAGED):
                record = facts(data, at)
            else:
                found = self._next_whole(data, at + 1, base)
                if found is None:
                    self._wanted_bytes = len(data) + 1 - (log.written_to - base)
                    return at
                following = found
        log.append([(base + at, data[at:following])], base + following)
        if record is not None:
            self._owed_from = base + at
            self._enter(record, verdict, arrived)
            self._owed_from = -1
        return following

    def _is_doubted(self, offset: int) -> bool:
        """True at the first time: then it may be the wire. At the second it is like that on the master."""
        before, self._doubted_at = self._doubted_at, offset
        return before != offset

    def _keep(self, unfinished: bytes, wanted_bytes: int) -> None:
        self._unfinished = [unfinished] if unfinished else []
        self._unfinished_bytes = len(unfinished)
        self._wanted_bytes = wanted_bytes

    def _enter(self, record: RecordFacts, verdict: Verdict, arrived: Arrived) -> None:
        log = self._log
        topic, end = record.topic.decode("utf-8", "replace"), record.commit_log_offset + record.size
        if verdict is Verdict.WHOLE:
            self._dispatcher.enter(record, queue=True, index=True, fill_gaps=True)
            self.dispatched_to = end
            log.last_record_at, log.last_store_timestamp = record.commit_log_offset, record.store_timestamp
            if not record.sys_flag & TRANSACTION_NOT_QUEUED:
                arrived.add((topic, record.queue_id))
            return
        # Damaged on the master already: it keeps its number, reading withholds it.
        self._dispatcher.enter_damaged(record, queue=True)
        log.trusted_from = self.dispatched_to = end

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
