"""Filter servers, which 4.9.7 does not have any more; nobody serves these."""

from __future__ import annotations

from rocketmq_tx.protocol.header_fields import Header, header, integer, long_integer, string


@header
class RegisterFilterServerRequestHeader(Header):
    """REGISTER_FILTER_SERVER."""

    filter_server_addr: str = string("filterServerAddr", required=True, default="")


@header
class RegisterFilterServerResponseHeader(Header):
    """Which broker a filter server belongs to."""

    broker_name: str = string("brokerName", required=True, default="")
    broker_id: int = long_integer("brokerId", required=True, default=0)


@header
class RegisterMessageFilterClassRequestHeader(Header):
    """REGISTER_MESSAGE_FILTER_CLASS: a Java class as a filter; its source is the body."""

    consumer_group: str = string("consumerGroup", required=True, default="")
    topic: str = string("topic", required=True, default="")
    class_name: str = string("className", required=True, default="")
    class_crc: int | None = integer("classCRC", required=True, default=None)
