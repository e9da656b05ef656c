"""Topics and groups of light queues (`enableLmq`): named %LMQ%..., many, and never written down.

Such a topic has one queue, which may be read and written; such a group has the settings that every group
begins with. Facts: Apache's LmqTopicConfigManager, LmqSubscriptionGroupManager.
"""

from __future__ import annotations

from rocketmq_tx.broker.groups import SubscriptionGroupTable
from rocketmq_tx.broker.topic_rules import make_topic
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.bodies import SubscriptionGroupConfig, TopicConfig


class LightTopicTable(TopicTable):
    """Knows every light topic; settings made for one are not kept, as with Apache."""

    def get(self, name: str) -> TopicConfig | None:
        return make_topic(name, 1) if names.is_light(name) else super().get(name)

    def put(self, config: TopicConfig) -> None:
        if not names.is_light(config.topic_name):
            super().put(config)

    def for_send(
        self, name: str, default_topic: str | None, queues_wanted: int, unit_mode: bool
    ) -> TopicConfig | None:
        if names.is_light(name):
            return self.get(name)
        return super().for_send(name, default_topic, queues_wanted, unit_mode)


class LightGroupTable(SubscriptionGroupTable):
    """Knows every light group; settings made for one are not kept, as with Apache."""

    def get(self, name: str) -> SubscriptionGroupConfig | None:
        return SubscriptionGroupConfig(group_name=name) if names.is_light(name) else super().get(name)

    def find(self, group: str) -> SubscriptionGroupConfig | None:
        return self.get(group) if names.is_light(group) else super().find(group)

    def put(self, config: SubscriptionGroupConfig) -> None:
        if not names.is_light(config.group_name):
            super().put(config)
