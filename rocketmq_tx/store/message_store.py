"""The message store: what the broker sees of commit log, consume queues, index and checkpoint.

Pure: files are reached through a `Disk`, times come in, nothing waits for a device unless told so, and
nothing here is safe to call from two threads, except `warm` and the `run` of jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.errors import StoreError, StoreUnavailable
from rocketmq_tx.store.append import Appender, NewMessage, Placed
from rocketmq_tx.store.append_alike import AlikeAppender, AlikeMessages, PlacedAlike
from rocketmq_tx.store.batch_append import BatchAppender, PlacedBatch, UniformBatch
from rocketmq_tx.store.catching_up import enter_again
from rocketmq_tx.store.checkpointing import Checkpointer, CheckpointJob
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.deleted_topics import DeletedTopics
from rocketmq_tx.store.derived_files import PENDING_KEYS_MAX, DerivedFiles
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.disk_use import DiskUse, disk_use
from rocketmq_tx.store.dispatcher import Dispatcher
from rocketmq_tx.store.expiry import Expiry
from rocketmq_tx.store.flush import FlushJob, LogFlusher
from rocketmq_tx.store.json_file import JsonFile
from rocketmq_tx.store.known_damage import KnownDamage
from rocketmq_tx.store.message_index import MessageIndex
from rocketmq_tx.store.multi_dispatch import MARK, MultiDispatch
from rocketmq_tx.store.opening import Opening
from rocketmq_tx.store.pending_keys import PendingKeys
from rocketmq_tx.store.pull import Puller
from rocketmq_tx.store.queue_ext import QueueExt
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.raw_append import Arrived, RawAppender
from rocketmq_tx.store.recovery import Damage, RecoveryReport
from rocketmq_tx.store.segments import OPEN_FILES_MAX, OpenFiles
from rocketmq_tx.store.store_directory import StoreDirectory
from rocketmq_tx.store.stored_messages import StoredMessages
from rocketmq_tx.store.tail_cut import KeptTail, boundary_at, keep_tail

DEFAULT_MEMORY_BYTES = 8 << 30


def _ignore(sentence: str) -> None:
    """Drops what the store has to say."""


def _no_clock() -> float:
    return 0.0


def _commit_log(config: MessageStoreConfig, files: OpenFiles) -> CommitLog:
    directories = [path.rstrip("/") for path in config.commit_log_paths]
    read_only = [path.rstrip("/") for path in config.read_only_commit_log_paths]
    return CommitLog(files, directories, read_only, config.mapped_file_size_commit_log)


class MessageStore(StoredMessages):
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
        root = config.store_path_root_dir
        files = OpenFiles(disk, open_files)
        log = _commit_log(config, files)
        queues = QueueTable(files, f"{root}/consumequeue", config.consume_queue_file_bytes)
        pending_keys = PendingKeys()
        index = MessageIndex(
            files, f"{root}/index", config.max_hash_slot_num, config.max_index_num, pending_keys, notice
        )
        deleted = DeletedTopics(JsonFile(disk, f"{root}/config/deletedTopics.json", notice))
        appender = Appender(log, queues, pending_keys, store_host)
        multi_dispatch = MultiDispatch(config, queues, appender)
        dispatcher = Dispatcher(queues, pending_keys, deleted, config.delay_levels_ms, multi_dispatch)
        ext = QueueExt(files, f"{root}/consumequeue_ext", log, dispatcher.code_of)
        puller = Puller(config, log, memory_bytes, notice, ext)
        flusher = LogFlusher(disk, log, self._flush_failed)
        checkpointer = Checkpointer(disk, f"{root}/checkpoint", log, queues, index, flusher)
        refusals = {"open": "the message store is not open"}
        derived = DerivedFiles(config, queues, index, pending_keys, checkpointer, refusals)
        super().__init__(config, disk, log, queues, ext, puller, index, deleted, derived.write_index)
        self.derived = derived
        self._notice = notice
        self._files = files
        self._pending_keys = pending_keys
        self._appender = appender
        self._alike_appender = AlikeAppender(log, queues, pending_keys, store_host)
        self._batch_appender = BatchAppender(log, queues, pending_keys, store_host)
        self._multi_dispatch = multi_dispatch
        self._dispatcher = dispatcher
        self._refusals = refusals
        self._directory = StoreDirectory(disk, root)
        self._damage = KnownDamage(JsonFile(disk, f"{root}/config/damagedLog.json", notice), notice)
        self._flusher = flusher
        self._raw = RawAppender(log, queues, pending_keys, deleted, dispatcher, flusher, multi_dispatch)
        self._opening = Opening(
            config,
            disk,
            self._directory,
            files,
            log,
            queues,
            index,
            pending_keys,
            deleted,
            self._damage,
            dispatcher,
            multi_dispatch,
            flusher,
            checkpointer,
            derived,
            notice,
            seconds,
        )
        self.expiry = Expiry(disk, log, queues, index, flusher)

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
        del self._refusals["open"]
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

    # -- writing ----------------------------------------------------------------------------------------

    def append_all(self, messages: Sequence[NewMessage], now_ms: int, whole: bool = False) -> list[Placed]:
        """Stores all messages, in order, with store time `now_ms`; they are written when this returns.

        With `whole` (a client's batch) they go into one segment. Nothing is stored when it raises:
        MessageError for a message that no record can hold, StoreUnavailable while the store takes none
        (disk full, failed flush, closed), StoreError when writing failed otherwise.
        """
        if self._refusals:
            raise StoreUnavailable("; ".join(self._refusals.values()))
        try:
            if self.config.enable_multi_dispatch and any(MARK in message[4] for message in messages):
                placed = self._multi_dispatch.append_all(messages, now_ms, whole)
            else:
                placed = self._appender.append_all(messages, now_ms, whole)
        except StoreUnavailable as error:
            raise StoreUnavailable(f"{error}; {self._room()}") from error
        self._was_appended(now_ms)
        return placed

    def append_alike(self, messages: AlikeMessages, now_ms: int) -> PlacedAlike | None:
        """The same for messages given by columns; None, and nothing is stored, when only `append_all` can.

        None, too, when it would raise MessageError.
        """
        if self._refusals:
            raise StoreUnavailable("; ".join(self._refusals.values()))
        try:
            placed = self._alike_appender.append_alike(messages, now_ms)
        except StoreUnavailable as error:
            raise StoreUnavailable(f"{error}; {self._room()}") from error
        if placed is not None:
            self._was_appended(now_ms)
        return placed

    def append_batches(self, batches: Sequence[UniformBatch], now_ms: int) -> list[PlacedBatch]:
        """As `append_all` does with each of some batches that have to stay whole, by columns."""
        if self._refusals:
            raise StoreUnavailable("; ".join(self._refusals.values()))
        try:
            placed = self._batch_appender.append(batches, now_ms)
        except StoreUnavailable as error:
            raise StoreUnavailable(f"{error}; {self._room()}") from error
        self._was_appended(now_ms)
        return placed

    def _was_appended(self, now_ms: int) -> None:
        self.derived.dispatched_to = self._log.written_to
        if self._pending_keys.waiting > PENDING_KEYS_MAX:
            self.derived.bound_pending_keys(now_ms)

    def take_further_arrivals(self) -> set[tuple[str, int]]:
        """(topic, queue id) of the further queues that appended messages have named since the last call."""
        return self._multi_dispatch.take_arrived()

    def _room(self) -> str:
        use = disk_use(self._disk, self._log.next_directory)
        left = f"{use.ratio:.0%} full, {use.usable_bytes} of {use.total_bytes} bytes are left"
        return f"the disk of {use.path} is {left}"

    def append_raw(
        self, data: bytes, start: int, now_ms: int, was_written: Callable[[], object] = lambda: None
    ) -> Arrived:
        """Appends bytes of a master's log from `start` on, where the last call ended; all of one segment.

        Whole records are written and entered into queues and index; a record's last part may come with the
        next call. `was_written` may be called between the two, when `written_to` is as it will be. Returns
        the queues that got messages. StoreError when the bytes do not fit here.
        """
        if self._refusals:
            raise StoreUnavailable("; ".join(self._refusals.values()))
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

    def refuse(self, cause: str, sentence: str) -> None:
        """Takes no more messages for this cause; `sentence` is what producers are told. Reads go on."""
        self._refusals[cause] = sentence

    def accept(self, cause: str) -> None:
        """The cause is gone."""
        self._refusals.pop(cause, None)

    @property
    def refusal(self) -> str | None:
        """Why no message is taken now; None when messages are taken."""
        return "; ".join(self._refusals.values()) or None

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

    def _flush_failed(self, error: StoreError) -> None:
        self.refuse(
            "flush", f"a flush failed and no message can be promised any more until a restart: {error}"
        )
        self._notice(f"no more messages are taken: {error}")

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
        if path is not None and "removed" not in self._refusals and self._disk.file_size(path) is None:
            sentence = f"{path} was removed under this broker; no message is taken until it is started again"
            self.refuse("removed", sentence)
            self._notice(sentence)

    def close_idle_files(self) -> None:
        """Closes the files that are open for the next who reads or writes them; who does opens them again."""
        self._files.forget_all()

    def avoid_directories(self, full: frozenset[str]) -> None:
        """The commit log gets no new file in these while others have room."""
        self._log.segments.full = full
