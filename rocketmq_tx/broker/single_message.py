"""One message of an ordinary send, as the store takes it: values in, a value out."""

from __future__ import annotations

from rocketmq_tx.broker import send_rules, timer_rules
from rocketmq_tx.broker.send_request import SendRequest
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.bodies import TopicFilterType
from rocketmq_tx.protocol.flags import TRANSACTION_NOT, SysFlag, with_transaction_type
from rocketmq_tx.protocol.java import crc32, tags_code
from rocketmq_tx.protocol.properties import decode_properties
from rocketmq_tx.store.append import NewMessage


def single_message(
    request: SendRequest,
    now_ms: int,
    *,
    dead_letter_topic: str | None,
    broker: BrokerConfig,
    store: MessageStoreConfig,
    filter_type: TopicFilterType | None,
) -> tuple[NewMessage, bool]:
    """(the message, whether its sender waits). Raises RequestRefused.

    A message for the dead letter queue is stored there at once, with its delay taken off.
    """
    topic, queue_id, header, body, born_host = request
    properties, sys_flag = _own(request, filter_type)
    if dead_letter_topic is not None:
        topic, queue_id = dead_letter_topic, 0
        properties[prop.DELAY] = "0"
    delays_ms = store.delay_levels_ms
    placement = send_rules.place(
        topic,
        queue_id,
        sys_flag,
        properties,
        cluster=broker.broker_cluster_name,
        delay_level_max=len(delays_ms),
        reject_transactions_of=broker.broker_ip1 if broker.reject_transaction_message else None,
    )
    if dead_letter_topic is None:
        placement = timer_rules.timed(placement, now_ms, broker.timer_max_delay_sec)
    stored = send_rules.stored_properties(placement.properties, len(body), store.max_message_size)
    message = NewMessage(
        placement.topic,
        placement.queue_id,
        body,
        crc32(body),
        stored,
        header.flag,
        placement.sys_flag,
        header.born_timestamp,
        born_host,
        header.reconsume_times or 0,
        0,
        queue_code(placement, now_ms, delays_ms),
        index_keys(properties),
    )
    return message, placement.waits


def _own(request: SendRequest, filter_type: TopicFilterType | None) -> tuple[dict[str, str], int]:
    """Properties and system flag that are this send's own, and not left over from an earlier one."""
    properties, sys_flag = decode_properties(request.header.properties), request.header.sys_flag
    if send_rules.retry_group(request.topic) is not None:
        # A retry is no new transaction; clients before 4.6.1 leave the mark of the first one on it.
        properties.pop(prop.TRANSACTION_PREPARED, None)
        sys_flag = with_transaction_type(sys_flag, TRANSACTION_NOT)
    return properties, sys_flag | (SysFlag.MULTI_TAGS if filter_type is TopicFilterType.MULTI_TAG else 0)


def queue_code(placement: send_rules.Placement, now_ms: int, delays_ms: tuple[int, ...]) -> int:
    """The last field of the queue entry: the tags' hash, or in the schedule topic the delivery time."""
    if placement.delay_level:
        return now_ms + delays_ms[placement.delay_level - 1]
    return tags_code(placement.properties.get(prop.TAGS))


def index_keys(properties: dict[str, str]) -> tuple[str, ...]:
    """What the index finds a message by: its UNIQ_KEY first, then each of its KEYS."""
    unique = properties.get(prop.UNIQ_KEY)
    keys = [key for key in properties.get(prop.KEYS, "").split(prop.KEY_SEPARATOR) if key]
    return (unique, *keys) if unique else tuple(keys)
