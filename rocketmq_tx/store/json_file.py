"""Files such as `config/topics.json`: replaced as a whole, the version before kept as `.bak`.

At each instant either the file or its `.bak` is whole, also after a power cut (`spec/store.yaml`,
config_json). Bytes in, bytes out; what they mean is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rocketmq_tx.errors import BodyError, StoreDamaged, StoreError
from rocketmq_tx.store.disk import Disk

T = TypeVar("T")


class JsonFile:
    """One file; `notice` gets a sentence when its `.bak` had to stand in."""

    def __init__(self, disk: Disk, path: str, notice: Callable[[str], None]) -> None:
        self._disk = disk
        self._path = path
        self._notice = notice

    def load(self, parse: Callable[[bytes], T]) -> T | None:
        """What `parse` makes of the file, or of its `.bak`; None when there is neither.

        The `.bak` counts when the file is empty, or `parse` raises ValueError or BodyError. StoreDamaged when
        one exists and none can be read, because starting with an empty table would lose what the file held.
        """
        problems, is_damaged = [], False
        for path in (self._path, f"{self._path}.bak"):
            try:
                content = self._read(path)
                if content is None:
                    continue
                if not content.strip():
                    raise ValueError("it is empty")
                table = parse(content)
            except (ValueError, BodyError, StoreError) as error:
                problems.append(f"{path}: {error}")
                is_damaged = is_damaged or not isinstance(error, StoreError)
                continue
            if problems:
                self._notice(f"{path} stands in for a file that cannot be read: {'; '.join(problems)}")
            return table
        if problems:
            way_out = "Put a good copy in place, or remove both files to begin without what they held"
            if not is_damaged:  # by nothing that is in it: removing it would be the wrong advice
                way_out = "See that the broker may read it, and that the path is the one that is meant"
            raise StoreDamaged(f"cannot be read: {'; '.join(problems)}. {way_out}")
        return None

    def save(self, data: bytes) -> None:
        """Replaces the content; it is on the device when this returns. StoreError leaves the old one."""
        disk, path = self._disk, self._path
        before = self._read(path)
        self._write(f"{path}.tmp", data)
        if before is not None:
            self._write(f"{path}.bak.tmp", before)
            disk.rename(f"{path}.bak.tmp", f"{path}.bak")
        disk.rename(f"{path}.tmp", path)
        disk.sync_directory(path.rpartition("/")[0] or ".")

    def remove(self) -> None:
        """Removes the file, and its `.bak` before it, which would stand in for it otherwise."""
        for path in (f"{self._path}.bak", self._path):
            if self._disk.file_size(path) is not None:
                self._disk.remove(path)

    def _read(self, path: str) -> bytes | None:
        size = self._disk.file_size(path)
        return None if size is None else self._disk.open(path).pread(size, 0)

    def _write(self, path: str, data: bytes) -> None:
        file = self._disk.create(path, 0)
        file.truncate(0)
        file.pwrite(data, 0)
        file.sync()
