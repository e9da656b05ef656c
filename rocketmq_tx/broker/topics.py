"""The topic table: settings of every topic of this broker, kept in `config/topics.json`.

Facts: `spec/store.yaml` (config_json, topic_creation), `spec/processors.yaml` (BrokerRegistration for the
order flags). What a topic's settings *mean* for a send or a pull is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import attrs

from rocketmq_tx.broker.kept_table import KeptTable, TableFile
from rocketmq_tx.broker.topic_rules import inherited_topic, make_topic, topics_at_start, unit_flag
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


class TopicTable:
    """All topics by name. Every change gets a new data version, is written down, then told to observers."""

    def __init__(
        self,
        broker: BrokerConfig,
        file: TableFile,
        now_ms: Callable[[], int],
        reactor: IReactorTime | None = None,
    ) -> None:
        self._broker = broker
        self._now_ms = now_ms
        self._kept = KeptTable(file, self.to_json, reactor)
        self._topics = {topic.topic_name: topic for topic in topics_at_start(broker)}
        self.data_version = DataVersion(timestamp=now_ms(), counter=0)
        self.observers: list[Callable[[TopicChange], None]] = []

    # -- reading -------------------------------------------------------------------------------------------

    def get(self, name: str) -> TopicConfig | None:
        """Settings of a topic, or None when there is no such topic."""
        return self._topics.get(name)

    def configs(self) -> Mapping[str, TopicConfig]:
        """The whole table, for reading."""
        return self._topics

    def is_system(self, name: str) -> bool:
        """True for names that no client may create or delete."""
        return names.is_system_topic(name, self.own_system_topics())

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
        if self._topics.pop(name, None) is None:
            return False
        self._changed(TopicChange(deleted=(name,)))
        return True

    def for_send(
        self, name: str, default_topic: str | None, queues_wanted: int, unit_mode: bool
    ) -> TopicConfig | None:
        """The topic for a send, created when the rules allow it (`topic_rules.inherited_topic`)."""
        found = self._topics.get(name)
        if found is not None:
            return found
        template = self._topics.get(default_topic or "")
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
        found = self._topics.get(name)
        if found is None:
            names.check_topic(name)
            found = make_topic(name, queues, sys_flag=sys_flag)
            self.put(found)
        return found

    def set_order_topics(self, ordered: Collection[str]) -> None:
        """Marks exactly these topics as ordered, as a NameServer's ORDER_TOPIC_CONFIG says."""
        self._put_all(
            attrs.evolve(topic, order=topic.topic_name in ordered)
            for topic in list(self._topics.values())
            if topic.order != (topic.topic_name in ordered)
        )

    def touch(self) -> None:
        """A new data version without a changed topic: the broker's own permission changed."""
        self._changed(TopicChange())

    def adopt(self, masters: TopicConfigSerializeWrapper) -> bool:
        """On a slave: the master's table in place of ours, unless its data version is ours already."""
        if masters.data_version == self.data_version:
            return False
        before, self._topics = self._topics, dict(masters.topic_config_table)
        changed = tuple(topic for name, topic in self._topics.items() if before.get(name) != topic)
        deleted = tuple(name for name in before if name not in self._topics)
        self.data_version = masters.data_version
        self._kept.save()
        for observer in self.observers:
            observer(TopicChange(changed, deleted))
        return True

    def _put_all(self, configs: Iterable[TopicConfig]) -> None:
        changed = tuple(configs)
        if changed:
            self._topics.update((topic.topic_name, topic) for topic in changed)
            self._changed(TopicChange(changed))

    def _changed(self, change: TopicChange) -> None:
        self.data_version = DataVersion(timestamp=self._now_ms(), counter=self.data_version.counter + 1)
        self._kept.save()
        for observer in self.observers:
            observer(change)

    # -- the file ------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Takes what was kept; topics of the file win over those of a fresh broker."""
        kept = self._kept.load(TopicConfigSerializeWrapper.from_bytes)
        if kept is not None:
            self._topics.update(kept.topic_config_table)
            self.data_version = kept.data_version

    def save_again(self) -> None:
        """Writes the table once more if the last write failed; called from time to time."""
        self._kept.save_again()

    def save_now(self) -> None:
        """Writes the table if a change of it is not written yet; for an orderly stop."""
        self._kept.save_now()

    def snapshot(self) -> TopicConfigSerializeWrapper:
        """The table as GET_ALL_TOPIC_CONFIG answers it."""
        return TopicConfigSerializeWrapper(
            topic_config_table=dict(self._topics), data_version=self.data_version
        )

    def to_json(self) -> bytes:
        """The table as the file holds it (indented)."""
        return self.snapshot().to_bytes(pretty=True)
