"""Files that the device cannot read, but that can be built again from the log: set aside, not thrown away."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from rocketmq_tx.errors import Unreadable
from rocketmq_tx.store.disk import Disk

SET_ASIDE = "set-aside"
SET_ASIDE_MAX = 20
"""A start sets so many files aside at most: where more cannot be read, the device is not to be trusted."""


class UnreadableFiles:
    """What one start sets aside of queues and index, which lie in these directories below the root."""

    def __init__(self, disk: Disk, root: str, queues: str, index: str, notice: Callable[[str], None]) -> None:
        self._disk = disk
        self._root = root
        self._queues = f"{queues}/"
        self._index = f"{index}/"
        self._notice = notice
        self.warnings: list[str] = []
        """A sentence for each, which has been said."""
        self.of_queues = False
        """Files of queues are missing now."""
        self.index_from: int | None = None
        """The name, as a number, of the first file of the index that is missing now."""

    def take(self, error: Unreadable) -> bool:
        """Sets the file aside that the error names; False when it is another's, or they are too many.

        StoreError when it cannot be moved.
        """
        of_queues = error.path.startswith(self._queues)
        if len(self.warnings) >= SET_ASIDE_MAX or not (of_queues or error.path.startswith(self._index)):
            return False
        kept = _set_aside(self._disk, self._root, error.path)
        self.warnings.append(f"{error}; the file is kept as {kept}, and is built again from the log")
        self._notice(self.warnings[-1])
        if of_queues:
            self.of_queues = True
        else:
            name = int(error.path.removeprefix(self._index))
            self.index_from = name if self.index_from is None else min(name, self.index_from)
        return True


def _set_aside(disk: Disk, root: str, path: str) -> str:
    """Not beside its place: Apache takes whatever is there for its own. What was kept before stays."""
    wanted = f"{root}/{SET_ASIDE}/{path.removeprefix(f'{root}/')}"
    names = itertools.chain([wanted], (f"{wanted}-{number}" for number in itertools.count(2)))
    kept = next(name for name in names if disk.file_size(name) is None)
    disk.make_directory(kept.rpartition("/")[0])
    disk.rename(path, kept)
    disk.sync_directory(kept.rpartition("/")[0])
    disk.sync_directory(path.rpartition("/")[0])
    return kept
