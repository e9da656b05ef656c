"""Offsets: those that groups consumed to, and those that queues reach from and to."""

from __future__ import annotations

from rocketmq_tx.protocol.header_fields import Header, boolean, header, integer, long_integer, string


@header
class QueryConsumerOffsetRequestHeader(Header):
    """QUERY_CONSUMER_OFFSET: how far a group has consumed a queue."""

    bname: str | None = string("bname", default=None)
    consumer_group: str = string("consumerGroup", required=True, default="")
    topic: str = string("topic", required=True, default="")
    queue_id: int = integer("queueId", needed=True)


@header
class QueryConsumerOffsetResponseHeader(Header):
    """The answer to QUERY_CONSUMER_OFFSET."""

    offset: int = long_integer("offset", needed=True)


@header
class UpdateConsumerOffsetRequestHeader(Header):
    """UPDATE_CONSUMER_OFFSET: a group has consumed a queue up to `commit_offset`."""

    bname: str | None = string("bname", default=None)
    consumer_group: str = string("consumerGroup", required=True, default="")
    topic: str = string("topic", required=True, default="")
    queue_id: int = integer("queueId", needed=True)
    commit_offset: int = long_integer("commitOffset", needed=True)


@header
class UpdateConsumerOffsetResponseHeader(Header):
    """No fields; the answer still carries an empty header."""


@header
class GetMaxOffsetRequestHeader(Header):
    """GET_MAX_OFFSET: the queue offset that the next message will get."""

    bname: str | None = string("bname", default=None)
    topic: str = string("topic", required=True, default="")
    queue_id: int = integer("queueId", needed=True)


@header
class GetMaxOffsetResponseHeader(Header):
    """The answer to GET_MAX_OFFSET."""

    offset: int = long_integer("offset", needed=True)


@header
class GetMinOffsetRequestHeader(Header):
    """GET_MIN_OFFSET: the first queue offset that can be read."""

    bname: str | None = string("bname", default=None)
    topic: str = string("topic", required=True, default="")
    queue_id: int = integer("queueId", needed=True)


@header
class GetMinOffsetResponseHeader(Header):
    """The answer to GET_MIN_OFFSET."""

    offset: int = long_integer("offset", needed=True)


@header
class SearchOffsetRequestHeader(Header):
    """SEARCH_OFFSET_BY_TIMESTAMP: the queue offset nearest to a store time in milliseconds."""

    bname: str | None = string("bname", default=None)
    topic: str = string("topic", required=True, default="")
    queue_id: int = integer("queueId", needed=True)
    timestamp: int = long_integer("timestamp", needed=True)


@header
class SearchOffsetResponseHeader(Header):
    """The answer to SEARCH_OFFSET_BY_TIMESTAMP."""

    offset: int = long_integer("offset", needed=True)


@header
class GetEarliestMsgStoretimeRequestHeader(Header):
    """GET_EARLIEST_MSG_STORETIME: when the first message of a queue was stored."""

    bname: str | None = string("bname", default=None)
    topic: str = string("topic", required=True, default="")
    queue_id: int = integer("queueId", needed=True)


@header
class GetEarliestMsgStoretimeResponseHeader(Header):
    """Store time in milliseconds, -1 if the queue is empty."""

    timestamp: int = long_integer("timestamp", needed=True)


@header
class ResetOffsetRequestHeader(Header):
    """INVOKE_BROKER_TO_RESET_OFFSET and its push to clients: to a time in milliseconds, -1 = the end."""

    topic: str = string("topic", needed=True)
    group: str = string("group", required=True, default="")
    timestamp: int = long_integer("timestamp", required=True, default=0)
    is_force: bool = boolean("isForce", required=True, default=False)


@header
class CloneGroupOffsetRequestHeader(Header):
    """CLONE_GROUP_OFFSET: let a group stand where another one stands."""

    src_group: str = string("srcGroup", required=True, default="")
    dest_group: str = string("destGroup", required=True, default="")
    topic: str | None = string("topic", default=None)
    offline: bool = boolean("offline", default=False)


@header
class QueryCorrectionOffsetHeader(Header):
    """QUERY_CORRECTION_OFFSET: lowest offsets of a topic over groups; `filter_groups` is a comma list."""

    filter_groups: str | None = string("filterGroups", default=None)
    compare_group: str = string("compareGroup", required=True, default="")
    topic: str = string("topic", required=True, default="")
