"""The scanner reads the header of a batch exactly as the parser does, or leaves it to the parser."""

from __future__ import annotations

import base64

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol import batch_scan
from rocketmq_tx.protocol.batch_scan import ScannedBatch, as_frame, as_header, scan_batch
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.decoder import SCANNED_BATCH, FrameDecoder
from rocketmq_tx.protocol.frame_codec import decode_frame
from rocketmq_tx.protocol.headers import SendMessageRequestHeaderV2
from rocketmq_tx.protocol.send_scan import SendScanner
from rocketmq_tx.remoting.mishaps import refusals
from tests import golden

JAVA = (
    '{"code":320,"extFields":{"a":"PG","b":"Orders","c":"TBW102","d":"4","e":"2","f":"0","g":"1795239198383",'
    '"h":"0","i":"WAIT\\u0001true","j":"0","k":"false","m":"true","n":"broker-a"},"flag":0,"language":"JAVA",'
    '"opaque":6,"serializeTypeCurrentRPC":"JSON","version":407}'
)
#: Pieces that a header could be made of, many of them dangerous where a pattern trusts quotes.
PIECES = st.sampled_from(
    [
        *["0", "1", "-1", "00", "9" * 10, "9" * 19, "true", "false", "é", "\\u00e9", "PG", "Orders"],
        *['"', '\\"', "\\\\", "\\", "\\u0001", "\\u0002", "\\n", "\x01", "\x7f", "{", "}", "},"],
        *['","', '":"', '"h":"0"', '","g":"5', '"i":"x",', '},"flag":2', ',"a":"again"', '"opaque":5'],
    ]
)


def framed(header: bytes, body: bytes = b"body") -> bytes:
    data = len(header).to_bytes(4, "big") + header + body
    return len(data).to_bytes(4, "big") + data


def scan(header: bytes) -> ScannedBatch | None:
    data = framed(header)
    return scan_batch(data, 8, 8 + len(header), len(data))


def changed(old: str, new: str) -> bytes:
    assert old in JAVA, old
    return JAVA.replace(old, new).encode()


class ScannerAndParser(SynchronousTestCase):
    def assert_same(self, header: bytes) -> ScannedBatch | None:
        """What the scanner takes, it reads like the parser; twice, the second time from its cache."""
        scanned = None
        for _ in range(2):
            scanned = scan(header)
            if scanned is not None:
                frame = decode_frame(framed(header)[4:])
                self.assertEqual(as_frame(scanned), frame)
                self.assertEqual(
                    as_header(scanned), SendMessageRequestHeaderV2.from_ext_fields(frame.ext_fields)
                )
                self.assertEqual(scanned.route.is_oneway, frame.is_oneway)
        return scanned

    def test_batches_of_java_clients_are_scanned(self) -> None:
        seen = 0
        for line in golden.lines("frames/accept-batch.json.jsonl"):
            if line.get("code") == 320 and line.get("type") == "request":
                raw = base64.b64decode(line["raw"])
                ((code, (scanned,)),) = FrameDecoder(scanner=SendScanner()).feed(raw)
                self.assertEqual(code, SCANNED_BATCH)
                self.assertEqual(as_frame(scanned), decode_frame(raw[4:]))
                seen += 1
        self.assertGreater(seen, 0)

    def test_the_other_ways_in_which_clients_write_it(self) -> None:
        for header in (
            JAVA.encode(),
            changed(',"n":"broker-a"', ""),
            changed('"flag":0', '"flag":2'),
            changed("JAVA", "CPP"),
            changed("\\u0001true", "\\u0001false\\u0002é\\u0001x"),
            changed('"opaque":6', '"opaque":0'),
            changed('"m":"true"', '"m":"false"'),
        ):
            self.assertIsNotNone(self.assert_same(header), header)

    def test_what_differs_is_left_to_the_parser(self) -> None:
        for header in (
            changed("320", "310"),
            changed('"a":"PG"', '"a":"P\\"G"'),
            changed('"a":"PG"', '"a":"P\\u0041G"'),
            changed('"a":"PG","b":"Orders"', '"b":"Orders","a":"PG"'),
            changed('"g":"1795239198383"', '"g":"01795239198383"'),
            changed('"opaque":6', '"opaque":4294967296'),
            changed('"opaque":6', '"opaque":-6'),
            changed('"flag":0', '"flag":1'),
            changed('"j":"0"', '"j":0'),
            changed('"j":"0"', '"j":"x"'),
            changed('"j":"0"', '"j":"0","j":"0"'),
            changed("WAIT", "}"),
            changed("JAVA", "KLINGON"),
            changed("JSON", "ROCKETMQ"),
            changed('"version":407}', '"version":407,"remark":"x"}'),
        ):
            self.assertIsNone(self.assert_same(header), header)

    @given(
        st.sampled_from(["PG", "Orders", "1795239198383", "WAIT", "\\u0001", "JAVA", "6", "407", '"0"', "}"]),
        st.lists(PIECES, max_size=4).map("".join),
    )
    @example("PG", '","a":"again')
    @example("WAIT", '","j":"7')
    def test_no_text_is_read_otherwise(self, old: str, new: str) -> None:
        self.assert_same(changed(old, new))

    def test_the_body_goes_to_the_end_of_the_frame(self) -> None:
        scanned = scan(JAVA.encode())
        assert scanned is not None
        self.assertEqual((scanned.body, scanned.opaque, scanned.born_timestamp), (b"body", 6, 1795239198383))

    def test_what_is_kept_is_bounded(self) -> None:
        self.patch(batch_scan, "_routes", {})
        self.patch(batch_scan, "ROUTES_MAX", 10)
        for number in range(100):
            scan(changed("PG", f"PG{number}"))
            self.assertLessEqual(len(batch_scan._routes), 10)

    def test_a_scanned_batch_can_be_refused_unless_it_wants_no_answer(self) -> None:
        run = [scan(JAVA.encode()), scan(changed('"flag":0', '"flag":2'))]
        (data,) = refusals(run, ResponseCode.SYSTEM_BUSY, "no such luck")
        answer = decode_frame(data[4:])
        self.assertEqual((answer.code, answer.opaque, answer.remark), (2, 6, "no such luck"))
