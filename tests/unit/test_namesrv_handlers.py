"""What the NameServer's handlers add to the route table: life signs, warnings, settings, key-values."""

from __future__ import annotations

import zlib
from pathlib import Path

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreDamaged, StoreError
from rocketmq_tx.namesrv.kv_config import KVConfig
from rocketmq_tx.protocol.bodies import (
    DataVersion,
    KVTable,
    RegisterBrokerBody,
    TopicConfig,
    TopicConfigSerializeWrapper,
    TopicRouteData,
)
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    GetKVConfigRequestHeader,
    GetRouteInfoRequestHeader,
    PutKVConfigRequestHeader,
    QueryDataVersionRequestHeader,
    RegisterBrokerRequestHeader,
    UnRegisterBrokerRequestHeader,
)
from rocketmq_tx.protocol.names import ORDER_TOPIC_NAMESPACE
from rocketmq_tx.store.json_file import JsonFile
from rocketmq_tx.store.os_disk import platform_disk
from tests.unit.test_namesrv_golden import MemoryFile, NameServerInMemory
from tests.wire import answer_to

ADDRESS = "10.0.0.1:10911"


def registration(address: str = ADDRESS, broker_id: int = 0, counter: int = 1, **more) -> Frame:
    wrapper = TopicConfigSerializeWrapper({"a": TopicConfig("a", 4, 4, 6)}, DataVersion(1, counter))
    body = RegisterBrokerBody(wrapper)
    compressed = more.pop("compressed", False)
    data = body.to_compressed() if compressed else body.to_bytes()
    if more.pop("plain_topics", False):
        data = wrapper.to_bytes()
    header = RegisterBrokerRequestHeader(
        broker_name="broker-a",
        broker_addr=address,
        cluster_name="c",
        ha_server_addr=address + "-ha",
        broker_id=broker_id,
        compressed=compressed,
        body_crc32=zlib.crc32(data) & 0x7FFFFFFF,
    )
    return Frame.request(RequestCode.REGISTER_BROKER, header, data, **more)


class HandlerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.namesrv = NameServerInMemory(self)
        self.clock = self.namesrv.clock
        self.wire, self.client = self.namesrv.connect()
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.take_line)
        self.addCleanup(globalLogPublisher.removeObserver, self.take_line)

    def take_line(self, event: dict) -> None:
        self.lines.append((event.get("log_format") or "").format(**event))

    def ask(self, frame: Frame) -> Frame:
        return answer_to(self.wire, self.client, frame)

    def route(self, **more) -> Frame:
        header = GetRouteInfoRequestHeader(topic="a")
        return self.ask(Frame.request(RequestCode.GET_ROUTEINFO_BY_TOPIC, header, **more))

    def pass_time(self, seconds: int) -> None:
        """The reactor turns, and the scan comes every ten seconds."""
        for _ in range(seconds // 10):
            self.clock.advance(10)
            self.namesrv.brokers.scan()
        self.wire.pump()

    # -- registering ---------------------------------------------------------------------------------------

    def test_bodies_of_every_form_are_read(self) -> None:
        for more in ({"compressed": True}, {"plain_topics": True, "version": 36}, {}):
            self.namesrv.routes.remove(ADDRESS)
            self.assertEqual(self.ask(registration(**more)).code, 0)
            self.assertEqual(self.route().code, 0, more)

    def test_a_compressed_body_that_expands_without_end_is_refused(self) -> None:
        frame = registration(compressed=True)
        frame.body = zlib.compress(bytes(64 << 20), 9)
        assert frame.ext_fields is not None
        frame.ext_fields["bodyCrc32"] = str(zlib.crc32(frame.body) & 0x7FFFFFFF)
        self.assertEqual(self.ask(frame).code, 1)
        self.assertEqual(self.route().code, 17)

    def test_a_broker_hears_which_topics_are_ordered(self) -> None:
        header = PutKVConfigRequestHeader(namespace=ORDER_TOPIC_NAMESPACE, key="a", value="broker-a:4")
        self.ask(Frame.request(RequestCode.PUT_KV_CONFIG, header))
        answer = self.ask(registration())
        self.assertEqual(KVTable.from_bytes(answer.body).table, {"a": "broker-a:4"})
        self.namesrv.settings.namesrv.order_message_enable = True
        self.assertEqual(TopicRouteData.from_bytes(self.route().body).order_topic_conf, "broker-a:4")
        self.namesrv.settings.namesrv.order_message_enable = False
        self.assertIsNone(TopicRouteData.from_bytes(self.route().body).order_topic_conf)

    def test_a_name_claimed_from_two_hosts_is_warned_of_once_a_minute_naming_both(self) -> None:
        for _ in range(6):
            self.ask(registration("10.0.0.1:1"))
            self.ask(registration("10.0.0.2:2"))
        warnings = [line for line in self.lines if "claim" in line]
        self.assertEqual(len(warnings), 1)
        self.assertIn("broker-a/0", warnings[0])
        self.assertIn("10.0.0.1:1", warnings[0])
        self.assertIn("10.0.0.2:2", warnings[0])
        self.clock.advance(60)
        self.ask(registration("10.0.0.1:1"))
        self.assertEqual(len([line for line in self.lines if "claim" in line]), 2)

    def test_a_broker_that_registers_as_before_is_not_logged_again(self) -> None:
        for _ in range(3):
            self.ask(registration())
        self.assertEqual(len([line for line in self.lines if line.startswith("broker registered")]), 1)

    # -- signs of life -------------------------------------------------------------------------------------

    def test_a_broker_that_is_silent_for_two_minutes_is_removed_and_its_connection_closed(self) -> None:
        self.ask(registration())
        self.pass_time(120)
        self.assertEqual(len(self.namesrv.routes.topics()), 1)
        self.pass_time(10)
        self.assertEqual(self.namesrv.routes.topics(), [])
        self.assertFalse(self.client.is_open)

    def test_an_unchanged_version_is_a_sign_of_life_a_changed_one_is_not(self) -> None:
        for version, alive in ((1, True), (2, False)):
            self.ask(registration())
            header = QueryDataVersionRequestHeader(
                broker_name="broker-a", broker_addr=ADDRESS, cluster_name="c", broker_id=0
            )
            body = DataVersion(1, version).to_bytes()
            self.pass_time(100)
            self.ask(Frame.request(RequestCode.QUERY_DATA_VERSION, header, body))
            self.pass_time(50)
            self.assertEqual(bool(self.namesrv.routes.topics()), alive)

    def test_a_process_that_stood_still_reads_what_came_in_before_it_removes_anybody(self) -> None:
        self.ask(registration())
        self.namesrv.brokers.scan()
        self.clock.advance(600)
        self.namesrv.brokers.scan()
        self.assertEqual(len(self.namesrv.routes.topics()), 1)
        self.clock.advance(10)
        self.namesrv.brokers.scan()
        self.assertEqual(self.namesrv.routes.topics(), [])

    def test_a_lost_connection_takes_its_brokers_along(self) -> None:
        self.ask(registration())
        self.wire.cut()
        self.assertEqual(self.namesrv.routes.topics(), [])

    def test_a_broker_that_changed_its_connection_survives_the_loss_of_the_old_one(self) -> None:
        self.ask(registration())
        wire, client = self.namesrv.connect()
        answer_to(wire, client, registration())
        self.wire.cut()
        self.assertEqual(self.namesrv.routes.topics(), ["a"])

    def test_unregistering_is_logged_only_for_who_was_there(self) -> None:
        self.ask(registration())
        header = UnRegisterBrokerRequestHeader(
            broker_name="broker-a", broker_addr=ADDRESS, cluster_name="c", broker_id=0
        )
        for _ in range(2):
            self.ask(Frame.request(RequestCode.UNREGISTER_BROKER, header))
        self.assertEqual(len([line for line in self.lines if line.startswith("broker removed")]), 1)
        self.assertEqual(self.route().code, 17)

    # -- settings ------------------------------------------------------------------------------------------

    def update(self, text: str) -> Frame:
        return self.ask(Frame.request(RequestCode.UPDATE_NAMESRV_CONFIG, body=text.encode()))

    def test_a_change_is_in_the_file_and_in_force_and_told(self) -> None:
        self.assertEqual(self.update("orderMessageEnable=true\n").code, 0)
        self.assertTrue(self.namesrv.settings.namesrv.order_message_enable)
        self.assertIn(b"orderMessageEnable=true", Path(self.namesrv.settings.update_file).read_bytes())
        self.assertEqual(self.namesrv.changed, [{"orderMessageEnable": "true"}])
        read = self.ask(Frame.request(RequestCode.GET_NAMESRV_CONFIG))
        self.assertIn(b"orderMessageEnable=true\n", read.body)

    def test_comments_of_the_file_are_kept(self) -> None:
        file = Path(self.namesrv.settings.update_file)
        file.parent.mkdir(parents=True)
        file.write_bytes(b"# ours\norderMessageEnable=false\n")
        self.update("orderMessageEnable=true")
        self.assertEqual(file.read_bytes(), b"# ours\norderMessageEnable=true\n")

    def test_paths_ports_and_unknown_keys_are_refused_and_nothing_is_changed(self) -> None:
        for text in ("kvConfigPath=/x", "configStorePath=/x", "listenPort=1", "rocketmqHome=/x", "nope=1"):
            self.assertEqual(self.update(f"orderMessageEnable=true\n{text}\n").code, 16, text)
        self.assertFalse(self.namesrv.settings.namesrv.order_message_enable)
        self.assertEqual(self.namesrv.changed, [])

    def test_a_file_that_cannot_be_written_changes_nothing(self) -> None:
        Path(self.namesrv.settings.facts.home).write_text("not a folder")
        answer = self.update("orderMessageEnable=true")
        self.assertEqual(answer.code, 1)
        self.assertIn("nothing was changed", answer.remark or "")
        self.assertFalse(self.namesrv.settings.namesrv.order_message_enable)


class KVConfigTests(SynchronousTestCase):
    def test_what_was_put_is_there_after_a_restart(self) -> None:
        path = self.mktemp()
        first = KVConfig(JsonFile(platform_disk(), path, self.fail))
        self.assertEqual(first.load(), 0)
        first.put("ns", "k", "v")
        first.put("ns", "gone", "v")
        first.delete("ns", "gone")
        first.delete("ns", "unknown")
        first.delete("unknown", "k")
        again = KVConfig(JsonFile(platform_disk(), path, self.fail))
        self.assertEqual(again.load(), 1)
        self.assertEqual((again.namespace("ns"), again.get("ns", "k")), ({"k": "v"}, "v"))
        self.assertIsNone(again.namespace("unknown"))

    def test_a_null_value_leaves_the_namespace_without_the_key(self) -> None:
        kv_config = KVConfig(MemoryFile())
        kv_config.put("ns", "k", None)
        self.assertEqual(kv_config.namespace("ns"), {})

    def test_a_damaged_file_is_replaced_by_its_bak_or_refuses_the_start(self) -> None:
        path, notices = self.mktemp(), []
        kv_config = KVConfig(JsonFile(platform_disk(), path, notices.append))
        kv_config.put("ns", "k", "1")
        kv_config.put("ns", "k", "2")
        Path(path).write_bytes(b'{"configTable":{"ns":{"k')
        kv_config.load()
        self.assertEqual((kv_config.get("ns", "k"), len(notices)), ("1", 1))
        Path(path + ".bak").write_bytes(b"[]")
        self.assertRaises(StoreDamaged, kv_config.load)

    def test_a_value_that_cannot_be_written_is_not_there(self) -> None:
        class Full(MemoryFile):
            def save(self, data: bytes) -> None:
                raise StoreError("the disk is full")

        kv_config = KVConfig(Full())
        self.assertRaises(StoreError, kv_config.put, "ns", "k", "v")
        self.assertIsNone(kv_config.namespace("ns"))

    def test_a_failing_put_is_answered_1(self) -> None:
        namesrv = NameServerInMemory(self)

        def save(data: bytes) -> None:
            raise StoreError("the disk is full")

        namesrv.kv_config._file.save = save
        wire, client = namesrv.connect()
        header = PutKVConfigRequestHeader(namespace="n", key="k", value="v")
        answer = answer_to(wire, client, Frame.request(RequestCode.PUT_KV_CONFIG, header))
        self.assertEqual(answer.code, 1)
        self.assertIn("nothing was changed", answer.remark or "")
        header = GetKVConfigRequestHeader(namespace="n", key="k")
        self.assertEqual(answer_to(wire, client, Frame.request(RequestCode.GET_KV_CONFIG, header)).code, 22)
