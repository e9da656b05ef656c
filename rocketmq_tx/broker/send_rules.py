"""Decisions about a message that is to be stored: values in, a value or a refusal out. No store, no clock.

The checks and their order are those of `spec/processors.yaml` (SendMessageProcessor), changed where this
broker decides otherwise: a topic without write permission refuses, and a broker without it refuses for
every topic. A half message wins over a delay: Apache would lose it on delivery, here the delay counts
from the commit.
"""

from __future__ import annotations

import attrs

from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.bodies import SubscriptionGroupConfig, TopicConfig, TopicFilterType
from rocketmq_tx.protocol.codes import FAQ_SUFFIX, MAX_RECONSUME_TIMES_VERSION, ResponseCode
from rocketmq_tx.protocol.flags import (
    TRANSACTION_NOT,
    Perm,
    SysFlag,
    perm_text,
    transaction_type,
    with_transaction_type,
)
from rocketmq_tx.protocol.header_fields import read_int
from rocketmq_tx.protocol.properties import MAX_PROPERTIES_BYTES, encode_properties

# Plain numbers: an operation on flags of an enum costs a microsecond, and there are several in each send.
_WRITE = int(Perm.WRITE)
_COMMITTED = int(SysFlag.TRANSACTION_COMMIT)
_NOT_HOST_BITS = ~int(SysFlag.BORNHOST_V6 | SysFlag.STOREHOST_V6)

# -- checks before anything is known of the topic ----------------------------------------------------------


def check_broker(broker: BrokerConfig, now_ms: int) -> None:
    """Refuses while the broker does not take messages at all."""
    if now_ms < broker.start_accept_send_request_time_stamp:
        remark = f"broker unable to service, until {broker.start_accept_send_request_time_stamp}"
        raise RequestRefused(ResponseCode.SYSTEM_ERROR, remark)
    if not broker.broker_permission & _WRITE:
        remark = f"the broker[{broker.broker_ip1}] sending message is forbidden"
        raise RequestRefused(ResponseCode.NO_PERMISSION, remark)


def check_topic_name(topic: str | None) -> str:
    """The name, if a client may send to it as far as the name says."""
    names.check_topic(topic)
    assert topic is not None  # a missing name counts as blank
    names.check_send_allowed(topic)
    return topic


def topic_missing(topic: str) -> RequestRefused:
    """The answer for a topic that does not exist and must not be created."""
    remark = f"topic[{topic}] not exist, apply first please!{FAQ_SUFFIX}"
    return RequestRefused(ResponseCode.TOPIC_NOT_EXIST, remark)


# -- checks against the topic ------------------------------------------------------------------------------


def check_queue(config: TopicConfig, queue_id: int, producer: str) -> None:
    """Refuses a queue that the topic does not have, then a topic that takes no messages.

    `producer` is `ip:port` of the sender, for the remark.
    """
    if queue_id >= max(config.write_queue_nums, config.read_queue_nums):
        remark = f"request queueId[{queue_id}] is illegal, {describe(config)} Producer: {producer}"
        raise RequestRefused(ResponseCode.SYSTEM_ERROR, remark)
    if not config.perm & _WRITE:
        remark = f"the topic[{config.topic_name}] sending message is forbidden"
        raise RequestRefused(ResponseCode.NO_PERMISSION, remark)


def describe(config: TopicConfig) -> str:
    """A topic's settings in the form that Apache's remarks show."""
    kind = config.topic_filter_type or TopicFilterType.SINGLE_TAG
    return (
        f"TopicConfig [topicName={config.topic_name}, readQueueNums={config.read_queue_nums}, "
        f"writeQueueNums={config.write_queue_nums}, perm={perm_text(config.perm)}, "
        f"topicFilterType={kind.name}, topicSysFlag={config.topic_sys_flag}, "
        f"order={'true' if config.order else 'false'}]"
    )


# -- retries that have become too many ---------------------------------------------------------------------


def retry_group(topic: str) -> str | None:
    """The group whose retry topic this is, or None."""
    prefix = names.RETRY_PREFIX
    return topic[len(prefix) :] if topic.startswith(prefix) else None


def group_missing(group: str) -> RequestRefused:
    """The answer for a retry of a group that does not exist and must not be created."""
    remark = f"subscription group not exist, {group} {FAQ_SUFFIX}"
    return RequestRefused(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, remark)


