"""The producers' half of a broker, put together: sends, their short cuts, and what these are known by."""

from __future__ import annotations

from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.broker.further_queues import FurtherQueues
from rocketmq_tx.broker.groups import SubscriptionGroupTable
from rocketmq_tx.broker.scanned_batches import ScannedBatches
from rocketmq_tx.broker.scanned_sends import ScannedSends
from rocketmq_tx.broker.send_answers import SendAnswers
from rocketmq_tx.broker.send_handler import SendHandler
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.protocol.send_scan import SendScanner
from rocketmq_tx.runtime.clocks import WallClock
from rocketmq_tx.store.stored_messages import StoredMessages


class SendingSide:
    """Its handlers of requests; `scanner` is for connections to tell the sends that have a short cut."""

    def __init__(
        self,
        settings: BrokerSettings,
        store: StoredMessages,
        topics: TopicTable,
        groups: SubscriptionGroupTable,
        appending: Appending,
        answers: SendAnswers,
        now_ms: WallClock,
    ) -> None:
        self.scanner = SendScanner()
        self.further_queues = FurtherQueues(
            settings.store, store, lambda topic: topics.get(topic) is not None
        )
        general = SendHandler(settings, topics, groups, appending, answers, now_ms, self.further_queues)
        self.scanned_sends = ScannedSends(settings, topics, appending, answers, general, now_ms)
        self.scanned_batches = ScannedBatches(settings, topics, appending, answers, general, now_ms)
        self.handlers = (general, self.scanned_sends, self.scanned_batches)

    def settings_changed(self) -> None:
        """What the short cuts have decided once may be wrong now."""
        self.scanned_sends.settings_changed()
        self.scanned_batches.settings_changed()
