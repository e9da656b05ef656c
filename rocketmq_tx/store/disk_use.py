"""How full the disks under the store are, by Apache's formula (`spec/store.yaml`, disk_clean.used_ratio)."""

from __future__ import annotations

from typing import NamedTuple

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.disk import Disk


class DiskUse(NamedTuple):
    """`ratio` is the used part of what an ordinary user can have, rounded up to hundredths; -1 = unknown."""

    path: str
    total_bytes: int
    usable_bytes: int
    ratio: float


def disk_use(disk: Disk, path: str) -> DiskUse:
    """Of the file system that holds `path`."""
    try:
        total, free, usable = disk.space(path)
    except StoreError:
        return DiskUse(path, 0, 0, -1.0)
    used = total - free
    if total <= 0 or used + usable <= 0:
        return DiskUse(path, total, usable, -1.0)
    return DiskUse(path, total, usable, -(-100 * used // (used + usable)) / 100)
