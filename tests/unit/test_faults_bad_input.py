"""Faults 20, 21, 25, 26 and 32 on a whole broker and a whole NameServer in memory."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import FlushTimeout
from rocketmq_tx.protocol.batch import BatchItem, encode_batch
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.header_fields import Header
from rocketmq_tx.protocol.headers import (
    GetMaxOffsetRequestHeader,
    PullMessageRequestHeader,
    QueryMessageRequestHeader,
    SearchOffsetRequestHeader,
    SendMessageRequestHeaderV2,
)
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.protocol.properties import unpack_properties
from rocketmq_tx.remoting.connections import Connections
from rocketmq_tx.remoting.protocol import FrameProtocol
from tests import golden
from tests.replay import ReplayedBroker, case_of, frames_of
from tests.unit.test_namesrv_golden import NameServerInMemory

#: Damaged frames for each server; ROCKETMQ_TX_FUZZ_FRAMES=1000000 for the long run (some minutes).
FUZZ_FRAMES = int(os.environ.get("ROCKETMQ_TX_FUZZ_FRAMES", "10000"))

#: Values that are put where a recorded request has another one.
ODD_VALUES = [
    b"-1", b"0", b"2147483647", b"-2147483648", b"9223372036854775807", b"99999999999999999999", b"1e9",
    b"null", b"true", b"", b"%RETRY%", b"%RETRY%../x", b"../x", b"a/b", b"\\u0000", b"\\ud800", b"\\n",
    b"\xff", b"A" * 300, b"[[[[", b"{}",
]  # fmt: skip

JSON_VALUE = re.compile(rb'"[a-zA-Z]+":"([^"]*)"|:(-?\d+)')


CHANGES_SETTINGS = (RequestCode.UPDATE_BROKER_CONFIG, RequestCode.UPDATE_NAMESRV_CONFIG)
"""By chance these would switch off what the test looks at; see `test_faults_admin`."""


def recorded_requests(server: str) -> list[bytes]:
    """Requests that were recorded with Apache's servers, of moderate size."""
    cases = [
        case_of(line)
        for name in golden.names("frames/")
        if server in name and ("errors" in name or "extras" in name or "broker-to" in name)
        for line in golden.lines(name)
        if "case" in line and "outcome" in line
    ]
    return [
        case.request
        for case in cases
        if case is not None and len(case.request) < 20_000 and case.code not in CHANGES_SETTINGS
    ]


def with_damage(request: bytes, chance: random.Random) -> bytes:
    """A few bytes overwritten, lost or added, wherever that may be."""
    data = bytearray(request)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(data))
        data[at : at + chance.choice((0, 1, 1, 1, 2))] = chance.randbytes(chance.choice((1, 1, 1, 0, 2)))
    return bytes(data)


def with_odd_value(request: bytes, chance: random.Random) -> bytes:
    """A frame whose lengths are right, and which has another value somewhere in its header or body."""
    found = list(JSON_VALUE.finditer(request))
    if not found:
        return request
    place = chance.choice(found)
    group = 1 if place.group(1) is not None else 2
    start, end = place.span(group)
    value = chance.choice(ODD_VALUES)
    header_end = 8 + int.from_bytes(request[5:8], "big")
    grown = len(value) - (end - start)
    header_size = header_end - 8 + (grown if end <= header_end else 0)
    size = len(request) - 4 + grown
    changed = request[8:start] + value + request[end:]
    return size.to_bytes(4, "big") + request[4:5] + header_size.to_bytes(3, "big") + changed


def disturb(connections: Connections, requests: list[bytes], number: int, check: Callable[[], Any]) -> None:
    """Sends damaged requests, each connection as long as it lasts; `check` asks on another one."""
    chance = random.Random(20)
    protocol = None
    for count in range(number):
        if protocol is None or not protocol.is_open or protocol.half_frame_bytes:
            if protocol is not None:
                protocol.connectionLost()
            protocol = FrameProtocol(connections)
            protocol.makeConnection(StringTransport())
        change = chance.choice((with_damage, with_odd_value))
        protocol.transport.clear()  # type: ignore[union-attr]
        protocol.dataReceived(change(chance.choice(requests), chance))
        if count % 500 == 0:
            check()
    if protocol is not None:
        protocol.connectionLost()


