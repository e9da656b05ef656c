"""Pulling messages from a queue, and finding single ones by key or place."""

from __future__ import annotations

from rocketmq_tx.protocol.header_fields import Header, header, integer, long_integer, string


@header
class PullMessageRequestHeader(Header):
    """PULL_MESSAGE: messages of a queue from `queue_offset` on.

    `sys_flag` says which of commit_offset, suspend_timeout_millis and subscription count (flags.PullSysFlag).
    """

    FAST = True

    consumer_group: str = string("consumerGroup", needed=True)
    topic: str = string("topic", needed=True)
    queue_id: int = integer("queueId", needed=True)
    queue_offset: int = long_integer("queueOffset", needed=True)
    max_msg_nums: int = integer("maxMsgNums", needed=True)
    sys_flag: int = integer("sysFlag", needed=True)
    commit_offset: int | None = long_integer("commitOffset", required=True, default=None)
    suspend_timeout_millis: int | None = long_integer("suspendTimeoutMillis", required=True, default=None)
    subscription: str | None = string("subscription", default=None)
    sub_version: int | None = long_integer("subVersion", required=True, default=None)
    expression_type: str | None = string("expressionType", default=None)
    bname: str | None = string("bname", default=None)


@header
class PullMessageResponseHeader(Header):
    """Where to pull next, from which broker of the set, and what the queue holds."""

    FAST = True

    suggest_which_broker_id: int = long_integer("suggestWhichBrokerId", needed=True)
    next_begin_offset: int = long_integer("nextBeginOffset", needed=True)
    min_offset: int = long_integer("minOffset", needed=True)
    max_offset: int = long_integer("maxOffset", needed=True)


@header
class QueryMessageRequestHeader(Header):
    """QUERY_MESSAGE: messages by key, stored between two times in milliseconds."""

    topic: str = string("topic", required=True, default="")
    key: str = string("key", required=True, default="")
    max_num: int = integer("maxNum", needed=True)
    begin_timestamp: int = long_integer("beginTimestamp", needed=True)
    end_timestamp: int = long_integer("endTimestamp", needed=True)


@header
class QueryMessageResponseHeader(Header):
    """How far the index had come: time and commit log offset of its last entry, 0 if none."""

    index_last_update_timestamp: int = long_integer("indexLastUpdateTimestamp", needed=True)
    index_last_update_phyoffset: int = long_integer("indexLastUpdatePhyoffset", needed=True)


@header
class ViewMessageRequestHeader(Header):
    """VIEW_MESSAGE_BY_ID: the record at a commit log offset."""

    offset: int = long_integer("offset", needed=True)


@header
class ViewMessageResponseHeader(Header):
    """No fields; the answer still carries an empty header."""
