"""The records that the timer writes: messages whose time has come, pending ones once more, and marks."""

from __future__ import annotations

import json

from rocketmq_tx.broker.send_rules import own_sys_flag
from rocketmq_tx.broker.single_message import index_keys
from rocketmq_tx.broker.timer_rules import PENDING_QUEUE
from rocketmq_tx.errors import MessageError, RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.java import crc32, tags_code
from rocketmq_tx.protocol.message import MessageRecord, pack_host
from rocketmq_tx.protocol.properties import pack_properties
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.timer_entries import ENTRY_BYTES
from rocketmq_tx.store.timer_manifest import Claim

MARKS_QUEUE = 1
"""The queue of the timer topic that says, for whoever has the log alone, what is done with."""


class Undeliverable(Exception):
    """A pending record that is to be passed over; says why."""


def delivered(record: MessageRecord, properties: dict[str, str]) -> NewMessage:
    """The message as it is stored in its own topic now; its properties go on telling of its delay."""
    topic, queue_text = properties.get(prop.REAL_TOPIC), properties.get(prop.REAL_QUEUE_ID, "")
    if not topic or not queue_text.isdecimal() or topic == names.TIMER_TOPIC:
        raise Undeliverable("it does not say where it belongs")
    try:
        names.check_topic(topic)  # it becomes the name of a folder
    except RequestRefused as refusal:
        raise Undeliverable(refusal.remark) from refusal
    return _stored_again(record, topic, int(queue_text), record.properties, properties)


def rolled(record: MessageRecord) -> NewMessage:
    """A pending message once more, for its first record is about to be deleted; it counts how often."""
    properties = record.property_map
    times = properties.get(prop.TIMER_ROLL_TIMES, "0")
    counted = {**properties, prop.TIMER_ROLL_TIMES: str(int(times) + 1 if times.isdecimal() else 1)}
    try:
        stored = pack_properties(counted)
    except MessageError:
        stored = record.properties  # no room for the count
    return _stored_again(record, names.TIMER_TOPIC, PENDING_QUEUE, stored, properties)


def _stored_again(
    record: MessageRecord, topic: str, queue_id: int, stored: bytes, properties: dict[str, str]
) -> NewMessage:
    return NewMessage(
        topic,
        queue_id,
        record.body,
        record.body_crc or 0,
        stored,
        record.flag,
        own_sys_flag(record.sys_flag),
        record.born_timestamp,
        pack_host(*record.born_host),
        record.reconsume_times,
        0,
        tags_code(properties.get(prop.TAGS)),
        index_keys(properties),
    )


# -- marks: what is done with, said in the log -------------------------------------------------------------


def mark_message(claim: Claim, void_below: int, now_ms: int, store_host: bytes) -> NewMessage:
    """A record for whoever has nothing but the log: a slave that takes over, or a lost timer index."""
    body = json.dumps(
        {"doneBefore": claim.before.hex(), "of": claim.log_offset, "voidBelow": void_below},
        separators=(",", ":"),
    ).encode()
    return NewMessage(
        names.TIMER_TOPIC, MARKS_QUEUE, body, crc32(body), b"", 0, 0, now_ms, store_host, 0, 0, 0, ()
    )


def read_mark(body: bytes) -> tuple[Claim, int] | None:
    """(what is done with, the log offset below which records have been appended again); None for no mark."""
    try:
        table = json.loads(body)
        claim = Claim(bytes.fromhex(table["doneBefore"]), int(table["of"]))
        void_below = int(table["voidBelow"])
    except (ValueError, KeyError, TypeError):
        return None
    return (claim, void_below) if len(claim.before) == ENTRY_BYTES else None
