"""Which topics a broker has from the start, and which ones a send may create: decisions about values only.

Facts: `spec/wire.yaml` (topics, system_topic_set), `spec/processors.yaml` (SendMessageProcessor.auto_create).
"""

from __future__ import annotations

from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.bodies import TopicConfig
from rocketmq_tx.protocol.flags import Perm, TopicSysFlag

READ_WRITE = int(Perm.READ | Perm.WRITE)
INHERITABLE = int(Perm.READ | Perm.WRITE | Perm.INHERIT)
BENCHMARK_TOPIC_QUEUES = 1024
CLUSTER_TOPIC_QUEUES = 16
SCHEDULE_TOPIC_QUEUES = 18
"""What Apache writes into topics.json, however many delay levels are configured."""


def make_topic(name: str, queues: int, perm: int = READ_WRITE, sys_flag: int = 0) -> TopicConfig:
    """Settings of a topic with as many read as write queues."""
    return TopicConfig(
        topic_name=name, read_queue_nums=queues, write_queue_nums=queues, perm=perm, topic_sys_flag=sys_flag
    )


def topics_at_start(broker: BrokerConfig) -> list[TopicConfig]:
    """The topics that exist on an empty broker, in the order in which Apache makes them."""
    cluster_perm = INHERITABLE if broker.cluster_topic_enable else int(Perm.INHERIT)
    broker_perm = INHERITABLE if broker.broker_topic_enable else int(Perm.INHERIT)
    topics = [make_topic(names.SELF_TEST_TOPIC, 1)]
    if broker.auto_create_topic_enable:
        topics.append(make_topic(names.AUTO_CREATE_TOPIC, broker.default_topic_queue_nums, INHERITABLE))
    topics += [
        make_topic(names.BENCHMARK_TOPIC, BENCHMARK_TOPIC_QUEUES),
        make_topic(broker.broker_cluster_name, CLUSTER_TOPIC_QUEUES, cluster_perm),
        make_topic(broker.broker_name, 1, broker_perm),
        make_topic(names.OFFSET_MOVED_TOPIC, 1),
        make_topic(names.SCHEDULE_TOPIC, SCHEDULE_TOPIC_QUEUES),
    ]
    if broker.trace_topic_enable:
        topics.append(make_topic(broker.msg_trace_topic_name, 1))
    topics.append(make_topic(names.reply_topic(broker.broker_cluster_name), 1))
    return topics


def inherited_topic(
    name: str, template: TopicConfig | None, queues_wanted: int, unit_mode: bool, auto_create: bool
) -> TopicConfig | None:
    """The topic that a send to an unknown name creates, or None when it must not.

    `template` is the topic named by the request's `defaultTopic`. `auto_create` is
    `autoCreateTopicEnable`: when off, TBW102 is no template (and is left as it is).
    """
    if template is None or not template.perm & Perm.INHERIT:
        return None
    if template.topic_name == names.AUTO_CREATE_TOPIC and not auto_create:
        return None
    queues = max(0, min(queues_wanted, template.write_queue_nums))
    return TopicConfig(
        topic_name=name,
        read_queue_nums=queues,
        write_queue_nums=queues,
        perm=template.perm & ~int(Perm.INHERIT),
        topic_filter_type=template.topic_filter_type,
        topic_sys_flag=unit_flag(name, unit_mode),
    )


def unit_flag(name: str, unit_mode: bool) -> int:
    """The system flag of a topic created on behalf of a client in (or not in) unit mode."""
    if not unit_mode:
        return 0
    is_retry = name.startswith(names.RETRY_PREFIX)
    return int(TopicSysFlag.UNIT_SUB if is_retry else TopicSysFlag.UNIT)
