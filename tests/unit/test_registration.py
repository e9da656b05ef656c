"""Registration at NameServers, on a fake clock with NameServers that answer when the test says so."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.registration import Registration, name_server_list
from rocketmq_tx.broker.registration_frames import BrokerIdentity, register_frame
from rocketmq_tx.broker.topic_rules import make_topic
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.errors import ConnectFailed
from rocketmq_tx.protocol.bodies import KVTable, RegisterBrokerBody, TopicConfig
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import QueryDataVersionResponseHeader, RegisterBrokerRequestHeader
from rocketmq_tx.protocol.java import crc32
from tests import golden
from tests.unit.broker_parts import MemoryFile, broker_settings

A, B = "127.0.0.1:9876", "127.0.0.1:9877"


class FakeNameServers:
    """Takes every call; `answer` and `fail` end the oldest one to an address."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Frame, Deferred[Frame]]] = []
        self.timeouts_s: list[float] = []

    def call(self, address: str, frame: Frame, timeout_s: float) -> Deferred[Frame]:
        answer: Deferred[Frame] = Deferred()
        self.calls.append((address, frame, answer))
        self.timeouts_s.append(timeout_s)
        return answer

    def codes(self, address: str) -> list[int]:
        return [frame.code for to, frame, _ in self.calls if to == address]

    def topics(self, address: str) -> dict[str, TopicConfig]:
        """The topics of the oldest open registration."""
        frame = next(frame for to, frame, _ in self.calls if to == address)
        return RegisterBrokerBody.from_bytes(frame.body).topic_config_serialize_wrapper.topic_config_table

    def _take(self, address: str) -> tuple[Frame, Deferred[Frame]]:
        call = next(call for call in self.calls if call[0] == address)
        self.calls.remove(call)
        return call[1], call[2]

    def answer(self, address: str, code: int = 0, header: Any = None, body: bytes = b"") -> None:
        frame, answer = self._take(address)
        answer.callback(frame.answer(code, None, header, body))

    def fail(self, address: str) -> None:
        self._take(address)[1].errback(ConnectFailed(f"{address}: connection refused"))


