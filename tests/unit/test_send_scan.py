"""The scanner reads a send exactly as the parser does, or leaves it to the parser."""

from __future__ import annotations

import base64

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame, encode_frame
from rocketmq_tx.protocol.headers import SendMessageRequestHeaderV2
from rocketmq_tx.protocol.send_scan import (
    LONGEST_SCANNED_HEADER,
    ScannedSend,
    SendScanner,
    as_frame,
    as_header,
    properties_of,
)
from tests import golden

JAVA = (
    '{"code":310,"extFields":{"a":"PG","b":"TopicTest","c":"TBW102","d":"4","e":"0","f":"0",'
    '"g":"1700000000000","h":"0","i":"UNIQ_KEY\\u00017F0000010000AB\\u0002WAIT\\u0001true","j":"0",'
    '"k":"false","m":"false","n":"broker-a"},"flag":0,"language":"JAVA","opaque":7,'
    '"serializeTypeCurrentRPC":"JSON","version":407}'
)


def scan(header: bytes, scanner: SendScanner | None = None, body: bytes = b"body") -> ScannedSend | None:
    data = len(header).to_bytes(4, "big") + header + body
    data = len(data).to_bytes(4, "big") + data
    return (scanner or SendScanner()).scan(data, 8, 8 + len(header), len(data))


def changed(old: str, new: str) -> bytes:
    assert old in JAVA, old
    return JAVA.replace(old, new).encode()


#: Pieces that a header could be made of, many of them dangerous where a pattern trusts quotes.
PIECES = st.sampled_from(
    [
        *["0", "1", "-1", "00", "9" * 10, "9" * 19, "true", "false", "é", "\\u00e9", "PG", "TopicTest"],
        *['"', '\\"', "\\\\", "\\", "\\u0001", "\\u0002", "\\\\u0002", "\\u0003", "\\n", "\x01", "\x7f"],
        *["UNIQ_KEY", "UNIQ_KEY\\u0001", "KEYS\\u0001k", "TAGS\\u0001", "\\u0002UNIQ_KEY\\u0001B", "{", "}"],
        *['","', '":"', '"h":"0"', '","j":"0","k":"false"', '"i":"x",', '},"flag":2', ',"a":"again"'],
    ]
)


