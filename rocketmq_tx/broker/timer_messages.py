"""The records that the timer writes: messages whose time has come, pending ones once more, and marks."""

from __future__ import annotations

import json

from rocketmq_tx.broker.delay_rules import Undeliverable, in_own_queue, stored_again
from rocketmq_tx.broker.timer_rules import PENDING_QUEUE
from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.java import crc32
from rocketmq_tx.protocol.message import MessageRecord
from rocketmq_tx.protocol.properties import pack_properties
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.timer_entries import ENTRY_BYTES
from rocketmq_tx.store.timer_manifest import Claim

MARKS_QUEUE = 1
"""The queue of the timer topic that says, for whoever has the log alone, what is done with."""


def delivered(record: MessageRecord, properties: dict[str, str]) -> NewMessage:
    """The message as it is stored in its own topic now; its properties go on telling of its delay."""
    if properties.get(prop.REAL_TOPIC) == names.TIMER_TOPIC:
        raise Undeliverable("it does not say where it belongs")
    return in_own_queue(record, properties)


def rolled(record: MessageRecord) -> NewMessage:
    """A pending message once more, for its first record is about to be deleted; it counts how often."""
    properties = record.property_map
    times = properties.get(prop.TIMER_ROLL_TIMES, "0")
    counted = {**properties, prop.TIMER_ROLL_TIMES: str(int(times) + 1 if times.isdecimal() else 1)}
    try:
        stored = pack_properties(counted)
    except MessageError:
        stored = record.properties  # no room for the count
    return stored_again(record, names.TIMER_TOPIC, PENDING_QUEUE, stored, properties)


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
