"""One consume queue: the entries of a topic's queue, their newest ones in memory until they are written.

An entry says where in the commit log a message is. Entries are written in batches; what a crash takes is
built again from the commit log. Facts: `spec/store.yaml`, consume_queue.
"""

from __future__ import annotations

from rocketmq_tx.errors import MessageError, StoreDamaged
from rocketmq_tx.store.layouts import FILLER, FILLER_SIZE, QUEUE_ENTRY, QUEUE_ENTRY_BYTES
from rocketmq_tx.store.segments import OpenFiles, SegmentFiles

_MAX_TOPIC_BYTES = 127
_BLOCK_ENTRIES = 200
_NO_ENTRY = (0, 0, 0)
Entry = tuple[int, int, int]
"""(commit log offset, size, tags code) of a message."""


class ConsumeQueue:
    """Entries by queue offset, `min_offset` <= offset < `max_offset`; commit log offsets never decrease.

    `tail` holds the entries from `tail_from` on, as bytes; the files hold those before.
    """

    __slots__ = (
        "_block",
        "_block_from",
        "_files",
        "corrected_for",
        "files_state",
        "max_offset",
        "min_offset",
        "queue_id",
        "tail",
        "tail_from",
        "topic",
        "topic_field",
    )

    def __init__(self, files: OpenFiles, directory: str, file_size: int, topic: str, queue_id: int) -> None:
        encoded = topic.encode()
        if not 0 < len(encoded) <= _MAX_TOPIC_BYTES:
            raise MessageError(f"a topic has 1 to {_MAX_TOPIC_BYTES} bytes, not {len(encoded)}")
        self.topic = topic
        self.queue_id = queue_id
        self.topic_field = bytes((len(encoded),)) + encoded
        self._files = SegmentFiles(files, directory, file_size)
        self.files_state = object()
        """Another one whenever entries are changed or cut that were written; see `entry_blocks`."""
        self.min_offset = 0
        self.max_offset = 0
        self.corrected_for = 0
        """The beginning of the log for which `min_offset` is right; see `correct_min_offset`."""
        self.tail = bytearray()
        self.tail_from = 0
        self._block, self._block_from = b"", 0

    @property
    def directory(self) -> str:
        return self._files.directory

    def look(self) -> None:
        """Finds its files."""
        self._files.look()

    def load(self, file_size: int) -> bool:
        """Takes the files found; how far they are filled is for `find_end` to say.

        False when one is missing between others: then all are removed, since the log has it all.
        """
        self._files.segment_size = file_size
        try:
            self._files.check_gaps()
            self._files.extend_short_files()
        except StoreDamaged:
            self._files.remove_all()
            return False
        return True

    def size_on_disk(self) -> int:
        """The size that its files have: the configured one unless they tell otherwise."""
        self._files.adopt_size_on_disk()
        return self._files.segment_size

    def find_end(self, log_min_offset: int, log_end: int, tidy: bool) -> bool:
        """Keeps the entries of messages that begin before `log_end`; cuts the rest, whatever it is.

        Searches by halves, since entries stand without gaps and their log offsets never decrease. After a
        clean end (`tidy`) nothing but zeros can follow a zero. False when entries are missing for certain:
        of the first file, at the beginning of another, or before files behind a clean end.
        """
        self.files_state = object()
        self.tail = bytearray()
        self.tail_from = self._files.end // QUEUE_ENTRY_BYTES
        first = self._files.first // QUEUE_ENTRY_BYTES
        end = self._first_place(first, self._files.end // QUEUE_ENTRY_BYTES, log_end)
        holes = any(start > end * QUEUE_ENTRY_BYTES for start in self._files.starts)
        if not tidy or holes or (end < self.tail_from and self._entry(end) != _NO_ENTRY):
            self._files.cut(end * QUEUE_ENTRY_BYTES)
        if end == first:
            self._files.remove_all()
            # Without entries the numbering starts where the log's next record of this queue says.
            first = end = 0
        self.max_offset = self.tail_from = end
        self.min_offset, self.corrected_for = first, -1
        whole = not (tidy and holes) and not (first and log_min_offset == 0)
        if whole:
            starts = [start // QUEUE_ENTRY_BYTES for start in self._files.starts]
            whole = all(self._entry(start)[1] > 0 for start in starts if start < end)
        self._block = b""
        return whole

    def correct_min_offset(self, log_min_offset: int) -> None:
        """The oldest message is the first one whose record the commit log still has.

        Done when a queue is first asked after the log's beginning has moved, since there may be many queues.
        """
        self.corrected_for = log_min_offset
        if log_min_offset:
            self.min_offset = self._first_place(self.min_offset, self.max_offset, log_min_offset)
            self._block = b""
        while self.min_offset < self.max_offset and self._entry(self.min_offset)[1] == FILLER_SIZE:
            self.min_offset += 1

    def _first_place(self, low: int, high: int, log_offset: int) -> int:
        """The first queue offset in [low, high) without an entry for a record below `log_offset`."""
        data, data_from, count = b"", low, 0
        while low < high:
            # Short queues, most of all, are searched in their first block.
            middle = (low + high) // 2 if count else min(low + _BLOCK_ENTRIES, high) - 1
            if not data_from <= middle < data_from + count:
                data_from = middle if count and high - low > _BLOCK_ENTRIES else low
                data = self.read(data_from, min(high - data_from, _BLOCK_ENTRIES))
                self._block, self._block_from = data, data_from
                count = len(data) // QUEUE_ENTRY_BYTES
                middle = min(middle, data_from + count - 1)
            offset, size, _ = QUEUE_ENTRY.unpack_from(data, (middle - data_from) * QUEUE_ENTRY_BYTES)
            if size > 0 and 0 <= offset < log_offset:
                low = middle + 1
            else:
                high = middle
        return low

    def _entry(self, queue_offset: int) -> Entry:
        at = (queue_offset - self._block_from) * QUEUE_ENTRY_BYTES
        if 0 <= at < len(self._block):  # while its end is looked for
            return QUEUE_ENTRY.unpack_from(self._block, at)
        return QUEUE_ENTRY.unpack(self.read(queue_offset, 1))

    def entry(self, queue_offset: int) -> Entry:
        """(commit log offset, size, tags code) of an entry that exists."""
        return self._entry(queue_offset)

    def end_before(self, log_offset: int) -> int:
        """The queue offset behind the last message whose record begins before `log_offset`.

        Looked for among the newest first: hardly any are behind.
        """
        count = 1
        while count < self.max_offset - self.min_offset:
            if self.entry(self.max_offset - count)[0] < log_offset:
                break
            count *= 2
        low = max(self.min_offset, self.max_offset - count)
        end = self._first_place(low, self.max_offset, log_offset)
        self._block = b""
        return end

    def begin_at(self, queue_offset: int) -> None:
        """An empty queue gets its first message under a number above 0: fillers stand before it."""
        start = self._files.start_of(queue_offset * QUEUE_ENTRY_BYTES)
        self.tail_from = start // QUEUE_ENTRY_BYTES
        self.tail = bytearray(FILLER * (queue_offset - self.tail_from))
        self.min_offset = self.max_offset = queue_offset

    def put(self, entry: Entry) -> None:
        """Appends one entry."""
        self.tail += QUEUE_ENTRY.pack(*entry)
        self.max_offset += 1

    def replace(self, queue_offset: int, entry: Entry) -> None:
        """Puts an entry in the place of a filler."""
        if queue_offset >= self.tail_from:
            at = (queue_offset - self.tail_from) * QUEUE_ENTRY_BYTES
            self.tail[at : at + QUEUE_ENTRY_BYTES] = QUEUE_ENTRY.pack(*entry)
        else:
            self.files_state = object()
            self._files.write(QUEUE_ENTRY.pack(*entry), queue_offset * QUEUE_ENTRY_BYTES)

    def log_end(self) -> int:
        """Where in the commit log the newest message ends that it knows of; 0 when it is empty."""
        if not self.max_offset:
            return 0
        offset, size, _ = self._entry(self.max_offset - 1)
        return offset if size == FILLER_SIZE else offset + size

    def skip_to(self, queue_offset: int) -> None:
        """Numbers that no message has (its record is beyond repair) get entries that no read can follow."""
        last = self._entry(self.max_offset - 1)[0]
        self.tail += QUEUE_ENTRY.pack(last, FILLER_SIZE, 0) * (queue_offset - self.max_offset)
        self.max_offset = queue_offset

    def take_back(self) -> None:
        """Removes the newest entry, which is not written yet."""
        del self.tail[-QUEUE_ENTRY_BYTES:]
        self.max_offset -= 1

    def read(self, queue_offset: int, count: int, may_block: bool = True) -> bytes:
        """The bytes of up to `count` entries, at least one; fewer where a file or the queue ends."""
        if queue_offset >= self.tail_from:
            at = (queue_offset - self.tail_from) * QUEUE_ENTRY_BYTES
            return bytes(self.tail[at : at + count * QUEUE_ENTRY_BYTES])
        at = queue_offset * QUEUE_ENTRY_BYTES
        wanted = min(count * QUEUE_ENTRY_BYTES, self._files.end_of(at) - at)
        in_file = min(wanted, (self.tail_from - queue_offset) * QUEUE_ENTRY_BYTES)
        data = self._files.read(at, in_file, may_block)
        return data if in_file == wanted else data + self.tail[: wanted - in_file]

    def read_written(self, queue_offset: int, count: int, may_block: bool = True) -> bytes | None:
        """The bytes of just these entries; None unless one file has all of them."""
        at, size = queue_offset * QUEUE_ENTRY_BYTES, count * QUEUE_ENTRY_BYTES
        if (
            queue_offset + count > self.tail_from
            or not self._files.has(at)
            or self._files.end_of(at) < at + size
        ):
            return None
        return self._files.read(at, size, may_block)

    def write_tail(self) -> dict[str, bool]:
        """Writes what is in memory; returns the paths written, and whether each file is new.

        StoreError keeps in memory what could not be written.
        """
        paths = {}
        files, tail = self._files, self.tail
        while tail:  # once but where a file ends
            at = self.tail_from * QUEUE_ENTRY_BYTES
            written = min(len(tail), files.end_of(at) - at)
            is_new = not files.has(at)
            path = files.write(tail if written == len(tail) else tail[:written], at)
            paths[path] = is_new
            del tail[:written]
            self.tail_from += written // QUEUE_ENTRY_BYTES
        return paths

    def expired_files(self, log_min_offset: int) -> int:
        """How many of its oldest files name only messages below that offset; the newest file never counts."""
        starts = self._files.starts
        count = 0
        while count + 1 < len(starts):
            if self._entry(starts[count + 1] // QUEUE_ENTRY_BYTES - 1)[0] >= log_min_offset:
                break
            count += 1
        return count

    def forget_first_file(self) -> str:
        """Its oldest file does not count any more, though it remains; returns the path."""
        path = self._files.forget_first()
        self.min_offset = max(self.min_offset, self._files.first // QUEUE_ENTRY_BYTES)
        return path

    def file_starts(self) -> list[int]:
        """Queue offsets at which its files begin, ascending; one for the tail when nothing is written."""
        starts = [start // QUEUE_ENTRY_BYTES for start in self._files.starts]
        return starts or [self.tail_from]

    @property
    def entry_count(self) -> int:
        """Entries from its first file's first place on, fillers included."""
        starts = self._files.starts
        return self.max_offset - (starts[0] // QUEUE_ENTRY_BYTES if starts else self.tail_from)

    @property
    def file_entries(self) -> int:
        """Entries of one file."""
        return self._files.segment_size // QUEUE_ENTRY_BYTES

    def remove(self) -> None:
        """Removes all files: the queue is empty."""
        self.files_state = object()
        self._files.remove_all()
        self.tail = bytearray()
        self.min_offset = self.max_offset = self.tail_from = 0
