"""Faults 6, 20, 22, 24 and 27 at NameServers: one that freezes, one that forgets, all gone, much noise."""

from __future__ import annotations

import os
import signal
import socket
import time

from rocketmq_tx.protocol.bodies import TopicRouteData
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.headers import GetRouteInfoRequestHeader, PutKVConfigRequestHeader
from tests.clusters import HOST, cluster_info, write_properties
from tests.integration.fault_parts import Client, FaultCase, Server, wait_for_connections
from tests.integration.test_faults_bad_input import NoiseCase
from tests.integration.test_faults_two_brokers import TAKEN_PORT_EXIT, SecondStartCase
from tests.ports import free_port
from tests.waiting import wait_until

PERIOD_S = 10
"""The shortest registerNameServerPeriod that is allowed."""
PERIOD_AND_MARGIN_S = PERIOD_S + 5


def has_route(namesrv: Server, topic: str, broker: Server) -> bool:
    """Does a NameServer know the topic on this broker?"""
    with Client(namesrv.port) as client:
        answer = client.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, GetRouteInfoRequestHeader(topic=topic))
    if answer.code != ResponseCode.SUCCESS:
        return False
    brokers = TopicRouteData.from_bytes(answer.body).broker_datas
    return any(f"{HOST}:{broker.port}" in data.broker_addrs.values() for data in brokers)


class NameServerFaultTests(FaultCase):
    """Fault 27: NameServer gone, all gone, back empty, frozen (accepts, never answers)."""

    def setUp(self) -> None:
        super().setUp()
        self.first, self.second = self.namesrv("namesrv-1"), self.namesrv("namesrv-2")
        self.broker_a = self.broker(
            namesrvAddr=f"{HOST}:{self.first.port};{HOST}:{self.second.port}",
            registerNameServerPeriod=PERIOD_S * 1000,
        )
        self.producer = self.client(self.broker_a)
        self.sent: dict[str, int] = {}

    def send(self, topic: str) -> None:
        """A send, and a pull of what was sent, are served at once."""
        started_s = time.monotonic()
        offset = self.sent.get(topic, 0)
        self.assertEqual(self.producer.send_message(topic, b"%d" % offset).code, 0)
        self.assertEqual(self.producer.pull(offset, topic).code, 0)
        self.sent[topic] = offset + 1
        self.assertLess(time.monotonic() - started_s, 5)

    def wait_for_route(self, namesrv: Server, topic: str, timeout_s: float) -> None:
        wait_until(lambda: has_route(namesrv, topic, self.broker_a), f"{topic} has a route", timeout_s)

    def test_a_broker_goes_on_and_its_routes_come_back_within_one_period(self) -> None:
        self.send("Before")
        for namesrv in (self.first, self.second):
            self.wait_for_route(namesrv, "Before", 5)

        os.kill(self.first.process.pid, signal.SIGSTOP)  # it accepts, and never answers
        try:
            self.send("WhileFrozen")
            self.wait_for_route(self.second, "WhileFrozen", 5)
            self.second.process.kill()
            self.send("Before")
            self.second.start()  # and is back, empty
            self.assertFalse(has_route(self.second, "Before", self.broker_a))
            self.wait_for_route(self.second, "Before", PERIOD_AND_MARGIN_S)
            self.wait_for_route(self.second, "WhileFrozen", 5)
        finally:
            os.kill(self.first.process.pid, signal.SIGCONT)
        self.wait_for_route(self.first, "WhileFrozen", PERIOD_AND_MARGIN_S)

        self.first.process.kill()
        self.second.process.kill()
        self.send("Before")
        self.send("WhileNobodyWasThere")
        self.second.start()
        self.first.start()
        for namesrv in (self.first, self.second):
            self.wait_for_route(namesrv, "WhileNobodyWasThere", PERIOD_AND_MARGIN_S)
            self.assertTrue(has_route(namesrv, "Before", self.broker_a))
        self.assertLess(len(self.broker_a.lines("not registered")), 8, "said when it begins, not each time")

    def test_a_broker_stops_in_time_although_its_name_servers_are_frozen(self) -> None:
        for namesrv in (self.first, self.second):
            os.kill(namesrv.process.pid, signal.SIGSTOP)
        try:
            self.send("WhileFrozen")
            self.broker_a.process.stop(timeout_s=8)
        finally:
            for namesrv in (self.first, self.second):
                os.kill(namesrv.process.pid, signal.SIGCONT)


class StartTests(FaultCase):
    def test_a_broker_starts_and_serves_without_any_name_server(self) -> None:
        """Fault 27: all gone before it starts; one address refuses, the other never answers."""
        with socket.create_server((HOST, 0)) as silent:
            nobody, frozen = free_port(), silent.getsockname()[1]
            server = self.broker(namesrvAddr=f"{HOST}:{nobody};{HOST}:{frozen}")
            with self.client(server) as client:
                self.assertEqual(client.send_message().code, 0)
            server.process.stop()


class NameServerNoiseTests(NoiseCase):
    """Fault 20."""

    def test_a_nameserver_serves_others_while_it_gets_bytes_that_are_no_frames(self) -> None:
        server = self.namesrv()
        client = self.client(server)

        def check(number: int) -> None:
            self.assertEqual(client.ask(RequestCode.GET_BROKER_CLUSTER_INFO).code, 0)

        self.disturb(server, namesrv_frames(), check)
        self.assertIn("brokerAddrTable", cluster_info(f"{HOST}:{server.port}"))


def namesrv_frames() -> list[bytes]:
    frames = [
        Frame.request(RequestCode.GET_ROUTEINFO_BY_TOPIC, GetRouteInfoRequestHeader(topic="Faults")),
        Frame.request(RequestCode.GET_BROKER_CLUSTER_INFO),
        Frame.request(RequestCode.PUT_KV_CONFIG, PutKVConfigRequestHeader(namespace="n", key="k", value="v")),
        Frame.request(RequestCode.REGISTER_BROKER, body=b'{"topicConfigSerializeWrapper":{}}'),
    ]
    return [encode_frame(frame) for frame in frames]


class NameServerCrowdTests(FaultCase):
    def test_a_nameserver_keeps_two_thousand_slow_connections_and_serves_others(self) -> None:
        """Faults 22 and 24."""
        server = self.namesrv()
        crowd = self.crowd(server, "drip", 2000)
        self.assertEqual(crowd.report()["open"], 2000)
        wait_for_connections(server.port, 2000)
        with self.client(server) as client:
            for _ in range(1000):
                self.assertEqual(client.ask(RequestCode.GET_BROKER_CLUSTER_INFO).code, 0)
        self.assertEqual(crowd.finish()["open"], 2000)


class OnePortTests(SecondStartCase):
    def test_a_second_nameserver_on_a_port_is_refused(self) -> None:
        """Fault 6: two daemons on one port."""
        first = self.namesrv()
        config = self.folder / "second.properties"
        write_properties(
            config, {"listenPort": str(first.port), "kvConfigPath": str(self.folder / "second.json")}
        )
        code, stderr = self.twistd("rocketmq-namesrv", config)
        self.assertEqual(code, 1)
        self.assertOneSentence(stderr, f":{first.port}", "listenPort")
        code, stderr = self.launcher("mqnamesrv", config)
        self.assertEqual(code, TAKEN_PORT_EXIT)
        self.assertOneSentence(stderr, f":{first.port}", "listenPort")
        self.assertIn("brokerAddrTable", cluster_info(f"{HOST}:{first.port}"))
