"""The segments of the commit log, which may be spread over several directories.

Placement is Apache's: of the directories that may get new files, sorted by name, the one at the place
`file number modulo their count`. Facts: `spec/store.yaml`, multi_path.
"""

from __future__ import annotations

from collections.abc import Sequence

from rocketmq_tx.errors import StoreDamaged
from rocketmq_tx.store.disk import DiskFile
from rocketmq_tx.store.segments import OpenFiles, SegmentFiles, segment_name, segment_starts


class LogSegments(SegmentFiles):
    """`directories` get new files, `full` ones only while all are full, `read_only` ones none."""

    __slots__ = ("_places", "directories", "full", "read_only")

    def __init__(
        self, files: OpenFiles, directories: Sequence[str], read_only: Sequence[str], segment_size: int
    ) -> None:
        super().__init__(files, directories[0], segment_size)
        self.directories = tuple(directories)
        self.read_only = tuple(read_only)
        self.full: frozenset[str] = frozenset()
        self._places: dict[int, str] = {}

    def names(self) -> list[str]:
        """Names in all directories, ours or not; from now on it is known what is where.

        StoreDamaged for a segment that is in two of them.
        """
        names: list[str] = []
        self._places.clear()
        for directory in self.all_directories:
            found = self._files.disk.names(directory)
            for start in segment_starts(found):
                if start in self._places:
                    raise StoreDamaged(
                        f"{segment_name(start)} is both in {self._places[start]} and in {directory}: "
                        "one of them does not belong there; `mqstore repair` sets it aside"
                    )
                self._places[start] = directory
            names += found
        return names

    @property
    def all_directories(self) -> list[str]:
        """Every directory in which a segment may be, each once."""
        return list(dict.fromkeys((*self.directories, *self.read_only)))

    def path(self, start: int) -> str:
        return f"{self._places.get(start) or self._directory_for(start)}/{segment_name(start)}"

    def create(self, offset: int) -> DiskFile:
        file = super().create(offset)
        self._places[self.start_of(offset)] = file.path.rpartition("/")[0]
        return file

    def forget_first(self) -> str:
        path = super().forget_first()
        self._places.pop(int(path.rpartition("/")[2]), None)
        return path

    def _remove(self, start: int) -> None:
        super()._remove(start)
        self._places.pop(start, None)

    def _directory_for(self, start: int) -> str:
        writable = [path for path in self.directories if path not in self.read_only]
        with_room = [path for path in writable if path not in self.full]
        usable = sorted(set(with_room or writable or self.directories))
        return usable[start // self.segment_size % len(usable)]
