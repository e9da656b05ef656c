"""A disk that only reads: for looking at a store that a broker may have open, Apache's too.

Files are opened for reading, nothing is made, locked or changed; whatever would change something raises.
"""

from __future__ import annotations

import os
from typing import ClassVar, NoReturn

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.disk import DiskFile, Lock, disk_error
from rocketmq_tx.store.os_disk import PortableDisk, platform_disk
from rocketmq_tx.store.os_files import OPEN_FLAGS, PortableFile


def _refuse(action: str, path: str) -> NoReturn:
    raise StoreError(f"cannot {action} {path}: it is only being read")


class ReadOnlyDisk(PortableDisk):
    """What the platform's disk reads, and nothing else of it."""

    file_type: ClassVar[type[PortableFile]] = platform_disk().file_type

    def open(self, path: str) -> DiskFile:
        try:
            return self.file_type(path, os.open(path, os.O_RDONLY | OPEN_FLAGS))
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
