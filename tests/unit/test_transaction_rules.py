"""The decisions about transactions, and the table of open ones, as values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.open_transactions import OpenTransactions, Progress
from rocketmq_tx.broker.transaction_rules import (
    CheckRule,
    HalfMessage,
    Verdict,
    is_left_behind,
    next_check,
    op_offsets,
    real_queue,
    table_key,
    transaction_key,
)
from rocketmq_tx.errors import MessageError

NOW = 1_795_239_400_000
HOUR = 3_600_000
RULE = CheckRule(timeout_ms=6000, checks_max=15, retention_ms=72 * HOUR)


def half(age_ms: int = 0, offset: int = 0, key: str = "K", **properties: str) -> HalfMessage:
    """A half message that was born and stored `age_ms` ago."""
    pairs = {"UNIQ_KEY": key, "PGROUP": "G", "REAL_TOPIC": "T", **properties}
    return HalfMessage.read(pairs, offset, offset * 300, NOW - age_ms, NOW - age_ms)


class NextCheck(SynchronousTestCase):
    def verdict(self, age_ms: int, rule: CheckRule = RULE, **properties: str) -> Verdict:
        return next_check(half(age_ms, **properties), NOW, rule)

    def test_a_young_transaction_is_left_to_its_producer(self) -> None:
        self.assertEqual(self.verdict(0), Verdict.WAIT)
        self.assertEqual(self.verdict(5999), Verdict.WAIT)
        self.assertEqual(self.verdict(6000), Verdict.ASK_PRODUCER)

    def test_a_producer_may_ask_for_more_time_or_less(self) -> None:
        for text, last_ms in (("60", 59_999), ("1", 999), ("-1", 5999), ("soon", 5999), ("", 5999)):
            given_time = {"CHECK_IMMUNITY_TIME_IN_SECONDS": text}
            self.assertEqual(self.verdict(last_ms, **given_time), Verdict.WAIT, text)
            self.assertEqual(self.verdict(last_ms + 1, **given_time), Verdict.ASK_PRODUCER, text)

    def test_it_is_asked_about_so_often_and_then_given_up(self) -> None:
        self.assertEqual(self.verdict(7000, TRANSACTION_CHECK_TIMES="14"), Verdict.ASK_PRODUCER)
        self.assertEqual(self.verdict(7000, TRANSACTION_CHECK_TIMES="15"), Verdict.GIVE_UP)
        never = CheckRule(6000, 0, 72 * HOUR)
        self.assertEqual(self.verdict(5999, never), Verdict.WAIT)
        self.assertEqual(self.verdict(6000, never), Verdict.GIVE_UP)

    def test_what_is_older_than_the_log_keeps_messages_is_given_up(self) -> None:
        old = NOW - 72 * HOUR
        copy = HalfMessage.read({"UNIQ_KEY": "K"}, 9, 9, NOW - HOUR, old)
        self.assertEqual(next_check(copy, NOW, RULE), Verdict.ASK_PRODUCER)
        self.assertEqual(next_check(copy, NOW + 1, RULE), Verdict.GIVE_UP)

    def test_the_clock_of_a_producer_is_believed_only_within_reason(self) -> None:
        for born in (-5, 0, NOW - 73 * HOUR, NOW + HOUR):
            message = HalfMessage.read({"UNIQ_KEY": "K"}, 0, 0, NOW, born)
            self.assertEqual(next_check(message, NOW + 5999, RULE), Verdict.WAIT, born)
            self.assertEqual(next_check(message, NOW + 6000, RULE), Verdict.ASK_PRODUCER, born)

    def test_when_our_clock_went_back_it_is_asked_rather_than_forgotten(self) -> None:
        self.assertEqual(next_check(half(), NOW - HOUR, RULE), Verdict.ASK_PRODUCER)

    @given(
        born=st.integers(-10, 2 * NOW),
        stored=st.integers(NOW - 100 * HOUR, NOW + 100 * HOUR),
        checks=st.integers(0, 20),
        now=st.integers(NOW - 100 * HOUR, NOW + 300 * HOUR),
        immunity=st.none() | st.integers(-2, 10**7),
    )
    def test_it_always_comes_to_an_end(
        self, born: int, stored: int, checks: int, now: int, immunity: int | None
    ) -> None:
        pairs = {"UNIQ_KEY": "K", "TRANSACTION_CHECK_TIMES": str(checks)}
        if immunity is not None:
            pairs["CHECK_IMMUNITY_TIME_IN_SECONDS"] = str(immunity)
        message = HalfMessage.read(pairs, 0, 0, stored, born)
        verdict = next_check(message, now, RULE)
        if now - stored > RULE.retention_ms:
            self.assertEqual(verdict, Verdict.GIVE_UP)
        if verdict is Verdict.ASK_PRODUCER:
            self.assertLess(checks, RULE.checks_max)

    def test_a_copy_is_due_when_progress_would_fall_too_far_behind(self) -> None:
        self.assertFalse(is_left_behind(half(offset=10), 100_010, 1))
        self.assertTrue(is_left_behind(half(offset=10), 100_011, 1))
        self.assertFalse(is_left_behind(half(offset=10), 200_000, 50_000))


class Reading(SynchronousTestCase):
    def test_numbers_that_are_none_count_as_absent(self) -> None:
        found = half(TRANSACTION_CHECK_TIMES="x", TRAN_PREPARED_QUEUE_OFFSET="y")
        self.assertEqual((found.checks_done, found.first_offset, found.is_copy), (0, None, False))
        self.assertEqual(half(TRANSACTION_CHECK_TIMES="-3").checks_done, 0)

    def test_copies_without_a_unique_key_belong_to_the_first_one(self) -> None:
        self.assertEqual(transaction_key({}, 7), table_key("@7", ""))
        self.assertEqual(transaction_key({"TRAN_PREPARED_QUEUE_OFFSET": "7"}, 9), table_key("@7", ""))

    def test_op_messages_of_later_versions_name_several(self) -> None:
        self.assertEqual(op_offsets(b"17"), [17])
        self.assertEqual(op_offsets(b"17,18,"), [17, 18])
        self.assertEqual(op_offsets(b"\xff,-1,x"), [])

    def test_a_half_message_says_where_it_goes(self) -> None:
        self.assertEqual(real_queue({"REAL_TOPIC": "T", "REAL_QID": "3"}), ("T", 3))
        for pairs in ({}, {"REAL_TOPIC": "T"}, {"REAL_TOPIC": "T", "REAL_QID": "-1"}, {"REAL_QID": "1"}):
            self.assertRaises(MessageError, real_queue, pairs)


class Table(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = OpenTransactions()

    def test_progress_stands_at_the_oldest_copy_that_counts(self) -> None:
        for offset in range(3):
            self.table.half_stored(half(offset=offset, key=f"K{offset}"))
        self.table.op_stored(0, (1,))
        self.assertEqual(self.table.progress, Progress(0, 0))
        self.table.half_stored(half(offset=3, key="K0", TRANSACTION_CHECK_TIMES="1"))
        self.assertEqual(self.table.progress, Progress(2, 1))
        self.table.op_stored(1, (2,))
        self.assertEqual(self.table.progress, Progress(3, 2))
        self.table.op_stored(2, (0,))
        self.assertEqual((len(self.table), self.table.progress), (0, Progress(4, 3)))

    def test_a_copy_that_was_put_back_is_ended_by_the_first_ones_place(self) -> None:
        table = OpenTransactions(half_offset=50)
        table.half_stored(half(offset=50, TRAN_PREPARED_QUEUE_OFFSET="7"))
        table.op_stored(0, (7,))
        self.assertEqual(len(table), 0)

    def test_older_copies_count_if_there_may_be_any(self) -> None:
        self.table.half_stored(half(offset=5))
        self.assertIsNone(self.table.find_copy(table_key("K", "G"), 4))
        self.assertIsNotNone(self.table.find_copy(table_key("K", "G"), 5))
        later = OpenTransactions(half_offset=9)
        later.half_stored(half(offset=9, TRANSACTION_CHECK_TIMES="1"))
        self.assertIsNotNone(later.find_copy(table_key("K", "G"), 4))
        self.assertIsNone(later.find_copy(table_key("K", "G"), 10))

    @given(st.lists(st.tuples(st.sampled_from(["half", "copy", "op"]), st.integers(0, 5)), max_size=60))
    def test_a_table_read_again_from_progress_on_is_the_same(self, steps: list[tuple[str, int]]) -> None:
        """Whatever happened, and wherever a reader begins again: what is open is found."""
        table = OpenTransactions()
        events: list[tuple[str, HalfMessage | int]] = []
        offsets = ops = 0
        begins = [(0, table.progress)]
        for step, number in steps:
            key = f"K{number}"
            transaction = table.find(key)
            if step == "half" or (step == "copy" and transaction is not None):
                times = {} if step == "half" else {"TRANSACTION_CHECK_TIMES": "1"}
                message = half(offset=offsets, key=key, **times)
                events.append(("half", message))
                table.half_stored(message)
                offsets += 1
            elif step == "op" and transaction is not None:
                events.append(("op", transaction.newest.queue_offset))
                table.op_stored(ops, (transaction.newest.queue_offset,))
                ops += 1
            begins.append((len(events), table.progress))
        for _, progress in begins:
            again = OpenTransactions(*progress)
            op_offset = 0
            for _, what in events:
                if isinstance(what, HalfMessage):
                    if what.queue_offset >= progress.half:
                        again.half_stored(what)
                else:
                    if op_offset >= progress.op:
                        again.op_stored(op_offset, (what,))
                    op_offset += 1
            self.assertEqual([each.newest for each in again], [each.newest for each in table], progress)
            self.assertEqual(again.progress, table.progress)
