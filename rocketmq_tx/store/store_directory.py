"""A store directory belongs to one broker: byte 0 of `lock` is taken while it runs, `abort` tells of a crash.

Apache's brokers take the same lock and leave the same file.
"""

from __future__ import annotations

from rocketmq_tx.errors import StoreLocked
from rocketmq_tx.store.disk import Disk, Lock

LOCK = "lock"
ABORT = "abort"
CHECKPOINT = "checkpoint"
QUEUES = "consumequeue"
QUEUE_EXTENSIONS = "consumequeue_ext"
INDEX = "index"
TABLES = "config"
"""What lies in every store directory, by Apache's names; where the commit log is, the configuration tells."""


def lock_store(disk: Disk, root: str) -> Lock:
    """Takes the store directory until the lock is released; StoreLocked when another broker has it."""
    lock = disk.lock(f"{root}/{LOCK}")
    if lock is None:
        raise StoreLocked(
            f"the store directory {root} is in use by another broker, which has locked the file `lock`; "
            "stop that one, or give this one a storePathRootDir of its own"
        )
    try:
        lock.write(b"lock")
    except BaseException:
        lock.release()
        raise
    return lock


class StoreDirectory:
    """The directory of a store that this process opens and closes."""

    def __init__(self, disk: Disk, root: str) -> None:
        self._disk = disk
        self._root = root
        self._lock: Lock | None = None

    @property
    def is_taken(self) -> bool:
        """Whether it is this process's."""
        return self._lock is not None

    @property
    def was_left_in_order(self) -> bool:
        """Whether who had it before has closed it, or nobody had."""
        return self._disk.file_size(f"{self._root}/{ABORT}") is None

    def take(self) -> None:
        """Makes it when it is missing, and locks it. StoreLocked when another broker has it."""
        self._make_known()
        self._lock = lock_store(self._disk, self._root)

    def _make_known(self) -> None:
        """A new directory's name stands in the one above, which has to reach the device as well."""
        disk, directory, missing = self._disk, self._root, []
        while directory and not disk.is_directory(directory):
            missing.append(directory)
            directory = directory.rpartition("/")[0]
        for path in reversed(missing):
            disk.make_directory(path)
            disk.sync_directory(path.rpartition("/")[0] or ("/" if path.startswith("/") else "."))

    def mark_open(self) -> None:
        """From now on whoever finds it without its owner knows of a crash."""
        self._disk.create(f"{self._root}/{ABORT}", 0)
        self._disk.sync_directory(self._root)

    def mark_closed(self) -> None:
        """All that is in it is on the device."""
        self._disk.remove(f"{self._root}/{ABORT}")
        self._disk.sync_directory(self._root)

    def let_go(self) -> None:
        """Another broker may take it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
