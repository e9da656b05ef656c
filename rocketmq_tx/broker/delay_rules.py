"""Decisions about delayed messages: into which queue one goes, and when its time has come.

Values in, values out. Each level has a queue of the schedule topic, and a queue entry's tags code is the time
of delivery there. Facts: `spec/schedule.yaml` (delay), `spec/processors.yaml` (ScheduleMessage).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import attrs

from rocketmq_tx.broker.send_rules import own_sys_flag
from rocketmq_tx.broker.single_message import index_keys
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.java import tags_code
from rocketmq_tx.protocol.message import MessageRecord, pack_host
from rocketmq_tx.protocol.properties import unpack_properties
from rocketmq_tx.store.append import NewMessage

CLOCK_STEP_MS = 10
"""The calendar and the steady clock differ by less while nobody sets the clock."""

# -- levels ------------------------------------------------------------------------------------------------


def queue_of(level: int) -> int:
    """The queue of the schedule topic where messages of a level (from 1 on) wait."""
    return level - 1


def delay_ms(level: int, levels_ms: Sequence[int]) -> int:
    """The delay of a level; levels that the configuration no longer has count as its highest."""
    return levels_ms[min(level, len(levels_ms)) - 1] if levels_ms else 0


# -- when --------------------------------------------------------------------------------------------------


class Due(NamedTuple):
    """How many messages, from the first on, are to be delivered now, and when to look again."""

    messages: int
    wait_ms: int | None
    """Until the time of the first that is not due; None when all of them are."""


def due(delivery_times: Sequence[int], now_ms: int, level_delay_ms: int) -> Due:
    """Decides about messages that wait in this order; those behind one that is not due wait as well.

    A time further away than the whole delay of the level is no time to wait for: the level was made shorter,
    or the clock was set back while the broker was down. Such a message is due. What the two clocks always
    differ by is no distance: else a message just stored could be taken for one.
    """
    for count, time_ms in enumerate(delivery_times):
        wait_ms = time_ms - now_ms
        if 0 < wait_ms <= level_delay_ms + CLOCK_STEP_MS:
            return Due(count, wait_ms)
    return Due(len(delivery_times), None)


@attrs.define
class ClockSteps:
    """What the calendar of a queue's entries was ahead of the broker's steady one, by queue offset.

    Delays are measured in time that passes, not in what the calendar shows: an entry that was stored after
    the clock was set by an hour holds a delivery time that is off by this hour.
    """

    _steps: list[tuple[int, int]] = attrs.Factory(list)
    """(first queue offset, ahead in ms) of each stretch, ascending; before the first one it is 0."""

    def stored_from(self, queue_offset: int, ahead_ms: int) -> None:
        """Entries from `queue_offset` on were stored while the calendar was ahead by so much."""
        before_ms = self._steps[-1][1] if self._steps else 0
        if abs(ahead_ms - before_ms) >= CLOCK_STEP_MS:
            self._steps.append((queue_offset, ahead_ms))

    def delivered_to(self, queue_offset: int) -> None:
        """Entries before `queue_offset` are not asked about any more."""
        while len(self._steps) > 1 and self._steps[1][0] <= queue_offset:
            del self._steps[0]

    def steady_times(self, first_offset: int, calendar_times: Sequence[int]) -> Sequence[int]:
        """Delivery times of entries from `first_offset` on, by the steady calendar."""
        if not self._steps:
            return calendar_times
        times = list(calendar_times)
        ends = [start for start, _ in self._steps[1:]] + [first_offset + len(times)]
        for (start, ahead_ms), end in zip(self._steps, ends, strict=True):
            for place in range(max(start - first_offset, 0), min(end - first_offset, len(times))):
                times[place] -= ahead_ms
        return times


# -- what is delivered -------------------------------------------------------------------------------------


class Undeliverable(Exception):
    """A record of a delayed message that is to be passed over; says why."""


def delivered(record: MessageRecord) -> NewMessage:
    """The message to store in its own topic now; Undeliverable when there is none to be stored.

    Its properties stay as they are, so it still tells of its delay, as with Apache. A half message was never
    to be delayed: its commit is.
    """
    properties = unpack_properties(record.properties)
    if record.topic != names.SCHEDULE_TOPIC:
        raise Undeliverable("it does not say where it belongs")
    if properties.get(prop.REAL_TOPIC) == names.TRANSACTION_HALF_TOPIC:
        raise Undeliverable("it is a half message")
    return in_own_queue(record, properties)


def in_own_queue(record: MessageRecord, properties: dict[str, str]) -> NewMessage:
    """The message as it is stored where its properties say that it belongs; Undeliverable if they do not."""
    topic, queue_text = properties.get(prop.REAL_TOPIC), properties.get(prop.REAL_QUEUE_ID, "")
    if not topic or not queue_text.isdecimal():
        raise Undeliverable("it does not say where it belongs")
    try:
        names.check_topic(topic)  # it becomes the name of a folder
    except RequestRefused as refusal:
        raise Undeliverable(refusal.remark) from refusal
    return stored_again(record, topic, int(queue_text), record.properties, properties)


def stored_again(
    record: MessageRecord, topic: str, queue_id: int, stored: bytes, properties: dict[str, str]
) -> NewMessage:
    """A record once more, in another queue; `stored` are its properties there, as bytes."""
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
