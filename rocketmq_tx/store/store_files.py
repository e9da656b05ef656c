"""The files of a store directory as they lie there, for looking at them: nothing is opened, kept or mended.

Where a broker insists on files that fit together, this takes what there is: gaps, short files, any server's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rocketmq_tx.store.checkpoint import Checkpoint, read_checkpoint
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.layouts import (
    INDEX_ENTRY_BYTES,
    INDEX_HEADER_BYTES,
    INDEX_SLOT_BYTES,
    QUEUE_ENTRY,
    QUEUE_ENTRY_BYTES,
)
from rocketmq_tx.store.segments import OpenFiles, segment_starts
from rocketmq_tx.store.store_directory import ABORT, CHECKPOINT, INDEX, QUEUES

_BLOCK_ENTRIES = 256
_INDEX_NAME_DIGITS = 17
_USUAL_ENTRIES_OF_A_SLOT = 4
_OPEN_FILES = 200
Entry = tuple[int, int, int]
"""(commit log offset, size, tags code) of a message."""
NO_ENTRY = (0, 0, 0)


class Segment(NamedTuple):
    """One file of a log or queue: where it begins, its path, the bytes that it has."""

    start: int
    path: str
    size: int


class QueueFiles:
    """The entries of one consume queue, by number; what no file holds reads as `NO_ENTRY`."""

    def __init__(self, files: OpenFiles, directory: str, topic: str, queue_id: int) -> None:
        self._files = files
        self.topic = topic
        self.queue_id = queue_id
        self.segments = segments_of(files.disk, directory)
        self.file_bytes = max((segment.size for segment in self.segments), default=0)
        self._by_start = {segment.start: segment for segment in self.segments}
        self._block_from = 0
        self._block: list[Entry] = []

    def entry(self, number: int) -> Entry:
        """The entry at a place; cheap for one place after another."""
        if not self._block_from <= number < self._block_from + len(self._block):
            self._read_block(number)
            if not self._block:
                return NO_ENTRY
        return self._block[number - self._block_from]

    def _read_block(self, number: int) -> None:
        self._block_from, self._block = number, []
        if not self.file_bytes:
            return
        at = number * QUEUE_ENTRY_BYTES
        segment = self._by_start.get(at - at % self.file_bytes)
        if segment is not None:
            file = self._files.open(segment.path)
            data = file.pread(_BLOCK_ENTRIES * QUEUE_ENTRY_BYTES, at - segment.start)
            whole = len(data) - len(data) % QUEUE_ENTRY_BYTES
            self._block = list(QUEUE_ENTRY.iter_unpack(data[:whole]))

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """(number, entry) of all places in use: those before the first zeros of each file."""
        for segment in self.segments:
            number = segment.start // QUEUE_ENTRY_BYTES
            end = (segment.start + segment.size) // QUEUE_ENTRY_BYTES
            while number < end and (entry := self.entry(number)) != NO_ENTRY:
                yield number, entry
                number += 1


class IndexSize(NamedTuple):
    """Slots and entries of an index file, which no file tells of itself."""

    slots: int
    entries: int

    @property
    def file_bytes(self) -> int:
        return INDEX_HEADER_BYTES + self.slots * INDEX_SLOT_BYTES + self.entries * INDEX_ENTRY_BYTES


def usual_index_size(file_bytes: int) -> IndexSize | None:
    """The size with Apache's four entries for a slot; None when the file cannot have it."""
    unit = INDEX_SLOT_BYTES + _USUAL_ENTRIES_OF_A_SLOT * INDEX_ENTRY_BYTES
    slots, rest = divmod(file_bytes - INDEX_HEADER_BYTES, unit)
    return IndexSize(slots, slots * _USUAL_ENTRIES_OF_A_SLOT) if slots > 0 and not rest else None


class StoreFiles:
    """What lies in a store directory. `log_directories` default to `commitlog` below `root`.

    `index_size` is that of the broker's configuration; without it index files are taken to have the usual
    proportions.
    """

    def __init__(
        self,
        disk: Disk,
        root: str,
        log_directories: Sequence[str] = (),
        index_size: IndexSize | None = None,
    ) -> None:
        self.disk = disk
        self.root = root
        self.files = OpenFiles(disk, _OPEN_FILES)
        self._index_size = index_size
        directories = log_directories or (f"{root}/commitlog",)
        self.log = sorted(segment for directory in directories for segment in segments_of(disk, directory))
        self.segment_bytes = max((segment.size for segment in self.log), default=0)

    @property
    def crashed(self) -> bool:
        """Whether the last broker did not stop in order, or still runs."""
        return self.disk.file_size(f"{self.root}/{ABORT}") is not None

    def checkpoint(self) -> Checkpoint:
        return read_checkpoint(self.disk, f"{self.root}/{CHECKPOINT}")

    def queues(self) -> Iterator[QueueFiles]:
        """Every queue that has a directory, sorted by topic and number."""
        disk, base = self.disk, f"{self.root}/{QUEUES}"
        for topic in disk.names(base):
            ids = [int(name) for name in disk.names(f"{base}/{topic}") if name.isdecimal()]
            for queue_id in sorted(ids):
                yield QueueFiles(self.files, f"{base}/{topic}/{queue_id}", topic, queue_id)

    def queue(self, topic: str, queue_id: int) -> QueueFiles:
        """One queue, which need not exist."""
        return QueueFiles(self.files, f"{self.root}/{QUEUES}/{topic}/{queue_id}", topic, queue_id)

    def index_files(self) -> list[Segment]:
        """Index files from the oldest on; `start` is the name as a number."""
        directory = f"{self.root}/{INDEX}"
        names = [name for name in self.disk.names(directory) if name.isdecimal()]
        return [
            Segment(int(name), f"{directory}/{name}", self.disk.file_size(f"{directory}/{name}") or 0)
            for name in names
            if len(name) == _INDEX_NAME_DIGITS
        ]

    def index_size(self, file: Segment) -> IndexSize | None:
        """Slots and entries of a file; None when they cannot be told from its size."""
        if self._index_size is not None and self._index_size.file_bytes == file.size:
            return self._index_size
        return usual_index_size(file.size)


def segments_of(disk: Disk, directory: str) -> list[Segment]:
    """The files of a directory that are named by an offset, in order."""
    found = []
    for start in segment_starts(disk.names(directory)):
        path = f"{directory}/{start:020d}"
        found.append(Segment(start, path, disk.file_size(path) or 0))
    return found
