"""What comes into a store: messages of producers, and the bytes of a master's log; taken, then flushed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rocketmq_tx.errors import StoreUnavailable
from rocketmq_tx.store.append import NewMessage, Placed
from rocketmq_tx.store.append_alike import AlikeAppender, AlikeMessages, PlacedAlike
from rocketmq_tx.store.batch_append import BatchAppender, PlacedBatch, UniformBatch
from rocketmq_tx.store.derived_files import PENDING_KEYS_MAX
from rocketmq_tx.store.disk_use import disk_use
from rocketmq_tx.store.flush import FlushJob
from rocketmq_tx.store.multi_dispatch import MARK
from rocketmq_tx.store.raw_append import Arrived, RawAppender
from rocketmq_tx.store.store_parts import StoreParts
from rocketmq_tx.store.stored_messages import StoredMessages


class ArrivingMessages(StoredMessages):
    """Appends to the log, enters it into queues and keys, and flushes it; `derived` writes those."""

    def __init__(self, parts: StoreParts, memory_bytes: int) -> None:
        super().__init__(parts, memory_bytes)
        log, queues, pending_keys, store_host = parts.log, parts.queues, parts.pending_keys, parts.store_host
        self.derived = parts.derived
        self._notice = parts.notice
        self._refusals = parts.refusals
        self._pending_keys = pending_keys
        self._multi_dispatch = parts.multi_dispatch
        self._dispatcher = parts.dispatcher
        self._flusher = parts.flusher
        self._appender = parts.appender
        self._alike_appender = AlikeAppender(log, queues, pending_keys, store_host)
        self._batch_appender = BatchAppender(log, queues, pending_keys, store_host)
        self._raw = RawAppender(
            log,
            queues,
            pending_keys,
            parts.deleted,
            parts.dispatcher,
            parts.flusher,
            parts.multi_dispatch,
        )

    # -- from producers ------------------------------------------------------------------------------------

    def append_all(self, messages: Sequence[NewMessage], now_ms: int, whole: bool = False) -> list[Placed]:
        """Stores all messages, in order, with store time `now_ms`; they are written when this returns.

        With `whole` (a client's batch) they go into one segment. Nothing is stored when it raises:
        MessageError for a message that no record can hold, StoreUnavailable while the store takes none
        (disk full, failed flush, closed), StoreError when writing failed otherwise.
        """
        if self._refusals.by_cause:
            raise self._refusals.error()
        try:
            if self.config.enable_multi_dispatch and any(MARK in message[4] for message in messages):
                placed = self._multi_dispatch.append_all(messages, now_ms, whole)
            else:
                placed = self._appender.append_all(messages, now_ms, whole)
        except StoreUnavailable as error:
            raise self._no_room(error) from error
        self._was_appended(now_ms)
        return placed

    def append_alone(self, message: NewMessage, now_ms: int) -> tuple[int, int, int] | None:
        """The same for one message, in fewer steps; None, and nothing is stored, when only `append_all` can.

        Returned is what `Placed` has. Further queues of the message, if it names any, do not get it.
        """
        if self._refusals.by_cause:
            raise self._refusals.error()
        try:
            placed = self._appender.append_alone(message, now_ms)
        except StoreUnavailable as error:
            raise self._no_room(error) from error
        if placed is not None:
            self._was_appended(now_ms)
        return placed

    def append_alike(self, messages: AlikeMessages, now_ms: int) -> PlacedAlike | None:
        """The same for messages given by columns; None, and nothing is stored, when only `append_all` can.

        None, too, when it would raise MessageError.
        """
        if self._refusals.by_cause:
            raise self._refusals.error()
        try:
            placed = self._alike_appender.append_alike(messages, now_ms)
        except StoreUnavailable as error:
            raise self._no_room(error) from error
        if placed is not None:
            self._was_appended(now_ms)
        return placed

    def append_batches(self, batches: Sequence[UniformBatch], now_ms: int) -> list[PlacedBatch]:
        """As `append_all` does with each of some batches that have to stay whole, by columns."""
        if self._refusals.by_cause:
            raise self._refusals.error()
        try:
            placed = self._batch_appender.append(batches, now_ms)
        except StoreUnavailable as error:
            raise self._no_room(error) from error
        self._was_appended(now_ms)
        return placed

    def _was_appended(self, now_ms: int) -> None:
        self.derived.dispatched_to = self._log.written_to
        if self._pending_keys.waiting > PENDING_KEYS_MAX:
            self.derived.bound_pending_keys(now_ms)

    def take_further_arrivals(self) -> set[tuple[str, int]]:
        """(topic, queue id) of the further queues that appended messages have named since the last call."""
        return self._multi_dispatch.take_arrived()

    def _no_room(self, error: StoreUnavailable) -> StoreUnavailable:
        """The same error, with how full the disk is."""
        use = disk_use(self._disk, self._log.next_directory)
        left = f"{use.ratio:.0%} full, {use.usable_bytes} of {use.total_bytes} bytes are left"
        return StoreUnavailable(f"{error}; the disk of {use.path} is {left}")

    # -- from a master -------------------------------------------------------------------------------------

    def append_raw(
        self, data: bytes, start: int, now_ms: int, was_written: Callable[[], object] = lambda: None
    ) -> Arrived:
        """Appends bytes of a master's log from `start` on, where the last call ended; all of one segment.

        Whole records are written and entered into queues and index; a record's last part may come with the
        next call. `was_written` may be called between the two, when `written_to` is as it will be. Returns
        the queues that got messages. StoreError when the bytes do not fit here.
        """
        if self._refusals.by_cause:
            raise self._refusals.error()
        self._raw.dispatched_to = self.derived.dispatched_to
        try:
            arrived = self._raw.append(data, start, was_written)
        finally:
            self.derived.dispatched_to = self._raw.dispatched_to
        if self._pending_keys.waiting > PENDING_KEYS_MAX:
            self.derived.bound_pending_keys(now_ms)
        return arrived | self._multi_dispatch.take_arrived()

    def drop_unfinished(self) -> None:
        """Forgets what `append_raw` has of a record that is not whole: the log goes on at `written_to`."""
        self._raw.drop_unfinished()

    def end_stream(self) -> None:
        """No more bytes of a master come: the log ends where messages can be appended to it.

        Behind a blank record that is the end of its file, whatever of it has come.
        """
        self._raw.end_stream()
        self.derived.dispatched_to = self._log.written_to

    # -- whether messages are taken ------------------------------------------------------------------------

    def refuse(self, cause: str, sentence: str) -> None:
        """Takes no more messages for this cause; `sentence` is what producers are told. Reads go on."""
        self._refusals.refuse(cause, sentence)

    def accept(self, cause: str) -> None:
        """The cause is gone."""
        self._refusals.accept(cause)

    @property
    def refusal(self) -> str | None:
        """Why no message is taken now; None when messages are taken."""
        return self._refusals.sentence

    # -- flushing ---------------------------------------------------------------------------------------

    @property
    def flushed_to(self) -> int:
        """Up to where the commit log is known to be on the device."""
        return self._flusher.flushed_to

    def begin_flush(self) -> FlushJob | None:
        """A job: call its `run` in a thread, then hand it to `finish_flush`. None: nothing to do."""
        return self._flusher.begin()

    def finish_flush(self, job: FlushJob) -> int:
        """Counts what the job flushed; returns `flushed_to`. StoreError when a flush ever failed."""
        return self._flusher.finish(job)
