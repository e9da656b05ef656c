"""The scanner reads a pull exactly as the parser does, or leaves it to the parser; answers are the same."""

from __future__ import annotations

import base64
import json
from typing import Any

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import scanned_pulls
from rocketmq_tx.protocol import pull_scan
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.decoder import SCANNED_PULL, FrameDecoder
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame
from rocketmq_tx.protocol.headers import PullMessageRequestHeader
from rocketmq_tx.protocol.pull_scan import ScannedPull, as_frame, as_header, as_read_frame, scan_pull
from rocketmq_tx.protocol.send_scan import SendScanner
from rocketmq_tx.remoting.mishaps import refusals
from tests import golden
from tests.memory_broker import MemoryBroker
from tests.unit.broker_parts import FakePeer
from tests.unit.scan_parts import framed

PUSH = (
    '{"code":11,"extFields":{"queueId":"0","maxMsgNums":"32","sysFlag":"3","suspendTimeoutMillis":"15000",'
    '"commitOffset":"4711","bname":"broker-a","topic":"Orders","queueOffset":"0","expressionType":"TAG",'
    '"subVersion":"0","consumerGroup":"CG"},"flag":0,"language":"JAVA","opaque":9,'
    '"serializeTypeCurrentRPC":"JSON","version":407}'
)
INLINE = (
    '{"code":11,"extFields":{"queueId":"0","maxMsgNums":"32","sysFlag":"4","commitOffset":"0",'
    '"subscription":"*","ReqT":"1","suspendTimeoutMillis":"20000","bname":"broker-a","topic":"Orders",'
    '"queueOffset":"1","expressionType":"TAG","subVersion":"0","consumerGroup":"CG"},"flag":0,'
    '"language":"JAVA","opaque":8,"serializeTypeCurrentRPC":"JSON","version":407}'
)


def scan(header: bytes, body: bytes = b"") -> ScannedPull | None:
    data = framed(header, body)
    return scan_pull(data, 8, 8 + len(header), len(data))


def changed(old: str, new: str, text: str = PUSH) -> bytes:
    assert old in text, old
    return text.replace(old, new).encode()


PIECES = st.sampled_from(
    [
        *["0", "1", "-1", "-0", "00", "9" * 10, "9" * 19, "true", "é", "\\u00e9", "CG", " ", "null", "32"],
        *['"', '\\"', "\\\\", "\\", "\\u0001", "\\n", "\x01", "\x7f", "{", "}", ",", ":"],
        *['","', '":"', '"flag":0', '"queueOffset":"7",', '"commitOffset":"7",', '"topic":"X",', '"x":null,'],
        *['"queueId":"3",', '"topic":"X","queueOffset":"5",', '"opaque":3,', '"language":"PYTHON"', "JAVA"],
    ]
)


