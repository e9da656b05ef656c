"""Every request that was recorded with Apache's NameServer, asked again of ours, in the recorded order.

`OURS` and `NO_ANSWER` name the cases where `docs/differences.md` decides otherwise, with what ours says.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config.host_facts import HostFacts
from rocketmq_tx.config.settings import load_namesrv
from rocketmq_tx.namesrv.broker_handlers import BrokerHandlers
from rocketmq_tx.namesrv.config_handlers import KVConfigHandlers, SettingsHandlers
from rocketmq_tx.namesrv.kv_config import KVConfig
from rocketmq_tx.namesrv.route_handlers import RouteHandlers
from rocketmq_tx.namesrv.route_table import Registration, RouteTable
from rocketmq_tx.protocol import fastjson
from rocketmq_tx.protocol.bodies import DataVersion, TopicConfig
from rocketmq_tx.protocol.decoder import FrameDecoder
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.remoting.connections import Connections
from rocketmq_tx.remoting.protocol import FrameProtocol
from rocketmq_tx.remoting.registry import Registry
from rocketmq_tx.runtime.rarely import Rarely
from rocketmq_tx.runtime.settings_file import PropertiesFile
from rocketmq_tx.store.os_disk import platform_disk
from tests import golden
from tests.wire import Wire

NOT_SUPPORTED = 3

#: Apache's NameServer is silent on requests that it does not know; ours says so.
NO_ANSWER = "no-response"

#: case -> (code, part of the remark) of ours.
OURS = {
    # the field's name instead of a NullPointerException
    "register broker missing fields": (1, "RegisterBrokerRequestHeader.brokerId: is missing"),
    # the body's name instead of a class name and a stack frame
    "register broker garbage body": (1, "RegisterBrokerBody"),
    # only known keys that may change while running
    "update config unknown key": (16, "nope is not a known key"),
    # every key of ours is listed, and none that has no meaning here
    "get config": (0, None),
}

#: cases whose body lists names, or brokers, in the order of a Java hash map
UNORDERED = {"all topics", "topics by cluster", "system topics", "cluster info with broker-x"}


class NameServerInMemory:
    """Handlers, table and a connection, without sockets and files."""

    def __init__(self, case: SynchronousTestCase) -> None:
        self.clock = Clock()
        self.routes = RouteTable()
        home = case.mktemp()
        self.settings = load_namesrv(facts=HostFacts(home=home))
        self.kv_config = KVConfig(MemoryFile())
        file = PropertiesFile(platform_disk(), str(self.settings.update_file), print)
        self.brokers = BrokerHandlers(
            self.routes, self.kv_config, lambda: int(self.clock.seconds() * 1000), Rarely(self.clock)
        )
        self.changed: list[dict[str, str]] = []
        self.connections = Connections(
            self.clock,
            Registry(
                self.brokers,
                RouteHandlers(self.routes, self.kv_config, self.settings.namesrv),
                KVConfigHandlers(self.kv_config),
                SettingsHandlers(self.settings, file, self.changed.append),
            ),
            observers=[self.brokers],
        )

    def connect(self) -> tuple[Wire, FrameProtocol]:
        client = FrameProtocol(Connections(self.clock, Registry()))
        return Wire(self.clock).join(client, FrameProtocol(self.connections)), client

    def ask_raw(self, data: bytes, wire: Wire | None = None) -> list[Frame]:
        """Answers to the bytes of a recorded request."""
        wire = wire or self.connect()[0]
        wire.client.protocol = Ear()
        wire.client.write(data)
        wire.pump()
        return wire.client.protocol.frames


class MemoryFile:
    """A file that is always there."""

    data: bytes | None = None

    def load(self, parse):
        return None if self.data is None else parse(self.data)

    def save(self, data: bytes) -> None:
        self.data = data


class Ear:
    """Takes in answers as they are."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._decoder = FrameDecoder()

    def dataReceived(self, data: bytes) -> None:
        for _, run in self._decoder.feed(data):
            self.frames += run

    def connectionLost(self, reason) -> None: ...


def in_order(value: Any) -> Any:
    """The same for any order of lists and keys."""
    if isinstance(value, dict):
        return sorted((str(key), in_order(part)) for key, part in value.items())
    return sorted(value, key=str) if isinstance(value, list) else value


