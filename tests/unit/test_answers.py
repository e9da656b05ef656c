"""Answers from templates are, byte for byte, what encoding the same frame gives."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.answers import MSG_REGION, TRACE_ON, PullAnswers, SendAnswers
from rocketmq_tx.protocol.codes import ResponseCode, SerializeType
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame, encode_frame
from rocketmq_tx.protocol.headers import PullMessageResponseHeader, SendMessageResponseHeader
from tests import golden

OPAQUES = st.integers(-(2**31), 2**31 - 1)
LONGS = st.integers(-(2**63), 2**63 - 1)
SERIALIZATIONS = st.sampled_from(SerializeType)
STORED = st.sampled_from(
    [ResponseCode.SUCCESS, ResponseCode.FLUSH_DISK_TIMEOUT, ResponseCode.SLAVE_NOT_AVAILABLE]
)
MESSAGE_IDS = st.from_regex(rb"[0-9A-F]{32}(,[0-9A-F]{32}){0,3}", fullmatch=True)
REGIONS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)


class Sends(SynchronousTestCase):
    @given(
        SERIALIZATIONS, STORED, OPAQUES, MESSAGE_IDS, st.integers(0, 2**31 - 1), LONGS, REGIONS, st.booleans()
    )
    def test_answers_equal_encoded_frames(
        self,
        serialize: SerializeType,
        code: int,
        opaque: int,
        message_id: bytes,
        queue_id: int,
        queue_offset: int,
        region: str,
        trace_on: bool,
    ) -> None:
        header = SendMessageResponseHeader(
            msg_id=message_id.decode(), queue_id=queue_id, queue_offset=queue_offset
        )
        answer = Frame(310, opaque, serialize=serialize).answer(code, header=header)
        assert answer.ext_fields is not None
        answer.ext_fields[TRACE_ON] = "true" if trace_on else "false"
        answer.ext_fields[MSG_REGION] = region
        answers = SendAnswers(region, trace_on)
        for _ in range(2):
            given = answers.encode(serialize, code, opaque, message_id, queue_id, queue_offset)
            self.assertEqual(given, encode_frame(answer))
        if serialize == SerializeType.JSON and code == ResponseCode.SUCCESS:
            self.assertEqual(answers.json(opaque, message_id, queue_id, queue_offset), given)

    @given(
        st.integers(1, 5).flatmap(
            lambda digits: st.lists(st.integers(10 ** (digits - 1), 10**digits - 1), min_size=1, max_size=9)
        ),
        st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 12), st.integers(95, 105)), min_size=9),
        REGIONS,
    )
    def test_answers_to_sends_that_are_alike_equal_those_to_each(
        self, opaques: list[int], places: list[tuple[int, int, int]], region: str
    ) -> None:
        answers, start = SendAnswers(region, trace_on=True), b"7F00000100002A9F"
        places = places[: len(opaques)]
        each = [
            answers.json(opaque, b"%b%016X" % (start, offset), queue_id, queue_offset)
            for opaque, (offset, queue_id, queue_offset) in zip(opaques, places, strict=True)
        ]
        digits = [b"%d" % opaque for opaque in opaques]
        offsets, queue_ids, queue_offsets = zip(*places, strict=True)
        self.assertEqual(answers.json_alike(digits, start, offsets, queue_ids, queue_offsets), b"".join(each))

    def test_recorded_answers_come_out_of_the_template(self) -> None:
        answers = SendAnswers("DefaultRegion", True)
        compared = 0
        for name in golden.names("frames/accept-"):
            for line in golden.lines(name):
                fields = line.get("extFields") or {}
                if line.get("requestCode") not in {310, 320} or "msgId" not in fields:
                    continue
                raw = base64.b64decode(line["raw"])
                given = answers.encode(
                    SerializeType[line["serialize"]],
                    line["code"],
                    line["opaque"],
                    fields["msgId"].encode(),
                    int(fields["queueId"]),
                    int(fields["queueOffset"]),
                )
                self.assertEqual(given, raw)
                compared += 1
        self.assertGreater(compared, 100)


class Pulls(SynchronousTestCase):
    @given(
        SERIALIZATIONS,
        st.sampled_from(list(ResponseCode)),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
        OPAQUES,
        st.tuples(LONGS, LONGS, LONGS, LONGS),
        st.binary(max_size=50),
    )
    def test_heads_equal_encoded_frames_without_their_bodies(
        self,
        serialize: SerializeType,
        code: int,
        remark: str,
        opaque: int,
        numbers: tuple[int, int, int, int],
        body: bytes,
    ) -> None:
        header = PullMessageResponseHeader(
            suggest_which_broker_id=numbers[0],
            next_begin_offset=numbers[1],
            min_offset=numbers[2],
            max_offset=numbers[3],
        )
        answer = Frame(11, opaque, serialize=serialize).answer(code, remark, header, body)
        answers = PullAnswers()
        for _ in range(2):
            head = answers.head(serialize, code, remark, opaque, *numbers, len(body))
            self.assertEqual(head + body, encode_frame(answer))

    def test_templates_for_any_number_of_remarks_are_bounded(self) -> None:
        answers = PullAnswers()
        for number in range(200):
            head = answers.head(SerializeType.JSON, 0, f"remark {number} %d", 1, 0, 1, 2, 3, 0)
            self.assertEqual(decode_frame(head[4:]).remark, f"remark {number} %d")
        self.assertLessEqual(len(answers._templates), 64)
