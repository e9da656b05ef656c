"""Recorded requests of Apache's error cases, answered by our broker in the same order.

The whole broker is there but its listener: requests are decoded and served as a connection would do it. What
belongs to sending and administration of topics and settings is compared here: code, remark and extra fields.
"""

from __future__ import annotations

import base64
import random
import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.service import BrokerParts
from rocketmq_tx.protocol.bodies import TopicConfigSerializeWrapper, TopicList
from rocketmq_tx.protocol.codes import RequestCode, SerializeType
from rocketmq_tx.protocol.decoder import FrameDecoder
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame, encode_frame
from rocketmq_tx.store.os_disk import platform_disk
from tests import golden
from tests.unit.broker_parts import FakePeer, broker_settings

NOW_MS = 1795239814400

SERVED = {
    RequestCode.SEND_MESSAGE,
    RequestCode.SEND_MESSAGE_V2,
    RequestCode.SEND_BATCH_MESSAGE,
    RequestCode.UPDATE_AND_CREATE_TOPIC,
    RequestCode.DELETE_TOPIC_IN_BROKER,
    RequestCode.GET_ALL_TOPIC_CONFIG,
    RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_BROKER,
    RequestCode.UPDATE_BROKER_CONFIG,
    RequestCode.GET_BROKER_CONFIG,
    9999,
    7777,
    -5,
}

SAID_BY_US = {
    # Apache answers with an exception's text where a field is missing or no number; ours names the field
    "send queueId not a number": (1, "SendMessageRequestHeader.queueId: 'abc' is no number of type int"),
    "send v1 missing queueId": (1, "SendMessageRequestHeader.queueId: is missing"),
    "send v1 missing sysFlag": (1, "SendMessageRequestHeader.sysFlag: is missing"),
    "send v1 missing bornTimestamp": (1, "SendMessageRequestHeader.bornTimestamp: is missing"),
    "send v1 missing flag": (1, "SendMessageRequestHeader.flag: is missing"),
    "send v2 missing queueId": (1, "SendMessageRequestHeaderV2.e: is missing"),
    "send v2 missing bornTimestamp": (1, "SendMessageRequestHeaderV2.g: is missing"),
    "send batch flag with malformed body": (1, "batch item 0 is cut off"),
    "send batch to retry topic": (1, "the body of a batch holds no message"),
    "send delay level abc": (1, 'property DELAY is not a number: "abc"'),
    "create topic missing perm": (1, "CreateTopicRequestHeader.perm: is missing"),
    "create topic bad filter type": (
        1,
        "CreateTopicRequestHeader.topicFilterType: 'NOPE' is none of ('SINGLE_TAG', 'MULTI_TAG')",
    ),
    # a send never touches the template topic, so switching automatic creation on again has its effect
    "still refused: TBW102 lost its inherit permission": (0, None),
    # permissions of topics and of the broker count for every send
    "send to read-only topic": (16, "the topic[ErrPermR] sending message is forbidden"),
    "send to perm 0 topic": (16, "the topic[ErrPerm0] sending message is forbidden"),
    "send with broker read-only": (16, "the broker[127.0.0.1] sending message is forbidden"),
    # settings: an allow-list, and no silence about what is not changed
    "update config unknown key": (16, "noSuchKey is not a known key"),
    "update config black-listed key": (16, "configStorePath is not a known key"),
}
"""Decided otherwise: case -> (code, remark)."""

ONLY_IN_EXTRAS = {"still refused: TBW102 lost its inherit permission"}

STARTS_OF_OTHER_REMARKS = {
    "update config bad value": (1, "request: sendMessageThreadPoolNums = 'abc': expected"),
    "update config garbage": (1, "string2Properties error"),
    "update config brokerConfigPath": (16, "rocketmqHome "),
}
"""Decided otherwise, the remark's end being the business of the module that makes it."""

AFTER_COMMITS = {"batch of 3 by code 320", "batch body with code 310 and batch=false"}
"""Their offsets count messages of transactions, which are committed by a later version of this broker."""

STALE_REMARK = "not set any response code"
"""Left over in some of Apache's successful answers; ours have none."""


class Replay:
    """One recorded scenario, asked of our broker."""

    def __init__(self, folder: str, name: str) -> None:
        self.clock = Clock()
        self.clock.getThreadPool = lambda: None  # type: ignore[attr-defined]
        settings = broker_settings(storePathRootDir=f"{folder}/store", enablePropertyFilter=True)
        self.parts = BrokerParts(settings, self.clock, lambda: NOW_MS, platform_disk())
        self.parts.store.open(NOW_MS)
        self.cases = golden.lines(name)[1:]

    def answers(self, case: dict[str, Any]) -> list[Frame]:
        """Our answers to the case's request; those that are held are left out."""
        request = case.get("request") or {}
        if request.get("code") is None:
            return []
        answers: list[Any] = []
        for code, run in FrameDecoder(1 << 30, self.parts.sending.scanner).feed(whole_frame(case)):
            answers += self.parts.connections.registry.serve(FakePeer(), code, run)  # type: ignore[arg-type]
        for answer in answers:
            if not isinstance(answer, bytes):
                self.clock.pump([0.1] * 10)
        data = b"".join(answer if isinstance(answer, bytes) else now(answer) for answer in answers)
        return [frame for _, run in FrameDecoder().feed(data) for frame in run]


