"""The messages of a batch send, as the store takes them: values in, values out.

A batch goes to one queue as it is: no delay, no transaction, no dead letters; each member's stored
properties are its own followed by those of the batch. Facts: `spec/store.yaml` (batch_put).
"""

from __future__ import annotations

from rocketmq_tx.broker import send_rules, timer_rules
from rocketmq_tx.broker.single_message import index_keys
from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.batch import decode_batch
from rocketmq_tx.protocol.flags import transaction_type
from rocketmq_tx.protocol.headers import SendMessageRequestHeader
from rocketmq_tx.protocol.java import crc32, tags_code
from rocketmq_tx.protocol.message import RECORD_FIXED_BYTES
from rocketmq_tx.protocol.properties import (
    decode_properties,
    encode_properties,
    join_properties,
    unpack_properties,
)
from rocketmq_tx.store.append import NewMessage

GROWTH_MAX = 8
"""Times maxMessageSize: what the records of a batch may need. The batch's own properties go to each of its
messages, so that a few megabytes could become gigabytes."""

_QUEUE_OFFSETS = f"{prop.INNER_MULTI_QUEUE_OFFSET}\1".encode()
"""For the store to say, and not for a client."""


def batch_messages(
    topic: str,
    queue_id: int,
    header: SendMessageRequestHeader,
    body: bytes,
    born_host: bytes,
    *,
    cluster: str,
    max_message_size: int,
) -> tuple[list[NewMessage], bool]:
    """(the messages, whether the sender waits). Raises RequestRefused, or MessageError for a torn body."""
    shared = decode_properties(header.properties)
    shared.pop(prop.INNER_MULTI_QUEUE_OFFSET, None)
    if transaction_type(header.sys_flag) or send_rules.delay_level(shared, 0, 1):
        raise send_rules.message_illegal(max_message_size)
    if len(body) > max_message_size:
        raise send_rules.message_illegal(max_message_size)
    items = decode_batch(body)
    if not items:
        raise MessageError("the body of a batch holds no message")
    waits = shared.get(prop.WAIT, "true").lower() == "true"
    appended = encode_properties({**shared, prop.CLUSTER: cluster}).encode("utf-8", "replace")
    grown = len(body) + len(items) * (RECORD_FIXED_BYTES + len(topic) + len(appended))
    if grown > GROWTH_MAX * max_message_size:
        raise send_rules.message_illegal(max_message_size)
    sys_flag = send_rules.own_sys_flag(header.sys_flag)
    messages = []
    for flag, item_body, own in items:
        if _QUEUE_OFFSETS in own:
            own_pairs = unpack_properties(own)
            own_pairs.pop(prop.INNER_MULTI_QUEUE_OFFSET, None)
            own = encode_properties(own_pairs).encode()
        stored = send_rules.check_properties(join_properties(own, appended), max_message_size)
        timer_rules.check_batch_member(stored)
        properties = unpack_properties(stored)
        messages.append(
            NewMessage(
                topic,
                queue_id,
                item_body,
                crc32(item_body),
                stored,
                flag,
                sys_flag,
                header.born_timestamp,
                born_host,
                header.reconsume_times or 0,
                0,
                tags_code(properties.get(prop.TAGS)),
                index_keys(properties),
            )
        )
    return messages, waits