class PullScannerAndParser(SynchronousTestCase):
    def assert_same(self, header: bytes) -> ScannedPull | None:
        """What the scanner takes, it reads like the parser; so it does when it has seen the like before."""
        scanned = None
        for _ in range(2):
            scanned = scan(header)
            if scanned is not None:
                frame = decode_frame(framed(header)[4:])
                self.assertEqual(as_frame(scanned), frame)
                self.assertEqual(list((as_frame(scanned).ext_fields or {}).items()),
                                 list((frame.ext_fields or {}).items()))  # fmt: skip
                parsed = PullMessageRequestHeader.from_ext_fields(frame.ext_fields)
                self.assertEqual(as_header(scanned), parsed)
                self.assertEqual(as_read_frame(scanned), attrs.evolve(frame, ext_fields=None))
                self.assertEqual(scanned[1:], (parsed.queue_offset, parsed.commit_offset, frame.opaque))
        return scanned

    @settings(max_examples=1500, deadline=None)
    @given(
        st.sampled_from([PUSH, INLINE]),
        st.integers(0, len(PUSH)),
        st.integers(0, 30),
        st.lists(PIECES, max_size=4).map("".join),
    )
    @example(PUSH, PUSH.index('"topic"'), 0, '"queueOffset":"7",')
    @example(PUSH, PUSH.index('Orders"'), 0, '","queueOffset":"5","x":"')
    @example(PUSH, PUSH.index('"opaque"'), 0, '"opaque":1,')
    @example(PUSH, PUSH.index("4711"), 4, "-1")
    def test_headers_with_anything_put_in_anywhere_are_read_the_same(
        self, text: str, at: int, cut: int, piece: str
    ) -> None:
        self.assert_same((text[:at] + piece + text[at + cut :]).encode("utf-8", "replace"))

    @given(st.integers(-(10**17), 10**17), st.integers(-(10**17), 10**17), st.integers(0, 2**31 - 1))
    def test_any_numbers_in_a_header_that_was_seen_before(
        self, commit: int, offset: int, opaque: int
    ) -> None:
        text = PUSH.replace("4711", str(commit)).replace('Offset":"0"', f'Offset":"{offset}"')
        self.assertIsNotNone(self.assert_same(text.replace('"opaque":9', f'"opaque":{opaque}').encode()))

    def test_pulls_as_java_writes_them_are_scanned(self) -> None:
        for header in (
            PUSH.encode(),
            INLINE.encode(),
            changed("CG", "a group & more"),
            changed("CG", "Zürich"),
            changed("407", "315"),
            changed("JAVA", "PYTHON"),
            changed("*", "TagA || TagB", INLINE),
        ):
            self.assertIsNotNone(self.assert_same(header), header)

    def test_recorded_pulls_are_scanned(self) -> None:
        found = 0
        for name in ("accept-pull", "accept-longpoll", "accept-tags", "accept-ordered"):
            with golden.path(f"frames/{name}.json.jsonl").open(encoding="utf-8") as file:
                for line in file:
                    recorded = json.loads(line)
                    if recorded.get("codeName") == "PULL_MESSAGE" and recorded.get("kind") != "response":
                        header = base64.b64decode(recorded["raw"])[8:]
                        if header.startswith(b'{"code":11,'):
                            self.assertIsNotNone(self.assert_same(header), header)
                            found += 1
        self.assertGreaterEqual(found, 20)

    def test_whatever_is_not_plain_goes_to_the_parser(self) -> None:
        for header in (
            changed('"flag":0', '"flag":2'),
            changed('"flag":0', '"flag":1'),
            changed("4711", "04711"),
            changed("4711", "x"),
            changed("4711", "9" * 19),
            changed('"opaque":9', '"opaque":4294967296'),
            changed("CG", "a\\u0041"),
            changed("CG", "a}"),
            changed("JAVA", "COBOL"),
            changed('"32"', '"many"'),
            changed('"subVersion":"0"', '"subVersion":"zero"'),
            changed('"consumerGroup":"CG"', '"consumerGroup":null'),
            changed('"consumerGroup":"CG"', '"consumerGroup":"CG","topic":"Other"'),
        ):
            self.assertIsNone(self.assert_same(header), header)
        self.assertIsNone(scan(PUSH.encode(), b"a body"))

    def test_what_is_kept_of_headers_is_bounded(self) -> None:
        self.patch(pull_scan, "ROUTES_MAX", 5)
        self.patch(pull_scan, "_routes", {})
        for number in range(20):
            self.assert_same(changed("CG", f"CG{number}"))
            self.assertLessEqual(len(pull_scan._routes), 5)

    def test_without_a_scanner_nothing_is_scanned(self) -> None:
        for scanner, code in ((None, 11), (SendScanner(), SCANNED_PULL)):
            runs = FrameDecoder(scanner=scanner).feed(framed(PUSH.encode()))
            self.assertEqual([code for code, _ in runs], [code])

    def test_a_scanned_pull_can_be_refused(self) -> None:
        scanned = scan(PUSH.encode())
        (data,) = refusals([scanned], ResponseCode.SYSTEM_ERROR, "no such luck")
        answer = decode_frame(data[4:])
        self.assertEqual((answer.code, answer.opaque, answer.remark), (1, 9, "no such luck"))


