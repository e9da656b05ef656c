"""What a broker tells NameServers about itself, as frames: pure.

Facts: `spec/processors.yaml` (BrokerRegistration), `spec/bodies.yaml` (RegisterBrokerBody),
`spec/headers.yaml` (RegisterBroker..., UnRegisterBroker..., QueryDataVersion...).
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.protocol.bodies import (
    DataVersion,
    RegisterBrokerBody,
    TopicConfig,
    TopicConfigSerializeWrapper,
)
from rocketmq_tx.protocol.codes import RequestCode, SerializeType
from rocketmq_tx.protocol.flags import Perm
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    QueryDataVersionRequestHeader,
    RegisterBrokerRequestHeader,
    UnRegisterBrokerRequestHeader,
)
from rocketmq_tx.protocol.java import crc32

BOTH = Perm.READ | Perm.WRITE


@attrs.define
class BrokerIdentity:
    """Where this broker can be reached, as NameServers pass it on."""

    broker: BrokerConfig
    address: str
    """`brokerIP1:listenPort`, for clients."""
    ha_server_address: str
    """`brokerIP2:haListenPort`, for slaves; the port is known when it is open."""
    serialize: SerializeType = SerializeType.JSON
    """How the headers of our requests are written."""
    epoch: int = 0
    """The newest one that this broker knows of; 0 is not told."""


def register_frame(identity: BrokerIdentity, topics: TopicTable, names: Iterable[str] | None = None) -> Frame:
    """REGISTER_BROKER with all topics, or with only those of `names` that (still) exist.

    A broker without read or write permission gives its own permission to every topic.
    """
    broker = identity.broker
    table = topics.configs()
    chosen = table.values() if names is None else [table[name] for name in names if name in table]
    body = RegisterBrokerBody(
        filter_server_list=[],
        topic_config_serialize_wrapper=TopicConfigSerializeWrapper(
            topic_config_table={topic.topic_name: restricted(topic, broker) for topic in chosen},
            data_version=topics.data_version,
        ),
    )
    data = body.to_compressed() if broker.compressed_register else body.to_bytes()
    header = RegisterBrokerRequestHeader(
        broker_name=broker.broker_name,
        broker_addr=identity.address,
        cluster_name=broker.broker_cluster_name,
        ha_server_addr=identity.ha_server_address,
        broker_id=broker.broker_id,
        compressed=broker.compressed_register,
        body_crc32=crc32(data),
        epoch=identity.epoch or None,
    )
    return Frame.request(RequestCode.REGISTER_BROKER, header, data, serialize=identity.serialize)


def restricted(topic: TopicConfig, broker: BrokerConfig) -> TopicConfig:
    """The topic as clients may use it while the broker lacks a permission."""
    if broker.broker_permission & BOTH == BOTH:
        return topic
    return attrs.evolve(topic, perm=broker.broker_permission)


def unregister_frame(identity: BrokerIdentity) -> Frame:
    """UNREGISTER_BROKER for this broker."""
    broker = identity.broker
    header = UnRegisterBrokerRequestHeader(
        broker_name=broker.broker_name,
        broker_addr=identity.address,
        cluster_name=broker.broker_cluster_name,
        broker_id=broker.broker_id,
    )
    return Frame.request(RequestCode.UNREGISTER_BROKER, header, serialize=identity.serialize)


def query_version_frame(identity: BrokerIdentity, version: DataVersion) -> Frame:
    """QUERY_DATA_VERSION: is this version of our topics known? It counts as a sign of life."""
    broker = identity.broker
    header = QueryDataVersionRequestHeader(
        broker_name=broker.broker_name,
        broker_addr=identity.address,
        cluster_name=broker.broker_cluster_name,
        broker_id=broker.broker_id,
    )
    return Frame.request(
        RequestCode.QUERY_DATA_VERSION, header, version.to_bytes(), serialize=identity.serialize
    )
