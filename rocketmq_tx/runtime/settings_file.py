"""The properties file that changes of settings are written to: replaced as a whole, the old one as `.bak`."""

from __future__ import annotations

from collections.abc import Callable

from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.json_file import JsonFile


class PropertiesFile:
    """Bytes in, bytes out; what they mean is `config.update`'s business."""

    def __init__(self, disk: Disk, path: str, notice: Callable[[str], None]) -> None:
        self._disk = disk
        self._path = path
        self._file = JsonFile(disk, path, notice)

    def read(self) -> bytes:
        """The content; empty when there is no file. Raises StoreError."""
        size = self._disk.file_size(self._path)
        return b"" if size is None else self._disk.open(self._path).pread(size, 0)

    def write(self, data: bytes) -> None:
        """Replaces the file; raises StoreError, and then the old one is still there."""
        self._file.save(data)
