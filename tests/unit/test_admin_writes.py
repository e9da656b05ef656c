"""Requests that change topics and settings; the address server; what a full disk is told as."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone

from rocketmq_tx.broker.address_server import AddressServer
from rocketmq_tx.broker.admin_config import ConfigRequests
from rocketmq_tx.broker.admin_topics import FROM_SLAVE, TopicRequests
from rocketmq_tx.broker.announcement import banner
from rocketmq_tx.broker.topic_rules import make_topic
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.errors import RequestRefused, StoreError
from rocketmq_tx.protocol.bodies import TopicConfig, TopicConfigSerializeWrapper, TopicFilterType
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    CreateTopicRequestHeader,
    DeleteTopicRequestHeader,
    GetAllTopicConfigRequestHeader,
)
from rocketmq_tx.store.disk_use import DiskUse
from rocketmq_tx.store.retention import disk_full_sentence
from tests.unit.broker_parts import FakePeer, MemoryFile, broker_settings

PEER: Any = FakePeer()


class Topics(SynchronousTestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, **keys: Any) -> None:
        settings = broker_settings(**keys)
        self.topics = TopicTable(settings.broker, MemoryFile(), lambda: 1700000000000)
        self.dropped: list[tuple[str, bool]] = []
        self.registered: Deferred[object] = succeed(None)
        self.known: Deferred[str | None] = succeed(None)
        self.slaves: list[object] = []
        self.requests = TopicRequests(
            settings.store,
            self.topics,
            self,
            lambda: self.registered,
            lambda: {"Gone": 700},
            self.slaves.append,
        )

    def drop(self, topics: Set[str]) -> None:
        self.dropped += [(topic, self.topics.get(topic) is not None) for topic in topics]

    def known_to_slaves(self) -> Deferred[str | None]:
        return self.known

    def create(self, topic: str | None = "Orders", **fields: Any) -> Any:
        values = {"read_queue_nums": 4, "write_queue_nums": 4, "perm": 6, "topic_filter_type": "SINGLE_TAG"}
        header = CreateTopicRequestHeader(topic=topic or "", **{**values, **fields})
        return self.requests.create(PEER, Frame(RequestCode.UPDATE_AND_CREATE_TOPIC), header)

    def delete(self, topic: str) -> Any:
        frame = Frame(RequestCode.DELETE_TOPIC_IN_BROKER)
        return self.requests.delete(PEER, frame, DeleteTopicRequestHeader(topic=topic))

    def test_a_topic_is_made_as_asked(self) -> None:
        fields = {"read_queue_nums": 5, "perm": 4, "topic_filter_type": "MULTI_TAG", "topic_sys_flag": 1}
        self.successResultOf(self.create(**fields, order=True))
        expected = TopicConfig("Orders", 5, 4, 4, TopicFilterType.MULTI_TAG, 1, order=False)
        self.assertEqual(self.topics.get("Orders"), expected)

    def test_changing_a_topic_keeps_its_order_flag(self) -> None:
        self.create()
        self.topics.set_order_topics({"Orders"})
        self.create(read_queue_nums=8)
        config = self.topics.get("Orders")
        self.assertTrue(config is not None and config.order)

    def test_the_answer_waits_for_the_registration(self) -> None:
        self.registered = Deferred()
        answer = self.create()
        self.assertNoResult(answer)
        self.registered.callback(None)
        self.assertEqual(self.successResultOf(answer).code, 0)

    def test_reserved_and_malformed_names_are_refused(self) -> None:
        for topic in ("TBW102", "GoldenCluster", "rmq_sys_x", "", "a b", "../x", "t" * 128):
            for request in (self.create, self.delete):
                self.assertEqual(self.assertRaises(RequestRefused, request, topic).code, 1)
        self.assertEqual(self.dropped, [])

    def test_deleting_drops_the_messages_first(self) -> None:
        self.create()
        self.assertEqual(self.successResultOf(self.delete("Orders")).code, 0)
        self.assertEqual(self.dropped, [("Orders", True)])
        self.assertIsNone(self.topics.get("Orders"))

    def test_a_deletion_is_acknowledged_when_slaves_know_or_says_which_do_not(self) -> None:
        self.create()
        self.known = Deferred()
        answer = self.delete("Orders")
        self.assertNoResult(answer)
        self.assertIsNone(self.topics.get("Orders"))
        self.known.callback("not yet known to 192.0.2.2:10911")
        reply = self.successResultOf(answer)
        self.assertEqual((reply.code, reply.remark), (0, "not yet known to 192.0.2.2:10911"))

    def test_what_may_be_left_of_an_unknown_topic_is_dropped(self) -> None:
        self.assertEqual(self.successResultOf(self.delete("Gone")).code, 0)
        self.assertEqual(self.dropped, [("Gone", False)])

    def test_a_slave_leaves_topics_to_its_master(self) -> None:
        self.make(brokerRole="SLAVE", brokerId=1)
        for request in (self.create, self.delete):
            self.assertEqual(self.assertRaises(RequestRefused, request, "Orders").remark, FROM_SLAVE)

    def test_the_whole_table_is_shown(self) -> None:
        self.topics.put(make_topic("Orders", 4))
        table = self.list_all()
        self.assertEqual(table.topic_config_table, dict(self.topics.configs()))
        self.assertEqual(table.data_version, self.topics.data_version)
        self.assertEqual(table.deleted_topics, {"Gone": 700})

    def test_who_asks_for_the_table_is_a_slave_if_it_says_so(self) -> None:
        self.list_all()
        self.assertEqual(self.slaves, [])
        self.list_all(follows=True)
        self.assertEqual(self.slaves, [PEER])

    def list_all(self, **fields: Any) -> TopicConfigSerializeWrapper:
        header = GetAllTopicConfigRequestHeader(**fields)
        reply = self.requests.list_all(PEER, Frame(RequestCode.GET_ALL_TOPIC_CONFIG), header)
        return TopicConfigSerializeWrapper.from_bytes(reply.body)

    def test_a_group_whose_name_makes_no_topic_gets_none(self) -> None:
        self.assertRaises(RequestRefused, self.topics.ensure, "%RETRY%../../etc", 1)
        self.assertIsNone(self.topics.get("%RETRY%../../etc"))


class MemoryConfigFile:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.broken = False

    def read(self) -> bytes:
        return self.content

    def write(self, data: bytes) -> None:
        if self.broken:
            raise StoreError("read-only file system")
        self.content = data


class Settings(SynchronousTestCase):
    def setUp(self) -> None:
        self.settings = broker_settings()
        self.file = MemoryConfigFile(b"# mine\nbrokerName=broker-a\n")
        self.changes: list[dict[str, str]] = []
        self.requests = ConfigRequests(
            self.settings, self.file, lambda changed: self.changes.append(dict(changed)), lambda: 1000
        )

    def update(self, text: bytes) -> Any:
        return self.requests.update(PEER, Frame(RequestCode.UPDATE_BROKER_CONFIG, body=text), None)

    def read(self) -> Any:
        return self.requests.read(PEER, Frame(RequestCode.GET_BROKER_CONFIG), None)

    def test_a_change_is_in_the_file_in_force_and_told(self) -> None:
        self.assertEqual(self.update(b"brokerPermission=4\n").code, 0)
        self.assertEqual(self.settings.broker.broker_permission, 4)
        self.assertEqual(self.changes, [{"brokerPermission": "4"}])
        self.assertTrue(self.file.content.startswith(b"# mine\nbrokerName=broker-a\n"))
        self.assertIn(b"brokerPermission=4", self.file.content)

    def test_nothing_changes_when_the_file_cannot_be_written(self) -> None:
        self.file.broken = True
        error = self.assertRaises(RequestRefused, self.update, b"brokerPermission=4\n")
        self.assertEqual(error.remark, "nothing was changed: read-only file system")
        self.assertEqual((self.settings.broker.broker_permission, self.changes), (6, []))

    def test_what_must_not_be_changed_changes_nothing_else_either(self) -> None:
        error = self.assertRaises(RequestRefused, self.update, b"brokerPermission=4\nstorePathRootDir=/etc\n")
        self.assertEqual(error.code, 16)
        self.assertEqual((self.settings.broker.broker_permission, self.changes), (6, []))

    def test_an_empty_request_is_answered(self) -> None:
        self.assertEqual(self.update(b"").code, 0)
        self.assertEqual(self.changes, [])

    def test_settings_are_shown_with_a_version_that_counts_changes(self) -> None:
        self.update(b"brokerPermission=4\n")
        reply = self.read()
        self.assertEqual(reply.header.version, '{"counter":1,"timestamp":1000}')
        self.assertIn(b"\nbrokerPermission=4\n", reply.body)


class FakeResponse:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self.code = 200
        self.phrase = b"OK"

    def deliverBody(self, protocol: Any) -> None:
        protocol.dataReceived(self._body)
        protocol.connectionLost(Failure(ResponseDone()))


class FakeAgent:
    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes]] = []
        self.answers: list[Deferred[Any]] = []

    def request(self, method: bytes, url: bytes) -> Deferred[Any]:
        self.asked.append((method, url))
        self.answers.append(Deferred())
        return self.answers[-1]

    def answer(self, body: bytes) -> None:
        self.answers.pop(0).callback(FakeResponse(body))


class AddressServers(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = broker_settings(rmqAddressServerDomain="127.0.0.1:8000").broker
        self.clock = Clock()
        self.agent = FakeAgent()
        self.server = AddressServer(self.broker, self.clock, self.agent)  # type: ignore[arg-type]
        self.started = self.server.startService()

    def tearDown(self) -> None:
        self.server.stopService()

    def test_the_start_waits_for_the_first_list(self) -> None:
        self.assertEqual(self.agent.asked, [(b"GET", b"http://127.0.0.1:8000/rocketmq/nsaddr")])
        self.assertNoResult(self.started)
        self.agent.answer(b"127.0.0.1:9876;127.0.0.1:9877\r\n")
        self.successResultOf(self.started)
        self.assertEqual(self.broker.namesrv_addr, "127.0.0.1:9876;127.0.0.1:9877")

    def test_a_silent_server_does_not_hold_the_start(self) -> None:
        self.clock.pump([1] * 3)
        self.successResultOf(self.started)

    def test_an_answer_that_is_no_list_keeps_the_one_of_before(self) -> None:
        self.broker.namesrv_addr = "127.0.0.1:9876"
        for body in (b"", b"<html>not found</html>"):
            asked = self.server.fetch()
            self.agent.answers.reverse()
            self.agent.answer(body)
            self.failureResultOf(asked, ValueError)
            self.assertEqual(self.broker.namesrv_addr, "127.0.0.1:9876")

    def test_it_is_asked_every_two_minutes(self) -> None:
        self.agent.answer(b"127.0.0.1:9876")
        self.clock.pump([30] * 4)
        self.assertEqual(len(self.agent.asked), 2)
        self.agent.answer(b"127.0.0.1:9999")
        self.assertEqual(self.broker.namesrv_addr, "127.0.0.1:9999")


class Sentences(SynchronousTestCase):
    def test_a_full_disk_is_named_with_its_use(self) -> None:
        uses = [DiskUse("/data/commitlog", 100, 4, 0.96), DiskUse("/data/consumequeue", 100, 50, 0.5)]
        self.assertEqual(
            disk_full_sentence(uses),
            "the disk of /data/commitlog is 96% full, above 90% no message is taken",
        )
        self.assertIsNone(disk_full_sentence([DiskUse("/data", 100, 10, 0.90), DiskUse("/x", 0, 0, -1.0)]))

    def test_the_banner_is_the_one_that_scripts_wait_for(self) -> None:
        settings = broker_settings(namesrvAddr="127.0.0.1:9876")
        start = "The broker[broker-a, 127.0.0.1:28911] boot success. serializeType=JSON"
        self.assertEqual(banner(settings), f"{start} and name server is 127.0.0.1:9876")
        settings.broker.namesrv_addr = None
        self.assertEqual(banner(settings), start)
