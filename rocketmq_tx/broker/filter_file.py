"""Keeps the table of SQL92 filters in its file: loaded at start, written when something changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from rocketmq_tx.errors import StoreDamaged, StoreError
from rocketmq_tx.protocol.bodies import ConsumerFilterTable
from rocketmq_tx.runtime.periodic import Periodic

if TYPE_CHECKING:
    from rocketmq_tx.broker.filter_table import GroupFilters
    from rocketmq_tx.broker.kept_table import TableFile
    from rocketmq_tx.runtime.threads import OffReactor

SAVE_INTERVAL_S = 10.0


class FilterFile(Service):
    """Writes `consumerFilter.json` off the reactor, every ten seconds at most, and once more at the stop."""

    log = Logger()

    def __init__(self, filters: GroupFilters, file: TableFile, off_reactor: OffReactor, reactor: Any) -> None:
        self.setName("consumer filters")
        self._filters = filters
        self._file = file
        self._off_reactor = off_reactor
        self._written_changes = 0
        self._periodic = Periodic(reactor, SAVE_INTERVAL_S, self.save_changed, "consumer filters")

    def startService(self) -> None:
        """A file that cannot be read costs nothing but the wait for the next heartbeats."""
        super().startService()
        try:
            kept = self._file.load(ConsumerFilterTable.from_bytes)
        except StoreDamaged as error:
            self.log.warn("consumer filters begin anew: {error}", error=error)
        else:
            if kept is not None:
                self._filters.merge(kept)
        self._periodic.startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        stopped = self._periodic.stopService() or succeed(None)
        return stopped.addCallback(lambda _: self._save_now())

    def save_changed(self) -> Deferred[None] | None:
        """One round; after a failure the next one writes the same again."""
        self._filters.drop_expired()
        changes = self._filters.changes
        if changes == self._written_changes:
            return None
        saving = self._off_reactor(self._write, self._filters.snapshot())
        return saving.addCallback(lambda _: self._written(changes))

    def _save_now(self) -> None:
        if self._filters.changes != self._written_changes:
            try:
                self._write(self._filters.snapshot())
            except StoreError as error:
                self.log.error("consumer filters not written: {error}", error=error)

    def _write(self, snapshot: ConsumerFilterTable) -> None:
        self._file.save(snapshot.to_bytes(pretty=True))

    def _written(self, changes: int) -> None:
        self._written_changes = changes
