"""A disk in memory that forgets what was not synced: the store's test double.

It keeps, for each file, the content on the device and the operations since its last sync apart, and so can
give the image that a kill leaves (everything), and those that a power cut may leave (any subset of what was
not synced, names in the order in which they changed). It injects errors and short writes.

Not modelled: a single write that is torn inside a sector, and sectors that rot. Tests do that by hand.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator

from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.store.disk import DiskFile, Lock, Space, disk_error

_PAGE_BYTES = 4096
Operation = Callable[[bytearray], None]


class Killed(BaseException):
    """The process ends here: raised instead of a change to the disk, caught by the test only."""


class _Node:
    """A file's content as written, as on the device, and the steps between both."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.durable = bytes(content)
        self.unsynced: list[Operation] = []
        self.write_back_errors = 0
        self.is_error_seen = True
        self.bad_for: str | None = None
        """An action that the device cannot do with it, under whatever name."""

    def change(self, operation: Operation) -> None:
        operation(self.content)
        self.unsynced.append(operation)

    def sync(self) -> None:
        self.durable = bytes(self.content)
        self.unsynced.clear()


class MemoryDisk:
    """Files by path. `changes` counts what alters the disk; at `kill_at` Killed is raised instead."""

    def __init__(self) -> None:
        self.nodes: dict[str, _Node] = {}
        self.durable_names: dict[str, _Node] = {}
        self.name_changes: list[tuple[str, _Node | None]] = []
        self.changes = 0
        self.kill_at: int | None = None
        self.cold: set[str] = set()
        """Paths whose bytes are not in memory until `pread` has read them."""
        self.free_bytes = 1 << 40
        self.syncs: list[str] = []
        self._locked: set[str] = set()
        self._faults: list[tuple[str, str, int, int | None]] = []

    # -- faults --------------------------------------------------------------------------------------------

    def fail(self, action: str, path_part: str, error_number: int, short: int | None = None) -> None:
        """From now on `action` (write, read, sync, create, truncate, ...) fails on paths with this part.

        With `short`, a write first puts down that many bytes.
        """
        self._faults.append((action, path_part, error_number, short))

    def spoil_sectors(self, action: str, path: str) -> None:
        """From now on `action` (open, read) fails with EIO on that file, but not on a new one of its name."""
        self.nodes[path].bad_for = action

    def lose_unsynced(self, path_part: str) -> None:
        """The device takes nothing of what was written so far to such files, and drops it.

        As with Linux, each description that is open now hears of it once, with its next sync; what is opened
        later hears of it only while nobody has.
        """
        for path, node in self.nodes.items():
            if path_part in path and node.unsynced:
                node.unsynced.clear()
                node.write_back_errors += 1
                node.is_error_seen = False

    def heal(self) -> None:
        """No more failures."""
        self._faults.clear()

    def check(self, action: str, path: str) -> int | None:
        """Raises OSError when this is to fail; returns how many bytes are written before."""
        if path in self.nodes and self.nodes[path].bad_for == action:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        for wanted, part, number, short in self._faults:
            if wanted == action and part in path:
                if short is None:
                    raise OSError(number, os.strerror(number))
                return short
        return None

    def changed(self) -> None:
        if self.kill_at is not None and self.changes >= self.kill_at:
            raise Killed
        self.changes += 1

    # -- images --------------------------------------------------------------------------------------------

    def after_kill(self) -> MemoryDisk:
        """What the next process finds: the kernel has everything."""
        image = MemoryDisk()
        for path, node in self.nodes.items():
            image.put(path, bytes(node.content))
        return image

    def after_power_cut(self, choice: random.Random) -> MemoryDisk:
        """One of the disks that a power cut may leave."""
        names = dict(self.durable_names)
        for path, node in self.name_changes[: choice.randint(0, len(self.name_changes))]:
            if node is None:
                names.pop(path, None)
            else:
                names[path] = node
        image = MemoryDisk()
        share = choice.choice((0.0, 0.5, 0.9, 1.0))
        for path, node in names.items():
            content = bytearray(node.durable)
            for operation in node.unsynced:
                if choice.random() < share:
                    operation(content)
            image.put(path, bytes(content))
        return image

    def put(self, path: str, content: bytes) -> None:
        """A file that is there, durably."""
        self.nodes[path] = self.durable_names[path] = _Node(content)

    def content(self, path: str) -> bytes:
        return bytes(self.nodes[path].content)

    def spoil(self, path: str, offset: int, data: bytes) -> None:
        """Bits rot."""
        self.nodes[path].content[offset : offset + len(data)] = data
        self.nodes[path].sync()

    # -- the interface -------------------------------------------------------------------------------------

    def open(self, path: str) -> DiskFile:
        try:
            self.check("open", path)
            if path not in self.nodes:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        except OSError as error:
            raise disk_error("open", path, None, error) from error
        return _MemoryFile(self, path, self.nodes[path])

    def create(self, path: str, size: int) -> DiskFile:
        try:
            self.check("create", path)
        except OSError as error:
            raise disk_error("create", path, None, error) from error
        if path not in self.nodes:
            self.changed()
            self._name(path, _Node())
        file = _MemoryFile(self, path, self.nodes[path])
        if file.size() < size:
            file.truncate(size)
        return file

    def _name(self, path: str, node: _Node | None) -> None:
        if node is None:
            del self.nodes[path]
        else:
            self.nodes[path] = node
        self.name_changes.append((path, node))

    def file_size(self, path: str) -> int | None:
        return len(self.nodes[path].content) if path in self.nodes else None

    def names(self, directory: str) -> list[str]:
        prefix = directory + "/"
        return sorted(
            {path[len(prefix) :].partition("/")[0] for path in self.nodes if path.startswith(prefix)}
        )

    def is_directory(self, path: str) -> bool:
        return bool(self.names(path))

    def make_directory(self, path: str) -> None:
        """Directories are where files are."""

    def remove(self, path: str) -> None:
        try:
            self.check("remove", path)
        except OSError as error:
            raise disk_error("remove", path, None, error) from error
        if path in self.nodes:
            self.changed()
            self._name(path, None)

    def remove_tree(self, path: str) -> None:
        for found in [name for name in self.nodes if name.startswith(path + "/")]:
            self.remove(found)

    def rename(self, source: str, target: str) -> None:
        self.changed()
        node = self.nodes[source]
        self._name(target, node)
        self._name(source, None)

    def sync_directory(self, path: str) -> None:
        try:
            self.check("sync", path)
        except OSError as error:
            raise disk_error("sync the directory", path, None, error) from error
        self.durable_names = dict(self.nodes)
        self.name_changes.clear()

    def sync_file_system(self, path: str) -> bool:
        try:
            self.check("sync", path)
        except OSError as error:
            raise disk_error("sync the file system of", path, None, error) from error
        for node in self.nodes.values():
            node.sync()
        self.durable_names = dict(self.nodes)
        self.name_changes.clear()
        return True

    def space(self, path: str) -> Space:
        try:
            self.check("space", path)
        except OSError as error:
            raise disk_error("ask for the space of", path, None, error) from error
        return Space(1 << 40, self.free_bytes, self.free_bytes)

    def lock(self, path: str) -> Lock | None:
        if path in self._locked:
            return None
        self._locked.add(path)
        return _MemoryLock(self, path)


