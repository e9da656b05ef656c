"""Files of one fixed size, each named by the offset of its first byte; and a bounded set of open ones."""

from __future__ import annotations

import bisect
import errno
from collections import OrderedDict
from collections.abc import Callable, Iterable

from rocketmq_tx.errors import StoreDamaged, StoreError
from rocketmq_tx.store.disk import Disk, DiskFile

NAME_DIGITS = 20
OPEN_FILES_MAX = 400
"""Of the 1,024 descriptors that a process usually has, most are for connections."""
OPEN_FILES_MOST = 8192
_OPEN_FILES_LEAST = 8
BESIDE_FILES = 24
"""Descriptors for what is neither a file kept open nor a client: listeners, tables being saved, slaves."""
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


def open_files_max(descriptors: int) -> int:
    """How many files are kept open by a process that may have so many descriptors: a quarter of them.

    It is 400 at least, as far as half of them, with `BESIDE_FILES`, are left to connections.
    A queue's file that has to be opened again costs twice as much to write, 11 instead of 5 us.
    """
    half = max(descriptors // 2 - BESIDE_FILES, _OPEN_FILES_LEAST)
    return min(max(descriptors // 4, OPEN_FILES_MAX), OPEN_FILES_MOST, half)


class OpenFiles:
    """Open files by path, at most `limit`: the one unused for longest goes, its last holder closes it."""

    def __init__(self, disk: Disk, limit: int = OPEN_FILES_MAX) -> None:
        self.disk = disk
        self._limit = limit
        self._files: OrderedDict[str, DiskFile] = OrderedDict()

    def open(self, path: str) -> DiskFile:
        """The file at `path`, which exists; opened when it is not open."""
        file = self._files.get(path)
        if file is not None:
            self._files.move_to_end(path)
            return file
        return self._keep(path, self._with_room(self.disk.open, path))

    def create(self, path: str, size: int) -> DiskFile:
        """The file at `path`, made or extended to `size` bytes."""
        return self._keep(path, self._with_room(self.disk.create, path, size))

    def open_another(self, path: str) -> DiskFile:
        """One more description of the file, which this set does not keep: who asks for it holds it."""
        return self._with_room(self.disk.open, path)

    def _with_room(self, call: Callable[..., DiskFile], *arguments: object) -> DiskFile:
        """Where the process has no descriptor left, the files that nobody holds are closed first."""
        try:
            return call(*arguments)
        except StoreError as error:
            if getattr(error.__cause__, "errno", None) not in _NO_DESCRIPTOR or not self._files:
                raise
        self._files.clear()
        return call(*arguments)

    def forget(self, path: str) -> None:
        """Drops a file that was removed or renamed."""
        self._files.pop(path, None)

    def forget_all(self) -> None:
        """Drops every file."""
        self._files.clear()

    def __len__(self) -> int:
        return len(self._files)

    def _keep(self, path: str, file: DiskFile) -> DiskFile:
        self._files[path] = file
        self._files.move_to_end(path)
        if len(self._files) > self._limit:
            self._files.popitem(last=False)
        return file


def segment_name(start: int) -> str:
    """`00000000001073741824` for the file that begins at offset 1073741824."""
    return f"{start:0{NAME_DIGITS}d}"


def segment_starts(names: Iterable[str]) -> list[int]:
    """Starts of the segments among the names of a directory, ascending; other names are left out."""
    return sorted(int(name) for name in names if len(name) == NAME_DIGITS and name.isdecimal())


class SegmentFiles:
    """The segments of one directory: which exist, reading, writing and cutting by absolute offset.

    A range handed to `read` or `write` lies within one segment; the caller knows where they end.
    """

    __slots__ = ("_files", "_path", "_path_of", "_sizes", "directory", "segment_size", "starts")

    def __init__(self, files: OpenFiles, directory: str, segment_size: int) -> None:
        self._files = files
        self.directory = directory
        self.segment_size = segment_size
        self.starts: list[int] = []
        self._sizes: dict[int, int] = {}
        self._path, self._path_of = "", -1

    def names(self) -> list[str]:
        """Names in the directory, ours or not."""
        return self._files.disk.names(self.directory)

    def look(self) -> None:
        """Finds the files on disk, each of which is asked for its size once."""
        self.starts = segment_starts(self.names())
        self._sizes = {start: self._files.disk.file_size(self.path(start)) or 0 for start in self.starts}

    def check_gaps(self) -> None:
        """StoreDamaged when there is a gap between two files."""
        for before, after in zip(self.starts, self.starts[1:], strict=False):
            if after - before != self.segment_size:
                raise StoreDamaged(
                    f"{self.directory} has the files {segment_name(before)} and {segment_name(after)}, "
                    f"which are {after - before} bytes apart and not {self.segment_size}: "
                    "a file between them is missing, or one does not belong there; move it back, or go on "
                    "without it by `mqstore repair`"
                )

    def adopt_size_on_disk(self) -> None:
        """Takes the size that the files have, unless they can be of the configured one, some cut short."""
        largest = max(self._sizes.values(), default=0)
        fitting = all(start % self.segment_size == 0 for start in self.starts)
        if largest > self.segment_size or (largest and not fitting):
            self.segment_size = largest

    def extend_short_files(self) -> list[str]:
        """Gives every file its full size by a hole that reads as zeros; returns the paths of short ones."""
        short = []
        sizes, self._sizes = self._sizes, {}
        for start, size in sizes.items():
            if size == self.segment_size:
                continue
            path = self.path(start)
            if size > self.segment_size:
                raise StoreDamaged(
                    f"{path} has {size} bytes, more than the {self.segment_size} of a segment; "
                    "`mqstore repair` sets it aside and keeps what fits"
                )
            self._files.create(path, self.segment_size)
            short.append(path)
        return short

    @property
    def first(self) -> int:
        """Start of the oldest segment; 0 without any."""
        return self.starts[0] if self.starts else 0

    @property
    def end(self) -> int:
        """End of the newest segment; 0 without any."""
        return self.starts[-1] + self.segment_size if self.starts else 0

    def path(self, start: int) -> str:
        if start != self._path_of:  # mostly that of the newest one is wanted, with many a write and read
            self._path, self._path_of = f"{self.directory}/{segment_name(start)}", start
        return self._path

    def start_of(self, offset: int) -> int:
        """Start of the segment that holds, or would hold, the offset."""
        return offset - offset % self.segment_size

    def end_of(self, offset: int) -> int:
        """End of the segment that holds, or would hold, the offset."""
        return offset - offset % self.segment_size + self.segment_size

    def has(self, offset: int) -> bool:
        """Whether a segment with this offset exists."""
        return bool(self.starts) and self.starts[0] <= offset < self.starts[-1] + self.segment_size

    def file(self, offset: int) -> DiskFile:
        """The open file of the segment that holds `offset`; StoreError when there is none."""
        start = offset - offset % self.segment_size
        if not self.starts or not self.starts[0] <= start <= self.starts[-1]:
            raise StoreError(f"{self.directory} has no file for the offset {offset}")
        return self._files.open(self.path(start))

    def create(self, offset: int) -> DiskFile:
        """The file of the segment that holds `offset`, made when it is missing."""
        start = self.start_of(offset)
        if start in self.starts:
            return self.file(offset)
        if self.starts and start != self.end:
            raise StoreError(f"{self.directory} ends at {self.end}: no file can begin at {start}")
        file = self._files.create(self.path(start), self.segment_size)
        bisect.insort(self.starts, start)
        return file

    def forget_first(self) -> str:
        """The oldest segment is not among them any more, though its file remains; returns the file's path.

        Who holds it open goes on reading.
        """
        path = self.path(self.starts[0])
        self._files.forget(path)
        del self.starts[0]
        return path

    def read(self, offset: int, length: int, may_block: bool = True) -> bytes:
        """`length` bytes of one segment; WouldBlock when they are not in memory and may not be waited for."""
        file = self.file(offset)
        at = offset % self.segment_size
        data = file.pread(length, at) if may_block else file.pread_cached(length, at)
        if len(data) < length:
            raise StoreError(
                f"{file.path} ends at {at + len(data)}, before the {length} bytes wanted at {at}"
            )
        return data

    def write(self, data: bytes | bytearray, offset: int) -> str:
        """Writes within one segment, which is made when it is missing; returns its path."""
        file = self.create(offset)
        file.pwrite(data, offset % self.segment_size)
        return file.path

    def cut(self, offset: int) -> None:
        """Drops everything from `offset` on: later segments go, the rest of this one reads as zeros."""
        while self.starts and self.starts[-1] >= offset:
            self._remove(self.starts[-1])
        if offset < self.end:
            file = self.file(offset)
            file.truncate(offset % self.segment_size)
            file.truncate(self.segment_size)

    def remove_all(self) -> None:
        """Removes every file."""
        while self.starts:
            self._remove(self.starts[-1])

    def _remove(self, start: int) -> None:
        path = self.path(start)
        self._files.disk.remove(path)
        self._files.forget(path)
        self.starts.remove(start)
