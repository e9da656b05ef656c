"""The tables of a broker, put together: topics, groups and consumers' offsets, each in a file of `config`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rocketmq_tx.broker.groups import SubscriptionGroupTable
from rocketmq_tx.broker.offset_file import OffsetFile
from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.broker.tables_service import TablesService
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.store.json_file import JsonFile

if TYPE_CHECKING:
    from rocketmq_tx.broker.surroundings import Surroundings


class Tables:
    """Makes them, and `service`, which loads and saves them. With `enableLmq` they know light names, too.

    `loaded` is called when `service` has loaded them.
    """

    def __init__(
        self, surroundings: Surroundings, notice: Callable[[str], None], loaded: Callable[[], object]
    ) -> None:
        settings, reactor, now_ms = surroundings.settings, surroundings.reactor, surroundings.now_ms
        self._settings = settings
        self._disk = surroundings.disk
        self._notice = notice
        broker, off = settings.broker, surroundings.off_reactor
        topic_table, group_table = TopicTable, SubscriptionGroupTable
        usual_file = self.file("consumerOffset.json")
        self.offsets = ConsumerOffsets()
        if settings.store.enable_lmq:
            # few want them
            from rocketmq_tx.broker.light_offsets import LightOffsetFile  # noqa: PLC0415
            from rocketmq_tx.broker.light_tables import LightGroupTable, LightTopicTable  # noqa: PLC0415

            topic_table, group_table = LightTopicTable, LightGroupTable
            light_file = self.file("lmqConsumerOffset.json")
            offset_file: OffsetFile = LightOffsetFile(self.offsets, light_file, usual_file, off)
        else:
            offset_file = OffsetFile(self.offsets, usual_file, off)
        self.topics = topic_table(broker, self.file("topics.json"), now_ms, reactor)
        self.groups = group_table(broker, self.file("subscriptionGroup.json"), now_ms, reactor)
        self.service = TablesService(
            self.topics,
            self.groups,
            offset_file,
            lambda: broker.flush_consumer_offset_interval,
            reactor,
            loaded,
        )

    def file(self, name: str) -> JsonFile:
        """A file of the `config` folder, for this table or another one."""
        return JsonFile(self._disk, self._settings.store.below_root("config", name), self._notice)
