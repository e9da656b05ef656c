"""Columns of a batch say what its messages do, read one by one; what they cannot say is left to that."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol import batch_columns
from rocketmq_tx.protocol.batch import BatchItem, decode_batch, encode_batch
from rocketmq_tx.protocol.batch_columns import UNIQUE_KEY_NAME, BatchColumns, read_columns
from tests.unit.batch_cases import KEY, alike, bodies


def members(columns: BatchColumns) -> list[BatchItem]:
    """The same one by one."""
    flag, bodies, before, keys, after = columns
    pairs = zip(bodies, keys, strict=True)
    return [BatchItem(flag, body, b"".join((before, UNIQUE_KEY_NAME, key, after))) for body, key in pairs]


class Columns(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(bodies())
    def test_what_is_read_as_columns_is_what_was_sent(self, data: bytes) -> None:
        columns = read_columns(data)
        if columns is not None:
            self.assertEqual(members(columns), decode_batch(data))
            self.assertEqual(len(set(map(len, columns.keys))), 1)
            self.assertNotIn(UNIQUE_KEY_NAME, columns.before)

    @settings(deadline=None)
    @given(alike())
    def test_members_that_differ_in_body_and_key_are_read_as_columns(self, items: list[BatchItem]) -> None:
        same_length = len({len(item.properties) for item in items}) == 1
        named_once = not any(item.properties.startswith(b"UNIQ_KEY\1X\2") for item in items)
        columns = read_columns(encode_batch(items))
        if same_length and named_once:
            self.assertIsNotNone(columns)
        if columns is not None:
            self.assertEqual(members(columns), items)

    @given(st.lists(st.integers(0, 300), min_size=1, max_size=50))
    def test_bodies_may_be_of_any_lengths(self, lengths: list[int]) -> None:
        items = [
            BatchItem(0, b"x" * length, f"UNIQ_KEY\1{KEY.format(number)}\2WAIT\1true".encode())
            for number, length in enumerate(lengths)
        ]
        columns = read_columns(encode_batch(items))
        assert columns is not None
        self.assertEqual(members(columns), items)
        self.assertEqual((columns.before, columns.after), (b"", b"\2WAIT\1true"))

    def test_magic_number_and_checksum_are_not_looked_at(self) -> None:
        items = [BatchItem(0, b"x", f"UNIQ_KEY\1{KEY.format(number)}".encode()) for number in range(3)]
        data = bytearray(encode_batch(items))
        for value, place in enumerate(range(4, len(data), len(data) // 3)):
            data[place : place + 8] = bytes([value]) * 8
        columns = read_columns(bytes(data))
        assert columns is not None
        self.assertEqual(members(columns), items)

    def test_a_batch_cut_off_anywhere_is_no_columns(self) -> None:
        for lengths in ((3, 3, 3), (3, 2, 5)):
            items = [BatchItem(0, b"x" * length, f"UNIQ_KEY\1{KEY.format(1)}".encode()) for length in lengths]
            data = encode_batch(items)
            ends = {len(encode_batch(items[:count])) for count in (1, 2, 3)}
            for end in range(len(data)):
                self.assertEqual(read_columns(data[:end]) is not None, end in ends, end)

    def test_what_is_kept_is_bounded_and_holds_for_what_looks_alike_only(self) -> None:
        self.patch(batch_columns, "_layouts", {})
        for number in range(300):
            items = [BatchItem(0, b"x", b"a\1%b\2UNIQ_KEY\1K1" % (b"b" * number))] * 2
            self.assertIsNotNone(read_columns(encode_batch(items)))
            self.assertLessEqual(len(batch_columns._layouts), batch_columns.LAYOUTS_MAX)
        for properties in (
            b"a\1b\2UNIQ_KEY\1K1",
            b"UNIQ_KEY\1K1\2a\1b",
            b"a\1c\2UNIQ_KEY\1K1",
            b"UNIQ_KEY\1K1\2a=b",
        ):
            for _ in range(2):
                columns = read_columns(encode_batch([BatchItem(0, b"x", properties)] * 3))
                assert columns is not None
                self.assertEqual(members(columns), [BatchItem(0, b"x", properties)] * 3)

    def test_members_of_different_kinds_are_no_columns(self) -> None:
        first = BatchItem(0, b"x", b"a\1b\2UNIQ_KEY\1K1\2TAGS\1T")
        for second in (
            first._replace(flag=1),
            first._replace(properties=b"a\1c\2UNIQ_KEY\1K1\2TAGS\1T"),
            first._replace(properties=b"a\1b\2UNIQ_KEY\1K1\2TAGS\1U"),
            first._replace(properties=b"a\1b\2UNIQ_KEY\1K1\2TAGS\1T\2"),
            first._replace(properties=b"a\1b\2UNIQ_KEY\1K11\2TAGS\1T"),
            first._replace(properties=b"a\1b\2TAGS\1T"),
            first._replace(properties=b""),
        ):
            for body in (b"x", b"xy"):
                items = [first, second._replace(body=body)]
                self.assertIsNone(read_columns(encode_batch(items)), items)
                items.reverse()
                self.assertIsNone(read_columns(encode_batch(items)), items)
        self.assertIsNone(read_columns(encode_batch([BatchItem(0, b"x", b"a\1b")])))
        self.assertIsNone(read_columns(b""))
