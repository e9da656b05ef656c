"""What operators ask of a broker: topics, groups, configuration, statistics."""

from __future__ import annotations

from rocketmq_tx.protocol.header_fields import Header, boolean, header, integer, long_integer, string


@header
class CreateTopicRequestHeader(Header):
    """UPDATE_AND_CREATE_TOPIC; `default_topic` and `order` are sent, but mean nothing to a broker."""

    topic: str = string("topic", required=True, default="")
    default_topic: str = string("defaultTopic", required=True, default="")
    read_queue_nums: int = integer("readQueueNums", needed=True)
    write_queue_nums: int = integer("writeQueueNums", needed=True)
    perm: int = integer("perm", needed=True)
    topic_filter_type: str = string("topicFilterType", needed=True, allowed=("SINGLE_TAG", "MULTI_TAG"))
    topic_sys_flag: int | None = integer("topicSysFlag", default=None)
    order: bool = boolean("order", required=True, default=False)


@header
class DeleteTopicRequestHeader(Header):
    """DELETE_TOPIC_IN_BROKER."""

    topic: str = string("topic", required=True, default="")


@header
class DeleteSubscriptionGroupRequestHeader(Header):
    """DELETE_SUBSCRIPTIONGROUP, with its offsets if wanted."""

    group_name: str = string("groupName", needed=True)
    remove_offset: bool = boolean("removeOffset", default=False)


@header
class GetAllTopicConfigRequestHeader(Header):
    """Apache's has no fields."""

    follows: bool = boolean("follows")
    """Says a slave of this project: whoever asks is one."""


@header
class GetAllTopicConfigResponseHeader(Header):
    """No fields; the answer still carries an empty header."""


@header
class GetBrokerConfigResponseHeader(Header):
    """The data version of a broker's configuration, as JSON."""

    version: str = string("version", required=True, default="")


@header
class GetTopicStatsInfoRequestHeader(Header):
    """GET_TOPIC_STATS_INFO: offsets and last store time of each write queue."""

    topic: str = string("topic", needed=True)


@header
class GetConsumeStatsRequestHeader(Header):
    """GET_CONSUME_STATS: progress of a group; a blank topic means all of its topics."""

    consumer_group: str = string("consumerGroup", required=True, default="")
    topic: str | None = string("topic", default=None)


@header
class GetConsumeStatsInBrokerHeader(Header):
    """GET_BROKER_CONSUME_STATS: progress of all groups, of ordered topics only if wanted."""

    is_order: bool = boolean("isOrder", required=True, default=False)


@header
class QueryConsumeQueueRequestHeader(Header):
    """QUERY_CONSUME_QUEUE: entries of a consume queue, `count` of them from `index` on."""

    topic: str | None = string("topic", default=None)
    queue_id: int = integer("queueId", default=0)
    index: int = long_integer("index", default=0)
    count: int = integer("count", default=0)
    consumer_group: str | None = string("consumerGroup", default=None)


@header
class QueryConsumeTimeSpanRequestHeader(Header):
    """QUERY_CONSUME_TIME_SPAN: times between which a group has to catch up, per queue."""

    topic: str = string("topic", needed=True)
    group: str = string("group", required=True, default="")


@header
class QueryTopicConsumeByWhoRequestHeader(Header):
    """QUERY_TOPIC_CONSUME_BY_WHO: groups that consume a topic."""

    topic: str = string("topic", required=True, default="")


@header
class ViewBrokerStatsDataRequestHeader(Header):
    """VIEW_BROKER_STATS_DATA: one counter over a minute, an hour and a day.

    The name is such as TOPIC_PUT_NUMS, the key a topic or topic@group.
    """

    stats_name: str = string("statsName", needed=True)
    stats_key: str = string("statsKey", needed=True)
