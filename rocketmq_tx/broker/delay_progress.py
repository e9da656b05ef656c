"""How far each delay level has been delivered: the table behind `config/delayOffset.json`.

What is delivered twice is a nuisance, what is never delivered is lost. So the file may lag behind (a crash
then repeats what was delivered since it was written), and it never runs ahead of the log: it is written only
when the messages that it calls delivered are on disk. Nor does a slave's copy of its master's table, which
counts when the slave's log has come as far. Facts: `spec/schedule.yaml` (delay.persistence), `spec/ha.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred

from rocketmq_tx.broker.kept_table import TableFile
from rocketmq_tx.protocol.bodies import DelayOffsetSerializeWrapper
from rocketmq_tx.runtime.threads import OffReactor


class DelayProgress:
    """The queue offset of the next message to deliver, by level (from 1 on).

    `log_end` tells where this broker's log ends.
    """

    def __init__(self, log_end: Callable[[], int]) -> None:
        self._log_end = log_end
        self._masters: tuple[dict[int, int], int] | None = None
        """A table of the master that does not count yet, and the log that it tells of."""
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
        """Takes the table of a file."""
        self._take(dict(table.offset_table))

    def follow(self, table: DelayOffsetSerializeWrapper, masters_log_end: int) -> None:
        """On a slave: its master's table, and where the master's log ended afterwards.

        The table counts when this log has come there: what it calls delivered may be on its way. One that
        waits for that is not replaced by a newer one, or a slave that stays behind would never take any.
        """
        self._take_reached()
        if self._masters is None:
            self._masters = (dict(table.offset_table), masters_log_end)
            self._take_reached()

    def lead(self) -> None:
        """This broker begins to deliver. What only the master's log says is delivered comes once more."""
        self._take_reached()
        if self._masters is not None:
            table, _ = self._masters
            self._masters = None
            self._take({level: min(offset, table.get(level, 0)) for level, offset in self._offsets.items()})

    def _take_reached(self) -> None:
        if self._masters is not None and self._log_end() >= self._masters[1]:
            self._take(self._masters[0])
            self._masters = None

    def _take(self, offsets: dict[int, int]) -> None:
        if offsets != self._offsets:
            self._offsets = offsets
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
        self.progress = progress
        self._file = file
        self._on_disk = on_disk
        self._off_reactor = off_reactor
        self._written_changes = 0

    def load(self) -> None:
        """Takes what was kept; StoreDamaged when a file exists but neither it nor its copy can be read."""
        kept = self._file.load(DelayOffsetSerializeWrapper.from_bytes)
        if kept is not None:
            self.progress.replace(kept)
        self._written_changes = self.progress.changes

    def save_changed(self) -> Deferred[None] | None:
        """One round of periodic work; after a failure the next round writes what is true then."""
        changes = self.progress.changes
        if changes == self._written_changes:
            return None
        content = self.progress.snapshot().to_bytes(pretty=True)
        saving = self._on_disk().addCallback(lambda _: self._off_reactor(self._file.save, content))
        return saving.addCallback(lambda _: self._written(changes))

    def _written(self, changes: int) -> None:
        self._written_changes = changes
