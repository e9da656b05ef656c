"""Producers and consumers as the broker knows them, and what it passes on to them."""

from __future__ import annotations

from rocketmq_tx.protocol.header_fields import Header, boolean, header, string


@header
class UnregisterClientRequestHeader(Header):
    """UNREGISTER_CLIENT: this connection leaves the groups named."""

    client_id: str = string("clientID", required=True, default="")
    producer_group: str | None = string("producerGroup", default=None)
    consumer_group: str | None = string("consumerGroup", default=None)


@header
class UnregisterClientResponseHeader(Header):
    """No fields; the answer still carries an empty header."""


@header
class GetConsumerListByGroupRequestHeader(Header):
    """GET_CONSUMER_LIST_BY_GROUP: client ids of a group."""

    consumer_group: str = string("consumerGroup", needed=True)


@header
class GetConsumerListByGroupResponseHeader(Header):
    """No fields; the answer still carries an empty header."""


@header
class NotifyConsumerIdsChangedRequestHeader(Header):
    """NOTIFY_CONSUMER_IDS_CHANGED: the broker tells a group's consumers that it changed."""

    consumer_group: str = string("consumerGroup", required=True, default="")


@header
class GetConsumerConnectionListRequestHeader(Header):
    """GET_CONSUMER_CONNECTION_LIST: connections and subscriptions of a group."""

    consumer_group: str = string("consumerGroup", needed=True)


@header
class GetProducerConnectionListRequestHeader(Header):
    """GET_PRODUCER_CONNECTION_LIST: connections of a producer group."""

    producer_group: str = string("producerGroup", needed=True)


@header
class GetAllProducerInfoRequestHeader(Header):
    """GET_ALL_PRODUCER_INFO: all producer groups and their connections."""


@header
class GetConsumerRunningInfoRequestHeader(Header):
    """GET_CONSUMER_RUNNING_INFO: what one consumer is doing, with a thread dump if wanted."""

    consumer_group: str = string("consumerGroup", needed=True)
    client_id: str = string("clientId", required=True, default="")
    jstack_enable: bool = boolean("jstackEnable", default=False)


@header
class GetConsumerStatusRequestHeader(Header):
    """GET_CONSUMER_STATUS_FROM_CLIENT and its request to the broker.

    `client_addr` is a client id despite its name; blank = every client.
    """

    topic: str = string("topic", needed=True)
    group: str = string("group", needed=True)
    client_addr: str | None = string("clientAddr", default=None)


@header
class ConsumeMessageDirectlyResultRequestHeader(Header):
    """CONSUME_MESSAGE_DIRECTLY: let one client consume one message; the broker adds its name."""

    consumer_group: str = string("consumerGroup", needed=True)
    client_id: str | None = string("clientId", default=None)
    msg_id: str | None = string("msgId", default=None)
    broker_name: str | None = string("brokerName", default=None)
