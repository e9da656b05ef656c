"""Frames and their bytes: both header forms, what Apache tolerates and what not, and the declarations."""

from __future__ import annotations

import json
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import FrameError
from rocketmq_tx.protocol import wire_layouts
from rocketmq_tx.protocol.codes import (
    OWN_REQUEST_CODES,
    LanguageCode,
    RequestCode,
    SerializeType,
    version_name,
)
from rocketmq_tx.protocol.commands import COMMANDS
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame, encode_frame
from rocketmq_tx.protocol.hash_map_order import in_hash_map_order
from rocketmq_tx.protocol.headers import GetKVConfigRequestHeader, ViewMessageResponseHeader

INT16 = st.integers(-(2**15), 2**15 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
LANGUAGES = st.sampled_from(LanguageCode)


def json_frames() -> st.SearchStrategy[Frame]:
    return st.builds(
        Frame,
        INT32,
        INT32,
        INT32,
        LANGUAGES,
        INT32,
        st.none() | TEXT,
        st.none() | st.dictionaries(TEXT, TEXT, max_size=20),
        st.binary(max_size=60),
    )


def binary_frames() -> st.SearchStrategy[Frame]:
    """Without empty texts: the binary header cannot tell them from absent ones."""
    some_text = TEXT.filter(bool)
    return st.builds(
        Frame,
        INT16,
        INT32,
        INT32,
        LANGUAGES,
        INT16,
        st.none() | some_text,
        st.none() | st.dictionaries(some_text, some_text, min_size=1, max_size=20),
        st.binary(max_size=60),
        st.just(SerializeType.ROCKETMQ),
    )


def json_payload(header: bytes | str | dict[str, Any], body: bytes = b"") -> bytes:
    if isinstance(header, dict):
        header = json.dumps(header)
    if isinstance(header, str):
        header = header.encode()
    return len(header).to_bytes(4, "big") + header + body


class JsonHeaders(SynchronousTestCase):
    @given(json_frames())
    def test_what_is_written_is_read(self, frame: Frame) -> None:
        data = encode_frame(frame)
        self.assertEqual(int.from_bytes(data[:4], "big"), len(data) - 4)
        self.assertEqual(decode_frame(data[4:]), frame)

    @given(json_frames())
    def test_any_json_parser_reads_the_header(self, frame: Frame) -> None:
        data = encode_frame(frame)
        size = int.from_bytes(data[5:8], "big")
        header = json.loads(data[8 : 8 + size])
        self.assertEqual(header.get("remark"), frame.remark)
        self.assertEqual(header.get("extFields"), frame.ext_fields)

    def test_keys_are_in_alphabetical_order_and_absent_ones_left_out(self) -> None:
        frame = Frame(105, 7, remark="r", ext_fields={"topic": "T"})
        self.assertEqual(
            encode_frame(frame)[8:],
            b'{"code":105,"extFields":{"topic":"T"},"flag":0,"language":"JAVA","opaque":7,"remark":"r",'
            b'"serializeTypeCurrentRPC":"JSON","version":407}',
        )
        self.assertEqual(
            encode_frame(Frame(0, 7, 1))[8:],
            b'{"code":0,"flag":1,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":407}',
        )

    def test_control_characters_and_separators_of_lines_are_escaped_as_fastjson_does(self) -> None:
        remark = 'a\x01\x0b\x1f\x7f\x80\u2028b\\u000b\n"é'
        self.assertIn(
            rb'"remark":"a\u0001\u000B\u001F\u007F\u0080\u2028b\\u000b\n\"' + "é".encode() + b'"',
            encode_frame(Frame(0, remark=remark)),
        )

    def test_missing_keys_have_defaults(self) -> None:
        self.assertEqual(decode_frame(json_payload("{}")), Frame(0, version=0))

    def test_an_unknown_language_is_served_as_another_one(self) -> None:
        for name in ("KOTLIN", None, 99, [1]):
            frame = decode_frame(json_payload({"code": 1, "language": name}))
            self.assertEqual(frame.language, LanguageCode.OTHER)
        self.assertEqual(decode_frame(json_payload({"language": 3})).language, LanguageCode.PYTHON)
        self.assertIn(b'"language":"OTHER"', encode_frame(Frame(1, language=99)))

    def test_numbers_in_quotes_and_null_are_numbers(self) -> None:
        frame = decode_frame(json_payload({"code": "310", "opaque": None, "flag": "-1", "version": "+7"}))
        self.assertEqual((frame.code, frame.opaque, frame.flag, frame.version), (310, 0, -1, 7))

    def test_fixed_fields_that_are_no_32_bit_numbers_break_the_frame(self) -> None:
        odd: list[Any] = ["x", "", "1_0", " 1", "9" * 5000, 2**31, -(2**31) - 1, 2**70, 1.5, True, [], {}]
        for value in odd:
            with self.assertRaises(FrameError):
                decode_frame(json_payload({"code": value}))

    def test_other_values_of_ext_fields_become_their_text_and_null_is_absent(self) -> None:
        fields = {"n": 4, "f": 1.5, "t": True, "l": [1, {"a": 2}], "s": "x", "z": None}
        frame = decode_frame(json_payload({"extFields": fields, "remark": 5}))
        self.assertEqual(frame.ext_fields, {"n": "4", "f": "1.5", "t": "true", "l": '[1,{"a":2}]', "s": "x"})
        self.assertEqual(frame.remark, "5")

    def test_the_last_of_doubled_keys_counts(self) -> None:
        frame = decode_frame(json_payload('{"code":1,"code":2,"extFields":{"a":"1","a":"2"}}'))
        self.assertEqual((frame.code, frame.ext_fields), (2, {"a": "2"}))

    def test_text_that_is_not_utf8_is_read_with_replacements(self) -> None:
        frame = decode_frame(json_payload(b'{"code":1,"remark":"\xd6\xd0!"}'))
        self.assertEqual(frame.remark, "\ufffd\ufffd!")

    def test_json_bombs_break_the_frame(self) -> None:
        bombs = [
            b"[" * 100_000,
            b'{"extFields":' + b'{"a":' * 100_000,
            b'{"code":' + b"9" * 100_000 + b"}",
            b'{"code":1e999}',
            b'{"remark":"\\ud800"}',
            b'{"extFields":{"a":"\\udfff"}}',
            b'{"extFields":[1]}',
            b'{"extFields":{"a":' + b"[" * 900 + b"]" * 900 + b"}}",
            b'{"code":NaN}',
            b"[]",
            b"7",
            b"null",
            b"",
            b"{",
            b"\xff",
        ]
        for header in bombs:
            with self.assertRaises(FrameError):
                decode_frame(json_payload(header))

    def test_what_json_cannot_carry_is_refused_when_written(self) -> None:
        with self.assertRaises(FrameError):
            encode_frame(Frame(1, remark="\ud800"))
        with self.assertRaises(FrameError):
            encode_frame(Frame(1, ext_fields={"a": "x" * 0x1000000}))


class BinaryHeaders(SynchronousTestCase):
    @given(binary_frames())
    def test_what_is_written_is_read(self, frame: Frame) -> None:
        data = encode_frame(frame)
        self.assertEqual(int.from_bytes(data[:4], "big"), len(data) - 4)
        decoded = decode_frame(data[4:])
        self.assertEqual(decoded, frame)
        self.assertEqual(list(decoded.ext_fields or ()), list(frame.ext_fields or ()))

    def test_empty_texts_are_as_good_as_absent(self) -> None:
        frame = Frame(1, remark="", ext_fields={"a": "", "b": "1"}, serialize=SerializeType.ROCKETMQ)
        decoded = decode_frame(encode_frame(frame)[4:])
        self.assertEqual((decoded.remark, decoded.ext_fields), (None, {"b": "1"}))

    def test_an_unknown_language_keeps_its_number(self) -> None:
        frame = Frame(1, language=77, serialize=SerializeType.ROCKETMQ)
        self.assertEqual(decode_frame(encode_frame(frame)[4:]), frame)

    def test_values_that_do_not_fit_are_refused_when_written(self) -> None:
        for frame in (Frame(40_000), Frame(1, version=40_000), Frame(1, ext_fields={"k" * 40_000: "v"})):
            frame.serialize = SerializeType.ROCKETMQ
            with self.assertRaises(FrameError):
                encode_frame(frame)

    def test_lengths_that_lie_break_the_frame(self) -> None:
        head = struct.pack(">hBhii", 1, 0, 407, 2, 0)
        entry = b"\0\1k\0\0\0\1v"
        headers = [
            b"",
            head,
            head + struct.pack(">i", -1) + bytes(4),
            head + struct.pack(">i", 2**31 - 1) + bytes(4),
            head + bytes(4),
            head + struct.pack(">ii", 0, -1),
            head + struct.pack(">ii", 0, 9) + entry,
            head + struct.pack(">ii", 0, 7) + entry,
            head + struct.pack(">ii", 0, 3) + b"\xff\xffk",
            head + struct.pack(">ii", 0, 7) + b"\0\1k\xff\xff\xff\xff",
            head + struct.pack(">ii", 0, 1) + b"\0",
        ]
        for header in headers:
            with self.assertRaises(FrameError):
                decode_frame((1 << 24 | len(header)).to_bytes(4, "big") + header)


class Payloads(SynchronousTestCase):
    def test_headers_that_do_not_fit_or_have_no_known_form_break_the_frame(self) -> None:
        for payload in (b"", b"\0\0\0", b"\0\0\0\5{}", b"\7\0\0\0", b"\xff\xff\xff\xff"):
            with self.assertRaises(FrameError):
                decode_frame(payload)

    @given(st.binary(max_size=200), st.sampled_from([0, 1]))
    def test_random_bytes_are_a_frame_or_a_frame_error(self, header: bytes, kind: int) -> None:
        try:
            decode_frame((kind << 24 | len(header)).to_bytes(4, "big") + header)
        except FrameError:
            pass


class Declarations(SynchronousTestCase):
    """The construct declarations and the fast code agree."""

    @given(json_frames() | binary_frames())
    def test_frames_are_laid_out_as_declared(self, frame: Frame) -> None:
        data = encode_frame(frame)
        parsed = wire_layouts.FRAME.parse(data)
        self.assertEqual(int(parsed.serialize), frame.serialize)
        self.assertEqual(parsed.body, frame.body)
        built = {"serialize": parsed.serialize, "header": parsed.header, "body": parsed.body}
        self.assertEqual(wire_layouts.FRAME.build(built), data)

    @given(binary_frames())
    def test_binary_headers_are_laid_out_as_declared(self, frame: Frame) -> None:
        header = wire_layouts.FRAME.parse(encode_frame(frame)).header
        parsed = wire_layouts.BINARY_HEADER.parse(header)
        self.assertEqual(
            (parsed.code, int(parsed.language), parsed.version, parsed.opaque, parsed.flag, parsed.remark),
            (frame.code, frame.language, frame.version, frame.opaque, frame.flag, frame.remark or ""),
        )
        entries = {entry.key: entry.value for entry in parsed.ext_fields}
        self.assertEqual(entries, frame.ext_fields or {})
        declared = {
            "code": frame.code,
            "language": int(frame.language),
            "version": frame.version,
            "opaque": frame.opaque,
            "flag": frame.flag,
            "remark": frame.remark or "",
            "ext_fields": [{"key": key, "value": value} for key, value in entries.items()],
        }
        self.assertEqual(wire_layouts.BINARY_HEADER.build(declared), header)


class RequestsAndAnswers(SynchronousTestCase):
    def test_an_answer_pairs_with_its_request_and_keeps_its_serialization(self) -> None:
        header = GetKVConfigRequestHeader(namespace="n", key="k")
        request = Frame.request(
            RequestCode.GET_KV_CONFIG, header, oneway=True, serialize=SerializeType.ROCKETMQ
        )
        self.assertTrue(request.is_oneway)
        self.assertFalse(request.is_response)
        self.assertEqual(request.ext_fields, {"namespace": "n", "key": "k"})
        request.opaque = 12
        answer = request.answer(17, "gone", body=b"b")
        self.assertEqual(answer, Frame(17, 12, 1, remark="gone", body=b"b", serialize=SerializeType.ROCKETMQ))
        self.assertTrue(answer.is_response)
        self.assertFalse(answer.is_oneway)

    def test_no_header_and_an_empty_header_differ(self) -> None:
        request = Frame.request(33)
        self.assertIsNone(request.ext_fields)
        self.assertEqual(request.answer(header=ViewMessageResponseHeader()).ext_fields, {})


class HashMapOrder(SynchronousTestCase):
    def test_fields_stand_in_the_order_that_was_recorded(self) -> None:
        for declared, recorded in (
            (
                "msgId queueId queueOffset TRACE_ON MSG_REGION",
                "queueId TRACE_ON MSG_REGION msgId queueOffset",
            ),
            (
                "SecurityToken AccessKey Signature a b c d e f g h i j k m",
                "a b c d e f g h i j k m SecurityToken Signature AccessKey",
            ),
            (
                "ReqT consumerGroup topic queueId queueOffset maxMsgNums sysFlag commitOffset"
                " suspendTimeoutMillis subscription subVersion expressionType bname",
                "queueId maxMsgNums sysFlag commitOffset subscription ReqT suspendTimeoutMillis bname topic"
                " queueOffset expressionType subVersion consumerGroup",
            ),
        ):
            keys = recorded.split()
            self.assertEqual(list(in_hash_map_order(dict.fromkeys(declared.split(), ""))), keys)
            ordered = dict.fromkeys(keys, "")
            self.assertIs(in_hash_map_order(ordered), ordered)

    def test_any_number_of_strange_key_sets_is_ordered(self) -> None:
        for number in range(1500):
            entries = {f"key{number}": "1", f"other{number}": "2"}
            self.assertEqual(in_hash_map_order(entries), entries)
        many = {f"key{number}": "1" for number in range(100)}
        self.assertEqual(in_hash_map_order(many), many)


class Versions(SynchronousTestCase):
    def test_versions_have_the_names_of_their_releases(self) -> None:
        for version, name in {
            0: "V3_0_0",
            28: "V3_0_7_SNAPSHOT",
            37: "V3_0_11",
            62: "V3_1_8_SNAPSHOT",
            121: "V3_4_9",
            213: "V4_0_0",
            232: "V4_1_0_SNAPSHOT",
            315: "V4_5_1",
            407: "V4_9_7",
            441: "V5_1_4",
            612: "HIGHER_VERSION",
            9999: "HIGHER_VERSION",
            -1: "V3_0_0",
        }.items():
            self.assertEqual(version_name(version), name)


class Commands(SynchronousTestCase):
    def test_every_request_code_has_its_row(self) -> None:
        self.assertEqual(set(COMMANDS), {int(code) for code in RequestCode})
        self.assertEqual(sum(code < OWN_REQUEST_CODES for code in COMMANDS), 96)
        self.assertEqual(COMMANDS[11].name, "PULL_MESSAGE")