class RecordedRequests(SynchronousTestCase):
    def setUp(self) -> None:
        self.namesrv = NameServerInMemory(self)

    def register_recorded_broker(self, lines: list[dict[str, Any]]) -> None:
        """The broker that had registered before the recording began, as far as its answers show it."""
        topics: dict[str, TopicConfig] = {}
        for line in lines:
            for answer in line["responses"]:
                recorded = answer["body"] or {}
                if line["case"] == "all topics":
                    for name in recorded["json"]["topicList"]:
                        topics.setdefault(name, TopicConfig(name, 4, 4, 6))
                if line["case"].startswith("route") and line["request"]["extFields"] and "json" in recorded:
                    [queues] = recorded["json"]["queueDatas"]
                    name = line["request"]["extFields"]["topic"]
                    if queues["brokerName"] == "broker-a":
                        topics[name] = TopicConfig(
                            name, queues["readQueueNums"], queues["writeQueueNums"], queues["perm"]
                        )
        version = DataVersion(1, 1)
        broker = Registration("GoldenCluster", "broker-a", 0, "127.0.0.1:28911", "", version, topics)
        self.namesrv.routes.register(broker, object(), 0)

    def replay_cases(self, name: str) -> None:
        lines = golden.lines(name)[1:]
        self.register_recorded_broker(lines)
        wire, _ = self.namesrv.connect()
        for line in lines:
            if line["case"].startswith("raw:"):
                raw = self.namesrv.connect()[0]
                self.namesrv.ask_raw(base64.b64decode(line["request"]["raw"]), raw)
                self.assertFalse(raw.server.open, line["case"])
                continue
            answers = self.namesrv.ask_raw(base64.b64decode(line["request"]["raw"]), wire)
            if line["outcome"] == "response":
                self.assertEqual(len(answers), len(line["responses"]), line["case"])
            self.check_case(line, answers[0])

    def check_case(self, line: dict[str, Any], ours: Frame) -> None:
        case = line["case"]
        if line["outcome"] == NO_ANSWER:
            expected = f" request type {line['request']['code']} not supported"
            self.assertEqual((ours.code, ours.remark), (NOT_SUPPORTED, expected), case)
            return
        if case in OURS:
            code, remark = OURS[case]
            self.assertEqual(ours.code, code, case)
            self.assertIn(remark or "", ours.remark or "", case)
            return
        recorded = self.decoded(line["responses"][0])
        if case in UNORDERED:
            for frame in (ours, recorded):
                frame.body = repr(in_order(fastjson.loads(frame.body))).encode()
        self.assertEqual(ours, recorded, case)

    def decoded(self, record: dict[str, Any]) -> Frame:
        [(_, [frame])] = FrameDecoder().feed(base64.b64decode(record["raw"]))
        return frame

    def test_errors_are_answered_as_recorded_with_json_headers(self) -> None:
        self.replay_cases("frames/errors-namesrv.json.jsonl")

    def test_errors_are_answered_as_recorded_with_binary_headers(self) -> None:
        self.replay_cases("frames/errors-namesrv.rocketmq.jsonl")

    def test_extras_are_answered_as_recorded(self) -> None:
        self.replay_cases("frames/extras-namesrv.json.jsonl")

    def replay_connections(self, name: str) -> None:
        """A recording of whole connections: each answer follows its request, one-way requests have none."""
        wires: dict[int, Wire] = {}
        waiting: dict[tuple[int, int], Frame] = {}
        for line in golden.lines(name)[1:]:
            connection = line["conn"]
            wire = wires.get(connection) or wires.setdefault(connection, self.namesrv.connect()[0])
            if line["dir"] == "c2s":
                for answer in self.namesrv.ask_raw(base64.b64decode(line["raw"]), wire):
                    waiting[connection, answer.opaque] = answer
            else:
                self.assertEqual(waiting.pop((connection, line["opaque"])), self.decoded(line), line["t"])
        self.assertEqual(waiting, {})

    def test_a_broker_with_its_name_server(self) -> None:
        self.replay_connections("frames/broker-to-namesrv.json.jsonl")
        self.assertEqual(self.namesrv.routes.topics(), [])

    def test_a_master_a_slave_and_a_broker_with_binary_headers(self) -> None:
        self.replay_connections("frames/ha-broker-to-namesrv.jsonl")
        self.assertEqual(self.namesrv.routes.cluster_info().broker_addr_table, {})

    def test_the_key_value_file_is_as_apache_writes_it(self) -> None:
        recorded = golden.path("config/namesrv-kvConfig.json").read_bytes()
        file = MemoryFile()
        file.data = recorded
        kv_config = KVConfig(file)
        kv_config.load()
        namespace, values = next(iter(json.loads(recorded)["configTable"].items()), ("x", {}))
        for key, value in values.items():
            kv_config.put(namespace, key, value)
        self.assertEqual(json.loads(file.data), json.loads(recorded))


class CompletenessTests(SynchronousTestCase):
    def test_every_request_that_apaches_name_server_serves_is_served(self) -> None:
        self.assertEqual(NameServerInMemory(self).connections.registry.unserved("namesrv"), [])
