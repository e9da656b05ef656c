"""Rules of messages with a delivery time of their own, over values."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import timer_messages
from rocketmq_tx.broker.delay_rules import Undeliverable
from rocketmq_tx.broker.send_rules import Placement
from rocketmq_tx.broker.timer_messages import delivered, mark_message, read_mark, rolled
from rocketmq_tx.broker.timer_rules import (
    CANCELLATION_REACH_MS,
    Cancellations,
    check_batch_member,
    entry_of,
    read_long,
    timed,
)
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol.flags import SysFlag
from rocketmq_tx.protocol.message import MessageRecord
from rocketmq_tx.protocol.properties import encode_properties
from rocketmq_tx.store.timer_entries import pack_entry, unpack_entry
from rocketmq_tx.store.timer_manifest import Claim

NOW = 1_700_000_000_000
MAX_SEC = 259_200
HOST = bytes((127, 0, 0, 1, 0, 0, 42, 159))


def placement(sys_flag: int = 0, **properties: str) -> Placement:
    return Placement("Orders", 3, sys_flag, properties, waits=True)


def stored(**properties: str) -> bytes:
    return encode_properties(properties).encode()


def pending(**properties: str) -> MessageRecord:
    named = {"REAL_TOPIC": "Orders", "REAL_QID": "3", "TIMER_OUT_MS": str(NOW), **properties}
    return MessageRecord("rmq_sys_wheel_timer", b"body", stored(**named), commit_log_offset=400)


class Timed(SynchronousTestCase):
    def test_a_message_without_a_time_stays_where_it_is(self) -> None:
        given_one = placement(KEYS="k", TIMER_DEL_UNIQKEY="x")
        self.assertIs(timed(given_one, NOW, MAX_SEC), given_one)

    def test_a_timed_one_waits_and_remembers_where_it_belongs(self) -> None:
        found = timed(placement(TIMER_DELAY_MS="1500"), NOW, MAX_SEC)

        self.assertEqual((found.topic, found.queue_id, found.waits), ("rmq_sys_wheel_timer", 0, True))
        self.assertEqual(
            found.properties,
            {
                "TIMER_DELAY_MS": "1500",
                "TIMER_OUT_MS": str(NOW + 1500),
                "REAL_TOPIC": "Orders",
                "REAL_QID": "3",
            },
        )

    def test_parts_of_transactions_that_are_not_committed_do_not_wait(self) -> None:
        for kind, waits in ((SysFlag.TRANSACTION_PREPARED, False), (SysFlag.TRANSACTION_COMMIT, True)):
            found = timed(placement(int(kind), TIMER_DELAY_SEC="5"), NOW, MAX_SEC)
            self.assertEqual(found.topic == "rmq_sys_wheel_timer", waits)

    def test_a_delay_level_wins_over_a_time(self) -> None:
        leveled = attrs.evolve(placement(TIMER_DELAY_SEC="x"), delay_level=3)
        self.assertIs(timed(leveled, NOW, MAX_SEC), leveled)

    @given(st.integers(-(10**17), 10**17), st.integers(0, 31_536_000))
    def test_a_time_is_past_or_pending_or_refused(self, deliver_ms: int, max_sec: int) -> None:
        one = placement(TIMER_DELIVER_MS=str(deliver_ms))
        if deliver_ms - NOW > max_sec * 1000:
            refusal = self.assertRaises(RequestRefused, timed, one, NOW, max_sec)
            self.assertEqual(refusal.code, 13)
            self.assertIn(f"bigger than the max delay {max_sec * 1000}ms", refusal.remark)
        else:
            found = timed(one, NOW, max_sec)
            self.assertEqual(found.properties.get("TIMER_OUT_MS", ""), str(deliver_ms) * (deliver_ms > NOW))

    def test_a_cancellation_for_a_time_that_has_passed_is_refused(self) -> None:
        one = placement(TIMER_DELIVER_MS=str(NOW), TIMER_DEL_UNIQKEY="k")
        self.assertRaises(RequestRefused, timed, one, NOW, MAX_SEC)

    def test_numbers_are_what_java_takes_for_them(self) -> None:
        self.assertEqual([read_long(text) for text in ("7", "-7", "+7", "007")], [7, -7, 7, 7])
        for text in ("", "1.0", "1_0", " 1", "٣", "0x1", "1" * 19):
            self.assertRaises(ValueError, read_long, text)

    def test_a_batch_holds_no_delivery_times(self) -> None:
        check_batch_member(stored(KEYS="TIMER_DELAY_SEC", TIMER_DEL_UNIQKEY="k"))
        for name in ("TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS"):
            self.assertRaises(RequestRefused, check_batch_member, stored(KEYS="k", **{name: "1"}))


class EntriesOfRecords(SynchronousTestCase):
    @given(
        st.dictionaries(st.text("ABTIMER_OUMS", min_size=1), st.text("01x", min_size=1), max_size=4),
        st.integers(1, 10**15),
        st.booleans(),
    )
    def test_an_entry_is_found_wherever_its_property_stands(
        self, others: dict[str, str], due_ms: int, cancels: bool
    ) -> None:
        others.pop("TIMER_OUT_MS", None)
        more = {"TIMER_DEL_UNIQKEY": "k"} if cancels else {}
        entry = entry_of(stored(**others, TIMER_OUT_MS=str(due_ms), **more), 400, 100)

        assert entry is not None
        early_ms = CANCELLATION_REACH_MS + 1 if cancels else 0
        self.assertEqual(unpack_entry(entry), (max(0, due_ms - early_ms), 400, 100, cancels))

    def test_without_a_time_there_is_none(self) -> None:
        for properties in (b"", stored(xTIMER_OUT_MS="1"), stored(TIMER_OUT_MS="soon"), stored(KEYS="k")):
            self.assertIsNone(entry_of(properties, 400, 100))


class Cancelling(SynchronousTestCase):
    def found(self, cancellations: Cancellations, due_ms: int, key: str = "k", topic: str = "Orders") -> bool:
        return cancellations.find({"REAL_TOPIC": topic, "UNIQ_KEY": key, "TIMER_OUT_MS": str(due_ms)})

    def test_a_cancellation_is_in_force_until_all_it_may_find_has_passed(self) -> None:
        cancellations = Cancellations()
        self.assertFalse(self.found(cancellations, NOW))
        named: dict[str, Any] = {"TIMER_OUT_MS": str(NOW), "REAL_TOPIC": "Orders", "TIMER_DEL_UNIQKEY": "k"}
        entry = pack_entry(NOW - 1001, 400, 100, True)
        cancellations.add(entry, named)
        cancellations.add(pack_entry(NOW - 2001, 300, 100, True), {**named, "TIMER_OUT_MS": str(NOW - 1000)})

        self.assertTrue(self.found(cancellations, NOW + 1000))
        self.assertFalse(self.found(cancellations, NOW + 1001))
        self.assertFalse(self.found(cancellations, NOW, key="other"))
        self.assertFalse(self.found(cancellations, NOW, topic="Other"))
        cancellations.expire(NOW + 999)
        self.assertEqual(cancellations.entries(), [entry])
        cancellations.expire(NOW + 1000)
        self.assertEqual((cancellations.entries(), len(cancellations)), ([], 0))

    def test_a_message_without_a_unique_key_cannot_be_named(self) -> None:
        cancellations = Cancellations()
        named = {"TIMER_OUT_MS": str(NOW), "REAL_TOPIC": "Orders", "TIMER_DEL_UNIQKEY": "None"}
        cancellations.add(pack_entry(NOW - 1001, 400, 100, True), named)

        self.assertFalse(cancellations.find({"REAL_TOPIC": "Orders", "TIMER_OUT_MS": str(NOW)}))
        self.assertTrue(self.found(cancellations, NOW, key="None"))


class Records(SynchronousTestCase):
    def test_a_delivered_message_is_its_pending_one_in_its_own_queue(self) -> None:
        record = pending(TAGS="t", UNIQ_KEY="u", KEYS="a b")
        message = delivered(record, record.property_map)

        self.assertEqual((message.topic, message.queue_id, message.body), ("Orders", 3, b"body"))
        self.assertEqual((message.properties, message.keys), (record.properties, ("u", "a", "b")))

    def test_a_record_that_does_not_say_where_it_belongs_is_undeliverable(self) -> None:
        for wrong in (
            {"REAL_TOPIC": ""},
            {"REAL_QID": "x"},
            {"REAL_TOPIC": "rmq_sys_wheel_timer"},
            {"REAL_TOPIC": "../x"},
        ):
            record = pending(**wrong)
            self.assertRaises(Undeliverable, delivered, record, record.property_map)

    def test_a_record_that_is_appended_again_counts_how_often(self) -> None:
        once = rolled(pending())
        twice = rolled(attrs.evolve(pending(), properties=once.properties))
        odd = rolled(pending(TIMER_ROLL_TIMES="often"))

        self.assertEqual((once.topic, once.queue_id), ("rmq_sys_wheel_timer", 0))
        for message, times in ((once, b"1"), (twice, b"2"), (odd, b"1")):
            self.assertIn(b"TIMER_ROLL_TIMES\1" + times, message.properties)
        self.assertEqual(entry_of(twice.properties, 9, 9), entry_of(pending().properties, 9, 9))

    def test_properties_without_room_for_the_count_stay_as_they_are(self) -> None:
        record = pending(long="x" * 32_690)
        self.assertGreater(len(record.properties), 32_750)
        self.assertEqual(rolled(record).properties, record.properties)

    @given(st.binary(min_size=20, max_size=20), st.integers(1, 1 << 60), st.integers(0, 1 << 60))
    def test_a_mark_is_read_as_it_was_written(self, before: bytes, log_offset: int, void_below: int) -> None:
        claim = Claim(before, log_offset)
        message = mark_message(claim, void_below, NOW, HOST)

        self.assertEqual(read_mark(message.body), (claim, void_below))
        self.assertEqual(
            (message.topic, message.queue_id), ("rmq_sys_wheel_timer", timer_messages.MARKS_QUEUE)
        )

    def test_anything_else_is_no_mark(self) -> None:
        for body in (b"", b"{", b"[]", b"{}", b'{"doneBefore":"00","of":1,"voidBelow":0}', b"\xff"):
            self.assertIsNone(read_mark(body))