class RegistrationCase(SynchronousTestCase):
    keys: dict[str, Any] = {}

    def setUp(self) -> None:
        self.clock = Clock()
        self.settings: BrokerSettings = broker_settings(namesrvAddr=f"{A};{B}", **self.keys)
        self.broker = self.settings.broker
        self.topics = TopicTable(self.broker, MemoryFile(), lambda: 1700000000000)
        self.servers = FakeNameServers()
        self.identity = BrokerIdentity(self.broker, "127.0.0.1:28911", "192.0.2.10:38911")
        self.registration = Registration(self.identity, self.topics, self.servers, self.clock)
        self.registration.startService()

    def tearDown(self) -> None:
        self.registration.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Registering(RegistrationCase):
    def test_all_name_servers_are_told_at_the_same_time(self) -> None:
        self.registration.register_all()
        self.assertEqual([to for to, _, _ in self.servers.calls], [A, B])
        self.assertEqual(self.servers.topics(A), dict(self.topics.configs()))
        self.assertEqual(self.servers.timeouts_s, [6.0, 6.0])

    def test_a_dead_name_server_delays_nothing(self) -> None:
        done = self.registration.register_all()
        self.servers.answer(B)
        self.topics.put(make_topic("Orders", 4))
        self.assertEqual(list(self.servers.topics(B)), ["Orders"])
        self.servers.answer(B)
        self.assertNoResult(done)
        self.servers.fail(A)
        self.assertEqual(self.successResultOf(done), [False, True])

    def test_what_changes_while_a_name_server_is_silent_goes_with_one_request(self) -> None:
        self.registration.register_all()
        for number in range(100):
            self.topics.put(make_topic(f"Orders{number}", 4))
        self.assertEqual(self.servers.codes(A), [RequestCode.REGISTER_BROKER])
        self.servers.answer(A)
        self.assertEqual(len(self.servers.topics(A)), 100)
        self.servers.answer(A)
        self.assertEqual(self.servers.codes(A), [])

    def test_a_change_registers_only_what_changed(self) -> None:
        self.topics.put(make_topic("Orders", 4))
        self.assertEqual(self.servers.topics(B), {"Orders": make_topic("Orders", 4)})

    def test_a_deleted_topic_makes_everything_be_registered(self) -> None:
        self.topics.put(make_topic("Orders", 4))
        self.servers.answer(A)
        self.topics.delete("Orders")
        self.assertEqual(self.servers.topics(A), dict(self.topics.configs()))

    def test_registration_is_repeated_every_thirty_seconds(self) -> None:
        self.clock.pump([10, 10, 9])
        self.assertEqual(self.servers.calls, [])
        self.clock.pump([1])
        self.assertEqual(len(self.servers.calls), 2)
        self.servers.answer(A)
        self.servers.fail(B)
        self.clock.pump([10] * 3)
        self.assertEqual(len(self.servers.calls), 2)

    def test_a_name_server_that_starts_later_is_tried_again_after_1_2_4_seconds(self) -> None:
        self.registration.register_all()
        self.servers.answer(A)
        tried_s = []
        for _ in range(9):
            before_s = self.clock.seconds()
            self.servers.fail(B)
            while not self.servers.calls:
                self.clock.advance(0.5)
            self.assertEqual([to for to, _, _ in self.servers.calls if to == B], [B])
            tried_s.append(self.clock.seconds() - before_s)
            self.servers.calls = [call for call in self.servers.calls if call[0] == B]
        self.assertEqual(tried_s[:5], [1, 2, 4, 8, 15])  # the last with everybody, 30 s after the start
        self.servers.answer(B)
        self.clock.advance(5)
        self.assertEqual(self.servers.codes(B), [])
        self.topics.put(make_topic("Orders", 4))
        self.servers.fail(B)
        self.clock.advance(1)
        self.assertEqual(self.servers.codes(B), [RequestCode.REGISTER_BROKER])

    def test_one_that_was_taken_off_the_list_is_not_tried_again(self) -> None:
        self.registration.register_all()
        self.servers.fail(B)
        self.broker.namesrv_addr = A
        self.clock.advance(1)
        self.assertEqual(self.servers.codes(B), [])

    def test_while_it_is_away_the_log_says_so_once(self) -> None:
        said: list[str] = []

        def look(event: dict[str, Any]) -> None:
            if event.get("log_namespace", "").endswith("NameServerLink"):
                said.append(event["log_format"])

        globalLogPublisher.addObserver(look)
        self.addCleanup(globalLogPublisher.removeObserver, look)
        self.registration.register_all()
        for _ in range(20):
            self.servers.fail(B)
            self.clock.pump([0.5] * 62)
        self.assertEqual(len(said), 1)

    def test_a_changed_list_of_name_servers_counts_from_the_next_registration_on(self) -> None:
        self.registration.register_all()
        self.broker.namesrv_addr = "127.0.0.1:9999"
        self.registration.register_all()
        self.assertEqual([to for to, _, _ in self.servers.calls], [A, B, "127.0.0.1:9999"])

    def test_without_name_servers_there_is_nothing_to_wait_for(self) -> None:
        self.broker.namesrv_addr = None
        self.assertEqual(self.successResultOf(self.registration.register_all()), [])

    def test_a_refusal_counts_as_not_registered(self) -> None:
        done = self.registration.register_all()
        self.servers.answer(A, code=1)
        self.servers.answer(B)
        self.assertEqual(self.successResultOf(done), [False, True])

    def test_ordered_topics_come_from_the_first_name_server_that_is_up(self) -> None:
        self.topics.put(make_topic("Orders", 4))
        self.servers.answer(A)
        self.servers.answer(B)
        self.registration.register_all()
        self.servers.answer(B, body=KVTable(table={"BenchmarkTest": "x"}).to_bytes())
        self.assertEqual([t.topic_name for t in self.topics.configs().values() if t.order], [])
        self.servers.answer(A, body=KVTable(table={"Orders": "broker-a:4"}).to_bytes())
        self.assertEqual([t.topic_name for t in self.topics.configs().values() if t.order], ["Orders"])

    def test_stopping_takes_the_broker_out_everywhere_and_is_bounded(self) -> None:
        self.registration.stopService()
        done = self.registration.unregister_all()
        self.assertEqual(self.servers.codes(A) + self.servers.codes(B), [RequestCode.UNREGISTER_BROKER] * 2)
        self.assertEqual(self.servers.timeouts_s, [1.0, 1.0])
        self.servers.answer(A)
        self.servers.fail(B)
        self.assertEqual(self.successResultOf(done), [True, False])
        self.topics.put(make_topic("Orders", 4))
        self.assertEqual(self.servers.calls, [])