class NoiseTests(SynchronousTestCase):
    def test_no_damaged_request_is_a_mishap_for_a_broker_or_disturbs_another_connection(self) -> None:
        """Faults 20 and 21: each is answered or closes its connection; nothing is kept of it."""
        broker = ReplayedBroker()
        good = broker.protocol

        def check() -> None:
            broker.transport.clear()
            good.dataReceived(encode_frame(send("Good", b"still served")))
            self.assertEqual([frame.code for frame in frames_of(broker.transport.value())], [0])
            broker.clock.advance(1)

        disturb(broker.connections, recorded_requests("broker"), FUZZ_FRAMES, check)
        self.flushLoggedErrors(FlushTimeout)  # nobody runs the flushing thread here
        self.assertEqual(broker.connections.registry.mishaps.count, 0)
        self.assertEqual(broker.connections.open, {good})
        self.assertEqual((broker.connections.load.bytes, broker.connections.awaited), (0, 0))
        self.assertEqual(len(broker.parts.reading._held), 0)
        for path in broker.parts.disk.nodes:  # type: ignore[attr-defined]
            self.assertRegex(path, r"^/(store|etc|root|home)?[/%|A-Za-z0-9_.-]*$")
            self.assertNotIn("..", path)
        for topic in broker.parts.topics.configs():
            self.assertRegex(topic, r"^[%|A-Za-z0-9_ .:-]+$")

    def test_no_damaged_request_is_a_mishap_for_a_nameserver(self) -> None:
        """Faults 20 and 21."""
        namesrv = NameServerInMemory(self)
        wire, _ = namesrv.connect()
        question = encode_frame(Frame.request(RequestCode.GET_BROKER_CLUSTER_INFO))

        def check() -> None:
            [answer] = namesrv.ask_raw(question, wire)
            self.assertEqual(answer.code, 0)

        disturb(namesrv.connections, recorded_requests("namesrv"), FUZZ_FRAMES, check)
        self.assertEqual(namesrv.connections.registry.mishaps.count, 0)
        self.assertEqual(len(namesrv.connections.open), 1)
        self.assertEqual((namesrv.connections.load.bytes, namesrv.connections.awaited), (0, 0))


def send(topic: str = "Faults", body: bytes = b"body", properties: str = "", **more: Any) -> Frame:
    fields: dict[str, Any] = {
        "producer_group": "faults", "topic": topic, "default_topic": "TBW102", "default_topic_queue_nums": 4,
        "queue_id": 0, "sys_flag": 0, "born_timestamp": 1_700_000_000_000, "flag": 0,
        "properties": properties, "reconsume_times": 0, **more,
    }  # fmt: skip
    return Frame.request(RequestCode.SEND_MESSAGE_V2, SendMessageRequestHeaderV2(**fields), body)


def pull(offset: int = 0, topic: str = "Faults", **more: Any) -> Frame:
    fields: dict[str, Any] = {
        "consumer_group": "faults", "topic": topic, "queue_id": 0, "queue_offset": offset,
        "max_msg_nums": 32, "sys_flag": 4, "commit_offset": 0, "suspend_timeout_millis": 15_000,
        "subscription": "*", "sub_version": 1, "expression_type": "TAG", **more,
    }  # fmt: skip
    return Frame.request(RequestCode.PULL_MESSAGE, PullMessageRequestHeader(**fields))


class BrokerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = ReplayedBroker()

    def tearDown(self) -> None:
        self.assertEqual(self.broker.connections.registry.mishaps.count, 0)
        self.assertEqual(self.flushLoggedErrors(), [])

    def ask(self, frame: Frame) -> Frame:
        """The one answer to a request."""
        answers = [answer for answer in self.broker.serve(encode_frame(frame)) if answer.is_response]
        self.assertEqual(len(answers), 1)
        return answers[0]

    def request(self, code: int, header: Header | None = None, body: bytes = b"") -> Frame:
        return self.ask(Frame.request(code, header, body))

    def messages(self, topic: str = "Faults") -> list[Any]:
        return list(decode_records(self.ask(pull(topic=topic)).body))


