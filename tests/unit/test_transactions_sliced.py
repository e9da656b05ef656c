"""However a producer's frames fall into reads, its transactions end as they do with one frame a read."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.decoder import SCANNED_END, SCANNED_SEND, FrameDecoder
from rocketmq_tx.protocol.message_ids import decode_offset_message_id
from tests.memory_broker import MemoryBroker
from tests.unit.broker_parts import FakePeer

COMMIT, ROLLBACK, UNKNOWN = 8, 12, 0
HALF, PLAIN = 4, 0


@attrs.frozen
class Send:
    """A message of the client; its body is its number in the whole story."""

    key: str
    sys_flag: int = HALF
    extra: str = ""


@attrs.frozen
class End:
    """The end of the half message `of`, by its number among those that were answered in earlier reads."""

    of: int
    decision: int = COMMIT
    wants_answer: bool = False
    group: str = "PG"


Read = list[Any]


def framed(fields: dict[str, Any], body: bytes = b"") -> bytes:
    header = json.dumps(fields, separators=(",", ":")).encode()
    data = len(header).to_bytes(4, "big") + header + body
    return len(data).to_bytes(4, "big") + data


def frame(code: int, opaque: int, flag: int, fields: dict[str, str], body: bytes = b"") -> bytes:
    """As a Java client writes it."""
    header = {
        "code": code, "extFields": fields, "flag": flag, "language": "JAVA", "opaque": opaque,
        "serializeTypeCurrentRPC": "JSON", "version": 407,
    }  # fmt: skip
    return framed(header, body)


class Story:
    """One producer on one connection of a broker."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.broker.parts.transactions.log.load(after_crash=False)
        self.broker.send(b"makes the topic")
        self.decoder = FrameDecoder(scanner=self.broker.parts.sending.scanner)
        self.opaque = 0
        self.halves: list[tuple[str, int, int]] = []
        """Key, commit log offset and queue offset of each that was answered."""
        self.sent: dict[int, str] = {}
        self.codes: list[tuple[int, int]] = []
        self.runs: Counter[int] = Counter()

    def bytes_of(self, action: Send | End) -> bytes:
        self.opaque += 1
        if isinstance(action, Send):
            properties = f"{action.extra}UNIQ_KEY\1{action.key}\2WAIT\1true"
            if action.sys_flag == HALF:
                properties += "\2TRAN_MSG\1true\2PGROUP\1PG"
                self.sent[self.opaque] = action.key
            fields = {
                "a": "PG", "b": "Orders", "c": "TBW102", "d": "4", "e": "0", "f": str(action.sys_flag),
                "g": "1795239814400", "h": "0", "i": properties, "j": "0", "k": "false", "m": "false",
                "n": "broker-a",
            }  # fmt: skip
            return frame(310, self.opaque, 0, fields, b"%d" % self.opaque)
        if not self.halves:
            return b""
        key, commit_log_offset, queue_offset = self.halves[action.of % len(self.halves)]
        fields = {
            "producerGroup": action.group, "bname": "broker-a", "commitLogOffset": str(commit_log_offset),
            "msgId": key, "tranStateTableOffset": str(queue_offset),
            "commitOrRollback": str(action.decision), "fromTransactionCheck": "false",
        }  # fmt: skip
        return frame(37, self.opaque, 0 if action.wants_answer else 2, fields)

    def receive(self, data: bytes) -> None:
        answers: list[Any] = []
        for code, run in self.decoder.feed(data):
            self.runs[code] += 1
            answers += self.broker.parts.connections.registry.serve(FakePeer(), code, run)  # type: ignore[arg-type]
        for _, run in FrameDecoder().feed(b"".join(answers)):
            for answer in run:
                self.codes.append((answer.opaque, answer.code))
                if answer.opaque in self.sent:
                    place = decode_offset_message_id(answer.ext_fields["msgId"])
                    half = (self.sent[answer.opaque], place.commit_log_offset)
                    self.halves.append((*half, int(answer.ext_fields["queueOffset"])))

    def tell(self, reads: list[Read], at_once: bool) -> Story:
        for read in reads:
            frames = [self.bytes_of(action) for action in read]
            for data in [b"".join(frames)] if at_once else frames:
                self.receive(data)
        return self

    def outcome(self) -> tuple[Any, ...]:
        """What clients and operators can see, but for the order in the queue."""
        log = self.broker.parts.transactions.log
        return (
            Counter(self.broker.bodies()), Counter(each.unique_key for each in log.table), sorted(self.codes),
            log.figures.commits, log.figures.rollbacks, log.figures.refused_ends,
        )  # fmt: skip


KEYS = st.sampled_from(["A1", "B2", "C3"])
SENDS = st.builds(
    Send,
    KEYS,
    st.sampled_from([HALF, HALF, HALF, PLAIN]),
    st.sampled_from(["", "", "KEYS\1k\2", "DELAY\0013\2"]),
)
ENDS = st.builds(
    End,
    st.integers(0, 5),
    st.sampled_from([COMMIT, COMMIT, ROLLBACK, UNKNOWN]),
    st.sampled_from([False, False, True]),
    st.sampled_from(["PG", "PG", "PG", "others"]),
)


class SlicedReads(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.lists(SENDS | ENDS, max_size=6), min_size=2, max_size=4))
    @example([[Send("A1")], [End(0), Send("A1")], [End(1)]])
    def test_all_ends_as_with_one_frame_a_read(self, reads: list[Read]) -> None:
        self.assertEqual(Story().tell(reads, True).outcome(), Story().tell(reads, False).outcome())

    def test_a_message_object_that_is_sent_again_right_after_its_commit_is_another_transaction(self) -> None:
        story = Story().tell([[Send("A1")], [End(0), Send("A1")], [End(1), Send("A1")], [End(2)]], True)
        self.assertEqual(len(story.broker.bodies()), 4)

    def test_the_short_cuts_are_what_is_tried_here(self) -> None:
        story = Story().tell([[Send("A1"), Send("B2")], [End(0), Send("C3"), End(1)]], True)
        self.assertEqual(story.runs, {SCANNED_SEND: 2, SCANNED_END: 1})
