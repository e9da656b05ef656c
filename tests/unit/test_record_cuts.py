"""Cutting by patterns gives what cutting one by one gives."""

from __future__ import annotations

from array import array

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.store import record_cuts
from rocketmq_tx.store.record_cuts import RecordCuts

GAPS = st.lists(st.sampled_from([0, 1, 50, -3]), max_size=12)


class Cuts(SynchronousTestCase):
    @given(st.integers(0, 2**40), st.integers(1, 40), GAPS, st.booleans(), st.booleans())
    @example(2**32 - 60, 20, [0, 50, 0], True, True)
    def test_records_come_out_whole_however_often_their_pattern_was_seen(
        self, first: int, size: int, gaps: list[int], alike: bool, columns: bool
    ) -> None:
        cuts = RecordCuts()
        sizes = [size] * (len(gaps) + 1) if alike else [size + number for number in range(len(gaps) + 1)]
        starts = [first]
        for gap, before in zip(gaps, sizes, strict=False):
            starts.append(max(starts[-1], starts[-1] + before + gap))
        data = bytes(number % 251 for number in range(starts[-1] + sizes[-1] - first))
        wanted = [data[at - first : at - first + size] for at, size in zip(starts, sizes, strict=True)]
        for _ in range(3):
            cut = cuts.of(array("q", starts), array("i", sizes)) if columns else cuts.of(starts, sizes)
            assert cut is not None
            self.assertEqual(list(cut(data)), wanted)

    @given(st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=6), st.integers(1, 9))
    @example([2**63 - 1, 0], 5)
    def test_places_out_of_order_have_no_cut_though_others_were_seen(
        self, starts: list[int], size: int
    ) -> None:
        cuts = RecordCuts()
        for offset in range(3):
            cuts.of([offset + size * 3 * number for number in range(len(starts))], [size] * len(starts))
        in_order = min(starts) == starts[0] and max(starts) == starts[-1]
        self.assertEqual(cuts.of(starts, [size] * len(starts)) is not None, in_order)

    def test_a_pattern_is_compiled_when_it_is_seen_again_wherever_it_stands(self) -> None:
        cuts = RecordCuts()
        data = bytes(range(60))
        for offset in (0, 1000, 2**33):
            cut = cuts.of([offset, offset + 40], [20, 20])
            assert cut is not None
            self.assertEqual(list(cut(data)), [data[:20], data[40:]])
        self.assertEqual([compiled is not None for compiled in cuts._cuts.values()], [True])

    def test_patterns_are_bounded(self) -> None:
        self.patch(record_cuts, "PATTERNS_MAX", 10)
        cuts = RecordCuts()
        for gap in range(100):
            cuts.of([0, 20 + gap], [20, 20])
            self.assertLessEqual(len(cuts._cuts), 10)
