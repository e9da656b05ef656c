"""The oldest segment of the commit log on its way out: how old its last message is, and removing files.

Both wait for the device, so both are done in a thread; neither touches the store's state.
"""

from __future__ import annotations

from collections.abc import Iterable

from rocketmq_tx.errors import StoreError
from rocketmq_tx.protocol.message import MESSAGE_MAGIC
from rocketmq_tx.store.disk import Disk, DiskFile
from rocketmq_tx.store.records import Verdict, examine, facts

_MAGIC = MESSAGE_MAGIC.to_bytes(4, "big")
_WINDOWS = (1 << 16, 1 << 20, 1 << 23, 1 << 26)
"""Bytes from the end that are looked through: a record that found no room leaves its size unused there."""


class OldSegment:
    """A segment that may go, open for reading."""

    def __init__(self, start: int, size: int, file: DiskFile, file_after: DiskFile) -> None:
        self.start = start
        self._size = size
        self._file = file
        self._file_after = file_after

    @property
    def end(self) -> int:
        """The log offset behind it."""
        return self.start + self._size

    @property
    def path(self) -> str:
        return self._file.path

    def last_store_timestamp(self) -> int | None:
        """Store time (epoch ms) of its last message, else of the next segment's first, else None.

        Waits for the device. StoreError when it cannot be read.
        """
        for window in _WINDOWS:
            at = max(0, self._size - window)
            found = last_store_timestamp(self._file.pread(self._size - at, at), self.start + at)
            if found is not None or not at:
                break
        if found is None:
            after = self._file_after.pread(_WINDOWS[0], 0)
            if examine(after, 0, self.start + self._size, False)[0] in (Verdict.WHOLE, Verdict.DAMAGED):
                found = facts(after, 0).store_timestamp
        return found


def last_store_timestamp(data: bytes, commit_log_offset: int) -> int | None:
    """Of the last record in `data`, the end of a segment, which may begin in the middle of a record."""
    at = data.find(_MAGIC, 4) - 4
    while at >= 0:
        found = None
        verdict, size = examine(data, at, commit_log_offset + at, False)
        while verdict in (Verdict.WHOLE, Verdict.DAMAGED):
            found = facts(data, at).store_timestamp
            at += size
            verdict, size = examine(data, at, commit_log_offset + at, False)
        if found is not None:
            return found
        at = data.find(_MAGIC, at + 5) - 4
    return None


class RemovalJob:
    """Removes files one after the other, each known to be gone before the next: no gap can come of it."""

    def __init__(self, disk: Disk, paths: Iterable[str]) -> None:
        self._disk = disk
        self._paths = list(paths)
        self.removed: list[str] = []
        self.error: StoreError | None = None

    def run(self) -> None:
        """Call it in a thread. A StoreError is kept for `finish_removal`, not raised."""
        try:
            for path in self._paths:
                self._disk.remove(path)
                self._disk.sync_directory(path.rpartition("/")[0])
                self.removed.append(path)
        except StoreError as error:
            self.error = error
