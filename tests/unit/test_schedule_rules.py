"""Decisions about delayed messages: when their time has come, and what is delivered."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.delay_delivery import BATCH_BYTES, within_bytes
from rocketmq_tx.broker.delay_rules import (
    CLOCK_STEP_MS,
    ClockSteps,
    Due,
    Undeliverable,
    delay_ms,
    delivered,
    due,
    queue_of,
)
from rocketmq_tx.protocol.java import string_hash
from rocketmq_tx.protocol.message import MessageRecord
from rocketmq_tx.protocol.message_ids import pack_host
from rocketmq_tx.protocol.properties import pack_properties
from rocketmq_tx.store.layouts import FILLER_SIZE

NOW_MS = 1_700_000_000_000
TIMES = st.lists(st.integers(NOW_MS - 50, NOW_MS + 50), max_size=20)


class WhenItIsTime(SynchronousTestCase):
    def test_where_nothing_waits_nothing_is_due(self) -> None:
        self.assertEqual(due([], NOW_MS, 1000), Due(0, None))

    def test_a_message_is_due_at_its_time_and_not_before(self) -> None:
        self.assertEqual(due([NOW_MS + 1], NOW_MS, 1000), Due(0, 1))
        self.assertEqual(due([NOW_MS], NOW_MS, 1000), Due(1, None))
        self.assertEqual(due([NOW_MS - 5, NOW_MS, NOW_MS + 7], NOW_MS, 1000), Due(2, 7))

    def test_a_time_beyond_the_level_is_no_time_to_wait_for(self) -> None:
        """The level was made shorter, or the clock was set back while the broker was down."""
        self.assertEqual(due([NOW_MS + 1000], NOW_MS, 1000), Due(0, 1000))
        beyond = NOW_MS + 1001 + CLOCK_STEP_MS
        self.assertEqual(due([beyond, NOW_MS + 900], NOW_MS, 1000), Due(1, 900))

    def test_a_message_just_stored_waits_although_the_clocks_differ_a_little(self) -> None:
        """The steady clock may be behind the calendar, which the delivery time was made by."""
        self.assertEqual(due([NOW_MS + 1001], NOW_MS, 1000), Due(0, 1001))
        self.assertEqual(due([NOW_MS + 1000 + CLOCK_STEP_MS], NOW_MS, 1000), Due(0, 1000 + CLOCK_STEP_MS))

    @given(TIMES, st.integers(1, 60))
    def test_it_is_the_longest_start_whose_time_has_come(self, times: list[int], delay: int) -> None:
        decided = due(times, NOW_MS, delay)
        waits = [0 < time_ms - NOW_MS <= delay + CLOCK_STEP_MS for time_ms in times]
        self.assertFalse(any(waits[: decided.messages]))
        if decided.wait_ms is None:
            self.assertEqual(decided.messages, len(times))
        else:
            self.assertTrue(waits[decided.messages])
            self.assertEqual(decided.wait_ms, times[decided.messages] - NOW_MS)
            self.assertGreater(decided.wait_ms, 0)
            self.assertLessEqual(decided.wait_ms, delay + CLOCK_STEP_MS)

    def test_levels_that_are_gone_wait_as_long_as_the_highest(self) -> None:
        self.assertEqual([delay_ms(level, (10, 20)) for level in (1, 2, 3)], [10, 20, 20])
        self.assertEqual(delay_ms(1, ()), 0)

    def test_levels_count_from_one_queues_from_zero(self) -> None:
        self.assertEqual([queue_of(level) for level in (1, 2, 18)], [0, 1, 17])


class StepsOfTheClock(SynchronousTestCase):
    def test_without_any_the_entries_mean_what_they_say(self) -> None:
        steps = ClockSteps()
        steps.stored_from(5, 9)
        self.assertEqual(steps.steady_times(0, [1, 2]), [1, 2])

    def test_each_stretch_has_its_own(self) -> None:
        steps = ClockSteps()
        steps.stored_from(2, 3_600_000)
        steps.stored_from(3, 3_600_001)
        steps.stored_from(4, 0)
        self.assertEqual(
            steps.steady_times(0, [10, 11, 3_600_012, 3_600_013, 14, 15]), [10, 11, 12, 13, 14, 15]
        )
        self.assertEqual(steps.steady_times(3, [3_600_013, 14]), [13, 14])
        self.assertEqual(steps.steady_times(9, [19]), [19])
        steps.delivered_to(3)
        self.assertEqual(steps.steady_times(3, [3_600_013, 14]), [13, 14])
        steps.delivered_to(4)
        self.assertEqual(steps, ClockSteps([(4, 0)]))

    @given(
        st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0, -50, 70, 3_600_000])), max_size=8),
        st.integers(0, 10),
        st.integers(0, 10),
    )
    def test_times_are_those_of_a_clock_that_nobody_set(
        self, stretches: list[tuple[int, int]], begin: int, count: int
    ) -> None:
        steps, calendar, steady = ClockSteps(), [], []
        for length, ahead_ms in stretches:
            steps.stored_from(len(calendar), ahead_ms)
            for _ in range(length):
                steady.append(100 + len(steady))
                calendar.append(steady[-1] + ahead_ms)
        wanted = steady[begin : begin + count]
        self.assertEqual(list(steps.steady_times(begin, calendar[begin : begin + count])), wanted)
        steps.delivered_to(begin)
        self.assertEqual(list(steps.steady_times(begin, calendar[begin : begin + count])), wanted)


class WhatIsDelivered(SynchronousTestCase):
    def setUp(self) -> None:
        self.properties = {
            "REAL_TOPIC": "Orders", "REAL_QID": "3", "DELAY": "2", "TAGS": "T", "KEYS": "a b",
            "UNIQ_KEY": "U", "WAIT": "true",
        }  # fmt: skip
        self.waiting = MessageRecord(
            "SCHEDULE_TOPIC_XXXX", b"body", pack_properties(self.properties), 1, 7, 5, 900, 0x18 | 1, 11,
            ("2001:db8::1", 5), 12, ("127.0.0.1", 10911), 4, 77, 99,
        )  # fmt: skip

    def test_a_message_goes_where_it_was_sent(self) -> None:
        message = delivered(self.waiting)
        self.assertEqual((message.topic, message.queue_id), ("Orders", 3))
        self.assertEqual((message.body, message.body_crc, message.flag), (b"body", 99, 7))
        self.assertEqual((message.born_timestamp, message.born_host), (11, pack_host("2001:db8::1", 5)))
        self.assertEqual((message.reconsume_times, message.prepared_transaction_offset), (4, 0))
        self.assertEqual(message.sys_flag, 0x8 | 1)

    def test_its_properties_still_tell_of_its_delay(self) -> None:
        self.assertEqual(delivered(self.waiting).properties, self.waiting.properties)

    def test_it_is_found_by_its_tags_and_keys(self) -> None:
        message = delivered(self.waiting)
        self.assertEqual(message.tags_code, string_hash("T"))
        self.assertEqual(message.keys, ("U", "a", "b"))

    def refuse(self, said: str, **changes: str) -> None:
        properties = pack_properties({**self.properties, **changes})
        with self.assertRaisesRegex(Undeliverable, said):
            delivered(attrs.evolve(self.waiting, properties=properties))

    def test_half_messages_are_passed_over(self) -> None:
        self.refuse("half message", REAL_TOPIC="RMQ_SYS_TRANS_HALF_TOPIC")

    def test_what_does_not_say_where_it_belongs_is_passed_over(self) -> None:
        self.refuse("where it belongs", REAL_QID="x")
        self.refuse("illegal characters", REAL_TOPIC="../etc")
        with self.assertRaises(Undeliverable):
            delivered(attrs.evolve(self.waiting, properties=b""))
        with self.assertRaises(Undeliverable):
            delivered(attrs.evolve(self.waiting, topic="Orders"))


class HowMuchAtATime(SynchronousTestCase):
    def test_a_pass_is_bounded_in_bytes_but_takes_one_message_at_least(self) -> None:
        small, large, filler = (0, 100, 0), (0, BATCH_BYTES, 0), (0, FILLER_SIZE, 0)
        self.assertEqual(within_bytes([small] * 5), [small] * 5)
        self.assertEqual(within_bytes([large, small]), [large])
        self.assertEqual(within_bytes([small, large]), [small])
        self.assertEqual(within_bytes([filler, filler, small]), [filler, filler, small])
        self.assertEqual(within_bytes([]), [])
