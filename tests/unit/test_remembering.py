"""Expressions that remember what they found say what those say that look each time."""

from __future__ import annotations

from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.filter import compile_expression, remembering
from rocketmq_tx.filter import expression as expression_module
from rocketmq_tx.protocol.properties import pack_properties, unpack_properties

EXPRESSIONS = st.sampled_from(
    [
        "a BETWEEN 0 AND 4",
        "a > 2 AND b = 'x'",
        "a > 2 OR b IN ('x', '3')",
        "NOT (a = 3 OR a IS NULL)",
        "a = TRUE AND a <> b",
        "a",
        "TRUE",
        "a < b",
        "a NOT IN ('1', 'x')",
        "b IS NULL OR a >= 2.5",
    ]
)
VALUES = st.sampled_from(["", "1", "3", "3.5", "x", "true", "é", "9" * 100, "NaN"])
STORED = st.one_of(
    st.dictionaries(st.sampled_from(["a", "b", "aa", "xa"]), VALUES).map(pack_properties),
    st.lists(st.sampled_from([b"a\1", b"b\1", b"1", b"3", b"\2", b"\xff"]), max_size=8).map(b"".join),
)


class Remembering(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(EXPRESSIONS, st.lists(STORED, max_size=12))
    def test_the_same_is_said_of_every_message_however_often_the_like_was_seen(
        self, text: str, messages: list[bytes]
    ) -> None:
        expression = compile_expression(text)
        for stored in messages * 2:
            self.assertIs(
                expression.matches_stored(stored), expression.matches(unpack_properties(stored)), stored
            )

    def test_a_value_that_cannot_be_compared_is_not_tried_again(self) -> None:
        tried = []

        def evaluate(value: object) -> bool:
            tried.append(value)
            raise remembering.NotComparable

        look = remembering._remembered(lambda stored: stored, evaluate)
        for _ in range(3):
            self.assertRaises(remembering.NotComparable, look, b"x")
        self.assertEqual(tried, ["x"])

    def test_neither_many_values_nor_long_ones_fill_the_memory(self) -> None:
        self.patch(remembering, "REMEMBERED_MAX", 10)
        tried = []
        look = remembering._remembered(lambda stored: stored, tried.append)
        for number in range(100):
            look(b"%d" % number)
        look(b"99")
        self.assertEqual(len(tried), 100)
        look(b"0")  # forgotten meanwhile
        self.assertEqual(len(tried), 101)
        for _ in range(2):
            look(b"x" * (remembering.REMEMBERED_BYTES_MAX + 1))
        self.assertEqual(len(tried), 103)

    def test_a_value_that_decides_alone_is_found_in_one_step_the_next_time(self) -> None:
        expression = compile_expression("a BETWEEN 0 AND 4")
        stored = [b"k\1%d\2a\1%d\2" % (number, number % 10) for number in range(100)]
        self.assertEqual(sum(map(expression.matches_stored, stored)), 50)
        with mock.patch.object(expression, "_evaluate_stored", None):  # nothing is evaluated any more
            self.assertEqual(sum(map(expression.matches_stored, stored)), 50)

    def test_values_that_decide_alone_do_not_fill_the_memory_either(self) -> None:
        self.patch(expression_module, "REMEMBERED_MAX", 10)
        tried: list[bytes] = []
        matches = expression_module._matching("a", lambda stored: not tried.append(stored))
        for number in range(100):
            self.assertTrue(matches(b"k\1v\2a\1%d" % number))
        matches(b"k\1v\2a\0199")
        self.assertEqual(len(tried), 100)
        for _ in range(2):
            matches(b"k\1v\2a\1" + b"x" * (remembering.REMEMBERED_BYTES_MAX + 1))
            matches(b"a\1first of all")
        self.assertEqual(len(tried), 104)
