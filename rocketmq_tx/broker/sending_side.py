"""The producers' half of a broker, put together: sends, their short cuts, and what these are known by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocketmq_tx.broker.further_queues import FurtherQueues
from rocketmq_tx.broker.scanned_batches import ScannedBatches
from rocketmq_tx.broker.scanned_sends import ScannedSends
from rocketmq_tx.broker.send_handler import SendHandler
from rocketmq_tx.protocol.send_scan import SendScanner

if TYPE_CHECKING:
    from rocketmq_tx.broker.send_answers import SendAnswers
    from rocketmq_tx.broker.storage_side import StorageSide
    from rocketmq_tx.broker.surroundings import Surroundings
    from rocketmq_tx.broker.tables import Tables


class SendingSide:
    """Its handlers of requests; `scanner` is for connections to tell the sends that have a short cut."""

    def __init__(
        self, surroundings: Surroundings, storage: StorageSide, tables: Tables, answers: SendAnswers
    ) -> None:
        settings, now_ms = surroundings.settings, surroundings.now_ms
        topics, appending = tables.topics, storage.appending
        self.scanner = SendScanner()
        self.further_queues = FurtherQueues(
            settings.store, storage.store, lambda topic: topics.get(topic) is not None
        )
        general = SendHandler(
            settings, topics, tables.groups, appending, answers, now_ms, self.further_queues
        )
        self.scanned_sends = ScannedSends(settings, topics, appending, answers, general, now_ms)
        self.scanned_batches = ScannedBatches(settings, topics, appending, answers, general, now_ms)
        self.handlers = (general, self.scanned_sends, self.scanned_batches)

    def settings_changed(self) -> None:
        """What the short cuts have decided once may be wrong now."""
        self.scanned_sends.settings_changed()
        self.scanned_batches.settings_changed()
