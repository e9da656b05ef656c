"""A disk that only reads: for looking at a store that a broker may have open, Apache's too.

Files are opened for reading, nothing is made, locked or changed; whatever would change something raises.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import ClassVar, NoReturn

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.disk import DiskFile, Lock, disk_error
from rocketmq_tx.store.os_disk import PortableDisk, PortableFile, platform_disk

_READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_FLOCK = struct.Struct("@hhqqi")  # struct flock on Linux: type, whence, start, length, pid


def _refuse(action: str, path: str) -> NoReturn:
    raise StoreError(f"cannot {action} {path}: it is only being read")


class ReadOnlyDisk(PortableDisk):
    """What the platform's disk reads, and nothing else of it."""

    file_type: ClassVar[type[PortableFile]] = platform_disk().file_type

    def open(self, path: str) -> DiskFile:
        try:
            return self.file_type(path, os.open(path, _READ_ONLY))
        except OSError as error:
            raise disk_error("open", path, None, error) from error

    def create(self, path: str, size: int) -> DiskFile:
        _refuse("make", path)

    def make_directory(self, path: str) -> None:
        _refuse("make", path)

    def remove(self, path: str) -> None:
        _refuse("remove", path)

    def remove_tree(self, path: str) -> None:
        _refuse("remove", path)

    def rename(self, source: str, target: str) -> None:
        _refuse("rename", source)

    def lock(self, path: str) -> Lock | None:
        _refuse("lock", path)


def lock_holder(path: str) -> int | None:
    """The process that has byte 0 of a file locked, found without locking it; None when there is none."""
    if not sys.platform.startswith("linux"):
        return None  # others have the question, too, but not this layout of it
    import fcntl  # noqa: PLC0415  (not on every platform)

    try:
        descriptor = os.open(path, _READ_ONLY)
    except OSError:
        return None
    try:
        question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, question))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else pid
