"""Groups: subscription group configuration (subscriptionGroup.json), and who is connected for a group."""

from __future__ import annotations

from typing import Annotated

import attrs

from rocketmq_tx.protocol.bodies.fields import CLIENT_MAX_VALUES, Body, Int, Long, Wire, body
from rocketmq_tx.protocol.bodies.heartbeat import (
    ConsumeFromWhere,
    ConsumeType,
    MessageModel,
    SubscriptionData,
)
from rocketmq_tx.protocol.bodies.queue import DataVersion
from rocketmq_tx.protocol.codes import LanguageCode


@body
class SubscriptionGroupConfig(Body):
    """One consumer group of a broker."""

    max_values = CLIENT_MAX_VALUES
    group_name: str = ""
    consume_enable: bool = True
    consume_from_min_enable: bool = True
    consume_broadcast_enable: bool = True
    retry_queue_nums: Int = 1
    retry_max_times: Int = 16
    broker_id: Long = 0
    which_broker_when_consume_slowly: Long = 1
    notify_consumer_ids_changed_enable: bool = True


@body
class SubscriptionGroupWrapper(Body):
    """All consumer groups of a broker with the table's version: subscriptionGroup.json (pretty)."""

    subscription_group_table: dict[str, SubscriptionGroupConfig] = attrs.Factory(dict)
    data_version: DataVersion = attrs.Factory(DataVersion)


@body
class GroupList(Body):
    """Names of groups."""

    group_list: list[str] = attrs.Factory(list)


@body
class GetConsumerListByGroupResponseBody(Body):
    """The client ids of a group's consumers."""

    consumer_id_list: list[str] = attrs.Factory(list)


@body
class Connection(Body):
    """One client as its broker sees it; `client_addr` is `ip:port`."""

    client_id: str = ""
    client_addr: str = ""
    language: LanguageCode | None = None
    version: Int = 0


@body
class ConsumerConnection(Body):
    """The consumers of a group, and how they consume."""

    connection_set: list[Connection] = attrs.Factory(list)
    subscription_table: dict[str, SubscriptionData] = attrs.Factory(dict)
    consume_type: ConsumeType | None = None
    message_model: MessageModel | None = None
    consume_from_where: ConsumeFromWhere | None = None


@body
class ProducerConnection(Body):
    """The producers of a group."""

    connection_set: list[Connection] = attrs.Factory(list)


@body
class ProducerInfo(Body):
    """One producer; `remote_ip` is `/ip:port`, with Java's leading slash."""

    client_id: str = ""
    remote_ip: Annotated[str, Wire("remoteIP")] = ""
    language: LanguageCode | None = None
    version: Int = 0
    last_update_timestamp: Long = 0


@body
class ProducerTableInfo(Body):
    """All producers of a broker by group."""

    data: dict[str, list[ProducerInfo]] = attrs.Factory(dict)