class BothWays(SynchronousTestCase):
    """A pull that was scanned is answered like one that was parsed."""

    def setUp(self) -> None:
        self.broker = MemoryBroker()
        for number in range(40):
            self.broker.send(b"%d" % number, properties={"TAGS": f"Tag{'AB'[number % 2]}"})

    def answers(self, header: bytes, scan: bool) -> list[Frame | str]:
        """Each answer, or that there is none yet."""
        scanner = self.broker.parts.sending.scanner if scan else None
        found: list[Frame | str] = []
        for code, run in FrameDecoder(scanner=scanner).feed(framed(header)):
            self.assertEqual(code, SCANNED_PULL if scan else 11)
            pieces: list[Any] = []
            for answer in self.broker.parts.connections.registry.serve(FakePeer(), code, run):  # type: ignore[arg-type]
                if isinstance(answer, Deferred):
                    found.append("held")
                else:
                    pieces.append(answer)
            for _, frames in FrameDecoder().feed(b"".join(pieces)):
                found += frames
        return found

    def test_answers_and_offsets_are_the_same(self) -> None:
        seen: set[object] = set()
        for header in (
            INLINE.encode(),
            changed('"subscription":"*"', '"subscription":"TagB"', INLINE),
            changed('"subscription":"*"', '"subscription":"TagC"', INLINE),
            changed('"queueOffset":"1"', '"queueOffset":"40"', INLINE),
            changed('"queueOffset":"1"', '"queueOffset":"4000"', INLINE),
            changed('"queueOffset":"1"', '"queueOffset":"-1"', INLINE),
            changed('"sysFlag":"4"', '"sysFlag":"6"', INLINE).replace(b'set":"1"', b'set":"40"'),
            changed('"sysFlag":"4","commitOffset":"0"', '"sysFlag":"5","commitOffset":"12"', INLINE),
            changed("Orders", "Missing", INLINE),
            changed('"queueId":"0"', '"queueId":"77"', INLINE),
            changed('"maxMsgNums":"32"', '"maxMsgNums":"-1"', INLINE),
            changed('"expressionType":"TAG"', '"expressionType":"SQL92"', INLINE),
            PUSH.encode(),
        ):
            offsets = self.broker.parts.offsets
            results = []
            for way in (False, True):
                offsets.commit("CG", "Orders", 0, 1)
                answers = self.answers(header, way)
                results.append((answers, offsets.query("CG", "Orders", 0)))
            self.assertEqual(results[0], results[1], header)
            (answer,) = results[0][0]
            seen.add(answer if isinstance(answer, str) else answer.code)
        self.assertEqual(seen, {0, 1, 17, 19, 20, 21, 24, "held"})

    def held(self, header: bytes, scan: bool) -> Deferred[bytes]:
        """The answer to a pull that has to wait for it."""
        scanner = self.broker.parts.sending.scanner if scan else None
        ((code, run),) = FrameDecoder(scanner=scanner).feed(framed(header))
        (answer,) = self.broker.parts.connections.registry.serve(FakePeer(), code, run)  # type: ignore[arg-type]
        assert isinstance(answer, Deferred)
        return answer

    def test_who_waits_at_the_end_is_answered_the_same_whatever_ends_the_waiting(self) -> None:
        ends = {
            "a message": lambda: self.broker.send(b"new", properties={"TAGS": "TagA"}),
            "messages of another tag, then time": lambda: (
                self.broker.send(b"other", properties={"TAGS": "TagB"}),
                self.broker.pass_time(21),
            ),
            "time": lambda: self.broker.pass_time(21),
            "a topic that may not be read any more": lambda: (
                setattr(self.broker.parts.topics.get("Orders"), "perm", 2),
                self.broker.pass_time(21),
            ),
        }
        codes = []
        for number, (name, end) in enumerate(ends.items()):
            at = self.broker.parts.store.queue_offsets("Orders", 0)[1]
            header = changed(
                '"sysFlag":"4","commitOffset":"0"', f'"sysFlag":"7","commitOffset":"{number}"', INLINE
            )
            header = header.replace(b'"queueOffset":"1"', b'"queueOffset":"%d"' % at)
            header = header.replace(b'"subscription":"*"', b'"subscription":"TagA"')
            waiting = [self.held(header, way) for way in (False, True, True)]
            self.assertEqual(self.broker.parts.offsets.query("CG", "Orders", 0), number)
            self.assertEqual([answer.called for answer in waiting], [False] * 3)
            end()
            parsed, *scanned = map(self.successResultOf, waiting)
            self.assertEqual(scanned, [parsed, parsed], name)
            codes.append(decode_frame(parsed[4 : 4 + int.from_bytes(parsed[:4], "big")]).code)
        self.assertEqual(codes, [0, 20, 19, 16])

    def test_both_ways_count_the_same(self) -> None:
        traffic = self.broker.parts.reading.runtime_info._traffic
        before = attrs.asdict(traffic)
        self.answers(INLINE.encode(), scan=False)
        once = {name: value - before[name] for name, value in attrs.asdict(traffic).items()}
        self.answers(INLINE.encode(), scan=True)
        self.assertEqual({name: before[name] + 2 * once[name] for name in once}, attrs.asdict(traffic))
        self.assertEqual(once["messages"], 32)

    def test_what_is_ordinary_is_not_parsed(self) -> None:
        self.patch(scanned_pulls, "as_frame", lambda scanned: self.fail("it went the general way"))
        (answer,) = self.answers(INLINE.encode(), scan=True)
        self.assertEqual(answer.code if isinstance(answer, Frame) else answer, 0)
        self.held(
            changed('"sysFlag":"4"', '"sysFlag":"6"', INLINE).replace(b'set":"1"', b'set":"40"'), scan=True
        )