class ScannerAndParser(SynchronousTestCase):
    scanner = SendScanner()

    def assert_same(self, header: bytes) -> ScannedSend | None:
        """What the scanner takes, it reads like the parser; twice, the second time from its caches."""
        scanned = None
        for _ in range(2):
            scanned = scan(header, self.scanner)
            if scanned is not None:
                frame = decode_frame(len(header).to_bytes(4, "big") + header + b"body")
                self.assertEqual(as_frame(scanned), frame)
                parsed = SendMessageRequestHeaderV2.from_ext_fields(frame.ext_fields)
                self.assertEqual(as_header(scanned), parsed)
                route, born_timestamp, _, _, opaque, body = scanned
                self.assertEqual(
                    (route.topic, route.queue_id, route.sys_flag, born_timestamp, opaque, body),
                    (
                        parsed.topic,
                        parsed.queue_id,
                        parsed.sys_flag,
                        parsed.born_timestamp,
                        frame.opaque,
                        b"body",
                    ),
                )
                self.assertEqual((route.version, route.is_oneway), (frame.version, frame.is_oneway))
        return scanned

    @settings(max_examples=1500, deadline=None)
    @given(
        st.integers(0, len(JAVA)),
        st.integers(0, 30),
        st.lists(PIECES, max_size=4).map("".join),
    )
    @example(JAVA.index('TopicTest"'), 0, '\\","b":"X')
    @example(JAVA.index('true",'), 0, "\\")
    @example(JAVA.index('true",'), 0, "\\u0002UNIQ_KEY\\u0001B")
    @example(JAVA.index("UNIQ"), 0, "A\\\\u0002")
    def test_headers_with_anything_put_in_anywhere_are_read_the_same(
        self, at: int, cut: int, piece: str
    ) -> None:
        self.assert_same((JAVA[:at] + piece + JAVA[at + cut :]).encode("utf-8", "replace"))

    @given(
        st.tuples(*[st.text(max_size=8)] * 4),
        st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 3),
        st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), max_size=4),
        st.integers(0, 4),
        st.booleans(),
    )
    def test_headers_of_any_values_as_java_would_write_them(
        self,
        texts: tuple[str, ...],
        numbers: tuple[int, ...],
        properties: list[tuple[str, str]],
        position: int,
        batch: bool,
    ) -> None:
        properties.insert(position, ("UNIQ_KEY", "7F0000AB"))
        header = SendMessageRequestHeaderV2(
            producer_group=texts[0],
            topic=texts[1],
            default_topic=texts[2],
            default_topic_queue_nums=numbers[0],
            queue_id=numbers[1],
            sys_flag=numbers[2],
            born_timestamp=1700000000000,
            flag=0,
            properties="\x02".join(f"{key}\x01{value}" for key, value in properties),
            reconsume_times=0,
            batch=batch,
            bname=texts[3] or None,
        )
        data = encode_frame(Frame.request(310, header, opaque=9))
        self.assert_same(data[8:])

    def test_the_header_of_java_is_scanned_into_its_parts(self) -> None:
        scanned = self.assert_same(JAVA.encode())
        assert scanned is not None
        route, born_timestamp, unique_key, tail, opaque, body = scanned
        self.assertEqual(
            (route.header.producer_group, route.header.bname, born_timestamp, unique_key, opaque, body),
            ("PG", "broker-a", 1700000000000, b"7F0000010000AB", 7, b"body"),
        )
        self.assertEqual((tail.before, tail.after), (b"", b"\x02WAIT\x01true"))
        self.assertEqual(properties_of(scanned), "UNIQ_KEY\x017F0000010000AB\x02WAIT\x01true")

    def test_variants_that_clients_write_are_scanned(self) -> None:
        for header in (
            changed(',"n":"broker-a"', ""),
            changed('"flag":0', '"flag":2'),
            changed("407", "315"),
            changed("\\u0002WAIT\\u0001true", ""),
            changed("UNIQ_KEY", "KEYS\\u0001k1\\u0002UNIQ_KEY"),
            changed("true", "主题"),
            changed('"m":"false"', '"m":"true"'),
        ):
            self.assertIsNotNone(self.assert_same(header), header)

    def test_whatever_could_be_misread_is_left_to_the_parser(self) -> None:
        for header in (
            changed("310", "320"),
            changed("PG", '\\"quoted\\"'),
            changed('"h":"0"', '"h":"1"'),
            changed("UNIQ_KEY", "uniq"),
            changed("UNIQ_KEY", "MY_UNIQ_KEY"),
            changed("AB\\u0002", "AB-\\u0002"),
            changed("true", "true\\u0002UNIQ_KEY\\u0001AA"),
            changed("true", 'tr\\"ue'),
            changed("true", "tr\\\\ue"),
            changed("true", "tr\\u0003ue"),
            changed("true", "tr\x03ue"),
            changed("true", "true\\u0002").replace(b"true", b"\xd6\xd0"),
            changed('"e":"0"', '"e":"x"'),
            changed('"e":"0"', '"e":"+1"'),
            changed('"e":"0"', '"e":"9999999999"'),
            changed('"a":"PG"', '"a":"P\\u0047"'),
            changed('"a":"PG"', '"a":"PG\\""'),
            changed('"k":"false"', '"k":"FALSE"'),
            changed('"j":"0"', '"j":"0","j":"1"'),
            changed('"opaque":7', '"opaque":2147483648'),
            changed('"opaque":7', '"opaque":-7'),
            changed('"g":"1', '"g":"01'),
            changed('"n":"broker-a"}', '"n":"broker-a","Signature":"s"}'),
            changed('"version":407', '"version":407,"remark":"r"'),
        ):
            self.assertIsNone(self.assert_same(header), header)

    def test_recorded_sends_of_java_clients_are_scanned(self) -> None:
        taken = left = 0
        for name in golden.names("frames/accept-"):
            for line in golden.lines(name):
                if line.get("code") == 310 and line["type"] != "response" and line["serialize"] == "JSON":
                    if "rawTruncatedTo" in line:
                        continue
                    raw = base64.b64decode(line["raw"])
                    size = int.from_bytes(raw[5:8], "big")
                    scanned = (
                        self.scanner.scan(raw, 8, 8 + size, len(raw))
                        if size <= LONGEST_SCANNED_HEADER
                        else None
                    )
                    left += scanned is None
                    if scanned is not None:
                        self.assertEqual(as_frame(scanned), decode_frame(raw[4:]))
                        taken += 1
        self.assertGreater(taken, 100)
        self.assertLess(left, taken // 10)


class Caches(SynchronousTestCase):
    def test_equal_constant_parts_share_a_route_and_equal_properties_a_tail(self) -> None:
        scanner = SendScanner()
        first = scan(JAVA.encode(), scanner)
        other = scan(changed("1700000000000", "1700000000999"), scanner)
        assert first is not None and other is not None
        self.assertIs(first[0], other[0])
        self.assertIs(first[3], other[3])

    def test_caches_are_bounded(self) -> None:
        scanner = SendScanner(route_limit=3, tail_limit=3)
        for number in range(20):
            self.assertIsNotNone(scan(changed("TopicTest", f"T{number}"), scanner))
            self.assertIsNotNone(scan(changed("true", f"t{number}"), scanner))
            self.assertLessEqual(len(scanner._routes), 3)
            self.assertLessEqual(len(scanner._tails), 3)

    def test_tails_with_keys_are_not_kept(self) -> None:
        scanner = SendScanner()
        scan(changed("UNIQ_KEY", "KEYS\\u0001k1\\u0002UNIQ_KEY"), scanner)
        self.assertEqual(len(scanner._tails), 0)
