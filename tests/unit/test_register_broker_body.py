"""Registrations of brokers in both forms, and what is no registration."""

import base64
import json
import zlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import BodyError
from rocketmq_tx.protocol.bodies import (
    DataVersion,
    RegisterBrokerBody,
    TopicConfig,
    TopicConfigSerializeWrapper,
    TopicFilterType,
)
from rocketmq_tx.protocol.bodies.registration_layouts import REGISTRATION
from rocketmq_tx.protocol.java import crc32
from tests import golden

names = st.from_regex(r"[a-zA-Z0-9_%|-]{1,20}", fullmatch=True)
queues = st.integers(0, 2**31 - 1)
topics = st.builds(TopicConfig, names, queues, queues, st.integers(0, 7), st.sampled_from(TopicFilterType))
registrations = st.builds(
    RegisterBrokerBody,
    st.builds(
        TopicConfigSerializeWrapper,
        st.lists(topics, max_size=4).map(lambda found: {topic.topic_name: topic for topic in found}),
        st.builds(DataVersion, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)),
    ),
    st.lists(names, max_size=2),
)


class Registrations(SynchronousTestCase):
    def refused(self, plain: bytes, problem: str, **limits: int) -> None:
        with self.assertRaisesRegex(BodyError, problem):
            RegisterBrokerBody.from_compressed(zlib.compress(plain), **limits)

    @given(registrations)
    def test_the_compressed_form_is_read_back_and_is_the_declared_one(self, body: RegisterBrokerBody) -> None:
        packed = body.to_compressed()
        self.assertEqual(RegisterBrokerBody.from_compressed(packed), body)
        declared = REGISTRATION.parse(zlib.decompress(packed))
        wrapper = body.topic_config_serialize_wrapper
        self.assertEqual(declared.data_version, wrapper.data_version.to_bytes().decode())
        self.assertEqual(declared.topics, [topic.to_text() for topic in wrapper.topic_config_table.values()])
        self.assertEqual(json.loads(declared.filter_servers), body.filter_server_list)

    def test_both_recorded_forms_say_the_same(self) -> None:
        recorded = {line["name"]: line for line in golden.lines("client/json_bodies.jsonl")}
        plain = base64.b64decode(recorded["RegisterBrokerBody.plain"]["bytes"])
        packed = base64.b64decode(recorded["RegisterBrokerBody.compressed"]["bytes"])
        body = RegisterBrokerBody.from_bytes(plain)
        self.assertEqual(body.to_bytes(), plain)
        self.assertEqual(RegisterBrokerBody.from_compressed(packed), body)
        self.assertEqual(zlib.decompress(body.to_compressed()), zlib.decompress(packed))

    def test_the_documented_example_is_read(self) -> None:
        packed = bytes.fromhex(
            "78da63606050af564ace2fcd2b492d52b232d6512ac9cc4d2d2e49cc2d50b232343740805a0606064620960ac92fc84c0e01"
            "aa513001423385604f3f771fd7f8104777a02c53742c00803f1456"
        )
        wrapper = RegisterBrokerBody.from_compressed(packed).topic_config_serialize_wrapper
        self.assertEqual(wrapper.data_version, DataVersion(1700000000000, 3))
        self.assertEqual(wrapper.topic_config_table["TopicTest"].to_text(), "TopicTest 4 4 6 SINGLE_TAG")
        self.assertEqual(crc32(packed), 817412665)

    def test_the_text_of_a_topic_is_the_recorded_one(self) -> None:
        (text,) = (
            line["out"]
            for line in golden.lines("client/json_bodies.jsonl")
            if line["name"] == "TopicConfig.encode"
        )
        self.assertEqual(TopicConfig.from_text(text).to_text(), text)

    def test_a_registration_that_expands_without_end_is_refused(self) -> None:
        self.refused(b"\0" * 1_000_001, "more than 1000000 bytes", max_bytes=1_000_000)

    def test_what_is_no_registration_is_refused(self) -> None:
        version, nothing = b"\0\0\0\x02{}", b"\0\0\0\0"
        empty = RegisterBrokerBody.from_compressed(zlib.compress(version + nothing * 2))
        self.assertEqual(empty, RegisterBrokerBody())
        for plain, problem in (
            (b"", "4 bytes expected at 0 of 0"),
            (version + b"\xff\xff\xff\xff", "4 bytes expected at 10 of 10"),
            (version + nothing * 3, "more bytes after the end at 14"),
            (b"\0\0\0\x01\xff" + nothing * 2, "no UTF-8 before 5"),
            (version + b"\0\0\0\1\0\0\0\1T" + nothing, "TopicConfig: 'T' cannot be read: not enough values"),
            (
                version + b"\0\0\0\1\0\0\0\x0fT 4 x 6 MANYTAG" + nothing,
                "writeQueueNums: a whole number expected",
            ),
            (version + nothing + b"\0\0\0\x02{}", "filterServerList: an array expected"),
            (b"\0\0\0\x02[]" + nothing * 2, "DataVersion: an object expected"),
        ):
            self.refused(plain, problem)
        self.assertRaises(BodyError, RegisterBrokerBody.from_compressed, b"garbage")

    @given(st.binary(max_size=100))
    def test_random_bytes_are_read_or_refused(self, plain: bytes) -> None:
        try:
            RegisterBrokerBody.from_compressed(zlib.compress(plain))
        except BodyError:
            pass
