"""The messages of a batch send, as the store takes them: values in, values out.

A batch goes to one queue as it is: no delay, no transaction, no dead letters; each member's stored
properties are its own followed by those of the batch. Facts: `spec/store.yaml` (batch_put).
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

from rocketmq_tx.broker import send_rules, timer_rules
from rocketmq_tx.broker.send_request import SendRequest
from rocketmq_tx.broker.single_message import index_keys
from rocketmq_tx.errors import MessageError, RequestRefused
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.batch import decode_batch
from rocketmq_tx.protocol.batch_columns import UNIQUE_KEY_NAME
from rocketmq_tx.protocol.flags import transaction_type
from rocketmq_tx.protocol.java import tags_code
from rocketmq_tx.protocol.message import RECORD_FIXED_BYTES
from rocketmq_tx.protocol.properties import (
    decode_properties,
    encode_properties,
    join_properties,
    unpack_properties,
)
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.multi_dispatch import MARK

GROWTH_MAX = 8
"""Times maxMessageSize: what the records of a batch may need. The batch's own properties go to each of its
messages, so that a few megabytes could become gigabytes."""

TAILS_MAX = 4096
_TAIL_BYTES_MAX = 1024
KEY_BYTES_MAX = 255
"""Of a unique key for which a tail holds, if it is one of ASCII letters and digits."""
_KEYS = f"{prop.KEYS}\1".encode()
_PLACE = b"PLACE0OF0THE0KEY"
CRC_MASK = 0x7FFFFFFF
_QUEUE_OFFSETS = f"{prop.INNER_MULTI_QUEUE_OFFSET}\1".encode()
"""For the store to say, and not for a client."""


class SharedProperties(NamedTuple):
    """What the properties of a whole batch say."""

    appended: bytes
    """What is stored behind each message's own properties."""
    waits: bool
    """Whether the sender waits for flush and replication."""
    delays: bool
    names_queues: bool

    @classmethod
    def of(cls, properties: str | None, cluster: str) -> SharedProperties:
        """From those in the header. RequestRefused for a DELAY that is no number."""
        shared = decode_properties(properties)
        shared.pop(prop.INNER_MULTI_QUEUE_OFFSET, None)
        return cls(
            encode_properties({**shared, prop.CLUSTER: cluster}).encode("utf-8", "replace"),
            shared.get(prop.WAIT, "true").lower() == "true",
            send_rules.delay_level(shared, 0, 1) > 0,
            prop.INNER_MULTI_DISPATCH in shared,
        )


def is_too_large(
    body: bytes, count: int, topic: str, shared: SharedProperties, max_message_size: int
) -> bool:
    """Whether a batch of `count` messages is longer than a message may be, or its records far longer."""
    if len(body) > max_message_size:
        return True
    grown = len(body) + count * (RECORD_FIXED_BYTES + len(topic) + len(shared.appended))
    return grown > GROWTH_MAX * max_message_size


def batch_messages(
    request: SendRequest, *, cluster: str, max_message_size: int, tails: BatchTails
) -> tuple[list[NewMessage], bool]:
    """(the messages, whether the sender waits). Raises RequestRefused, or MessageError for a torn body.

    The messages are plain tuples, which are cheaper.
    """
    topic, queue_id, header, body, born_host = request
    if transaction_type(header.sys_flag):
        raise send_rules.message_illegal(max_message_size)
    shared = SharedProperties.of(header.properties, cluster)
    if shared.delays:
        raise send_rules.message_illegal(max_message_size)
    if len(body) > max_message_size:
        raise send_rules.message_illegal(max_message_size)
    items = decode_batch(body)
    if not items:
        raise MessageError("the body of a batch holds no message")
    if is_too_large(body, len(items), topic, shared, max_message_size):
        raise send_rules.message_illegal(max_message_size)
    sys_flag = send_rules.own_sys_flag(header.sys_flag)
    born_timestamp, reconsume_times = header.born_timestamp, header.reconsume_times or 0
    messages: list[NewMessage] = []
    for flag, item_body, own in items:
        stored, code, keys = tails.stored(own, shared.appended, max_message_size)
        messages.append(
            (
                topic, queue_id, item_body, crc32(item_body) & CRC_MASK, stored, flag, sys_flag,
                born_timestamp, born_host, reconsume_times, 0, code, keys,
            )  # type: ignore[arg-type]
        )  # fmt: skip
    return messages, shared.waits


