"""The topic table: settings of every topic of this broker, kept in `config/topics.json`.

Facts: `spec/store.yaml` (config_json, topic_creation), `spec/processors.yaml` (BrokerRegistration for the
order flags). What a topic's settings *mean* for a send or a pull is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

import attrs

from rocketmq_tx.broker.kept_table import TableFile
from rocketmq_tx.broker.topic_rules import inherited_topic, make_topic, topics_at_start, unit_flag
from rocketmq_tx.broker.versioned_table import VersionedTable
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.bodies import DataVersion, TopicConfig, TopicConfigSerializeWrapper

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


@attrs.frozen
class TopicChange:
    """What happened to the table: topics made or replaced, and names that went."""

    changed: tuple[TopicConfig, ...] = ()
    deleted: tuple[str, ...] = ()


class TopicTable(VersionedTable[TopicConfig]):
    """All topics by name. Every change gets a new data version, is written down, then told to observers."""

    def __init__(
        self,
        broker: BrokerConfig,
        file: TableFile,
        now_ms: Callable[[], int],
        reactor: IReactorTime | None = None,
    ) -> None:
        at_start = {topic.topic_name: topic for topic in topics_at_start(broker)}
        super().__init__(at_start, file, now_ms, reactor)
        self._broker = broker
        self.observers: list[Callable[[TopicChange], None]] = []

    # -- reading -------------------------------------------------------------------------------------------

    def own_system_topics(self) -> tuple[str, ...]:
        """System topics whose names come from this broker's settings."""
        broker = self._broker
        return (
            broker.broker_cluster_name,
            broker.broker_name,
            names.reply_topic(broker.broker_cluster_name),
            *([broker.msg_trace_topic_name] if broker.trace_topic_enable else ()),
        )

    # -- changing ------------------------------------------------------------------------------------------

    def put(self, config: TopicConfig) -> None:
        """Makes a topic, or replaces its settings."""
        self._put_all([config])

    def delete(self, name: str) -> bool:
        """Forgets a topic; False when there was none. Its queues and offsets go with the observers."""
        if self._table.pop(name, None) is None:
            return False
        self._changed(TopicChange(deleted=(name,)))
        return True

    def for_send(
        self, name: str, default_topic: str | None, queues_wanted: int, unit_mode: bool
    ) -> TopicConfig | None:
        """The topic for a send, created when the rules allow it (`topic_rules.inherited_topic`)."""
        found = self._table.get(name)
        if found is not None:
            return found
        template = self._table.get(default_topic or "")
        auto_create = self._broker.auto_create_topic_enable
        created = inherited_topic(name, template, queues_wanted, unit_mode, auto_create)
        if created is None and name.startswith(names.RETRY_PREFIX):
            created = make_topic(name, 1, sys_flag=unit_flag(name, unit_mode))
        if created is not None:
            self.put(created)
        return created

    def ensure(self, name: str, queues: int, *, sys_flag: int = 0) -> TopicConfig:
        """The topic, made readable and writable with `queues` queues when it is missing.

        For topics that the broker needs itself: `%RETRY%group`, `%DLQ%group`, the half topic. A group may
        have any name, a topic becomes a folder: raises RequestRefused for what is no topic name.
        """
        found = self._table.get(name)
        if found is None:
            names.check_topic(name)
            found = make_topic(name, queues, sys_flag=sys_flag)
            self.put(found)
        return found

    def set_order_topics(self, ordered: Collection[str]) -> None:
        """Marks exactly these topics as ordered, as a NameServer's ORDER_TOPIC_CONFIG says."""
        self._put_all(
            attrs.evolve(topic, order=topic.topic_name in ordered)
            for topic in list(self._table.values())
            if topic.order != (topic.topic_name in ordered)
        )

    def touch(self) -> None:
        """A new data version without a changed topic: the broker's own permission changed."""
        self._changed(TopicChange())

    def adopt(self, masters: TopicConfigSerializeWrapper) -> bool:
        """On a slave: the master's table in place of ours, unless its data version is ours already."""
        if masters.data_version == self.data_version:
            return False
        before = self._table
        self._replace(masters.topic_config_table, masters.data_version)
        changed = tuple(topic for name, topic in self._table.items() if before.get(name) != topic)
        deleted = tuple(name for name in before if name not in self._table)
        for observer in self.observers:
            observer(TopicChange(changed, deleted))
        return True

    def _put_all(self, configs: Iterable[TopicConfig]) -> None:
        changed = tuple(configs)
        if changed:
            self._table.update((topic.topic_name, topic) for topic in changed)
            self._changed(TopicChange(changed))

    def _changed(self, change: TopicChange) -> None:
        self._new_version()
        for observer in self.observers:
            observer(change)

    def snapshot(self) -> TopicConfigSerializeWrapper:
        """The table as GET_ALL_TOPIC_CONFIG answers it."""
        return TopicConfigSerializeWrapper(
            topic_config_table=dict(self._table), data_version=self.data_version
        )

    def read(self, data: bytes) -> tuple[dict[str, TopicConfig], DataVersion]:
        kept = TopicConfigSerializeWrapper.from_bytes(data)
        return kept.topic_config_table, kept.data_version