def is_dead_letter(
    group: SubscriptionGroupConfig,
    reconsume_times: int | None,
    max_reconsume_times: int | None,
    request_version: int,
) -> bool:
    """True when a message sent to the group's retry topic has used up its retries."""
    limit = group.retry_max_times
    if max_reconsume_times is not None and request_version >= MAX_RECONSUME_TIMES_VERSION:
        limit = max_reconsume_times
    return (reconsume_times or 0) >= limit


# -- where a message really goes ---------------------------------------------------------------------------


@attrs.frozen
class Placement:
    """Where and how one message is stored."""

    topic: str
    queue_id: int
    sys_flag: int
    properties: dict[str, str]
    """As stored, apart from the encoding."""
    waits: bool
    """Whether the sender waits for flush and replication (property WAIT, absent = true)."""
    delay_level: int = 0
    """1-based level when the message lies in the schedule topic, else 0."""


def place(
    topic: str,
    queue_id: int,
    sys_flag: int,
    properties: dict[str, str],
    *,
    cluster: str,
    delay_level_max: int,
    reject_transactions_of: str | None = None,
) -> Placement:
    """Where a single message goes that passed all checks: its queue, the half topic, or the schedule topic.

    `properties` are the sender's; `reject_transactions_of` is this broker's address when
    `rejectTransactionMessage` is set. Raises RequestRefused for a half message then, and for a DELAY that
    is no number.
    """
    sys_flag = own_sys_flag(sys_flag)
    kept = {**properties, prop.CLUSTER: cluster}
    kept.pop(prop.INNER_MULTI_QUEUE_OFFSET, None)  # for the store to say
    waits = kept.get(prop.WAIT, "true").lower() == "true"
    if kept.get(prop.TRANSACTION_PREPARED, "").lower() == "true":
        if reject_transactions_of is not None:
            remark = f"the broker[{reject_transactions_of}] sending transaction message is forbidden"
            raise RequestRefused(ResponseCode.NO_PERMISSION, remark)
        kept.update({prop.REAL_TOPIC: topic, prop.REAL_QUEUE_ID: str(queue_id)})
        cleared = with_transaction_type(sys_flag, TRANSACTION_NOT)
        return Placement(names.TRANSACTION_HALF_TOPIC, 0, cleared, kept, waits)
    level = delay_level(properties, sys_flag, delay_level_max)
    if level:
        kept |= {prop.DELAY: str(level), prop.REAL_TOPIC: topic, prop.REAL_QUEUE_ID: str(queue_id)}
        return Placement(names.SCHEDULE_TOPIC, level - 1, sys_flag, kept, waits, level)
    kept.pop(prop.WAIT, None)
    return Placement(topic, queue_id, sys_flag, kept, waits)


def own_sys_flag(sys_flag: int) -> int:
    """A sender's sysFlag without the bits that say how long our own host fields are."""
    return sys_flag & _NOT_HOST_BITS


def delay_level(properties: dict[str, str], sys_flag: int, level_max: int) -> int:
    """The level that a message is to be delayed by, clamped; 0 for none. Raises RequestRefused."""
    asked = properties.get(prop.DELAY)
    if asked is None:
        return 0
    try:
        level = read_int(asked)
    except ValueError:
        remark = f'property {prop.DELAY} is not a number: "{asked}"'
        raise RequestRefused(ResponseCode.SYSTEM_ERROR, remark) from None
    delayable = transaction_type(sys_flag) in (TRANSACTION_NOT, _COMMITTED)
    if level <= 0 or not delayable:
        return 0
    return min(level, level_max)


# -- what the store takes ----------------------------------------------------------------------------------


def message_illegal(max_message_size: int) -> RequestRefused:
    """The answer for a body or properties that are too long, and for a batch that must not be one."""
    remark = (
        "the message is illegal, maybe msg body or properties length not matched. "
        f"msg body length limit {max_message_size}B, msg properties length limit 32KB."
    )
    return RequestRefused(ResponseCode.MESSAGE_ILLEGAL, remark)


def stored_properties(properties: dict[str, str], body_size: int, max_message_size: int) -> bytes:
    """The property string as stored; raises RequestRefused when it or the body is too long."""
    if body_size > max_message_size:
        raise message_illegal(max_message_size)
    return check_properties(encode_properties(properties).encode("utf-8", "replace"), max_message_size)


def check_properties(stored: bytes, max_message_size: int) -> bytes:
    """`stored` if a record can hold it.

    A NUL is refused: no checksum covers properties, so recovery takes one for damage.
    """
    if len(stored) > MAX_PROPERTIES_BYTES:
        raise message_illegal(max_message_size)
    if b"\0" in stored:
        raise RequestRefused(ResponseCode.MESSAGE_ILLEGAL, "the properties hold a NUL character")
    return stored
