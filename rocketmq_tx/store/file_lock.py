"""Locking a file as Java's `FileChannel.tryLock(0, 1, false)` does: it keeps Apache out, and Apache us.

The lock is advisory, and byte 0 is all that it covers.
"""

from __future__ import annotations

import os
import struct
import sys

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.disk import Lock, disk_error
from rocketmq_tx.store.os_files import OPEN_FLAGS

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

_FLOCK = struct.Struct("@hhqqi")  # struct flock on Linux: type, whence, start, length, pid

_locked_here: set[str] = set()
"""Locks belong to a process, and closing any descriptor of the file gives them up: look here first."""


def take_lock(path: str) -> Lock | None:
    """The lock of a file, which is made if it is not there; None when somebody holds it."""
    path = os.path.realpath(path)
    if path in _locked_here:
        return None
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | OPEN_FLAGS, 0o644)
    except OSError as error:
        raise disk_error("open", path, None, error) from error
    if _lock_byte_0(descriptor):
        return OsLock(path, descriptor)
    os.close(descriptor)
    return None


class OsLock:
    """A lock that is held; its file may be written."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor
        _locked_here.add(path)

    def write(self, content: bytes) -> None:
        if self._descriptor is None:
            raise StoreError(f"{self._path} is not locked any more")
        try:
            os.ftruncate(self._descriptor, len(content))
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, content)
        except OSError as error:
            raise disk_error("write", self._path, 0, error) from error

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            _locked_here.discard(self._path)


def _lock_byte_0(descriptor: int) -> bool:
    if fcntl is None:  # pragma: no cover - Windows
        import msvcrt  # noqa: PLC0415

        lock = getattr(msvcrt, "locking")  # noqa: B009
        try:
            lock(descriptor, getattr(msvcrt, "LK_NBLCK"), 1)  # noqa: B009
        except OSError:
            return False
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0, os.SEEK_SET)
    except OSError:
        return False
    return True


def lock_holder(path: str) -> int | None:
    """The process that has byte 0 of a file locked, found without locking it; None when there is none.

    Not to be asked by the process that has locked it: it would lose its lock.
    """
    if not sys.platform.startswith("linux"):
        return None  # others have the question, too, but not this layout of it
    try:
        descriptor = os.open(path, os.O_RDONLY | OPEN_FLAGS)
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