class AskingFirst(RegistrationCase):
    keys = {"forceRegister": False}

    def setUp(self) -> None:
        super().setUp()
        self.clock.advance(30)

    def known(self, address: str, changed: bool) -> None:
        self.servers.answer(address, header=QueryDataVersionResponseHeader(changed=changed))

    def test_nothing_is_registered_while_everybody_knows_the_version(self) -> None:
        self.assertEqual(self.servers.codes(A) + self.servers.codes(B), [RequestCode.QUERY_DATA_VERSION] * 2)
        self.known(A, changed=False)
        self.known(B, changed=False)
        self.assertEqual(self.servers.calls, [])

    def test_one_who_does_not_know_makes_all_be_told(self) -> None:
        self.known(A, changed=True)
        self.known(B, changed=False)
        self.assertEqual(self.servers.codes(A) + self.servers.codes(B), [RequestCode.REGISTER_BROKER] * 2)

    def test_one_who_does_not_answer_makes_all_be_told(self) -> None:
        self.known(A, changed=False)
        self.servers.fail(B)
        self.assertEqual(self.servers.codes(A), [RequestCode.REGISTER_BROKER])


class Frames(SynchronousTestCase):
    def setUp(self) -> None:
        self.settings = broker_settings()
        self.topics = TopicTable(self.settings.broker, MemoryFile(), lambda: 1795238639901)
        self.identity = BrokerIdentity(self.settings.broker, "127.0.0.1:21911", "192.0.2.10:21912")

    def test_the_first_registration_of_apache_is_ours(self) -> None:
        recorded = golden.lines("frames/broker-to-namesrv.json.jsonl")[1]
        frame = register_frame(self.identity, self.topics)
        ours = RegisterBrokerBody.from_bytes(frame.body)
        theirs = RegisterBrokerBody.from_bytes(_text(recorded["body"]["json"]))
        self.assertEqual(ours, theirs)
        assert frame.ext_fields is not None
        header = dict(frame.ext_fields, bodyCrc32=recorded["extFields"]["bodyCrc32"])
        self.assertEqual(header, recorded["extFields"])

    def test_the_body_is_checked_by_a_sum(self) -> None:
        frame = register_frame(self.identity, self.topics)
        header = RegisterBrokerRequestHeader.from_ext_fields(frame.ext_fields)
        self.assertEqual(header.body_crc32, crc32(frame.body))

    def test_a_compressed_registration_says_the_same(self) -> None:
        plain = RegisterBrokerBody.from_bytes(register_frame(self.identity, self.topics).body)
        self.settings.broker.compressed_register = True
        frame = register_frame(self.identity, self.topics)
        header = RegisterBrokerRequestHeader.from_ext_fields(frame.ext_fields)
        self.assertTrue(header.compressed)
        self.assertEqual(header.body_crc32, crc32(frame.body))
        self.assertEqual(RegisterBrokerBody.from_compressed(frame.body), plain)

    def test_a_broker_without_a_permission_gives_its_own_to_every_topic(self) -> None:
        self.settings.broker.broker_permission = 4
        body = RegisterBrokerBody.from_bytes(register_frame(self.identity, self.topics).body)
        perms = {topic.perm for topic in body.topic_config_serialize_wrapper.topic_config_table.values()}
        self.assertEqual(perms, {4})

    def test_a_topic_that_went_meanwhile_is_left_out(self) -> None:
        body = RegisterBrokerBody.from_bytes(register_frame(self.identity, self.topics, ["Gone"]).body)
        self.assertEqual(body.topic_config_serialize_wrapper.topic_config_table, {})

    def test_addresses_are_told_apart_by_semicolons_or_commas(self) -> None:
        self.assertEqual(name_server_list(f" {A} ;{B};;{A}"), [A, B])
        self.assertEqual(name_server_list(f"{A},{B}; {A}"), [A, B])
        self.assertEqual(name_server_list(None), [])


def _text(value: object) -> bytes:

    return json.dumps(value).encode()