class JsonBombTests(BrokerCase):
    """Fault 21: depth, huge numbers, duplicate keys, lone surrogates, stray separators."""

    BOMBS = {
        "depth": b"[" * 100_000 + b"]" * 100_000,
        "depth of objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        "a huge number": b'{"clientID":' + b"9" * 1_000_000 + b"}",
        "a huge exponent": b'{"clientID":1e999999999}',
        "many references": json.dumps({"a": [[0] * 9000] + [{"$ref": "$.a[0]"}] * 9000}).encode(),
        "a lone surrogate": b'{"clientID":"\\ud800"}',
        "no end": b'{"clientID":"' + b"x" * 1_000_000,
    }

    def test_each_is_a_clear_error_in_a_body(self) -> None:
        for name, bomb in self.BOMBS.items():
            for code, kind in (
                (RequestCode.HEART_BEAT, "HeartbeatData"),
                (RequestCode.LOCK_BATCH_MQ, "LockBatchRequestBody"),
                (RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, "SubscriptionGroupConfig"),
            ):
                answer = self.request(code, None, bomb)
                self.assertEqual(answer.code, 1, name)
                self.assertTrue((answer.remark or "").startswith(f"{kind}: "), (name, answer.remark))
                self.assertLess(len(answer.remark or ""), 300)
        self.assertTrue(self.broker.protocol.is_open)

    def test_each_closes_its_connection_or_is_answered_in_a_header(self) -> None:
        for bomb in self.BOMBS.values():
            header = b'{"code":105,"opaque":1,"extFields":' + bomb + b"}"
            self.broker.connect()
            word = len(header).to_bytes(4, "big")
            answers = self.broker.serve((4 + len(header)).to_bytes(4, "big") + word + header)
            if self.broker.protocol.is_open:
                self.assertEqual([answer.opaque for answer in answers], [1])
            else:
                self.assertEqual(answers, [])

    def test_of_duplicate_keys_the_last_one_counts(self) -> None:
        body = b'{"clientID":"a","clientID":"b","producerDataSet":[{"groupName":"x","groupName":"p"}]}'
        self.assertEqual(self.request(RequestCode.HEART_BEAT, None, body).code, 0)
        self.assertIsNotNone(self.broker.parts.reading._clients._producers.peer_of("b"))

    def test_stray_separators_in_properties_are_dropped_as_in_apache(self) -> None:
        strays = (
            "\x01",
            "\x02",
            "\x02\x02\x02",
            "\x01\x01",
            "A\x01",
            "\x01v",
            "A\x02B\x01v\x02",
            "\x02\x01" * 9000,
        )
        for number, properties in enumerate(strays):
            self.assertEqual(self.ask(send(properties=properties)).code, 0, properties[:9])
            kept = unpack_properties(self.messages()[-1].properties)
            self.assertLessEqual(set(kept), {"A", "B", "CLUSTER"})
            self.assertEqual(len(self.messages()), number + 1)

    def test_a_nul_or_too_many_properties_are_refused(self) -> None:
        for properties in ("KEYS\x01a\0b\x02", "KEYS\x01" + "k" * 40_000, "K\x01" + "\u20ac" * 15_000):
            self.assertEqual(self.ask(send(properties=properties)).code, 13)
        self.assertEqual(self.ask(pull()).ext_fields["maxOffset"], "0")  # type: ignore[index]


