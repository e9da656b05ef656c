"""Property strings are read and written by Java's rules."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol import properties, property_names
from tests import golden

plain = st.text(st.characters(exclude_characters="\x01\x02", exclude_categories=["Cs"]), min_size=1)


class PropertyStrings(SynchronousTestCase):
    def test_properties_become_the_recorded_strings(self) -> None:
        for line in golden.lines("client/util.jsonl"):
            if line["fn"] == "messageProperties2String":
                self.assertEqual(properties.encode_properties(line["in"]), line["out"]["result"])

    def test_strings_become_the_recorded_properties(self) -> None:
        for line in golden.lines("client/util.jsonl"):
            if line["fn"] == "string2messageProperties":
                self.assertEqual(properties.decode_properties(line["in"]), line["out"]["result"])

    @given(st.dictionaries(plain, plain))
    def test_what_is_written_is_read_back(self, pairs: dict[str, str]) -> None:
        self.assertEqual(properties.decode_properties(properties.encode_properties(pairs)), pairs)

    @given(st.text())
    def test_any_text_is_read_without_an_error(self, text: str) -> None:
        read = properties.decode_properties(text)
        self.assertTrue(all(name and value for name, value in read.items()))

    def test_the_stored_form_is_utf8_and_bounded(self) -> None:
        self.assertEqual(properties.pack_properties({"属": "值"}), "属\x01值".encode())
        self.assertEqual(properties.unpack_properties("属\x01值".encode()), {"属": "值"})
        properties.pack_properties({"a": "x" * 32765})
        with self.assertRaisesRegex(MessageError, "32768 bytes"):
            properties.pack_properties({"a": "x" * 32766})
        with self.assertRaisesRegex(MessageError, "surrogate"):
            properties.pack_properties({"a": "\ud800"})

    def test_strings_are_joined_with_one_separator_between_them(self) -> None:
        join = properties.join_properties
        self.assertEqual(join(b"a\x01b", b"c\x01d"), b"a\x01b\x02c\x01d")
        self.assertEqual(join(b"a\x01b\x02", b"c\x01d"), b"a\x01b\x02c\x01d")
        self.assertEqual(join(b"", b"c\x01d"), b"c\x01d")
        self.assertEqual(join(b"a\x01b", b""), b"a\x01b")

    def test_reserved_names_are_those_of_the_specification(self) -> None:
        self.assertIn(property_names.KEYS, property_names.RESERVED)
        self.assertNotIn(property_names.TRANSACTION_CHECK_TIMES, property_names.RESERVED)
        self.assertEqual(len(property_names.RESERVED), 31)
