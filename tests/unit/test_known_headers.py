"""A send whose header is like one before is read without the pattern, and as what the pattern reads."""

from __future__ import annotations

from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import FrameError
from rocketmq_tx.protocol import known_headers
from rocketmq_tx.protocol.decoder import SCANNED_SEND, FrameDecoder
from rocketmq_tx.protocol.send_scan import SendScanner
from tests.unit.test_alike_sends import frame, items

sends = st.builds(
    frame,
    st.integers(0, 3),
    st.one_of(st.integers(0, 12), st.sampled_from([2**31 - 1, 2**31, 2_999_999_999, "07", "-1", "1e", ""])),
    queue_id=st.integers(0, 11),
    group=st.sampled_from(["PG", "PH", "P"]),
    born=st.sampled_from([1_700_000_000_000, 1_700_000_000_009, "0700000000000", "17000000000x0", 9]),
    key=st.sampled_from(["", "7F00", "7F01", "7F-1", "A" * 32, "\\u0001\\u", "ÄÄ"]),
    tail=st.sampled_from(
        ["", "\\u0002WAIT\\u0001true", "\\u0002WAIT\\u0001fals", "\\u0002KEYS\\u0001a", "x"]
    ),
    flag=st.sampled_from([0, 2]),
    body=st.binary(max_size=3),
)


class Reader:
    """A connection, to which each frame comes alone; `scanner` is all that it remembers."""

    def __init__(self) -> None:
        self.scanner = SendScanner()

    def read(self, data: bytes) -> object:
        decoder = FrameDecoder(scanner=self.scanner)
        try:
            return repr(items(decoder.feed(data))), decoder.pending_bytes
        except FrameError as error:
            return str(error)


def as_the_pattern_reads(read: list[bytes]) -> list[object]:
    reader, found = Reader(), []
    for data in read:
        found.append(reader.read(data))
        reader.scanner.known_headers.clear()
    return found


class KnownHeaders(SynchronousTestCase):
    @settings(max_examples=200, deadline=None)
    @given(st.lists(sends, max_size=12))
    @example([frame(1, 7), frame(2, 7), frame(3, 7, queue_id=1), frame(4, 8, queue_id=1)])
    @example([frame(1, 7), frame(1, 7), frame(1, 7, body=b"")])
    @example([frame(1, 7), frame(1, 7) + frame(1, 8)])
    @example([frame(1, 7), frame(1, 7, born="0700000000000")])
    @example([frame(1, 17), frame(1, "07")])
    @example([frame(1, 10), frame(1, 0), frame(1, 1), frame(1, 0)])
    @example([frame(1, 2**31 - 1), frame(1, 2**31 - 2), frame(1, 2**31), frame(1, 2_999_999_999)])
    @example([frame(1, 7, tail="\\u0002aa"), frame(1, 7, tail="\\u0002bb"), frame(1, 7, tail="\\u0002aa")])
    def test_sends_are_read_as_the_pattern_reads_them(self, read: list[bytes]) -> None:
        reader = Reader()
        self.assertEqual([reader.read(data) for data in read], as_the_pattern_reads(read))

    @settings(max_examples=400, deadline=None)
    @given(st.integers(0, 400), st.integers(0, 255) | st.sampled_from(list(b'0123456789AZaz"\\u')), st.data())
    def test_a_damaged_one_is_read_as_the_pattern_reads_it(
        self, at: int, byte: int, data: st.DataObject
    ) -> None:
        good = frame(1, 7)
        damaged = bytearray(good)
        damaged[at % len(damaged)] = byte
        left = data.draw(st.just(len(damaged)) | st.integers(0, len(damaged)))
        read = [good, good, bytes(damaged[:left]), good]
        reader = Reader()
        self.assertEqual([reader.read(data) for data in read], as_the_pattern_reads(read))

    def matched(self, scanner: SendScanner, read: list[bytes]) -> int:
        """How many of these the pattern has read."""
        with mock.patch.object(scanner, "match", mock.Mock(wraps=scanner.match)) as match:
            for data in read:
                ((code, _),) = FrameDecoder(scanner=scanner).feed(data)
                self.assertEqual(code, SCANNED_SEND)
        return len({bytes(call.args[0]) for call in match.call_args_list})

    def test_the_pattern_reads_one_send_of_each_queue(self) -> None:
        read = [frame(number, 10 + number, queue_id=number % 4, body=bytes(number)) for number in range(20)]
        self.assertEqual(self.matched(SendScanner(), read), 4)

    def test_one_that_does_not_come_again_gives_way(self) -> None:
        scanner = SendScanner()
        self.matched(scanner, [frame(1, 99, tail="\\u0002aaa")])
        others = [frame(number, 10 + number, tail="\\u0002bbb") for number in range(40)]
        self.assertEqual(self.matched(scanner, others), known_headers._MISSES_MAX + 1)

    def test_one_with_keys_of_its_own_is_not_remembered(self) -> None:
        scanner = SendScanner()
        self.matched(scanner, [frame(1, 7, tail="\\u0002KEYS\\u0001a")])
        self.assertEqual(scanner.known_headers, {})

    def test_what_is_remembered_is_bounded(self) -> None:
        self.patch(known_headers, "_ROUTES_MAX", 10)
        scanner = SendScanner()
        self.matched(scanner, [frame(1, 7, queue_id=number) for number in range(120)])
        self.assertLessEqual(sum(map(len, scanner.known_headers.values())), 10)

    def test_a_frame_that_is_too_long_for_its_connection_is_none(self) -> None:
        scanner = SendScanner()
        self.matched(scanner, [frame(1, 7)])
        decoder = FrameDecoder(len(frame(1, 7)) + 9, scanner)
        self.assertEqual(len(decoder.feed(frame(2, 8, body=b"body" + bytes(9)))), 1)
        self.assertRaises(FrameError, decoder.feed, frame(3, 9, body=b"body" + bytes(10)))
