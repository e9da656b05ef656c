"""Sending: the message itself, handing it back for a retry, and replies on their way to a requester."""

from __future__ import annotations

from rocketmq_tx.protocol.header_fields import Header, boolean, header, integer, long_integer, string


@header
class SendMessageRequestHeader(Header):
    """SEND_MESSAGE and SEND_REPLY_MESSAGE: where a message goes and what belongs to it besides its body.

    `queue_id` below 0 lets the broker choose; `properties` is the property string; `default_topic` is the
    template if the topic has to be created; times in milliseconds.
    """

    bname: str | None = string("bname", default=None)
    producer_group: str = string("producerGroup", required=True, default="")
    topic: str = string("topic", required=True, default="")
    default_topic: str = string("defaultTopic", required=True, default="")
    default_topic_queue_nums: int | None = integer("defaultTopicQueueNums", required=True, default=None)
    queue_id: int = integer("queueId", needed=True)
    sys_flag: int = integer("sysFlag", needed=True)
    born_timestamp: int = long_integer("bornTimestamp", needed=True)
    flag: int = integer("flag", needed=True)
    properties: str | None = string("properties", default=None)
    reconsume_times: int | None = integer("reconsumeTimes", default=None)
    unit_mode: bool = boolean("unitMode", default=False)
    batch: bool = boolean("batch", default=False)
    max_reconsume_times: int | None = integer("maxReconsumeTimes", default=None)


@header
class SendMessageRequestHeaderV2(SendMessageRequestHeader):
    """The same fields under one letter each: SEND_MESSAGE_V2, SEND_BATCH_MESSAGE, SEND_REPLY_MESSAGE_V2."""

    FAST = True
    KEYS = {
        "a": "producer_group",
        "b": "topic",
        "c": "default_topic",
        "d": "default_topic_queue_nums",
        "e": "queue_id",
        "f": "sys_flag",
        "g": "born_timestamp",
        "h": "flag",
        "i": "properties",
        "j": "reconsume_times",
        "k": "unit_mode",
        "l": "max_reconsume_times",
        "m": "batch",
        "n": "bname",
    }


@header
class SendMessageResponseHeader(Header):
    """Where a message was stored; ids of a batch are joined by commas, the offset is its first one's."""

    FAST = True

    msg_id: str = string("msgId", required=True, default="")
    queue_id: int = integer("queueId", needed=True)
    queue_offset: int = long_integer("queueOffset", needed=True)
    transaction_id: str | None = string("transactionId", default=None)


@header
class ConsumerSendMsgBackRequestHeader(Header):
    """CONSUMER_SEND_MSG_BACK: hand a message back for a retry.

    `offset` is its place in the commit log; `delay_level` 0 lets the broker choose, below 0 means the
    dead-letter queue.
    """

    bname: str | None = string("bname", default=None)
    offset: int = long_integer("offset", needed=True)
    group: str = string("group", needed=True)
    delay_level: int = integer("delayLevel", needed=True)
    origin_msg_id: str | None = string("originMsgId", default=None)
    origin_topic: str | None = string("originTopic", default=None)
    unit_mode: bool = boolean("unitMode", default=False)
    max_reconsume_times: int | None = integer("maxReconsumeTimes", default=None)


@header
class ReplyMessageRequestHeader(Header):
    """PUSH_REPLY_MESSAGE_TO_CLIENT: a reply for the client that waits for it; hosts as ip:port."""

    producer_group: str = string("producerGroup", required=True, default="")
    topic: str = string("topic", required=True, default="")
    default_topic: str = string("defaultTopic", required=True, default="")
    default_topic_queue_nums: int | None = integer("defaultTopicQueueNums", required=True, default=None)
    queue_id: int | None = integer("queueId", required=True, default=None)
    sys_flag: int | None = integer("sysFlag", required=True, default=None)
    born_timestamp: int | None = long_integer("bornTimestamp", required=True, default=None)
    flag: int | None = integer("flag", required=True, default=None)
    properties: str | None = string("properties", default=None)
    reconsume_times: int | None = integer("reconsumeTimes", default=None)
    unit_mode: bool = boolean("unitMode", default=False)
    born_host: str = string("bornHost", required=True, default="")
    store_host: str = string("storeHost", required=True, default="")
    store_timestamp: int = long_integer("storeTimestamp", required=True, default=0)
