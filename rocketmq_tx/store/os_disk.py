"""The real disks: OsDisk with what Linux offers, PortableDisk with what every Python has."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from typing import ClassVar

from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.store.disk import DiskFile, Lock, Space, disk_error

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

try:
    import resource
except ImportError:  # pragma: no cover - Windows
    resource = None  # type: ignore[assignment]

_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if hasattr(os, "fdatasync") else None
"""Of the C library; Python has no name for it. It takes a descriptor, and lets other threads run."""
_MAY_BE_READ = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NOT_SUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


def _growth_error(action: str, path: str, offset: int | None, error: OSError) -> StoreError:
    """As `disk_error`; where the process may not write files that large, the limit is named."""
    if error.errno == errno.EFBIG and resource is not None:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY:
            action = f"{action} more than {limit} bytes (the limit of this process, RLIMIT_FSIZE) to"
    return disk_error(action, path, offset, error)


class PortableFile:
    """A file by seek, read, write and fsync only. Not for use by two threads at once."""

    def __init__(self, path: str, descriptor: int, why_read_only: OSError | None = None) -> None:
        self.path = path
        self._descriptor = descriptor
        self._why_read_only = why_read_only

    def __del__(self) -> None:
        os.close(self._descriptor)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def pwrite(self, data: bytes | bytearray, offset: int) -> None:
        try:
            self._check_writable()
            written = self._write(data, offset)
            while written < len(data):
                more = self._write(data[written:], offset + written)
                if more == 0:
                    raise OSError(errno.EIO, "nothing more was written")
                written += more
        except OSError as error:
            raise _growth_error("write", self.path, offset, error) from error

    def _check_writable(self) -> None:
        if self._why_read_only is not None:
            raise OSError(self._why_read_only.errno, self._why_read_only.strerror)

    def pread(self, length: int, offset: int) -> bytes:
        try:
            data = self._read(length, offset)
            while 0 < len(data) < length:
                more = self._read(length - len(data), offset + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise disk_error("read", self.path, offset, error) from error
        return data

    def pread_cached(self, length: int, offset: int) -> bytes:
        return self.pread(length, offset)

    def pread_cached_into(self, buffer: memoryview, offset: int) -> None:
        data = self.pread_cached(len(buffer), offset)
        if len(data) < len(buffer):
            raise StoreError(f"{self.path} ends before the {len(buffer)} bytes wanted at {offset}")
        buffer[:] = data

    def data_from(self, offset: int) -> int | None:
        return offset if offset < self.size() else None

    def truncate(self, size: int) -> None:
        try:
            self._check_writable()
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            raise _growth_error(f"set the size {size} of", self.path, None, error) from error

    def sync(self) -> None:
        try:
            self._sync()
        except OSError as error:
            raise disk_error("sync", self.path, None, error) from error

    def _write(self, data: bytes | bytearray, offset: int) -> int:
        os.lseek(self._descriptor, offset, os.SEEK_SET)
        return os.write(self._descriptor, data)

    def _read(self, length: int, offset: int) -> bytes:
        os.lseek(self._descriptor, offset, os.SEEK_SET)
        return os.read(self._descriptor, length)

    def _sync(self) -> None:
        os.fsync(self._descriptor)


class OsFile(PortableFile):
    """A file by pwrite, pread, fdatasync, and preadv with RWF_NOWAIT where the file system has it."""

    _nowait_works = hasattr(os, "RWF_NOWAIT")

    def pread_cached(self, length: int, offset: int) -> bytes:
        if not self._nowait_works:
            return self.pread(length, offset)
        buffer = bytearray(length)
        try:
            count = os.preadv(self._descriptor, (buffer,), offset, os.RWF_NOWAIT)
        except BlockingIOError:
            raise WouldBlock(self.path, offset, length) from None
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise disk_error("read", self.path, offset, error) from error
            self._nowait_works = False
            return self.pread(length, offset)
        if count == length:
            return bytes(buffer)
        if offset + count >= self.size():
            return bytes(buffer[:count])
        raise WouldBlock(self.path, offset, length)

    def pread_cached_into(self, buffer: memoryview, offset: int) -> None:
        if self._nowait_works:
            try:
                if os.preadv(self._descriptor, (buffer,), offset, os.RWF_NOWAIT) == len(buffer):
                    return
            except OSError:
                pass  # what it is, is found and said below
        super().pread_cached_into(buffer, offset)

    def data_from(self, offset: int) -> int | None:
        if not hasattr(os, "SEEK_DATA"):
            return super().data_from(offset)
        try:
            return os.lseek(self._descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            if error.errno not in _NOT_SUPPORTED:
                raise disk_error("look for data in", self.path, offset, error) from error
            return super().data_from(offset)

    def _write(self, data: bytes | bytearray, offset: int) -> int:
        return os.pwrite(self._descriptor, data, offset)

    def _read(self, length: int, offset: int) -> bytes:
        return os.pread(self._descriptor, length, offset)

    def _sync(self) -> None:
        os.fdatasync(self._descriptor)


class PortableDisk:
    """Files by the calls that every platform has; reads may wait for the device, fsync syncs all."""

    file_type: ClassVar[type[PortableFile]] = PortableFile

    def open(self, path: str) -> DiskFile:
        try:
            return self.file_type(path, os.open(path, os.O_RDWR | _BINARY))
        except OSError as error:
            read_only = self._open_to_read(path, error) if error.errno in _MAY_BE_READ else None
            if read_only is None:
                raise disk_error("open", path, None, error) from error
            return read_only

    def _open_to_read(self, path: str, why: OSError) -> DiskFile | None:
        """A file that may not be written can be one that nobody wants to write: an old segment."""
        try:
            return self.file_type(path, os.open(path, os.O_RDONLY | _BINARY), why)
        except OSError:
            return None

    def create(self, path: str, size: int) -> DiskFile:
        self.make_directory(os.path.dirname(path))
        try:
            file = self.file_type(path, os.open(path, os.O_RDWR | os.O_CREAT | _BINARY, 0o644))
        except OSError as error:
            raise disk_error("create", path, None, error) from error
        if file.size() < size:
            file.truncate(size)
        return file

    def file_size(self, path: str) -> int | None:
        try:
            return os.stat(path).st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk_error("look at", path, None, error) from error

    def names(self, directory: str) -> list[str]:
        try:
            return sorted(os.listdir(directory))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise disk_error("list", directory, None, error) from error

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    def make_directory(self, path: str) -> None:
        try:
            os.makedirs(path or ".", exist_ok=True)
        except FileExistsError as error:
            link = "it is a link that leads nowhere; is the disk mounted?"
            what = link if os.path.islink(path) else "a file of that name exists"
            raise StoreError(f"cannot make the directory {path}: {what}") from error
        except OSError as error:
            raise disk_error("make the directory", path, None, error) from error

    def remove(self, path: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise disk_error("remove", path, None, error) from error

    def remove_tree(self, path: str) -> None:
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise disk_error("remove", path, None, error) from error

    def rename(self, source: str, target: str) -> None:
        try:
            os.replace(source, target)
        except OSError as error:
            raise disk_error(f"rename {source} to", target, None, error) from error

    def sync_directory(self, path: str) -> None:
        """Not everywhere possible, so the portable way trusts the file system's own order."""

    def sync_file_system(self, path: str) -> bool:
        return False

    def space(self, path: str) -> Space:
        path = os.path.abspath(path)
        while not os.path.exists(path) and os.path.dirname(path) != path:
            path = os.path.dirname(path)
        try:
            total, _, free = shutil.disk_usage(path)
        except OSError as error:
            raise disk_error("ask for the space of", path, None, error) from error
        return Space(total, free, free)

    def lock(self, path: str) -> Lock | None:
        self.make_directory(os.path.dirname(path))
        path = os.path.realpath(path)
        if path in _locked_here:
            return None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _BINARY, 0o644)
        except OSError as error:
            raise disk_error("open", path, None, error) from error
        if _lock_byte_0(descriptor):
            return OsLock(path, descriptor)
        os.close(descriptor)
        return None