class _MemoryFile:
    def __init__(self, disk: MemoryDisk, path: str, node: _Node) -> None:
        self.path = path
        self._disk = disk
        self._node = node
        self._errors_heard = node.write_back_errors - (not node.is_error_seen)

    def size(self) -> int:
        return len(self._node.content)

    def pwrite(self, data: bytes | bytearray, offset: int) -> None:
        kept = bytes(data)
        try:
            short = self._disk.check("write", self.path)
            self._disk.changed()
            if short is not None:
                self._write(kept[:short], offset)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise disk_error("write", self.path, offset, error) from error
        self._write(kept, offset)

    def _write(self, data: bytes, offset: int) -> None:
        def write(content: bytearray) -> None:
            if len(content) < offset + len(data):
                content.extend(bytes(offset + len(data) - len(content)))
            content[offset : offset + len(data)] = data

        self._node.change(write)

    def pread(self, length: int, offset: int) -> bytes:
        try:
            self._disk.check("read", self.path)
        except OSError as error:
            raise disk_error("read", self.path, offset, error) from error
        self._disk.cold.discard(self.path)
        return bytes(self._node.content[offset : offset + length])

    def pread_cached(self, length: int, offset: int) -> bytes:
        if self.path in self._disk.cold:
            raise WouldBlock(self.path, offset, length)
        return self.pread(length, offset)

    def pread_cached_into(self, buffer: memoryview, offset: int) -> None:
        data = self.pread_cached(len(buffer), offset)
        if len(data) < len(buffer):
            raise StoreError(f"{self.path} ends before the {len(buffer)} bytes wanted at {offset}")
        buffer[:] = data

    def expect(self, offset: int, length: int) -> None:
        """All is in memory."""

    def data_from(self, offset: int) -> int | None:
        """As a file system of pages would: those without a byte that is set are holes."""
        rest = self._node.content[offset:]
        if not (filled := rest.lstrip(b"\0")):
            return None
        at = offset + len(rest) - len(filled)
        return max(offset, at - at % _PAGE_BYTES)

    def truncate(self, size: int) -> None:
        def resize(content: bytearray) -> None:
            del content[size:]
            content.extend(bytes(size - len(content)))

        try:
            self._disk.check("truncate", self.path)
        except OSError as error:
            raise disk_error("truncate", self.path, None, error) from error
        self._disk.changed()
        self._node.change(resize)

    def sync(self) -> None:
        try:
            self._disk.check("sync", self.path)
            if self._errors_heard < self._node.write_back_errors:
                self._errors_heard = self._node.write_back_errors
                self._node.is_error_seen = True
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        except OSError as error:
            raise disk_error("sync", self.path, None, error) from error
        self._disk.syncs.append(self.path)
        self._node.sync()


class _MemoryLock:
    def __init__(self, disk: MemoryDisk, path: str) -> None:
        self._disk = disk
        self._path = path

    def write(self, content: bytes) -> None:
        self._disk.create(self._path, 0).pwrite(content, 0)

    def release(self) -> None:
        self._disk._locked.discard(self._path)


def killed_at_each_change(
    begin: MemoryDisk, work: Callable[[MemoryDisk], object]
) -> Iterator[tuple[int, MemoryDisk]]:
    """For each change that `work` makes: its number, and a copy of `begin` with `work` killed before it."""
    whole = begin.after_kill()
    work(whole)
    for change in range(whole.changes):
        disk = begin.after_kill()
        disk.kill_at = change
        try:
            work(disk)
        except Killed:
            yield change, disk
        else:
            raise AssertionError(f"it ended without change {change} of {whole.changes}")
