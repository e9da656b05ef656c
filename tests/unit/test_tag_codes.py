"""Tags codes asked for by columns: the same as looking each one up."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.store.entry_blocks import as_words
from rocketmq_tx.store.layouts import QUEUE_ENTRY
from rocketmq_tx.store.tag_codes import TagCodes

FEW = st.sampled_from([-(2**31), -(2**31) + 1, -1, 0, 1, 2, 65_536, 2**31 - 1])
HASHES = FEW | st.integers(-(2**31), 2**31 - 1)
LONGS = (
    HASHES | st.sampled_from([2**31, 2**32 - 1, -(2**31) - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1)
)


def entries_of(codes: Sequence[int]) -> array[int]:
    return as_words(b"".join([QUEUE_ENTRY.pack(2**40 + at, 100, code) for at, code in enumerate(codes)]))


class Columns(SynchronousTestCase):
    @given(st.lists(LONGS, max_size=8), st.lists(HASHES, min_size=1, max_size=70))
    def test_each_hash_is_wanted_or_not_as_when_it_is_looked_up(
        self, wanted: list[int], codes: list[int]
    ) -> None:
        filters = TagCodes([*wanted, *codes[: len(codes) // 8][:4]][:8])
        found = filters.flags(entries_of(codes))
        self.assertEqual(found, bytes(map(filters.look_up, codes)))
        self.assertEqual([filters(code) for code in codes], [filters.look_up(code) for code in codes])

    @given(st.lists(LONGS, max_size=8), st.lists(LONGS, min_size=1, max_size=70))
    def test_longer_codes_are_left_to_be_looked_up(self, wanted: list[int], codes: list[int]) -> None:
        found = TagCodes(wanted).flags(entries_of(codes))
        are_hashes = all(-(2**31) <= code < 2**31 for code in codes)
        self.assertEqual(found is None, not are_hashes)

    def test_many_wanted_codes_are_left_to_be_looked_up(self) -> None:
        self.assertEqual(TagCodes(range(8)).flags(entries_of([7, 8])), b"\1\0")
        self.assertIsNone(TagCodes(range(9)).flags(entries_of([7, 8])))
