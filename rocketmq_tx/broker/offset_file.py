"""Keeps the consumer offset table in its file: loaded at start, written from time to time off the reactor."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from rocketmq_tx.broker.kept_table import TableFile
from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.protocol.bodies import ConsumerOffsetSerializeWrapper
from rocketmq_tx.runtime.threads import OffReactor


class OffsetFile:
    """Writes `consumerOffset.json` when there is something new in the table.

    Offsets change with every pull, so, unlike topics, they are not written after each change: a crash may
    cost the last `flushConsumerOffsetInterval`, after which some messages are consumed a second time.
    """

    def __init__(self, offsets: ConsumerOffsets, file: TableFile, off_reactor: OffReactor) -> None:
        self._offsets = offsets
        self._file = file
        self._off_reactor = off_reactor
        self._written_changes = 0

    def load(self) -> None:
        """Takes what was kept; raises when a file exists but neither it nor its copy can be read."""
        kept = self._file.load(ConsumerOffsetSerializeWrapper.from_bytes)
        if kept is not None:
            self._offsets.merge(kept)

    def save_changed(self) -> Deferred[None] | None:
        """One round of periodic work; after a failure the next round writes the same again."""
        changes = self._offsets.changes
        if changes == self._written_changes:
            return None
        saving = self._off_reactor(self._write, self._offsets.snapshot())
        return saving.addCallback(lambda _: self._written(changes))

    def save_now(self) -> None:
        """Writes in this turn, for an orderly stop; raises StoreError."""
        changes = self._offsets.changes
        if changes != self._written_changes:
            self._write(self._offsets.snapshot())
            self._written(changes)

    def _write(self, snapshot: ConsumerOffsetSerializeWrapper) -> None:
        """Off the reactor: it gets values that nobody else changes."""
        self._file.save(snapshot.to_bytes(pretty=True))

    def _written(self, changes: int) -> None:
        self._written_changes = changes
