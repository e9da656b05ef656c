"""The decoder: runs of frames however the bytes are cut, and a clean end for bytes that are no frames."""

from __future__ import annotations

import os
import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import FrameError
from rocketmq_tx.protocol.codes import RequestCode, SerializeType
from rocketmq_tx.protocol.decoder import (
    RESPONSE_RUN,
    SCANNED_BATCH,
    SCANNED_END,
    SCANNED_PULL,
    SCANNED_SEND,
    FrameDecoder,
    Run,
)
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import MAX_FRAME_BYTES, encode_frame
from rocketmq_tx.protocol.send_scan import SendScanner, as_frame
from tests.send_headers import send_header

#: Damaged frames fed by the suite; ROCKETMQ_TX_FUZZ_FRAMES=1000000 for the long run (ten seconds).
FUZZ_FRAMES = int(os.environ.get("ROCKETMQ_TX_FUZZ_FRAMES", "50000"))


def send(number: int) -> Frame:
    header = send_header(
        "T",
        number % 4,
        born_timestamp=1700000000000 + number,
        properties=f"UNIQ_KEY\x017F000001{number:08X}\x02WAIT\x01true",
        reconsume_times=0,
    )
    return Frame.request(RequestCode.SEND_MESSAGE_V2, header, b"body", opaque=number)


def mixed_frames() -> list[Frame]:
    """Sends, other requests and answers, in both serializations, in runs of different length."""
    frames = [send(1), send(2), Frame(105, 3, ext_fields={"topic": "T"}), Frame(0, 4, 1), Frame(17, 5, 1)]
    frames += [
        Frame(34, 6, body=b"{}", serialize=SerializeType.ROCKETMQ),
        send(7),
        Frame(34, 8),
        Frame(35, 9),
    ]
    return frames


def as_frames(runs: list[Run]) -> list[Frame]:
    return [as_frame(item) if code == SCANNED_SEND else item for code, items in runs for item in items]


class Runs(SynchronousTestCase):
    def test_no_frame_has_the_code_of_a_run_that_is_not_parsed(self) -> None:
        least = -(1 << 31)
        for code in (RESPONSE_RUN, SCANNED_SEND, SCANNED_END, SCANNED_PULL, SCANNED_BATCH):
            self.assertLess(code, least)
        frames = [encode_frame(Frame.request(code)) for code in (-1, -2, -3, -4, -5, least)]
        runs = FrameDecoder().feed(b"".join(frames))
        self.assertEqual([code for code, _ in runs], [-1, -2, -3, -4, -5, least])

    def test_consecutive_frames_of_one_code_come_as_one_run(self) -> None:
        frames = mixed_frames()
        runs = FrameDecoder().feed(b"".join(map(encode_frame, frames)))
        self.assertEqual(
            [(code, len(items)) for code, items in runs],
            [(310, 2), (105, 1), (RESPONSE_RUN, 2), (34, 1), (310, 1), (34, 1), (35, 1)],
        )
        self.assertEqual(as_frames(runs), frames)

    def test_with_a_scanner_ordinary_sends_come_scanned(self) -> None:
        frames = mixed_frames()
        runs = FrameDecoder(scanner=SendScanner()).feed(b"".join(map(encode_frame, frames)))
        self.assertEqual(
            [code for code, _ in runs], [SCANNED_SEND, 105, RESPONSE_RUN, 34, SCANNED_SEND, 34, 35]
        )
        self.assertEqual(as_frames(runs), frames)

    @given(st.lists(st.integers(0, 400), max_size=30), st.booleans())
    def test_any_cutting_of_the_bytes_gives_the_same_frames(self, cuts: list[int], scan: bool) -> None:
        frames = mixed_frames()
        data = b"".join(map(encode_frame, frames))
        decoder = FrameDecoder(scanner=SendScanner() if scan else None)
        runs: list[Run] = []
        for size in cuts:
            runs += decoder.feed(data[:size])
            data = data[size:]
        runs += decoder.feed(data)
        self.assertEqual(as_frames(runs), frames)
        self.assertEqual(decoder.pending_bytes, 0)

    def test_what_comes_byte_by_byte_is_read_all_the_same(self) -> None:
        frames = mixed_frames()
        data = b"".join(map(encode_frame, frames))
        decoder = FrameDecoder()
        runs = [run for byte in data for run in decoder.feed(bytes([byte]))]
        self.assertEqual(as_frames(runs), frames)

    def test_a_large_frame_in_small_pieces_costs_no_more_than_its_bytes(self) -> None:
        """Quadratic work would copy 16 MiB two hundred thousand times and never end."""
        frame = Frame(10, 1, body=bytes(MAX_FRAME_BYTES - 200))
        data = encode_frame(frame)
        decoder = FrameDecoder()
        pieces = [data[start : start + 80] for start in range(0, len(data), 80)]
        for piece in pieces[:-1]:
            self.assertEqual(decoder.feed(piece), [])
        self.assertEqual(decoder.pending_bytes, len(data) - len(pieces[-1]))
        self.assertEqual(decoder.feed(pieces[-1]), [(10, [frame])])
        self.assertEqual(decoder.pending_bytes, 0)


