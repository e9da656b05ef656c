"""Decisions about messages that carry their own delivery time: values in, a value or a refusal out.

Producers of RocketMQ 5 say when a message is to be delivered by a property: TIMER_DELAY_SEC, TIMER_DELAY_MS
or TIMER_DELIVER_MS, the first of these counts. Such a message waits in the timer topic, with TIMER_OUT_MS,
REAL_TOPIC and REAL_QID added. A message with TIMER_DEL_UNIQKEY cancels the one of that unique key that is
due at the same time. Names, order and remarks are those of Apache 5 (HookUtils, TimerMessageStore).
"""

from __future__ import annotations

import re
from typing import NamedTuple

import attrs

from rocketmq_tx.broker.send_rules import Placement
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.flags import TRANSACTION_NOT, SysFlag, transaction_type
from rocketmq_tx.protocol.properties import unpack_properties
from rocketmq_tx.store.timer_entries import Entry, pack_entry

LONGEST_DELAY_SEC = 31_536_000
"""A year: what timerMaxDelaySec may be set to."""
PENDING_QUEUE = 0
"""The queue of the timer topic where messages wait, as in Apache 5."""
CANCELLATION_REACH_MS = 1000
"""A cancellation finds messages that are due so much earlier or later: Apache 5 counts in seconds."""

TIMES = (prop.TIMER_DELAY_SEC, prop.TIMER_DELAY_MS, prop.TIMER_DELIVER_MS)

# -- sending -----------------------------------------------------------------------------------------------


def timed(placement: Placement, now_ms: int, max_delay_sec: int) -> Placement:
    """Where a message goes that may carry its own delivery time; RequestRefused when it is too far away.

    A delay level comes first. A half message is only judged: its time counts from the commit. A time that
    has passed is no delay.
    """
    properties = placement.properties
    if (
        not any(name in properties for name in TIMES)
        or prop.TIMER_OUT_MS in properties
        or placement.delay_level
        or transaction_type(placement.sys_flag) not in (TRANSACTION_NOT, SysFlag.TRANSACTION_COMMIT)
    ):
        return placement
    deliver_ms = _delivery_time(properties, now_ms)
    is_cancellation = prop.TIMER_DEL_UNIQKEY in properties
    if deliver_ms is None or deliver_ms - now_ms > max_delay_sec * 1000:
        raise timer_illegal(max_delay_sec)
    if deliver_ms <= now_ms and is_cancellation:
        raise timer_illegal(max_delay_sec)
    if deliver_ms <= now_ms or placement.topic == names.TRANSACTION_HALF_TOPIC:
        return placement
    added = {
        prop.TIMER_OUT_MS: str(deliver_ms),
        prop.REAL_TOPIC: placement.topic,
        prop.REAL_QUEUE_ID: str(placement.queue_id),
    }
    return attrs.evolve(
        placement, topic=names.TIMER_TOPIC, queue_id=PENDING_QUEUE, properties=properties | added
    )


def _delivery_time(properties: dict[str, str], now_ms: int) -> int | None:
    """When the message is to be delivered (epoch ms); None when that is no number."""
    name = next(name for name in TIMES if name in properties)
    try:
        number = read_long(properties[name])
    except ValueError:
        return None
    if name == prop.TIMER_DELIVER_MS:
        return number
    return now_ms + number * (1000 if name == prop.TIMER_DELAY_SEC else 1)


_LONG = re.compile(r"[+-]?[0-9]{1,18}")


def read_long(text: str) -> int:
    """A number as Java's Long.parseLong takes it, up to 18 digits; ValueError otherwise."""
    if not _LONG.fullmatch(text):
        raise ValueError(f"not a number: {text!r}")
    return int(text)


def timer_illegal(max_delay_sec: int) -> RequestRefused:
    """Apache's answer for a delay beyond the maximum, and for a cancellation that comes too late."""
    remark = (
        "timer message illegal, the delay time should not be bigger than the max delay "
        f"{max_delay_sec * 1000}ms; or if set del msg, the delay time should be bigger than the current time"
    )
    return RequestRefused(ResponseCode.MESSAGE_ILLEGAL, remark)


def check_batch_member(stored: bytes) -> None:
    """Refuses a message of a batch that carries a delivery time: a batch is stored as it is, at once."""
    if b"TIMER_DEL" in stored and any(name in unpack_properties(stored) for name in TIMES):
        raise RequestRefused(
            ResponseCode.MESSAGE_ILLEGAL, "the message is illegal, a batch cannot hold timer messages"
        )


# -- entering into the index -------------------------------------------------------------------------------

_OUT_MS = re.compile(rb"(?:^|\x02)TIMER_OUT_MS\x01([0-9]{1,18})(?:\x02|$)").search
_CANCELS = re.compile(rb"(?:^|\x02)TIMER_DEL_UNIQKEY\x01").search


def entry_of(properties: bytes, commit_log_offset: int, size: int) -> Entry | None:
    """The index entry of a pending record by its stored properties; None when they tell no time.

    A cancellation is due a little before the messages that it may find.
    """
    found = _OUT_MS(properties)
    if found is None:
        return None
    due_ms = int(found[1])
    if _CANCELS(properties) is None:
        return pack_entry(due_ms, commit_log_offset, size)
    return pack_entry(due_ms - CANCELLATION_REACH_MS - 1, commit_log_offset, size, True)


# -- cancelling --------------------------------------------------------------------------------------------


_NEVER = 1 << 63


class Cancellation(NamedTuple):
    """A cancellation in force, for messages that are due up to `until_ms` (epoch ms)."""

    entry: Entry
    until_ms: int


class Cancellations:
    """Those in force, by `topic+unique key`, as later clients name it; earlier ones name the key alone."""

    def __init__(self) -> None:
        self._by_key: dict[str, Cancellation] = {}
        self._first_until_ms = _NEVER

    def add(self, entry: Entry, properties: dict[str, str]) -> None:
        """Takes the cancellation with these stored properties."""
        key = properties.get(prop.TIMER_DEL_UNIQKEY, "")
        if "+" not in key:
            key = f"{properties.get(prop.REAL_TOPIC)}+{key}"
        until_ms = int(properties[prop.TIMER_OUT_MS]) + CANCELLATION_REACH_MS
        before = self._by_key.get(key)
        if before is None or before.until_ms < until_ms:
            self._by_key[key] = Cancellation(entry, until_ms)
            self._first_until_ms = min(self._first_until_ms, until_ms)

    def find(self, properties: dict[str, str]) -> bool:
        """Whether the message with these stored properties is cancelled."""
        key = properties.get(prop.UNIQ_KEY)
        if not self._by_key or key is None:
            return False  # without a unique key nobody can name it
        found = self._by_key.get(f"{properties.get(prop.REAL_TOPIC)}+{key}")
        return found is not None and int(properties[prop.TIMER_OUT_MS]) <= found.until_ms

    def expire(self, passed_ms: int) -> None:
        """Nothing that is due by this time (epoch ms) is to come any more."""
        if passed_ms >= self._first_until_ms:
            self._by_key = {key: each for key, each in self._by_key.items() if each.until_ms > passed_ms}
            self._first_until_ms = min((each.until_ms for each in self._by_key.values()), default=_NEVER)

    def entries(self) -> list[Entry]:
        """Their entries."""
        return [each.entry for each in self._by_key.values()]

    def __len__(self) -> int:
        return len(self._by_key)
