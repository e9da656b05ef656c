"""The scanner reads the end of a transaction exactly as the parser does, or leaves it to the parser."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.decoder import SCANNED_END, SCANNED_SEND, FrameDecoder
from rocketmq_tx.protocol.end_scan import ScannedEnd, scan_end
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame, encode_frame
from rocketmq_tx.protocol.headers import EndTransactionRequestHeader
from rocketmq_tx.protocol.send_scan import SendScanner
from rocketmq_tx.remoting.connections import Connections
from rocketmq_tx.remoting.protocol import FrameProtocol
from rocketmq_tx.remoting.registry import Registry, serves_runs
from tests import golden
from tests.unit.scan_parts import framed

JAVA = (
    '{"code":37,"extFields":{"producerGroup":"PG","bname":"broker-a","commitLogOffset":"5130116",'
    '"msgId":"C000020A29664E0E2F2A683140D30000","tranStateTableOffset":"8","commitOrRollback":"8",'
    '"fromTransactionCheck":"false"},"flag":2,"language":"JAVA","opaque":8,'
    '"serializeTypeCurrentRPC":"JSON","version":407}'
)
AFTER_A_CHECK = (
    '{"code":37,"extFields":{"producerGroup":"PG","commitLogOffset":"5132664",'
    '"msgId":"C000020A29664E0E2F2A683140F30003","tranStateTableOffset":"14","commitOrRollback":"12",'
    '"transactionId":"C000020A29664E0E2F2A683140F30003","fromTransactionCheck":"true"},"flag":2,'
    '"language":"JAVA","opaque":79,"serializeTypeCurrentRPC":"JSON","version":407}'
)
SEND = (
    '{"code":310,"extFields":{"a":"PG","b":"TopicTest","c":"TBW102","d":"4","e":"0","f":"4",'
    '"g":"1700000000000","h":"0","i":"UNIQ_KEY\\u00017F0000010000AB\\u0002WAIT\\u0001true","j":"0",'
    '"k":"false","m":"false","n":"broker-a"},"flag":0,"language":"JAVA","opaque":7,'
    '"serializeTypeCurrentRPC":"JSON","version":407}'
)


def scan(header: bytes, body: bytes = b"") -> ScannedEnd | None:
    data = framed(header, body)
    return scan_end(data, 8, 8 + len(header), len(data))


def changed(old: str, new: str) -> bytes:
    assert old in JAVA, old
    return JAVA.replace(old, new).encode()


PIECES = st.sampled_from(
    [
        *["0", "1", "-1", "00", "9" * 10, "9" * 19, "true", "false", "é", "\\u00e9", "PG", "8", "12", "4"],
        *['"', '\\"', "\\\\", "\\", "\\u0001", "\\n", "\x01", "\x7f", " ", "{", "}", ","],
        *['","', '":"', '"flag":0', '"producerGroup":"X",', '"transactionId":"A",', '"bname":"",', "null"],
    ]
)


class EndScannerAndParser(SynchronousTestCase):
    def assert_same(self, header: bytes) -> ScannedEnd | None:
        """What the scanner takes, it reads like the parser."""
        scanned = scan(header)
        if scanned is not None:
            frame = decode_frame(framed(header)[4:])
            parsed = EndTransactionRequestHeader.from_ext_fields(frame.ext_fields)
            self.assertEqual(decode_frame(scanned.payload), frame)
            self.assertEqual(
                (frame.code, frame.is_oneway, frame.is_response, frame.body), (37, True, False, b"")
            )
            self.assertEqual(
                scanned[:5],
                (
                    parsed.producer_group,
                    parsed.msg_id,
                    parsed.commit_log_offset,
                    parsed.tran_state_table_offset,
                    parsed.commit_or_rollback,
                ),
            )
        return scanned

    @settings(max_examples=1500, deadline=None)
    @given(
        st.sampled_from([JAVA, AFTER_A_CHECK]),
        st.integers(0, len(JAVA)),
        st.integers(0, 30),
        st.lists(PIECES, max_size=4).map("".join),
    )
    @example(JAVA, JAVA.index('PG"'), 0, '\\","bname":"X')
    @example(JAVA, JAVA.index('"opaque"'), 0, '"opaque":1,')
    def test_headers_with_anything_put_in_anywhere_are_read_the_same(
        self, text: str, at: int, cut: int, piece: str
    ) -> None:
        self.assert_same((text[:at] + piece + text[at + cut :]).encode("utf-8", "replace"))

    def test_ends_as_java_writes_them_are_scanned(self) -> None:
        for header in (
            JAVA.encode(),
            AFTER_A_CHECK.encode(),
            changed('"8","from', '"12","from'),
            changed("PG", "a group & more"),
            changed("407", "315"),
        ):
            self.assertIsNotNone(self.assert_same(header), header)

    def test_recorded_ends_are_scanned(self) -> None:
        found = 0
        with golden.path("frames/accept-transaction.json.jsonl").open(encoding="utf-8") as file:
            for line in file:
                recorded = json.loads(line)
                if recorded.get("codeName") == "END_TRANSACTION":
                    decides = recorded["extFields"]["commitOrRollback"] != "0"
                    header = base64.b64decode(recorded["raw"])[8:]
                    self.assertEqual(self.assert_same(header) is not None, decides)
                    found += decides
        self.assertGreaterEqual(found, 4)

    def test_whatever_wants_an_answer_or_is_not_plain_goes_to_the_parser(self) -> None:
        for header in (
            changed('"flag":2', '"flag":0'),
            changed('"8","from', '"0","from'),
            changed("PG", "Zürich"),
            changed("PG", "a\\u0001b"),
            changed('"8","commit', '"08","commit'),
            changed("5130116", "9" * 19),
            changed('"opaque":8', '"opaque":4294967296'),
            changed("JAVA", "PYTHON"),
        ):
            self.assertIsNone(scan(header), header)
        self.assertIsNone(scan(JAVA.encode(), b"a body"))


class Gathering(SynchronousTestCase):
    def feed(self, *headers: str) -> list[tuple[int, int]]:
        data = b"".join(framed(header.encode()) for header in headers)
        return [(code, len(items)) for code, items in FrameDecoder(scanner=SendScanner()).feed(data)]

    def test_sends_and_ends_of_a_read_are_one_run_each(self) -> None:
        runs = self.feed(SEND, JAVA, SEND, AFTER_A_CHECK, JAVA, SEND)
        self.assertEqual(runs, [(SCANNED_SEND, 3), (SCANNED_END, 3)])

    def test_sends_come_first_since_somebody_waits_for_their_answers(self) -> None:
        self.assertEqual(self.feed(JAVA, SEND, JAVA), [(SCANNED_SEND, 1), (SCANNED_END, 2)])
        other = encode_frame(Frame(34, 6, ext_fields={}))[8:].decode()
        runs = self.feed(JAVA, other, JAVA, SEND)
        self.assertEqual(runs, [(SCANNED_END, 1), (34, 1), (SCANNED_SEND, 1), (SCANNED_END, 1)])

    def test_anything_else_between_them_parts_them(self) -> None:
        other = encode_frame(Frame(34, 6, ext_fields={}))[8:].decode()
        runs = self.feed(JAVA, SEND, other, SEND, JAVA, other, other)
        self.assertEqual(
            runs, [(SCANNED_SEND, 1), (SCANNED_END, 1), (34, 1), (SCANNED_SEND, 1), (SCANNED_END, 1), (34, 2)]
        )

    def test_an_end_that_was_not_scanned_parts_them_too(self) -> None:
        wanting_an_answer = JAVA.replace('"flag":2', '"flag":0')
        runs = self.feed(SEND, wanting_an_answer, SEND)
        self.assertEqual(runs, [(SCANNED_SEND, 1), (37, 1), (SCANNED_SEND, 1)])

    def test_where_both_have_the_same_key_all_stays_in_its_order(self) -> None:
        key = "C000020A29664E0E2F2A683140D30000"
        again = SEND.replace("7F0000010000AB", key)
        self.assertEqual(
            self.feed(SEND, JAVA, again, AFTER_A_CHECK),
            [(SCANNED_SEND, 1), (SCANNED_END, 1), (SCANNED_SEND, 1), (SCANNED_END, 1)],
        )
        self.assertEqual(self.feed(again, JAVA), [(SCANNED_SEND, 1), (SCANNED_END, 1)])
        self.assertEqual(self.feed(AFTER_A_CHECK, again), [(SCANNED_SEND, 1), (SCANNED_END, 1)])

    def test_also_in_front_of_bytes_that_are_no_frame(self) -> None:
        again = SEND.replace("7F0000010000AB", "C000020A29664E0E2F2A683140D30000")
        for broken in (b"\0\0\0\1\0\0\0\0", framed(b"{")):
            decoder = FrameDecoder(scanner=SendScanner())
            runs = decoder.feed(framed(JAVA.encode()) + framed(again.encode()) + broken)
            self.assertEqual([code for code, _ in runs], [SCANNED_END, SCANNED_SEND])
            self.assertIsNotNone(decoder.broken)

    def test_without_a_scanner_nothing_is_scanned(self) -> None:
        runs = FrameDecoder().feed(framed(JAVA.encode()))
        self.assertEqual([code for code, _ in runs], [37])


class Serving(SynchronousTestCase):
    """What a connection does with runs of ends."""

    def setUp(self) -> None:
        self.written: list[tuple[int, bytes]] = []
        self.transport = StringTransport()
        connections = Connections(Clock(), Registry(self), scanner=SendScanner())  # type: ignore[arg-type]
        self.protocol = FrameProtocol(connections)
        self.protocol.makeConnection(self.transport)
        self.is_well = True

    @serves_runs(SCANNED_SEND)
    def send(self, peer: Any, run: list[Any]) -> list[bytes]:
        return [b"answer"] * len(run)

    @serves_runs(SCANNED_END)
    def end(self, peer: Any, run: list[Any]) -> list[bytes]:
        self.written.append((len(run), self.transport.value()))
        if not self.is_well:
            raise ValueError("no such luck")
        return []

    def receive(self, *headers: str) -> None:
        self.protocol.dataReceived(b"".join(framed(header.encode()) for header in headers))

    def test_sends_of_a_read_are_answered_before_its_ends_are_served(self) -> None:
        self.receive(JAVA, SEND, JAVA)
        self.assertEqual(self.written, [(2, b"answer")])

    def test_any_number_of_ends_is_served_at_once(self) -> None:
        self.receive(*[JAVA] * 100)
        self.assertEqual(self.written, [(100, b"")])

    def test_a_mishap_is_answered_to_nobody(self) -> None:
        self.is_well = False
        self.receive(JAVA, JAVA, SEND)
        self.assertEqual(self.transport.value(), b"answer")
        self.assertTrue(self.protocol.is_open)
