"""The message store: what the broker sees of commit log, consume queues, index and checkpoint.

Pure: files are reached through a `Disk`, times come in, nothing waits for a device unless told so, and
nothing here is safe to call from two threads, except `warm` and the `run` of jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.errors import StoreError, StoreUnavailable, WouldBlock
from rocketmq_tx.store.append import Appender, NewMessage, PendingKeys, Placed
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.flush import FlushJob, LogFlusher
from rocketmq_tx.store.pull import GetResult, GetStatus, Matches, Puller
from rocketmq_tx.store.queue_table import QueueTable
from rocketmq_tx.store.segments import OpenFiles

__all__ = ["GetResult", "GetStatus", "MessageStore", "NewMessage", "Placed"]

DEFAULT_MEMORY_BYTES = 8 << 30


def _ignore(sentence: str) -> None:
    """Drops what the store has to say."""


class MessageStore:
    """Apache's store directory, opened by `open`, closed by `close`.

    `store_host` is the packed address and port (8 or 20 bytes) that records carry; `memory_bytes` is the
    machine's memory, which tells hot data from cold; `notice` gets a sentence for whatever an operator
    should know.
    """

    def __init__(
        self,
        config: MessageStoreConfig,
        disk: Disk,
        store_host: bytes,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        notice: Callable[[str], None] = _ignore,
    ) -> None:
        self.config = config
        self.notice = notice
        self._disk = disk
        self._files = OpenFiles(disk)
        self._refusals: dict[str, str] = {"open": "the message store is not open"}
        root = config.store_path_root_dir
        self._log = CommitLog(
            self._files,
            config.store_path_commit_log or f"{root}/commitlog",
            config.mapped_file_size_commit_log,
        )
        self._queues = QueueTable(self._files, f"{root}/consumequeue", config.mapped_file_size_consume_queue)
        self._pending_keys: PendingKeys = []
        self._appender = Appender(self._log, self._queues, self._pending_keys, store_host)
        self._puller = Puller(config, self._log, memory_bytes, notice)
        self._flusher = LogFlusher(disk, self._log, self._flush_failed)

    # -- opening and closing ----------------------------------------------------------------------------

    def open(self, now_ms: int) -> None:
        """Locks the directory and recovers what is in it."""
        del self._refusals["open"]

    def close(self, now_ms: int) -> None:
        """Writes and syncs everything, so that the next start has nothing to recover."""
        self.refuse("open", "the message store has been shut down")

    # -- writing ----------------------------------------------------------------------------------------

    def append_all(self, messages: Sequence[NewMessage], now_ms: int, whole: bool = False) -> list[Placed]:
        """Stores all messages, in order, with store time `now_ms`; they are written when this returns.

        With `whole` (a client's batch) they go into one segment. Nothing is stored when it raises:
        MessageError for a message that no record can hold, StoreUnavailable while the store takes none
        (disk full, failed flush, closed), StoreError when writing failed otherwise.
        """
        if self._refusals:
            raise StoreUnavailable("; ".join(self._refusals.values()))
        return self._appender.append_all(messages, now_ms, whole)

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

    # -- reading ----------------------------------------------------------------------------------------

    def get_messages(
        self,
        topic: str,
        queue_id: int,
        offset: int,
        max_count: int,
        matches: Matches | None = None,
        may_block: bool = False,
    ) -> GetResult:
        """Up to `max_count` messages of a queue from `offset` on, within the limits of the configuration.

        `matches` takes a tags code and says whether the message is wanted. WouldBlock when the bytes are not
        in memory and `may_block` is False: hand the error to `warm` in a thread, then ask again.
        """
        return self._puller.get(
            self._queues.queues.get((topic, queue_id)), offset, max_count, matches, may_block
        )

    def warm(self, error: WouldBlock) -> None:
        """Reads the bytes that were not in memory; for a thread, touches no state of the store."""
        self._disk.open(error.path).pread(error.length, error.offset)

    def record_at(self, commit_log_offset: int, may_block: bool = True) -> bytes:
        """The whole record that begins there; StoreError when none does."""
        return self._log.record_at(commit_log_offset, may_block)

    def queue_offsets(self, topic: str, queue_id: int) -> tuple[int, int]:
        """(min, max): the oldest message's number and the next one's; (0, 0) for a queue without messages."""
        queue = self._queues.queues.get((topic, queue_id))
        return (queue.min_offset, queue.max_offset) if queue is not None else (0, 0)

    def queues(self) -> Iterable[tuple[str, int]]:
        """(topic, queue id) of every queue."""
        return list(self._queues.queues)

    @property
    def min_offset(self) -> int:
        """Commit log offset of the oldest segment."""
        return self._log.min_offset

    # -- flushing ---------------------------------------------------------------------------------------

    @property
    def written_to(self) -> int:
        """Where the commit log ends."""
        return self._log.written_to

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
        self.notice(f"no more messages are taken: {error}")

    def flush_queues(self, now_ms: int, thorough: bool = False) -> None:
        """Writes queue entries that wait in memory."""
        self._queues.write_dirty()
