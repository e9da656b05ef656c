"""Consume offsets: tables of brokers (consumerOffset.json, delayOffset.json) and of clients, and resets."""

from __future__ import annotations

import attrs

from rocketmq_tx.protocol.bodies.fields import Body, Int, Long, body
from rocketmq_tx.protocol.bodies.queue import MessageQueue


@body
class ConsumerOffsetSerializeWrapper(Body):
    """Offsets by `topic@group` and queue id: consumerOffset.json (pretty)."""

    offset_table: dict[str, dict[int, int]] = attrs.Factory(dict)


@body
class LmqConsumerOffsetSerializeWrapper(Body):
    """lmqConsumerOffset.json (pretty): offsets of light groups by `topic@group`, and those of the others."""

    lmq_offset_table: dict[str, int] = attrs.Factory(dict)
    offset_table: dict[str, dict[int, int]] = attrs.Factory(dict)


@body
class DelayOffsetSerializeWrapper(Body):
    """Next offset of each delay level: delayOffset.json (pretty)."""

    offset_table: dict[int, int] = attrs.Factory(dict)


@body
class OffsetSerializeWrapper(Body):
    """Offsets of a broadcasting consumer: its offsets.json (pretty)."""

    offset_table: dict[MessageQueue, int] = attrs.Factory(dict)


@body
class ResetOffsetBody(Body):
    """The offset from which each queue is to be consumed anew."""

    offset_table: dict[MessageQueue, int] = attrs.Factory(dict)


@body
class MessageQueueForC(Body):
    """A queue and its offset, for clients that cannot read objects as keys."""

    topic: str = ""
    broker_name: str = ""
    queue_id: Int = 0
    offset: Long = 0


@body
class ResetOffsetBodyForC(Body):
    """The same for C++ clients."""

    offset_table: list[MessageQueueForC] = attrs.Factory(list)


@body
class GetConsumerStatusBody(Body):
    """Offsets of consumers: a client fills the first table, a broker the second one by client id."""

    message_queue_table: dict[MessageQueue, int] = attrs.Factory(dict)
    consumer_table: dict[str, dict[MessageQueue, int]] = attrs.Factory(dict)


@body
class QueryCorrectionOffsetBody(Body):
    """The least offset of some groups by queue id."""

    correction_offsets: dict[int, int] = attrs.Factory(dict)


@body
class OffsetMovedEvent(Body):
    """A consumer asked for an offset that is gone; the body of messages in topic OFFSET_MOVED_EVENT."""

    consumer_group: str = ""
    message_queue: MessageQueue = attrs.Factory(MessageQueue)
    offset_request: Long = 0
    offset_new: Long = 0
