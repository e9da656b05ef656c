"""Decisions about a message that a consumer hands back: when it comes again, or that it is a dead letter.

Values in, values out. Facts: `spec/processors.yaml` (CONSUMER_SEND_MSG_BACK).
"""

from __future__ import annotations

from collections.abc import Sequence

from rocketmq_tx.broker import delay_rules, send_rules
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.bodies import SubscriptionGroupConfig, TopicConfig
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.flags import Perm
from rocketmq_tx.protocol.hash_map_order import in_hash_map_order
from rocketmq_tx.protocol.headers import ConsumerSendMsgBackRequestHeader
from rocketmq_tx.protocol.java import tags_code
from rocketmq_tx.protocol.message import MessageRecord
from rocketmq_tx.protocol.properties import MAX_PROPERTIES_BYTES, encode_properties
from rocketmq_tx.store.append import NewMessage

FIRST_RETRY_LEVEL = 3
"""10 s with the levels as they come; each further retry waits one level longer."""
_MOST_TRIES = 2**31 - 1
"""What a record can count. A producer may claim any number of tries, negative ones included."""


def check_retry_topic(config: TopicConfig) -> None:
    """Refuses when the group's retry topic takes no messages."""
    if not config.perm & Perm.WRITE:
        remark = f"the topic[{config.topic_name}] sending message is forbidden"
        raise RequestRefused(ResponseCode.NO_PERMISSION, remark)


def record_missing(commit_log_offset: int) -> RequestRefused:
    """The answer when no message begins at the place that the consumer names."""
    return RequestRefused(ResponseCode.SYSTEM_ERROR, f"look message by offset failed, {commit_log_offset}")


def retry_queues(group: SubscriptionGroupConfig, retry_topic: TopicConfig) -> int:
    """How many queues to choose from: those of the settings, as far as consumers read them."""
    return max(1, min(group.retry_queue_nums, retry_topic.read_queue_nums))


def is_dead_letter(
    record: MessageRecord,
    header: ConsumerSendMsgBackRequestHeader,
    group: SubscriptionGroupConfig,
    request_version: int,
) -> bool:
    """True when the retries of the message are used up, or its consumer wants no more of them."""
    return header.delay_level < 0 or send_rules.is_dead_letter(
        group, record.reconsume_times, header.max_reconsume_times, request_version
    )


def retry_level(record: MessageRecord, asked_level: int) -> int:
    """The delay level of the next try, 0 for none; asked for 0 the broker chooses: longer with each try."""
    return asked_level or max(0, FIRST_RETRY_LEVEL + record.reconsume_times)


def handed_back(
    record: MessageRecord,
    topic: str,
    queue_id: int,
    level: int,
    now_ms: int,
    delays_ms: Sequence[int],
) -> NewMessage:
    """The message as it is stored again; `level` 0 puts it into `topic` at once, others into the schedule.

    It keeps what it was (also that it came from a transaction), counts one try more, and remembers its
    first topic and id. Raises RequestRefused when its properties become too long.
    """
    properties = record.property_map
    properties.pop(prop.INNER_MULTI_QUEUE_OFFSET, None)  # those are numbers of the first record
    properties.setdefault(prop.RETRY_TOPIC, record.topic)
    properties.setdefault(prop.ORIGIN_MESSAGE_ID, record.offset_message_id)
    level = min(level, len(delays_ms))
    properties |= {prop.WAIT: "false", prop.DELAY: str(level)}
    code = tags_code(properties.get(prop.TAGS))
    if level:
        properties |= {prop.REAL_TOPIC: topic, prop.REAL_QUEUE_ID: str(queue_id)}
        topic, queue_id = names.SCHEDULE_TOPIC, delay_rules.queue_of(level)
        code = now_ms + delays_ms[level - 1]
    stored = encode_properties(in_hash_map_order(properties)).encode("utf-8", "replace")
    if len(stored) > MAX_PROPERTIES_BYTES:
        raise RequestRefused(ResponseCode.SYSTEM_ERROR, "PROPERTIES_SIZE_EXCEEDED")
    again = delay_rules.stored_again(record, topic, queue_id, stored, properties)
    return again._replace(reconsume_times=min(record.reconsume_times + 1, _MOST_TRIES), tags_code=code)
