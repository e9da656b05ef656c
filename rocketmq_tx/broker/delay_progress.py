"""How far each delay level has been delivered: the table behind `config/delayOffset.json`.

What is delivered twice is a nuisance, what is never delivered is lost. So the file may lag behind (a crash
then repeats what was delivered since it was written), and it never runs ahead of the log: it is written only
when the messages that it calls delivered are on disk. Facts: `spec/schedule.yaml` (delay.persistence).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred

from rocketmq_tx.broker.kept_table import TableFile
from rocketmq_tx.errors import BodyError
from rocketmq_tx.protocol.bodies import DelayOffsetSerializeWrapper
from rocketmq_tx.runtime.threads import OffReactor


class DelayProgress:
    """The queue offset of the next message to deliver, by level (from 1 on)."""

    def __init__(self) -> None:
        self._offsets: dict[int, int] = {}
        self.changes = 0
        """Grows with every change, so that a writer knows whether there is anything to write."""

    def offset(self, level: int) -> int:
        """0 for a level that nothing was ever delivered from."""
        return self._offsets.get(level, 0)

    def offsets(self) -> Mapping[int, int]:
        """By level, without those that nothing was ever delivered from; for reading."""
        return self._offsets

    def delivered_to(self, level: int, offset: int) -> None:
        """Everything before `offset` is done with."""
        if self._offsets.get(level) != offset:
            self._offsets[level] = offset
            self.changes += 1

    def replace(self, table: DelayOffsetSerializeWrapper) -> None:
        """Takes the table of a file, or of a master."""
        self._offsets = dict(table.offset_table)
        self.changes += 1

    def snapshot(self) -> DelayOffsetSerializeWrapper:
        """The table as GET_ALL_DELAY_OFFSET answers it and the file holds it; a copy, for any thread."""
        return DelayOffsetSerializeWrapper(offset_table=dict(sorted(self._offsets.items())))


class DelayProgressFile:
    """Reads and writes the file; `on_disk` fires when everything that was appended so far is on disk."""

    def __init__(
        self,
        progress: DelayProgress,
        file: TableFile,
        on_disk: Callable[[], Deferred[None]],
        off_reactor: OffReactor,
    ) -> None:
        self._progress = progress
        self._file = file
        self._on_disk = on_disk
        self._off_reactor = off_reactor
        self._written_changes = 0

    def load(self) -> None:
        """Takes what was kept; StoreDamaged when a file exists but neither it nor its copy can be read."""
        kept = self._file.load(_parse)
        if kept is not None:
            self._progress.replace(kept)
        self._written_changes = self._progress.changes

    def save_changed(self) -> Deferred[None] | None:
        """One round of periodic work; after a failure the next round writes what is true then."""
        changes = self._progress.changes
        if changes == self._written_changes:
            return None
        content = self._progress.snapshot().to_bytes(pretty=True)
        saving = self._on_disk().addCallback(lambda _: self._off_reactor(self._file.save, content))
        return saving.addCallback(lambda _: self._written(changes))

    def _written(self, changes: int) -> None:
        self._written_changes = changes


def _parse(data: bytes) -> DelayOffsetSerializeWrapper:
    """A file that holds no such table is a ValueError to `JsonFile`, which then takes the `.bak`."""
    try:
        return DelayOffsetSerializeWrapper.from_bytes(data)
    except BodyError as error:
        raise ValueError(str(error)) from error
