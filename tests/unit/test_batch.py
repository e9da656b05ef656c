"""Batch bodies: fast path and declaration agree, and what does not add up is refused."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol.batch import BatchItem, decode_batch, encode_batch
from rocketmq_tx.protocol.message_layouts import BATCH_BODY

items = st.builds(
    BatchItem, st.integers(-(2**31), 2**31 - 1), st.binary(max_size=100), st.binary(max_size=100)
)
EXAMPLE = bytes.fromhex(
    "00000033000000000000000000000000000000024869001b4b455953016b310257414954017472756502544147530154616741"
)


class Batches(SynchronousTestCase):
    def test_the_documented_example_is_read_and_written(self) -> None:
        expected = [BatchItem(0, b"Hi", b"KEYS\x01k1\x02WAIT\x01true\x02TAGS\x01TagA")]
        self.assertEqual(decode_batch(EXAMPLE), expected)
        self.assertEqual(encode_batch(expected), EXAMPLE)

    @given(st.lists(items, max_size=5))
    def test_fast_path_and_declaration_agree(self, batch: list[BatchItem]) -> None:
        data = encode_batch(batch)
        self.assertEqual(
            data, BATCH_BODY.build([item._asdict() | {"magic": 0, "body_crc": 0} for item in batch])
        )
        self.assertEqual(decode_batch(data), batch)
        parsed = [BatchItem(item.flag, item.body, item.properties) for item in BATCH_BODY.parse(data)]
        self.assertEqual(parsed, batch)

    def test_a_batch_cut_off_anywhere_is_an_error(self) -> None:
        for length in range(1, len(EXAMPLE)):
            self.assertRaises(MessageError, decode_batch, EXAMPLE + EXAMPLE[:length])

    @given(st.lists(items, min_size=1, max_size=3), st.integers(0, 10**6), st.integers(1, 255))
    def test_a_flipped_byte_is_read_or_refused(self, batch: list[BatchItem], place: int, flip: int) -> None:
        data = bytearray(encode_batch(batch))
        data[place % len(data)] ^= flip
        try:
            decode_batch(bytes(data))
        except MessageError:
            pass

    def test_text_is_no_batch(self) -> None:
        with self.assertRaisesRegex(MessageError, "item 0 is cut off"):
            decode_batch(b"garbage!")

    def test_properties_that_are_too_long_are_refused(self) -> None:
        self.assertRaises(MessageError, encode_batch, [BatchItem(0, b"", b"x" * 32768)])
