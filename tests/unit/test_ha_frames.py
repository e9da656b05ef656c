"""The replication stream: its bytes against the declared layouts and Apache's recording, and cut anywhere."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import FrameError
from rocketmq_tx.protocol.ha_frames import (
    PIECE_HEAD_BYTES,
    Piece,
    PieceDecoder,
    ReportDecoder,
    encode_piece_head,
    encode_report,
)
from rocketmq_tx.protocol.ha_layouts import PIECE, REPORT
from tests import golden

OFFSETS = st.integers(0, 2**63 - 1)
PIECES = st.builds(Piece, OFFSETS, st.binary(max_size=200))


def encode(piece: Piece) -> bytes:
    return encode_piece_head(piece.offset, len(piece.body)) + piece.body


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


class LayoutTests(SynchronousTestCase):
    @given(PIECES)
    def test_a_piece_is_written_as_it_is_declared(self, piece: Piece) -> None:
        self.assertEqual(encode(piece), PIECE.build({"offset": piece.offset, "body": piece.body}))

    @given(OFFSETS)
    def test_a_report_is_written_as_it_is_declared(self, log_end: int) -> None:
        self.assertEqual(encode_report(log_end), REPORT.build({"log_end": log_end}))


class DecoderTests(SynchronousTestCase):
    @given(st.lists(PIECES, max_size=6), st.lists(st.integers(0, 10_000), max_size=8))
    def test_pieces_come_out_whole_however_the_bytes_are_cut(
        self, pieces: list[Piece], places: list[int]
    ) -> None:
        decoder = PieceDecoder()
        found = []
        for data in cut(b"".join(map(encode, pieces)), places):
            found += decoder.feed(data)
        self.assertEqual(found, pieces)
        self.assertEqual(decoder.pending_bytes, 0)

    @given(st.lists(OFFSETS, max_size=6), st.lists(st.integers(0, 100), max_size=8))
    def test_reports_come_out_whole_however_the_bytes_are_cut(
        self, ends: list[int], places: list[int]
    ) -> None:
        decoder = ReportDecoder()
        found = []
        for data in cut(b"".join(map(encode_report, ends)), places):
            found += decoder.feed(data)
        self.assertEqual(found, ends)

    def test_a_piece_without_its_last_byte_waits(self) -> None:
        decoder = PieceDecoder()
        data = encode(Piece(100, b"abc"))
        for at in range(len(data) - 1):
            self.assertEqual(decoder.feed(data[at : at + 1]), [])
        self.assertEqual(decoder.feed(data[-1:]), [Piece(100, b"abc")])

    def test_numbers_that_no_master_sends_end_the_stream(self) -> None:
        for head in (encode_piece_head(-1, 0), encode_piece_head(0, -1), encode_piece_head(0, 1 << 30)):
            self.assertRaises(FrameError, PieceDecoder().feed, head)

    def test_a_negative_report_ends_the_stream(self) -> None:
        self.assertRaises(FrameError, ReportDecoder().feed, encode_report(-1))

    @given(st.binary(min_size=PIECE_HEAD_BYTES, max_size=400))
    def test_any_bytes_are_pieces_or_an_error(self, noise: bytes) -> None:
        decoder = PieceDecoder()
        try:
            pieces = decoder.feed(noise)
        except FrameError:
            return
        self.assertTrue(noise.startswith(b"".join(map(encode, pieces))))


class RecordedStreamTests(SynchronousTestCase):
    """The stream between Apache's master and slave, through the codec and back."""

    def test_each_recorded_frame_is_read_and_written_again(self) -> None:
        reports = pieces = 0
        for line in golden.lines("frames/ha-replication.jsonl")[1:]:
            if "raw" not in line or line.get("rawTruncatedTo"):
                continue
            raw = base64.b64decode(line["raw"])
            if line["type"] == "slaveReport":
                self.assertEqual(ReportDecoder().feed(raw), [line["maxOffset"]])
                self.assertEqual(encode_report(line["maxOffset"]), raw)
                reports += 1
            else:
                [piece] = PieceDecoder().feed(raw)
                self.assertEqual((piece.offset, len(piece.body)), (line["offset"], line["size"]))
                self.assertEqual(encode(piece), raw)
                pieces += 1
        self.assertGreater(min(reports, pieces), 50)
