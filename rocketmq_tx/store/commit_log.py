"""The commit log: records one after another in segments of fixed size; knows nothing of topics.

A record never spans two segments: where it does not fit, a blank record (8 bytes) ends the segment and the
rest of it is not written. So 8 bytes are always left after the last record of a segment
(`spec/store.yaml`, commit_log.end_of_file).
"""

from __future__ import annotations

from collections.abc import Sequence

from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.protocol.message import BLANK_MAGIC
from rocketmq_tx.store.disk import DiskFile
from rocketmq_tx.store.layouts import BLANK
from rocketmq_tx.store.log_segments import LogSegments
from rocketmq_tx.store.records import (
    STORE_TIMESTAMP_HEAD_BYTES,
    Verdict,
    examine,
    store_timestamp,
)
from rocketmq_tx.store.segments import OpenFiles

Chunk = tuple[int, bytes]
"""Bytes for one segment, and the commit log offset where they belong."""

SYNC_LANES = 3
"""So many syncs of one file may overlap and each hear of a failed write: two flushes and a checkpoint."""
_FIRST_READ_BYTES = 4096
_KEPT_MAX_BYTES = 256 << 10


class CommitLog:
    """Bytes by offset. `written_to` is where the next record begins, `min_offset` where the oldest one does.

    Until `set_end` has been called after opening, nothing may be appended.
    """

    def __init__(
        self, files: OpenFiles, directories: Sequence[str], read_only: Sequence[str], segment_size: int
    ) -> None:
        self.segments = LogSegments(files, directories, read_only, segment_size)
        self.segment_size = segment_size
        self.unsynced: dict[int, list[DiskFile]] = {}
        """By segment start, what to sync of files that may not be on the device as they are; see `flush`."""
        self._disk = files.disk
        self._files = files
        self.written_to = 0
        self.trusted_from = 0
        """Records from here on were written by this process or verified when it started."""
        self.last_record_at = -1
        """Where the newest record begins; -1 when the log is empty or nothing is known of it."""
        self.last_store_timestamp = 0
        self.directory_changed = False
        """A segment was made or removed since the directory was last synced."""
        self._last_file: DiskFile | None = None
        self._last_file_start = -1
        self._last_file_limit = -1
        self._last_chunk: Chunk = (0, b"")
        """What was written last: slaves that keep up get it from here, not from the file."""

    @property
    def min_offset(self) -> int:
        return self.segments.first

    @property
    def next_directory(self) -> str:
        """Where the file is, or would be made, that the next record goes to."""
        return self.segments.path(self.segments.start_of(self.written_to)).rpartition("/")[0]

    @property
    def last_path(self) -> str | None:
        """The file of the newest segment; None when there is none."""
        return self.segments.path(self.segments.starts[-1]) if self.segments.starts else None

    @property
    def last_file(self) -> tuple[DiskFile | None, int]:
        """The file that was written to last, if any was, and the offset at which it begins."""
        return self._last_file, self._last_file_start

    def load(self) -> None:
        """Finds the segments, whose size on disk counts; the configured one is for a new log."""
        for directory in self.segments.directories:
            if directory not in self.segments.read_only:
                self._disk.make_directory(directory)
        self.segments.look()
        self.segments.adopt_size_on_disk()
        self.segment_size = self.segments.segment_size
        self.segments.check_gaps()
        for start in self.segments.starts:
            # One that cannot be read is found now: consumers would pass over its messages, and not come back.
            self._disk.open(self.segments.path(start))

    def set_end(self, offset: int) -> None:
        """Everything from `offset` on is dropped: the log ends there."""
        self._last_chunk = (0, b"")
        self.segments.cut(offset)
        for start in [start for start in self.unsynced if start >= offset]:
            del self.unsynced[start]  # removed: one of that name will be another file
        self._forget_last_file()
        self.directory_changed = True
        self.written_to = offset

    def _forget_last_file(self) -> None:
        self._last_file = None
        self._last_file_start = self._last_file_limit = -1

    def forget_first_segment(self) -> str:
        """The oldest segment's messages are gone, though its file remains; returns the file's path.

        It must not be the last one, nor hold anything that is not flushed.
        """
        path = self.segments.forget_first()
        # Queues still name its records: reads have to look at where each one lies.
        self.trusted_from = max(self.trusted_from, self.min_offset)
        return path

    def record_limit(self, offset: int) -> int:
        """Where a record that begins at `offset` must have ended, so that a blank still fits behind it."""
        return self.segments.end_of(offset) - BLANK.size

    def blank(self, offset: int) -> bytes:
        """The blank record that ends the segment of `offset` there."""
        return BLANK.pack(self.segments.end_of(offset) - offset, BLANK_MAGIC)

    def append(self, chunks: Sequence[Chunk], end: int) -> None:
        """Writes chunks, the first at `written_to`; afterwards the log ends at `end`.

        One write each. When any fails, all is taken back: the log ends where it did, and what was
        written behind reads as zeros again, so no half record and no refused one is ever found.
        """
        before = self.written_to
        try:
            for offset, data in chunks:
                self._file_at(offset).pwrite(data, offset % self.segment_size)
        except StoreError as error:
            self._take_back(before, error)
            raise
        self.written_to = end
        if chunks and len(chunks[-1][1]) <= _KEPT_MAX_BYTES:
            self._last_chunk = chunks[-1]

    def append_alone(self, record: bytes, store_timestamp: int) -> bool:
        """As `append` for one record, which is the newest then, in fewer steps.

        False, and nothing was written, when it does not fit into its segment.
        """
        offset, file = self.written_to, self._last_file
        end = offset + len(record)
        try:
            if file is None or end > self._last_file_limit:
                if end > self.record_limit(offset):
                    return False
                file = self._file_at(offset)
            file.pwrite(record, offset - self._last_file_start)
        except StoreError as error:
            self._take_back(offset, error)
            raise
        self.written_to = end
        if end - offset <= _KEPT_MAX_BYTES:
            self._last_chunk = offset, record
        self.last_record_at = offset
        self.last_store_timestamp = store_timestamp
        return True

    def sync_from(self, offset: int) -> None:
        """Waits until everything from `offset` on is on the device, names of files included."""
        at = self.segments.start_of(offset)
        while at < self.written_to:
            self.segments.file(at).sync()
            at += self.segment_size
        for directory in self.segments.directories:
            self._disk.sync_directory(directory)
        self.directory_changed = False

    def _take_back(self, offset: int, error: StoreError) -> None:
        """Makes the bytes behind `offset` zeros; needs no room on the disk, since cutting frees it."""
        self._forget_last_file()  # it may be one that begins behind `offset`, should it not be removed now
        try:
            self.set_end(offset)
        except StoreError as second:
            # The next append starts at the same offset and tries again; recovery would cut the rest, too.
            error.args = (f"{error}; and what was written of it stays: {second}",)

    def _file_at(self, offset: int) -> DiskFile:
        start = offset - offset % self.segment_size
        if self._last_file is None or self._last_file_start != start:
            if not self.segments.has(offset):
                self.directory_changed = True
            self._last_file = self.segments.create(offset)
            self._last_file_start = start
            self._last_file_limit = self.record_limit(start)
            self._hold(start, self._last_file)
        return self._last_file

    def _hold(self, start: int, file: DiskFile) -> None:
        """Opens what will be synced before anything is written, and keeps it open until it is synced."""
        if start not in self.unsynced:
            others = [self._files.open_another(file.path) for _ in range(SYNC_LANES - 1)]
            self.unsynced[start] = [file, *others]

    def synced_to(self, offset: int) -> None:
        """All before is on the device: files that lie wholly before it need no sync any more."""
        for start in [start for start in self.unsynced if start + self.segment_size <= offset]:
            del self.unsynced[start]

    def to_sync(self, start: int, lane: int) -> DiskFile:
        """What a sync on that lane has to sync of a segment; two lanes never share it."""
        held = self.unsynced.get(start, ())
        return held[lane] if lane < len(held) else self._files.open_another(self.segments.path(start))

    def newest(self, offset: int, length: int) -> bytes | None:
        """As `read`, from memory; None unless all of it was written at last."""
        begin, data = self._last_chunk
        if not 0 <= offset - begin <= len(data) - length:
            return None
        return data[offset - begin : offset - begin + length]

    def read(self, offset: int, length: int, may_block: bool = True) -> bytes:
        """`length` bytes of one segment."""
        if self._last_file is not None and offset >= self._last_file_start:
            at = offset - self._last_file_start
            file = self._last_file
            return file.pread(length, at) if may_block else file.pread_cached(length, at)
        return self.segments.read(offset, length, may_block)

    def read_cached_into(self, buffer: memoryview, offset: int) -> None:
        """Fills the buffer with bytes of one segment, without waiting for the device (WouldBlock)."""
        if self._last_file is not None and offset >= self._last_file_start:
            self._last_file.pread_cached_into(buffer, offset - self._last_file_start)
        else:
            self.segments.file(offset).pread_cached_into(buffer, offset % self.segment_size)

    def record_at(self, offset: int, may_block: bool = True) -> bytes:
        """The record that begins at `offset`; StoreError when none does or when it is damaged."""
        if not self.min_offset <= offset < self.written_to:
            raise StoreError(
                f"no record begins at {offset}: the log has {self.min_offset} to {self.written_to}"
            )
        room = min(self.segments.end_of(offset), self.written_to) - offset
        try:
            data = self.read(offset, min(_FIRST_READ_BYTES, room), may_block)
        except WouldBlock:
            raise
        except StoreError:
            data = b""  # what cannot be read may lie behind the record: now no more than needed
        verdict, size = examine(data, 0, offset)
        while verdict is Verdict.MORE and size <= room and len(data) < size:
            data = self.read(offset, size, may_block)
            verdict, size = examine(data, 0, offset)
        if verdict is not Verdict.WHOLE:
            raise StoreError(
                f"{self.segments.path(self.segments.start_of(offset))} has no whole record at {offset}"
            )
        return data[:size]

    def store_timestamp(self, offset: int, may_block: bool = True) -> int:
        """The store time (epoch ms) of the record at `offset`; -1 when none begins there."""
        if not self.min_offset <= offset <= self.written_to - STORE_TIMESTAMP_HEAD_BYTES:
            return -1
        return store_timestamp(self.read(offset, STORE_TIMESTAMP_HEAD_BYTES, may_block))
