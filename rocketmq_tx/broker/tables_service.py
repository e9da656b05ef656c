"""The tables' life within the broker: loaded before anybody can connect, written when it stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed

from rocketmq_tx.broker.groups import SubscriptionGroupTable
from rocketmq_tx.broker.offset_file import OffsetFile
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.runtime.periodic import Periodic

SAVE_AGAIN_S = 10.0


class TablesService(Service):
    """Topics and groups write themselves down; here they get a second chance, and offsets their period.

    `loaded` is called at the start, when they are loaded.
    """

    def __init__(
        self,
        topics: TopicTable,
        groups: SubscriptionGroupTable,
        offset_file: OffsetFile,
        offsets_interval_ms: Callable[[], int],
        reactor: Any,
        loaded: Callable[[], object],
    ) -> None:
        self.setName("tables")
        self._loaded = loaded
        self._topics = topics
        self._groups = groups
        self._offset_file = offset_file
        self._again = Periodic(reactor, SAVE_AGAIN_S, self._save_again, "tables not written before")
        self._offsets = Periodic(
            reactor, lambda: offsets_interval_ms() / 1000, offset_file.save_changed, "consumer offsets"
        )

    def startService(self) -> None:
        """Raises StoreDamaged when a file exists and neither it nor its copy can be read."""
        super().startService()
        self._topics.load()
        self._groups.load()
        self._offset_file.load()
        self._loaded()
        self._again.startService()
        self._offsets.startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if not self._offsets.running:
            return succeed(None)
        self._again.stopService()
        saved = self._offsets.stopService() or succeed(None)
        return saved.addCallback(lambda _: self._save_all())

    def save_offsets(self) -> None:
        """Writes the consumers' offsets in this turn; StoreError."""
        self._offset_file.save_now()

    def _save_again(self) -> None:
        self._topics.save_again()
        self._groups.save_again()

    def _save_all(self) -> None:
        self._topics.save_now()
        self._groups.save_now()
        self._offset_file.save_now()
