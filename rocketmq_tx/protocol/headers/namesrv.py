"""What brokers, clients and operators ask of a NameServer."""

from __future__ import annotations

from rocketmq_tx.protocol.header_fields import Header, boolean, header, integer, long_integer, string


@header
class RegisterBrokerRequestHeader(Header):
    """REGISTER_BROKER; `body_crc32` 0 = unchecked, `ha_server_addr` is where slaves connect."""

    broker_name: str = string("brokerName", required=True, default="")
    broker_addr: str = string("brokerAddr", required=True, default="")
    cluster_name: str = string("clusterName", required=True, default="")
    ha_server_addr: str = string("haServerAddr", required=True, default="")
    broker_id: int = long_integer("brokerId", needed=True)
    compressed: bool = boolean("compressed", default=False)
    body_crc32: int = integer("bodyCrc32", default=0)
    epoch: int | None = long_integer("brokerEpoch", default=None)
    """Ours, which Apache's NameServer passes over; missing unless fail-over was ever used."""


@header
class RegisterBrokerResponseHeader(Header):
    """Told to slaves only: where their master serves clients and where it replicates.

    And by us to a master of whose name there is one of a newer epoch.
    """

    ha_server_addr: str | None = string("haServerAddr", default=None)
    master_addr: str | None = string("masterAddr", default=None)


@header
class UnRegisterBrokerRequestHeader(Header):
    """UNREGISTER_BROKER."""

    broker_name: str = string("brokerName", required=True, default="")
    broker_addr: str = string("brokerAddr", required=True, default="")
    cluster_name: str = string("clusterName", required=True, default="")
    broker_id: int = long_integer("brokerId", needed=True)


@header
class QueryDataVersionRequestHeader(Header):
    """QUERY_DATA_VERSION: does the NameServer know the broker's topics as they are?"""

    broker_name: str = string("brokerName", required=True, default="")
    broker_addr: str = string("brokerAddr", required=True, default="")
    cluster_name: str = string("clusterName", required=True, default="")
    broker_id: int | None = long_integer("brokerId", required=True, default=None)


@header
class QueryDataVersionResponseHeader(Header):
    """The answer to QUERY_DATA_VERSION."""

    changed: bool = boolean("changed", required=True, default=False)


@header
class GetRouteInfoRequestHeader(Header):
    """GET_ROUTEINFO_BY_TOPIC; `accept_standard_json_only` asks for quoted keys."""

    topic: str | None = string("topic", required=True, default=None)
    accept_standard_json_only: bool | None = boolean("acceptStandardJsonOnly", default=None)


@header
class GetTopicsByClusterRequestHeader(Header):
    """GET_TOPICS_BY_CLUSTER."""

    cluster: str = string("cluster", required=True, default="")


@header
class DeleteTopicFromNamesrvRequestHeader(Header):
    """DELETE_TOPIC_IN_NAMESRV; without a cluster the topic goes everywhere."""

    topic: str = string("topic", required=True, default="")
    cluster_name: str | None = string("clusterName", default=None)


@header
class WipeWritePermOfBrokerRequestHeader(Header):
    """WIPE_WRITE_PERM_OF_BROKER: no more sends to a broker's queues."""

    broker_name: str = string("brokerName", required=True, default="")


@header
class WipeWritePermOfBrokerResponseHeader(Header):
    """The answer to WIPE_WRITE_PERM_OF_BROKER: how many topics it touched."""

    wipe_topic_count: int = integer("wipeTopicCount", needed=True)


@header
class AddWritePermOfBrokerRequestHeader(Header):
    """ADD_WRITE_PERM_OF_BROKER: sends to a broker's queues again."""

    broker_name: str = string("brokerName", required=True, default="")


@header
class AddWritePermOfBrokerResponseHeader(Header):
    """The answer to ADD_WRITE_PERM_OF_BROKER: how many topics it touched."""

    add_topic_count: int = integer("addTopicCount", needed=True)


@header
class PutKVConfigRequestHeader(Header):
    """PUT_KV_CONFIG; a null namespace or key is refused by its handler, a null value is kept."""

    namespace: str | None = string("namespace", required=True, default=None)
    key: str | None = string("key", required=True, default=None)
    value: str | None = string("value", required=True, default=None)


@header
class GetKVConfigRequestHeader(Header):
    """GET_KV_CONFIG."""

    namespace: str = string("namespace", required=True, default="")
    key: str = string("key", required=True, default="")


@header
class GetKVConfigResponseHeader(Header):
    """The answer to GET_KV_CONFIG."""

    value: str | None = string("value", default=None)


@header
class DeleteKVConfigRequestHeader(Header):
    """DELETE_KV_CONFIG."""

    namespace: str = string("namespace", required=True, default="")
    key: str = string("key", required=True, default="")


@header
class GetKVListByNamespaceRequestHeader(Header):
    """GET_KVLIST_BY_NAMESPACE."""

    namespace: str = string("namespace", required=True, default="")


@header
class RegisterOrderTopicRequestHeader(Header):
    """Declared by Apache, used by no command: `order_topic_string` is broker:count;..."""

    topic: str = string("topic", required=True, default="")
    order_topic_string: str = string("orderTopicString", required=True, default="")
