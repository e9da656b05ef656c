"""Messages made ready for the wire: ids, properties, packing, batching. Pure; the same for every try."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from rocketmq_tx.client.message import Message
from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol.batch import BatchItem, encode_batch
from rocketmq_tx.protocol.compression import CompressionType, compress
from rocketmq_tx.protocol.names import RETRY_PREFIX
from rocketmq_tx.protocol.properties import encode_properties, pack_properties


@attrs.frozen
class Outgoing:
    """A message, or a batch, as every try sends it. `message_id` joins the ids of a batch by commas."""

    topic: str
    body: bytes
    properties: str
    message_id: str
    flag: int = 0
    sys_flag: int = 0
    is_batch: bool = False


def pack_message(message: Message, unique_id: str, body_bytes_max: int, compress_over_bytes: int) -> Outgoing:
    """A single message; its body is packed with zlib when it has `compress_over_bytes` or more.

    MessageError for what no broker would take.
    """
    message.check(body_bytes_max)
    body, sys_flag = message.body, 0
    if len(body) >= compress_over_bytes:
        body, sys_flag = compress(body, CompressionType.ZLIB), CompressionType.ZLIB.sys_flag
    properties = encode_properties(message.wire_properties(unique_id))
    return Outgoing(message.topic, body, properties, unique_id, message.flag, sys_flag)


def pack_batch(messages: Sequence[Message], unique_ids: Sequence[str], body_bytes_max: int) -> Outgoing:
    """Messages as one request; never compressed.

    MessageError unless they go to one topic, want the same certainty, are not delayed, and fit together.
    """
    if not messages:
        raise MessageError("a batch needs at least one message")
    first = messages[0]
    for message in messages:
        message.check(body_bytes_max)
        if message.topic != first.topic or message.wait_stored != first.wait_stored:
            raise MessageError("messages of a batch go to one topic with the same wait_stored")
        if message.delay_level or message.topic.startswith(RETRY_PREFIX):
            raise MessageError("delayed messages and those of a retry topic cannot be batched")
    body = encode_batch(
        BatchItem(message.flag, message.body, pack_properties(message.wire_properties(unique_id)))
        for message, unique_id in zip(messages, unique_ids, strict=True)
    )
    if len(body) > body_bytes_max:
        raise MessageError(f"the batch has {len(body)} bytes, more than {body_bytes_max}")
    properties = encode_properties({"WAIT": "true" if first.wait_stored else "false"})
    return Outgoing(first.topic, body, properties, ",".join(unique_ids), is_batch=True)