def now(answer: Deferred[bytes]) -> bytes:
    """What has come; nothing for a pull that is held."""
    found = getattr(answer, "result", b"")
    return found if isinstance(found, bytes) else b""


def whole_frame(case: dict[str, Any]) -> bytes:
    """The recorded bytes; what the recording cut is filled up: a body, or one long property."""
    request = case["request"]
    raw = base64.b64decode(request["raw"])
    long_property = re.search(r"properties (?:of )?(\d+) bytes", case["case"])
    if "extFieldsAbbreviated" not in request or long_property is None:
        return raw + b"x" * (request["bytes"] - len(raw))
    fields = request["extFieldsAbbreviated"]
    key = "i" if "i" in fields else "properties"
    length = int(long_property[1])
    serialize = SerializeType(raw[4])
    filled = {**fields, key: "P\x01" + "v" * (length - 2)}
    return encode_frame(
        Frame(request["code"], request["opaque"], ext_fields=filled, body=b"x", serialize=serialize)
    )


class ErrorCases(SynchronousTestCase):
    recording = "frames/errors-broker.json.jsonl"

    chosen_queue = 0
    """By Apache's broker, when it was asked for queue -1."""

    def setUp(self) -> None:
        self.patch(random, "randrange", lambda count: self.chosen_queue)

    def test_sends_topics_and_settings_are_answered_as_recorded(self) -> None:
        replay = Replay(self.mktemp(), self.recording)
        compared: set[str] = set()
        wrong: list[str] = []
        for case in replay.cases:
            name = case["case"]
            ours = replay.answers(case)
            if (case.get("request") or {}).get("code") not in SERVED:
                continue
            compared.add(name)
            if case["outcome"] != "response":
                self.assertEqual(ours, [], name)
                continue
            (frame,) = ours
            wrong += mistakes(name, frame, case["responses"][0])
        self.assertFalse(wrong, "\n".join(wrong))
        self.assertGreater(len(compared), 100)
        decided = {*SAID_BY_US, *STARTS_OF_OTHER_REMARKS} - ONLY_IN_EXTRAS
        self.assertEqual(decided - compared, set())

    def test_tables_of_topics_are_those_of_apache(self) -> None:
        replay = Replay(self.mktemp(), self.recording)
        compared = []
        for case in replay.cases:
            ours = replay.answers(case)
            if case["case"] in {"all topic config", "system topics"}:
                theirs = decode_frame(base64.b64decode(case["responses"][0]["raw"])[4:])
                compared.append(case["case"])
                if case["case"] == "system topics":
                    found, expected = (
                        sorted(TopicList.from_bytes(f.body).topic_list) for f in (ours[0], theirs)
                    )
                    self.assertEqual(found, expected)
                else:
                    found_table, expected_table = (
                        TopicConfigSerializeWrapper.from_bytes(frame.body).topic_config_table
                        for frame in (ours[0], theirs)
                    )
                    self.assertEqual(found_table, expected_table)
        self.assertEqual(len(compared), 2)


class ErrorCasesInBinary(ErrorCases):
    recording = "frames/errors-broker.rocketmq.jsonl"
    chosen_queue = 1


class ExtraCases(SynchronousTestCase):
    def test_property_lengths_and_half_messages_are_answered_as_recorded(self) -> None:
        replay = Replay(self.mktemp(), "frames/extras-broker.json.jsonl")
        wrong: list[str] = []
        count = 0
        for case in replay.cases:
            ours = replay.answers(case)
            if case["request"].get("code") in SERVED and case["outcome"] == "response":
                (frame,) = ours
                wrong += mistakes(case["case"], frame, case["responses"][0])
                count += 1
        self.assertFalse(wrong, "\n".join(wrong))
        self.assertGreater(count, 30)


def mistakes(name: str, ours: Frame, theirs: dict[str, Any]) -> list[str]:
    """What is not as it should be in our answer to a case, in words."""
    found = (ours.code, without_port(ours.remark))
    if name in STARTS_OF_OTHER_REMARKS:
        code, start = STARTS_OF_OTHER_REMARKS[name]
        well = ours.code == code and (ours.remark or "").startswith(start)
        return [] if well else [f"{name}: {found} instead of {(code, start)}"]
    remark = None if theirs["remark"] == STALE_REMARK else without_port(theirs["remark"])
    expected = SAID_BY_US.get(name, (theirs["code"], remark))
    if found != expected:
        return [f"{name}: {found} instead of {expected}"]
    if name in SAID_BY_US or theirs["requestName"] == "GET_BROKER_CONFIG":
        return []
    if name in AFTER_COMMITS:
        theirs["extFields"]["queueOffset"] = (ours.ext_fields or {}).get("queueOffset")
    fields, expected_fields = dict(ours.ext_fields or {}), dict(theirs["extFields"] or {})
    for each in (fields, expected_fields):
        ids = each.pop("msgId", None)
        each["ids"] = "" if ids is None else str(len(ids))
    if fields != expected_fields:
        return [f"{name}: {fields} instead of {expected_fields}"]
    return []


def without_port(remark: str | None) -> str | None:
    """Each recorded connection had a port of its own."""
    return remark and re.sub(r"Producer: 127\.0\.0\.1:\d+", "Producer: HERE", remark)
