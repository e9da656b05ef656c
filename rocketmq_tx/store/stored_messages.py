"""What has been stored, for those who only read: queues and records by offset, by time and by key.

Nothing here waits for a device unless told so (`may_block`). `MessageStore` is this and takes messages, too.
"""

from __future__ import annotations

from collections.abc import Iterable

from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.store.consume_queue import ConsumeQueue, Entry
from rocketmq_tx.store.key_query import KeyQuery, QueryResult
from rocketmq_tx.store.layouts import EXT_ADDRESS_MAX, QUEUE_ENTRY
from rocketmq_tx.store.property_scan import Matches, Wants
from rocketmq_tx.store.pull import GetResult, Puller
from rocketmq_tx.store.queue_view import QueueView
from rocketmq_tx.store.store_parts import StoreParts
from rocketmq_tx.store.time_search import KnownTimes, TimeSearch


class StoredMessages:
    """Reads the parts of a store. `memory_bytes` is the machine's memory, which tells hot data from cold."""

    def __init__(self, parts: StoreParts, memory_bytes: int) -> None:
        self.config = parts.config
        self._disk = parts.disk
        self._log = parts.log
        self._queues = parts.queues
        self._ext = parts.ext
        self._puller = Puller(parts.config, parts.log, memory_bytes, parts.notice, parts.ext)
        self._index = parts.index
        self._deleted = parts.deleted
        self._derived = parts.derived
        self._known_times = KnownTimes()

    # -- where the log is ----------------------------------------------------------------------------------

    @property
    def min_offset(self) -> int:
        """Commit log offset of the oldest segment."""
        return self._log.min_offset

    @property
    def segment_size(self) -> int:
        """Bytes of a file of the commit log."""
        return self._log.segment_size

    @property
    def last_record_at(self) -> int:
        """Where the newest whole record of the log begins; -1 when it has none."""
        return self._log.last_record_at

    @property
    def last_store_time(self) -> int:
        """Store time (epoch ms) of the newest whole record; -1 when there is none."""
        return self._log.store_timestamp(self._log.last_record_at)

    @property
    def written_to(self) -> int:
        """Where the commit log ends."""
        return self._log.written_to

    # -- messages -----------------------------------------------------------------------------------------

    def get_messages(
        self,
        topic: str,
        queue_id: int,
        offset: int,
        max_count: int,
        matches: Matches | None = None,
        may_block: bool = False,
        wants: Wants | None = None,
        end: int | None = None,
    ) -> GetResult:
        """Up to `max_count` messages of a queue from `offset` on, within the limits of the configuration.

        `matches` takes a tags code and says whether the message is wanted, `wants` its stored properties.
        The queue counts as ending at `end`. WouldBlock when the bytes are not in memory and `may_block` is
        False: hand the error to `warm` in a thread, then ask again.
        """
        queue = self._queue(topic, queue_id)
        if queue is not None and end is not None:
            queue = QueueView(queue, end)
        return self._puller.get(queue, offset, max_count, matches, may_block, wants)

    def warm(self, error: WouldBlock) -> None:
        """Reads the bytes that were not in memory; for a thread, touches no state of the store."""
        if self._disk.file_size(error.path) is not None:  # else it has just been deleted, as too old
            self._disk.open(error.path).pread(error.length, error.offset)

    def _queue(self, topic: str, queue_id: int) -> ConsumeQueue | None:
        queue = self._queues.queues.get((topic, queue_id))
        if queue is not None:
            log_min_offset = self._log.segments.first
            if queue.corrected_for != log_min_offset:
                queue.correct_min_offset(log_min_offset)
        return queue

    def record_at(self, commit_log_offset: int, may_block: bool = True) -> bytes:
        """The whole record that begins there; StoreError when none does."""
        return self._log.record_at(commit_log_offset, may_block)

    def log_bytes(self, offset: int, max_length: int, may_block: bool = True) -> bytes:
        """Up to `max_length` bytes of the commit log from `offset` on, of one segment; b"" at its end.

        StoreError where the log has no such offset, WouldBlock as for `get_messages`.
        """
        log = self._log
        if not self.min_offset <= offset <= log.written_to:
            raise StoreError(f"the log has {self.min_offset} to {log.written_to}, and no offset {offset}")
        length = min(max_length, log.segments.end_of(offset) - offset, log.written_to - offset)
        if length <= 0:
            return b""
        newest = log.newest(offset, length)
        return log.read(offset, length, may_block) if newest is None else newest

    def queue_offsets(self, topic: str, queue_id: int) -> tuple[int, int]:
        """(min, max): the oldest message's number and the next one's; (0, 0) for a queue without messages."""
        queue = self._queue(topic, queue_id)
        return (queue.min_offset, queue.max_offset) if queue is not None else (0, 0)

    def queue_offsets_before(self, topic: str, queue_id: int, commit_log_offset: int) -> tuple[int, int]:
        """As `queue_offsets`, of the messages whose records begin before that offset."""
        queue = self._queue(topic, queue_id)
        if queue is None:
            return 0, 0
        return queue.min_offset, max(queue.min_offset, queue.end_before(commit_log_offset))

    @property
    def deleted_topics(self) -> dict[str, int]:
        """Where the log ended when each of these topics was deleted, while it has older records of them."""
        return dict(self._deleted.items())

    def queues(self) -> Iterable[tuple[str, int]]:
        """(topic, queue id) of every queue."""
        return list(self._queues.queues)

    def queue(self, topic: str, queue_id: int) -> ConsumeQueue | None:
        """For `append_alike`: the queue, if there is one; good until `queues_forgotten` changes."""
        return self._queues.queues.get((topic, queue_id))

    @property
    def queues_forgotten(self) -> int:
        """How many queues there are no more."""
        return self._queues.forgotten

    @property
    def light_queue_count(self) -> int:
        """How many light queues there are."""
        return self._queues.light_count

    def entry_at(
        self, topic: str, queue_id: int, queue_offset: int, may_block: bool = True
    ) -> tuple[int, int, int] | None:
        """(commit log offset, size, tags code) of a queue's message; None when the queue has not got it."""
        queue = self._queue(topic, queue_id)
        if queue is None or not queue.min_offset <= queue_offset < queue.max_offset:
            return None
        entry: Entry = QUEUE_ENTRY.unpack(queue.read(queue_offset, 1, may_block))
        if entry[2] <= EXT_ADDRESS_MAX:
            return (*entry[:2], self._ext.tags_code(queue, entry, may_block))
        return entry

    def entries_from(
        self, topic: str, queue_id: int, queue_offset: int, max_count: int, may_block: bool = True
    ) -> list[Entry]:
        """Up to `max_count` entries of a queue, as `entry_at` gives them; fewer where a file or queue ends.

        Empty where the queue has no such message. WouldBlock as for `get_messages`.
        """
        queue = self._queue(topic, queue_id)
        if queue is None or not queue.min_offset <= queue_offset < queue.max_offset:
            return []
        count = min(max_count, queue.max_offset - queue_offset)
        entries: list[Entry] = list(QUEUE_ENTRY.iter_unpack(queue.read(queue_offset, count, may_block)))
        if any(code <= EXT_ADDRESS_MAX for _, _, code in entries):
            tags_code = self._ext.tags_code
            return [(*entry[:2], tags_code(queue, entry, may_block)) for entry in entries]
        return entries

    def store_time_at(self, topic: str, queue_id: int, queue_offset: int, may_block: bool = True) -> int:
        """Store time (epoch ms) of a queue's message; -1 when there is none. WouldBlock as `get_messages`."""
        entry = self.entry_at(topic, queue_id, queue_offset, may_block)
        return -1 if entry is None else self._log.store_timestamp(entry[0], may_block)

    def earliest_store_time(self, topic: str, queue_id: int, may_block: bool = True) -> int:
        """Store time (epoch ms) of a queue's oldest message; -1 when it is empty."""
        return self.store_time_at(topic, queue_id, self.queue_offsets(topic, queue_id)[0], may_block)

    def offset_by_time(self, topic: str, queue_id: int, timestamp: int, may_block: bool = True) -> int:
        """The queue offset of the message stored at that time (epoch ms), or nearest to it; 0 without any."""
        queue = self._queue(topic, queue_id)
        if queue is None:
            return 0
        return TimeSearch(queue, self._log, may_block, self._known_times).offset_at(timestamp)

    def check_index_ready(self) -> None:
        """IndexNotReady when a query by key would have to do first what a start has left of the index."""
        self._index.check_ready()

    def query_by_key(
        self, topic: str, key: str, max_count: int, begin_ms: int, end_ms: int, may_block: bool = True
    ) -> QueryResult:
        """As `key_query`, all at once."""
        found = self.key_query(topic, key, max_count, begin_ms, end_ms, may_block).run(may_block)
        assert found is not None
        return found

    def key_query(
        self, topic: str, key: str, max_count: int, begin_ms: int, end_ms: int, may_block: bool = False
    ) -> KeyQuery:
        """Messages with this unique key, or with it among their keys, stored in that time, oldest first.

        At most `max_count`, the newest ones; maxMsgsNumBatch is the limit of all. Unless it `may_block`,
        IndexNotReady while the index that it needs is made ready after a crash.
        """
        if may_block or not self._index.is_behind:
            self._derived.write_index(self._log.last_store_timestamp)  # keys that wait are found, too
        else:
            self._index.check_ready(end_ms)
        most = min(max_count, self.config.max_msgs_num_batch)
        return KeyQuery(self._index, self._log, self._deleted, topic, key, most, begin_ms, end_ms)
