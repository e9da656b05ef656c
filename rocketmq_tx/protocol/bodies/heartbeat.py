"""What clients say of themselves: producers, consumers, and what these subscribe to."""

from __future__ import annotations

import enum
from typing import Annotated

import attrs

from rocketmq_tx.protocol.bodies.fields import CLIENT_MAX_VALUES, Body, Long, Wire, body

EXPRESSION_TAG = "TAG"
EXPRESSION_SQL92 = "SQL92"


class ConsumeType(enum.Enum):
    """Does a consumer pull by itself, or does its client pull for it?"""

    CONSUME_ACTIVELY = "PULL"
    CONSUME_PASSIVELY = "PUSH"


class MessageModel(enum.Enum):
    """Does each consumer of a group get all messages, or a share?"""

    BROADCASTING = "BROADCASTING"
    CLUSTERING = "CLUSTERING"


class ConsumeFromWhere(enum.Enum):
    """Where a group without stored offsets starts; three are deprecated and mean LAST_OFFSET."""

    CONSUME_FROM_LAST_OFFSET = 0
    CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST = 1
    CONSUME_FROM_MIN_OFFSET = 2
    CONSUME_FROM_MAX_OFFSET = 3
    CONSUME_FROM_FIRST_OFFSET = 4
    CONSUME_FROM_TIMESTAMP = 5


@body
class SubscriptionData(Body):
    """What a consumer wants of a topic; `subscription.py` makes it from an expression.

    `code_set` holds the Java hash of each tag; both lists are empty for `*` and for SQL92.
    `sub_version` is a time in milliseconds: the newest version counts.
    """

    topic: str = ""
    sub_string: str = ""
    tags_set: list[str] = attrs.Factory(list)
    code_set: list[int] = attrs.Factory(list)
    sub_version: Long = 0
    expression_type: str | None = EXPRESSION_TAG
    class_filter_mode: bool = False


@body
class ProducerData(Body):
    """A producer group that a client has."""

    group_name: str = ""


@body
class ConsumerData(Body):
    """A consumer group that a client has, with its subscriptions."""

    group_name: str = ""
    consume_type: ConsumeType | None = None
    message_model: MessageModel | None = None
    consume_from_where: ConsumeFromWhere | None = None
    subscription_data_set: list[SubscriptionData] = attrs.Factory(list)
    unit_mode: bool = False


@body
class HeartbeatData(Body):
    """The groups of one client; it keeps them alive at the broker."""

    max_values = CLIENT_MAX_VALUES
    client_id: Annotated[str, Wire("clientID")] = ""
    producer_data_set: list[ProducerData] = attrs.Factory(list)
    consumer_data_set: list[ConsumerData] = attrs.Factory(list)


@body
class CheckClientRequestBody(Body):
    """A subscription that a client wants to be checked before it starts."""

    max_values = CLIENT_MAX_VALUES
    client_id: str = ""
    group: str = ""
    subscription_data: SubscriptionData | None = None
