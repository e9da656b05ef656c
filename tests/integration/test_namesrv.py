"""A NameServer over real sockets."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import TestCase

from rocketmq_tx.config.host_facts import HostFacts
from rocketmq_tx.config.settings import load_namesrv
from rocketmq_tx.errors import StartError
from rocketmq_tx.namesrv.service import make_namesrv
from rocketmq_tx.protocol.bodies import TopicRouteData
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    GetKVConfigRequestHeader,
    GetRouteInfoRequestHeader,
    PutKVConfigRequestHeader,
)
from rocketmq_tx.remoting.caller import RemotingClient
from rocketmq_tx.remoting.listener import Listener
from tests.integration.test_remoting_sockets import until
from tests.unit.test_namesrv_handlers import registration


class NameServerTests(TestCase):
    def setUp(self) -> None:
        self.home = self.mktemp()
        self.banners: list[str] = []

    def make(self, port: int = 0):
        overrides = {"listenPort": str(port), "bindAddress": "127.0.0.1"}
        settings = load_namesrv(overrides=overrides, facts=HostFacts(home=self.home))
        tree = make_namesrv(settings, reactor, self.banners.append)
        self.addCleanup(tree.stopService)
        [listener] = [child for child in tree.children if isinstance(child, Listener)]
        return tree, listener

    def client(self) -> RemotingClient:
        client = RemotingClient(reactor)
        self.addCleanup(client.stopService)
        return client

    def route(self, address: str, client: RemotingClient):
        header = GetRouteInfoRequestHeader(topic="a")
        return client.call(address, Frame.request(RequestCode.GET_ROUTEINFO_BY_TOPIC, header), 3)

    @inlineCallbacks
    def test_a_broker_registers_a_client_finds_it_until_it_goes(self):
        tree, listener = self.make()
        yield tree.startService()
        self.assertEqual(self.banners, ["The Name Server boot success. serializeType=JSON"])
        broker, client = RemotingClient(reactor), self.client()
        self.assertEqual((yield broker.call(listener.address, registration(), 3)).code, 0)
        answer = yield self.route(listener.address, client)
        [data] = TopicRouteData.from_bytes(answer.body).broker_datas
        self.assertEqual(data.broker_addrs, {0: "10.0.0.1:10911"})
        yield broker.stopService()
        yield until(lambda: len(listener.connections.open) == 1)
        self.assertEqual((yield self.route(listener.address, client)).code, 17)

    @inlineCallbacks
    def test_name_servers_know_nothing_of_each_other(self):
        (one, first), (two, second) = self.make(), self.make()
        yield one.startService()
        yield two.startService()
        client = self.client()
        yield client.call(first.address, registration(), 3)
        self.assertEqual((yield self.route(first.address, client)).code, 0)
        self.assertEqual((yield self.route(second.address, client)).code, 17)

    @inlineCallbacks
    def test_key_value_configuration_survives_a_restart(self):
        tree, listener = self.make()
        yield tree.startService()
        header = PutKVConfigRequestHeader(namespace="ns", key="k", value="v")
        yield self.client().call(listener.address, Frame.request(RequestCode.PUT_KV_CONFIG, header), 3)
        yield tree.stopService()
        tree, listener = self.make()
        yield tree.startService()
        header = GetKVConfigRequestHeader(namespace="ns", key="k")
        answer = yield self.client().call(
            listener.address, Frame.request(RequestCode.GET_KV_CONFIG, header), 3
        )
        self.assertEqual(answer.ext_fields, {"value": "v"})

    @inlineCallbacks
    def test_a_taken_port_fails_the_start_without_a_banner(self):
        tree, listener = self.make()
        yield tree.startService()
        other, _ = self.make(listener.port)
        yield self.assertFailure(other.startService(), StartError)
        self.assertEqual(len(self.banners), 1)
