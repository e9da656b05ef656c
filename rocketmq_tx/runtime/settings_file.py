"""The properties file that changes of settings are written to, and taking such a change while running.

What may be changed is decided in `config.update`; here the file is written before anything takes effect, so
that a restart never knows less than the running daemon.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from rocketmq_tx.config.settings import Settings
from rocketmq_tx.config.update import prepare_update
from rocketmq_tx.errors import RequestRefused, StoreError
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.json_file import JsonFile


class ConfigFile(Protocol):
    """Bytes in, bytes out; replaced as a whole."""

    def read(self) -> bytes:
        """Its content; empty when there is none. Raises StoreError."""

    def write(self, data: bytes) -> None:
        """Replaces it; raises StoreError, and then the old one is still there."""


class PropertiesFile:
    """A `ConfigFile` on a disk; the one before is kept as `.bak`."""

    def __init__(self, disk: Disk, path: str, notice: Callable[[str], None]) -> None:
        self._disk = disk
        self._path = path
        self._file = JsonFile(disk, path, notice)

    def read(self) -> bytes:
        size = self._disk.file_size(self._path)
        return b"" if size is None else self._disk.open(self._path).pread(size, 0)

    def write(self, data: bytes) -> None:
        self._file.save(data)


def take_update(settings: Settings, file: ConfigFile, text: bytes) -> Mapping[str, str]:
    """Takes a properties text, all of it or nothing; returns what has changed, as key -> new text.

    RequestRefused when it says what must not be changed, or the file cannot be written.
    """
    try:
        update = prepare_update(settings, text, file.read())
        if update.changed:
            file.write(update.file_data)
    except StoreError as error:
        raise RequestRefused(ResponseCode.SYSTEM_ERROR, f"nothing was changed: {error}") from error
    update.apply()
    return update.changed