Member = tuple[bytes, int, "tuple[str, ...]"]
"""The stored properties of a message of a batch, the hash of its tags, and its keys for the index."""


def stored_member(own: bytes, appended: bytes, max_message_size: int) -> Member:
    """What becomes of a member's own properties. RequestRefused for what may not be in a batch."""
    if _QUEUE_OFFSETS in own:
        own_pairs = unpack_properties(own)
        own_pairs.pop(prop.INNER_MULTI_QUEUE_OFFSET, None)
        own = encode_properties(own_pairs).encode()
    stored = send_rules.check_properties(join_properties(own, appended), max_message_size)
    timer_rules.check_batch_member(stored)
    properties = unpack_properties(stored)
    return stored, tags_code(properties.get(prop.TAGS)), index_keys(properties)


class Tail(NamedTuple):
    """What is stored before and after a member's unique key, and what follows from it."""

    before: bytes
    after: bytes
    tags_code: int
    further_keys: tuple[str, ...]
    names_queues: bool


class BatchTails:
    """What becomes of properties, worked out once for all members that differ in their unique keys only."""

    def __init__(self) -> None:
        self._tails: dict[tuple[bytes, bytes, bytes], Tail | None] = {}

    def stored(self, own: bytes, appended: bytes, max_message_size: int) -> Member:
        """As `stored_member`, and mostly without looking closer."""
        start = own.find(UNIQUE_KEY_NAME)
        if start >= 0:
            key_start = start + len(UNIQUE_KEY_NAME)
            key_end = own.find(b"\2", key_start)
            if key_end < 0:
                key_end = len(own)
            key = own[key_start:key_end]
            parts = own[:start], own[key_end:], appended
            try:
                tail = self._tails[parts]
            except KeyError:
                tail = self._new_tail(parts, max_message_size)
            if tail is not None and key.isalnum() and len(key) <= KEY_BYTES_MAX:
                before, after, code, further_keys, _ = tail
                text = key.decode()
                return before + key + after, code, (text, *further_keys) if further_keys else (text,)
        return stored_member(own, appended, max_message_size)

    def plain(self, parts: tuple[bytes, bytes, bytes], max_message_size: int) -> Tail | None:
        """For messages with these bytes before and after their unique keys, and those appended.

        None when there is more to each of them: other keys, further queues, something to refuse.
        """
        try:
            tail = self._tails[parts]
        except KeyError:
            tail = self._new_tail(parts, max_message_size)
        return None if tail is None or tail.further_keys or tail.names_queues else tail

    def _new_tail(self, parts: tuple[bytes, bytes, bytes], max_message_size: int) -> Tail | None:
        """None where it has to be worked out for each message."""
        before, after, appended = parts
        if sum(map(len, parts)) > _TAIL_BYTES_MAX or _KEYS in before or _KEYS in after:
            return None  # keys of its own make each member another
        tail = None
        if not before or before.endswith(b"\2"):
            try:
                stored, code, keys = stored_member(
                    b"".join((before, UNIQUE_KEY_NAME, _PLACE, after)), appended, max_message_size
                )
            except RequestRefused:
                return None
            if stored.count(_PLACE) == 1 and keys[:1] == (_PLACE.decode(),):
                stored_before, _, stored_after = stored.partition(_PLACE)
                tail = Tail(stored_before, stored_after, code, keys[1:], MARK in stored)
        if len(self._tails) >= TAILS_MAX:
            self._tails.clear()
        self._tails[parts] = tail
        return tail
