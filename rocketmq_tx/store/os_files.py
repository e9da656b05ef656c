"""One open file of a real disk: OsFile by what Linux offers, PortableFile by what every Python has."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.store.disk import disk_error

try:
    import resource
except ImportError:  # pragma: no cover - Windows
    resource = None  # type: ignore[assignment]

OPEN_FLAGS = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
"""Bytes as they are, and nothing for child processes."""
_EXPECTED_BYTES = 256 << 10
"""Of a piece of advice, the kernel heeds what the device would read at once."""
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

    def expect(self, offset: int, length: int) -> None:
        """Nothing can be done."""

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

    def pwrite(self, data: bytes | bytearray, offset: int) -> None:
        if self._why_read_only is not None:
            super().pwrite(data, offset)
        try:
            written = os.pwrite(self._descriptor, data, offset)
        except OSError as error:
            raise _growth_error("write", self.path, offset, error) from error
        if written < len(data):
            super().pwrite(data[written:], offset + written)

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

    def expect(self, offset: int, length: int) -> None:
        if not hasattr(os, "posix_fadvise"):
            return
        end = offset + length
        for begin in range(offset, end, _EXPECTED_BYTES):
            with suppress(OSError):  # it is only advice
                size = min(_EXPECTED_BYTES, end - begin)
                os.posix_fadvise(self._descriptor, begin, size, os.POSIX_FADV_WILLNEED)

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
