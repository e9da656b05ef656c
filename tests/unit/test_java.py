"""Hashes and checksums agree with Java's, by recordings and by the definition."""

import base64

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol import java
from tests import golden

any_text = st.text(st.characters(), max_size=600)


def hash_by_definition(text: str) -> int:
    units = text.encode("utf-16-be", "surrogatepass")
    value = 0
    for index in range(0, len(units), 2):
        value = (31 * value + int.from_bytes(units[index : index + 2], "big")) & 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


class JavaNumbers(SynchronousTestCase):
    def test_hashes_and_checksums_are_the_recorded_ones(self) -> None:
        for line in golden.lines("client/hash.jsonl"):
            if "utf16" not in line:
                self.assertEqual(java.tags_code(None), line["tagsCodeSingle"])
                continue
            text = base64.b64decode(line["utf16"]).decode("utf-16-be", "surrogatepass")
            self.assertEqual(java.string_hash(text), line["hashCode"], text)
            self.assertEqual(java.tags_code(text), line["tagsCodeSingle"], text)
            self.assertEqual(java.index_key_hash(text), line["indexKeyHash"], text)
            if line["s"] is not None:
                self.assertEqual(java.crc32(text.encode()), line["crc32OfUtf8"], text)

    @given(any_text)
    def test_the_hash_is_that_of_the_definition(self, text: str) -> None:
        self.assertEqual(java.string_hash(text), hash_by_definition(text))

    def test_long_strings_are_hashed_in_pieces_with_the_same_result(self) -> None:
        for length in (255, 256, 257, 512, 1000):
            for letter in ("x", "中"):
                self.assertEqual(java.string_hash(letter * length), hash_by_definition(letter * length))
