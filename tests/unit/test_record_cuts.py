"""Cutting by patterns gives what cutting one by one gives, or nothing."""

from __future__ import annotations

from array import array
from itertools import compress

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.store import record_cuts
from rocketmq_tx.store.entry_blocks import as_words
from rocketmq_tx.store.layouts import QUEUE_ENTRY
from rocketmq_tx.store.record_cuts import RecordCuts

SIZE = 20
ALL = b"\1" * 100


def entries(starts: list[int], size: int = SIZE) -> array[int]:
    return as_words(b"".join([QUEUE_ENTRY.pack(start, size, -number) for number, start in enumerate(starts)]))


def is_right(cuts: RecordCuts, starts: list[int], wanted: bytes) -> bool:
    """Is there a cut? Then it gives the records wanted."""
    cut = cuts.of(entries(starts), wanted)
    if cut is None:
        return False
    places = list(compress(starts, wanted))
    assert (cut.begin, cut.span) == (places[0] - starts[0], places[-1] + SIZE - places[0])
    assert cut.end == starts[-1] + SIZE - starts[0]
    data = bytes(number % 251 for number in range(cut.span))
    found = list(cut.unpack(data))
    assert found == [data[place - places[0] : place - places[0] + SIZE] for place in places]
    return True


class Cuts(SynchronousTestCase):
    @given(
        st.integers(0, 2**40),
        st.lists(st.tuples(st.sampled_from([0, 1, 50]), st.booleans()), max_size=12),
        st.integers(0, 2**40),
    )
    @example(2**32 - 60, [(0, True), (50, False), (0, True)], 0)
    @example(0, [(0, True), (50, False), (0, True)], 2**32 - 60)
    def test_a_pattern_seen_twice_cuts_whole_records_wherever_it_stands(
        self, first: int, gaps: list[tuple[int, bool]], other: int
    ) -> None:
        starts, wanted = [0], b"\1"
        for gap, is_wanted in gaps:
            starts.append(starts[-1] + SIZE + gap)
            wanted += bytes((is_wanted,))
        cuts = RecordCuts()
        for base in (first, first, other):
            known = is_right(cuts, [base + start for start in starts], wanted)
        ends = [(base + starts[-1] + SIZE) >> 32 for base in (first, other)]
        whole = ends == [first >> 32, other >> 32]
        self.assertTrue(known or not whole)

    @given(
        st.lists(
            st.lists(st.sampled_from([0, 1, 20, 2**31, 2**32 - 1, 2**32, 2**32 + 20, 2**63 - 1, -1]),
                     min_size=3, max_size=3),
            min_size=1, max_size=12,
        )
    )  # fmt: skip
    @example([[0, 20, 2**32 + 20]] * 3)
    @example([[0, 20, 40]] * 3 + [[2**32 - 40, 2**32 - 20, 0]])
    @example([[0, 20, 40]] * 3 + [[0, 2**32 + 20, 40]])
    def test_places_that_make_no_sense_are_never_cut_wrongly(self, lists: list[list[int]]) -> None:
        cuts = RecordCuts()
        for starts in lists:
            known = is_right(cuts, starts, b"\1\1\1")
            self.assertTrue(not known or starts == sorted(starts))

    def test_what_is_wanted_is_part_of_a_pattern(self) -> None:
        cuts = RecordCuts()
        for wanted in (b"\1\0\1", b"\0\1\1"):
            self.assertFalse(is_right(cuts, [0, 50, 100], wanted))
        for wanted in (b"\1\0\1", b"\0\1\1"):
            cuts.of(entries([0, 50, 100]), wanted)
            self.assertTrue(is_right(cuts, [0, 50, 100], wanted))

    def test_records_far_apart_are_not_cut_out_of_one_read(self) -> None:
        cuts = RecordCuts()
        for _ in range(3):
            self.assertFalse(is_right(cuts, [0, record_cuts.GAP_BYTES_MAX + SIZE + 1], ALL[:2]))

    def test_patterns_are_bounded(self) -> None:
        self.patch(record_cuts, "PATTERNS_MAX", 10)
        cuts = RecordCuts()
        for gap in range(100):
            cuts.of(entries([0, 20 + gap]), ALL[:2])
            self.assertLessEqual(len(cuts._cuts), 10)
