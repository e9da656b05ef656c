"""What a batch makes of the properties of its members, from memory and worked out: the same."""

from __future__ import annotations

from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import batch_messages
from rocketmq_tx.broker.batch_messages import BatchTails, stored_member
from rocketmq_tx.errors import RequestRefused

MAX_MESSAGE_SIZE = 1 << 22
KEY = b"7F0000010AD718B4AAC2000000000001"
APPENDED = b"WAIT\1true\2CLUSTER\1DefaultCluster"
PIECES = st.lists(
    st.sampled_from(
        [
            *[
                b"\1",
                b"\2",
                b"UNIQ_KEY\1",
                b"\2UNIQ_KEY\1",
                b"KEYS\1k",
                b"\2TAGS\1TagA",
                b"\2WAIT\1true",
                b"x",
            ],
            *[
                b"INNER_MULTI_QUEUE_OFFSET\x011,2",
                b"\2INNER_MULTI_DISPATCH\1%LMQ%a",
                b"\2TIMER_DELAY_SEC\x015",
            ],
            *[b"PLACE0OF0THE0KEY", b"\0", "é".encode(), b"\xff", b"", b"a" * 300, b"x" * 32_500],
        ]
    ),
    max_size=4,
).map(b"".join)


def outcome(call: object, *arguments: object) -> object:
    try:
        return call(*arguments)  # type: ignore[operator]
    except RequestRefused as refusal:
        return refusal.code, refusal.remark


class Tails(SynchronousTestCase):
    @settings(max_examples=1000, deadline=None)
    @given(PIECES, st.sampled_from([KEY, b"", b"-", b"k" * 255, b"k" * 256, "é".encode()]), PIECES, PIECES)
    @example(b"", KEY, b"\2WAIT\1true\2TAGS\1TagA", APPENDED)
    @example(b"a\1b\2", KEY, b"\2", APPENDED)
    @example(b"", KEY, b"", b"UNIQ_KEY\1other")
    @example(b"X", KEY, b"", APPENDED)
    def test_a_member_is_stored_as_if_it_were_the_first_of_its_kind(
        self, before: bytes, key: bytes, after: bytes, appended: bytes
    ) -> None:
        tails = BatchTails()
        for one in (KEY[::-1], key, key):
            own = before + b"UNIQ_KEY\1" + one + after
            self.assertEqual(
                outcome(tails.stored, own, appended, MAX_MESSAGE_SIZE),
                outcome(stored_member, own, appended, MAX_MESSAGE_SIZE),
            )

    def test_members_that_differ_in_their_keys_only_are_worked_out_once(self) -> None:
        tails = BatchTails()
        owns = [b"UNIQ_KEY\1K%d\2TAGS\1TagA" % number for number in range(50)]
        with mock.patch.object(batch_messages, "stored_member", side_effect=stored_member) as worked_out:
            found = [tails.stored(own, APPENDED, MAX_MESSAGE_SIZE) for own in owns]
        self.assertEqual(worked_out.call_count, 1)
        self.assertEqual(found, [stored_member(own, APPENDED, MAX_MESSAGE_SIZE) for own in owns])

    def test_what_is_kept_is_bounded(self) -> None:
        self.patch(batch_messages, "TAILS_MAX", 10)
        tails = BatchTails()
        for number in range(100):
            tails.stored(b"UNIQ_KEY\1K\2a\1%d" % number, APPENDED, MAX_MESSAGE_SIZE)
            tails.stored(b"UNIQ_KEY\1K\2KEYS\1%d" % number, APPENDED, MAX_MESSAGE_SIZE)
            tails.stored(b"UNIQ_KEY\1K\2a\1" + b"x" * 2000, APPENDED, MAX_MESSAGE_SIZE)
            self.assertLessEqual(len(tails._tails), 10)
        self.assertTrue(all(sum(map(len, parts)) < 1025 for parts in tails._tails))