class OsDisk(PortableDisk):
    """Files by what Linux offers."""

    file_type = OsFile

    def sync_directory(self, path: str) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise disk_error("sync the directory", path, None, error) from error

    def sync_file_system(self, path: str) -> bool:
        if _syncfs is None:
            return False
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                if _syncfs(descriptor):
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise disk_error("sync the file system of", path, None, error) from error
        return True

    def space(self, path: str) -> Space:
        path = os.path.abspath(path)
        while not os.path.exists(path) and os.path.dirname(path) != path:
            path = os.path.dirname(path)
        try:
            facts = os.statvfs(path)
        except OSError as error:
            raise disk_error("ask for the space of", path, None, error) from error
        unit = facts.f_frsize
        return Space(facts.f_blocks * unit, facts.f_bfree * unit, facts.f_bavail * unit)


_locked_here: set[str] = set()
"""Locks belong to a process, and closing any descriptor of the file gives them up: look here first."""


class OsLock:
    """An advisory lock as Java's `FileChannel.tryLock(0, 1, false)` takes it, so it keeps Apache out, too."""

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


def platform_disk() -> PortableDisk:
    """OsDisk where its calls exist, else PortableDisk."""
    return OsDisk() if hasattr(os, "preadv") and hasattr(os, "fdatasync") else PortableDisk()