class CutTests(BrokerCase):
    """Fault 25: a connection that is cut at each byte of a request, or of its answer."""

    def test_a_send_cut_at_each_byte_is_stored_whole_or_not_at_all(self) -> None:
        request = encode_frame(send(body=b"whole", properties="UNIQ_KEY\x010A\x02WAIT\x01true"))
        for cut in range(len(request)):
            self.broker.connect()
            self.assertEqual(self.broker.serve(request[:cut]), [])
        self.broker.connect()
        self.assertEqual(self.broker.connections.load.bytes, 0)
        [answer] = self.broker.serve(request)
        self.assertEqual((answer.code, answer.ext_fields["queueOffset"]), (0, "0"))  # type: ignore[index]
        self.assertEqual([record.body for record in self.messages()], [b"whole"])

    def test_a_held_pull_whose_connection_goes_is_forgotten(self) -> None:
        self.ask(send())
        for _ in range(50):
            self.broker.connect()
            held = pull(1, sys_flag=2 | 4)
            self.assertEqual(self.broker.serve(encode_frame(held)), [])
        self.assertEqual(len(self.broker.parts.reading._held), 1)
        self.broker.connect()
        self.assertEqual(len(self.broker.parts.reading._held), 0)
        self.assertEqual((self.broker.connections.load.bytes, self.broker.connections.awaited), (0, 0))

    def test_a_client_whose_connection_was_cut_leaves_no_trace_in_groups(self) -> None:
        body = json.dumps(
            {
                "clientID": "c",
                "producerDataSet": [{"groupName": "p"}],
                "consumerDataSet": [{"groupName": "g", "subscriptionDataSet": [{"topic": "Faults"}]}],
            }
        ).encode()
        request = encode_frame(Frame.request(RequestCode.HEART_BEAT, None, body))
        for cut in range(0, len(request) + 1, 7):
            self.broker.connect()
            self.broker.serve(request[:cut])
        self.broker.serve(request)
        self.broker.connect()
        clients = self.broker.parts.reading._clients
        self.assertEqual((list(clients._producers.members), list(clients._consumers.members)), ([], []))


class AnswerTests(BrokerCase):
    """Fault 26: the same opaque twice, answers nobody asked for."""

    def test_two_requests_with_one_opaque_are_both_served(self) -> None:
        request = encode_frame(send())
        answers = self.broker.serve(request + request)
        self.assertEqual([answer.ext_fields["queueOffset"] for answer in answers], ["0", "1"])  # type: ignore[index]

    def test_answers_that_nobody_asked_for_are_counted_and_nothing_else(self) -> None:
        stray = encode_frame(
            Frame.request(RequestCode.GET_BROKER_CONFIG, opaque=7).answer(0, body=b"x" * 100)
        )
        self.assertEqual(self.broker.serve(stray * 1000), [])
        self.assertEqual(self.broker.connections.stray_answers, 1000)
        self.assertEqual(self.broker.connections.load.bytes, 0)
        self.assertEqual(self.ask(send()).code, 0)

    def test_any_opaque_comes_back(self) -> None:
        for opaque in (0, -1, 2**31 - 1, -(2**31)):
            frame = send()
            frame.opaque = opaque
            self.assertEqual(self.ask(frame).opaque, opaque)


class ClientClockTests(BrokerCase):
    """Fault 32: a client's clock that is far off, a born time below zero."""

    TIMES_MS = (0, -1, -(2**63), 2**63 - 1, 253_402_300_800_000)

    def test_it_is_stored_as_given_and_breaks_nothing(self) -> None:
        for born_ms in self.TIMES_MS:
            self.assertEqual(self.ask(send(born_timestamp=born_ms)).code, 0)
        records = self.messages()
        self.assertEqual(tuple(record.born_timestamp for record in records), self.TIMES_MS)
        self.assertEqual({record.store_timestamp for record in records}, {self.broker.now_ms()})

    def test_times_in_questions_may_be_anything(self) -> None:
        self.ask(send(properties="KEYS\x01k\x02"))
        for timestamp in self.TIMES_MS:
            header = SearchOffsetRequestHeader(topic="Faults", queue_id=0, timestamp=timestamp)
            self.assertEqual(self.request(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, header).code, 0)
            for until in self.TIMES_MS:
                question = QueryMessageRequestHeader(
                    topic="Faults", key="k", max_num=2**31 - 1, begin_timestamp=timestamp, end_timestamp=until
                )
                found = timestamp <= self.broker.now_ms() <= until
                code = self.request(RequestCode.QUERY_MESSAGE, question).code
                self.assertEqual(code, 0 if found else 22, (timestamp, until))


