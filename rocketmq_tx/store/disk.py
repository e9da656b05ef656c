"""What the store needs of a disk, as an interface: tests put a double behind it that loses unsynced writes.

Every failure is an error of our tree that names the file, the offset and the cause. A full disk (ENOSPC),
an exhausted quota (EDQUOT) and a file size limit (EFBIG) are `StoreUnavailable`: they pass by themselves.
"""

from __future__ import annotations

import errno
from typing import NamedTuple, Protocol

from rocketmq_tx.errors import StoreError, StoreUnavailable, Unreadable

_READS = frozenset({"open", "read", "look at", "look for data in"})
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Space(NamedTuple):
    """Bytes of the file system that holds a path; `usable_bytes` is what an ordinary user may still write."""

    total_bytes: int
    free_bytes: int
    usable_bytes: int


class DiskFile(Protocol):
    """One open file. Whoever drops the last reference closes it, so a reader never loses it half-way."""

    @property
    def path(self) -> str:
        """Where it was opened."""

    def size(self) -> int:
        """Length in bytes, holes included."""

    def pwrite(self, data: bytes | bytearray, offset: int) -> None:
        """Writes all of `data` at `offset`, or raises StoreError; part of it may be written then."""

    def pread(self, length: int, offset: int) -> bytes:
        """Up to `length` bytes; fewer only where the file ends."""

    def pread_cached(self, length: int, offset: int) -> bytes:
        """The same, but WouldBlock instead of waiting for the device, where the platform can tell."""

    def pread_cached_into(self, buffer: memoryview, offset: int) -> None:
        """Fills the buffer in the same way; StoreError where the file ends before that."""

    def expect(self, offset: int, length: int) -> None:
        """These bytes will be wanted: gets memory for them where the platform can. May block; never fails."""

    def data_from(self, offset: int) -> int | None:
        """Where, from `offset` on, bytes come that may be other than zeros; None when there are none."""

    def truncate(self, size: int) -> None:
        """Cuts the file, or extends it with a hole that reads as zeros."""

    def sync(self) -> None:
        """Returns when all data written so far is on the device (fdatasync)."""


class Lock(Protocol):
    """An exclusive lock on a file, held until `release` or the end of the process."""

    def write(self, content: bytes) -> None:
        """Makes `content` all that the locked file holds."""

    def release(self) -> None:
        """Lets the next one in; harmless when called again."""


class Disk(Protocol):
    """Files by path: strings with the separator `/`, absolute or relative to the working directory."""

    def open(self, path: str) -> DiskFile:
        """An existing file for reading and writing; StoreError when it is missing."""

    def create(self, path: str, size: int) -> DiskFile:
        """A file of at least `size` bytes, made (its directories, too) or extended by a hole where needed."""

    def file_size(self, path: str) -> int | None:
        """Length in bytes; None when there is no such file."""

    def names(self, directory: str) -> list[str]:
        """Names in a directory, sorted; empty when it does not exist."""

    def is_directory(self, path: str) -> bool:
        """Whether the path is a directory."""

    def make_directory(self, path: str) -> None:
        """Makes a directory and those above it; nothing happens when it exists."""

    def remove(self, path: str) -> None:
        """Removes a file; nothing happens when it is gone."""

    def remove_tree(self, path: str) -> None:
        """Removes a directory with everything in it; nothing happens when it is gone."""

    def rename(self, source: str, target: str) -> None:
        """Puts a file in the place of another, atomically."""

    def sync_directory(self, path: str) -> None:
        """Returns when creations, removals and renames in the directory are on the device."""

    def sync_file_system(self, path: str) -> bool:
        """Waits until all of the path's file system is on the device; False: there is no such call here."""

    def space(self, path: str) -> Space:
        """Of the file system that holds the path, or its nearest existing parent."""

    def lock(self, path: str) -> Lock | None:
        """Locks byte 0 of a file, made where needed; None when anybody holds it, this process included."""


def disk_error(action: str, path: str, offset: int | None, error: OSError) -> StoreError:
    """The error of our tree for an OSError: what was tried on which file, where, and why it failed."""
    place = path if offset is None else f"{path} at offset {offset}"
    cause = error.strerror or str(error)
    if error.errno in NO_ROOM:
        return StoreUnavailable(f"no room to {action} {place}: {cause}")
    if error.errno == errno.EIO and action in _READS:
        return Unreadable(f"cannot {action} {place}: {cause}", path)
    return StoreError(f"cannot {action} {place}: {cause}")
