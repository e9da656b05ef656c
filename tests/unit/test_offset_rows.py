"""Rows that are made as one number are those that are made one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.offset_rows import offset_rows
from rocketmq_tx.store.layouts import QUEUE_ENTRY

BYTES = st.binary(max_size=20)
OFFSETS = st.builds(
    lambda first, step, count: range(first, first + step * count, step),
    st.integers(0, 1 << 62),
    st.integers(1, 1 << 40),
    st.integers(1, 300),
)


class OffsetRows(SynchronousTestCase):
    @given(BYTES, OFFSETS, BYTES)
    def test_each_row_has_its_offset_between_the_same_bytes(
        self, before: bytes, offsets: range, after: bytes
    ) -> None:
        rows = [before + offset.to_bytes(8, "big") + after for offset in offsets]
        self.assertEqual(offset_rows(before, offsets, after), b"".join(rows))

    @given(OFFSETS, st.integers(0, (1 << 31) - 1), st.integers(-(1 << 63), (1 << 63) - 1))
    def test_they_are_entries_of_a_queue(self, offsets: range, size: int, tags_code: int) -> None:
        after = size.to_bytes(4, "big") + tags_code.to_bytes(8, "big", signed=True)
        entries = [QUEUE_ENTRY.pack(offset, size, tags_code) for offset in offsets]
        self.assertEqual(offset_rows(b"", offsets, after), b"".join(entries))