class Limits(SynchronousTestCase):
    def test_the_largest_frame_has_the_limit_and_not_a_byte_more(self) -> None:
        empty = len(encode_frame(Frame(10)))
        largest = encode_frame(Frame(10, body=bytes(1000 - empty)))
        self.assertEqual(len(FrameDecoder(1000).feed(largest)), 1)
        with self.assertRaises(FrameError):
            FrameDecoder(999).feed(largest)

    def test_a_length_beyond_the_limit_is_refused_as_soon_as_it_is_known(self) -> None:
        for length in (
            b"\x00\xff\xff\xfd",
            b"\x7f\xff\xff\xff",
            b"\xff\xff\xff\xff",
            b"\0\0\0\0",
            b"\0\0\0\3",
        ):
            decoder = FrameDecoder()
            self.assertEqual(decoder.feed(length[:3]), [])
            with self.assertRaises(FrameError):
                decoder.feed(length[3:])
            with self.assertRaises(FrameError):
                FrameDecoder().feed(length + b"more than the length")
        self.assertEqual(FrameDecoder().feed(b"\x00\xff\xff\xfc"), [])

    def test_other_protocols_are_refused(self) -> None:
        for hello in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\0\5hello", b"\0\0\0\x08\0\0\0dabcd"):
            with self.assertRaises(FrameError):
                FrameDecoder().feed(hello)

    def test_good_frames_in_front_of_bad_bytes_are_served_first(self) -> None:
        good = encode_frame(Frame(105, 7))
        for bad in (b"\xff\xff\xff\xff", b"\0\0\0\x08\7\0\0\4abcd", b"\0\0\0\4\0\0\0\1"):
            decoder = FrameDecoder(scanner=SendScanner())
            self.assertEqual(decoder.feed(good + bad + good), [(105, [Frame(105, 7)])])
            self.assertIsInstance(decoder.broken, FrameError)
            for more in (b"", good):
                with self.assertRaises(FrameError):
                    decoder.feed(more)
            self.assertEqual(decoder.pending_bytes, 0)

    def test_no_damaged_frame_ends_in_anything_but_frames_or_a_frame_error(self) -> None:
        """Faults 20 and 21 on this layer: bytes overwritten, lost or added, one connection for each frame."""
        chance = random.Random(20)
        originals = [encode_frame(frame) for frame in mixed_frames()]
        scanner = SendScanner()
        outcomes = {"read": 0, "refused": 0, "waiting": 0}
        for _ in range(FUZZ_FRAMES):
            damaged = bytearray(chance.choice(originals))
            for _ in range(chance.randrange(1, 4)):
                at = chance.randrange(len(damaged))
                damaged[at : at + chance.choice((0, 1, 1, 1, 2))] = chance.randbytes(
                    chance.choice((1, 1, 1, 0, 2))
                )
            decoder = FrameDecoder(scanner=scanner)
            cut = chance.randrange(len(damaged))
            try:
                runs = decoder.feed(bytes(damaged[:cut])) + decoder.feed(bytes(damaged[cut:]))
                as_frames(runs)
                outcomes["read" if runs else "waiting"] += 1
            except FrameError:
                outcomes["refused"] += 1
            self.assertLessEqual(decoder.pending_bytes, len(damaged))
        self.assertTrue(all(outcomes.values()), outcomes)