class OddNumberTests(BrokerCase):
    """Fault 20: numbers that fit their field and nothing else."""

    def test_pulls_with_any_number_are_answered(self) -> None:
        self.ask(send())
        for offset in (-1, -(2**63), 2**63 - 1):
            answer = self.ask(pull(offset))
            self.assertIn(answer.code, (20, 21))
        for count in (-1, -(2**31)):
            self.assertEqual(self.ask(pull(max_msg_nums=count)).code, 1)
        for count in (0, 1, 2**31 - 1):
            self.assertEqual(self.ask(pull(max_msg_nums=count)).code, 0)
        for queue_id in (-1, -(2**31), 2**31 - 1):
            self.assertEqual(self.ask(pull(queue_id=queue_id)).code, 1)

    def test_numbers_of_more_than_64_bits_are_refused_by_name(self) -> None:
        frame = pull()
        assert frame.ext_fields is not None
        frame.ext_fields["queueOffset"] = str(2**63)
        answer = self.ask(frame)
        self.assertEqual(answer.code, 1)
        self.assertIn("queueOffset", answer.remark or "")

    def test_a_pull_may_want_to_be_held_for_any_time(self) -> None:
        self.ask(send())
        for wait_ms, answered in ((-1, True), (-(2**63), True), (0, True), (2**63 - 1, False)):
            self.broker.connect()
            request = encode_frame(pull(1, sys_flag=2 | 4, suspend_timeout_millis=wait_ms))
            self.assertEqual(bool(self.broker.serve(request, 0.2)), answered, wait_ms)
        self.broker.clock.pump([60] * 100)  # no timer of a million years gets in the way of others
        self.assertEqual(self.ask_other(send()).code, 0)
        self.assertEqual([frame.code for frame in frames_of(self.broker.transport.value())], [0])

    def ask_other(self, frame: Frame) -> Frame:
        """Asks on a connection of its own; what it brings about goes to the others."""
        protocol = FrameProtocol(self.broker.connections)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(encode_frame(frame))
        protocol.connectionLost()
        [answer] = frames_of(transport.value())
        return answer

    def test_sends_to_queues_that_are_none(self) -> None:
        self.assertEqual(self.ask(send(queue_id=2**31 - 1)).code, 1)
        self.assertEqual(self.ask(send(queue_id=-(2**31))).code, 0)  # the broker chooses, as in Apache
        for wanted in (-1, 0, 2**31 - 1):
            self.ask(send(f"Auto{wanted & 1}", default_topic_queue_nums=wanted))
        for name, topic in self.broker.parts.topics.configs().items():
            if name.startswith("Auto"):
                self.assertIn(topic.write_queue_nums, range(17))

    def test_offsets_of_queues_that_are_none_are_zero(self) -> None:
        for queue_id in (-1, 2**31 - 1):
            header = GetMaxOffsetRequestHeader(topic="Faults", queue_id=queue_id)
            answer = self.request(RequestCode.GET_MAX_OFFSET, header)
            self.assertEqual((answer.code, answer.ext_fields), (0, {"offset": "0"}))


class BatchTests(BrokerCase):
    """Fault 20: batches that lie about their lengths, or would grow without end."""

    def batch(self, body: bytes, properties: str = "") -> Frame:
        frame = send(body=body, properties=properties, batch=True)
        frame.code = RequestCode.SEND_BATCH_MESSAGE
        return self.ask(frame)

    def test_a_batch_whose_lengths_lie_is_refused_as_a_whole(self) -> None:
        good = encode_batch([BatchItem(0, b"one", b""), BatchItem(0, b"two", b"KEYS\x01k\x02")])
        for at in (0, 16, 23, 25, 41):
            for value in (b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", bytes(4)):
                lying = good[:at] + value + good[at + 4 :]
                if lying != good:
                    self.assertEqual(self.batch(lying).code, 1, (at, value))
        for cut in range(1, len(good)):
            if cut != len(good) // 2 - 3:  # the first message alone is a batch
                self.batch(good[:cut])
        self.assertLessEqual({record.body for record in self.messages()}, {b"one"})

    def test_the_properties_of_a_batch_do_not_make_gigabytes_of_megabytes(self) -> None:
        body = encode_batch([BatchItem(0, b"", b"")] * 150_000)
        self.assertEqual(self.batch(body, "KEYS\x01" + "k" * 32_000 + "\x02").code, 13)
        self.assertEqual(self.batch(body[: 22 * 100], "KEYS\x01" + "k" * 100 + "\x02").code, 0)
