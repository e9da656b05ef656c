"""The real disks: OsDisk with what Linux offers, PortableDisk with what every Python has."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from typing import ClassVar

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.disk import DiskFile, Lock, Space, disk_error
from rocketmq_tx.store.file_lock import take_lock
from rocketmq_tx.store.os_files import OPEN_FLAGS, OsFile, PortableFile

_syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if hasattr(os, "fdatasync") else None
"""Of the C library; Python has no name for it. It takes a descriptor, and lets other threads run."""
_MAY_BE_READ = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class PortableDisk:
    """Files by the calls that every platform has; reads may wait for the device, fsync syncs all."""

    file_type: ClassVar[type[PortableFile]] = PortableFile

    def open(self, path: str) -> DiskFile:
        try:
            return self.file_type(path, os.open(path, os.O_RDWR | OPEN_FLAGS))
        except OSError as error:
            read_only = self._open_to_read(path, error) if error.errno in _MAY_BE_READ else None
            if read_only is None:
                raise disk_error("open", path, None, error) from error
            return read_only

    def _open_to_read(self, path: str, why: OSError) -> DiskFile | None:
        """A file that may not be written can be one that nobody wants to write: an old segment."""
        try:
            return self.file_type(path, os.open(path, os.O_RDONLY | OPEN_FLAGS), why)
        except OSError:
            return None

    def create(self, path: str, size: int) -> DiskFile:
        self.make_directory(os.path.dirname(path))
        try:
            file = self.file_type(path, os.open(path, os.O_RDWR | os.O_CREAT | OPEN_FLAGS, 0o644))
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
        return take_lock(path)


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


def platform_disk() -> PortableDisk:
    """OsDisk where its calls exist, else PortableDisk."""
    return OsDisk() if hasattr(os, "preadv") and hasattr(os, "fdatasync") else PortableDisk()
