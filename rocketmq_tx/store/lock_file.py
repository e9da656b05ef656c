"""One broker per store directory: the lock on byte 0 of `lock`, which Apache's brokers take, too."""

from __future__ import annotations

from rocketmq_tx.errors import StoreLocked
from rocketmq_tx.store.disk import Disk, Lock


def lock_store(disk: Disk, root: str) -> Lock:
    """Takes the store directory until the lock is released; StoreLocked when another broker has it."""
    lock = disk.lock(f"{root}/lock")
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
