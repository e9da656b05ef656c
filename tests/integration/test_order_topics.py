"""Which topics are ordered, from the operator's word to the clients' routes: over real sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from rocketmq_tx.config.host_facts import HostFacts
from rocketmq_tx.config.settings import load_namesrv
from rocketmq_tx.namesrv.service import make_namesrv
from rocketmq_tx.protocol.bodies import TopicConfigSerializeWrapper, TopicRouteData
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    DeleteKVConfigRequestHeader,
    GetRouteInfoRequestHeader,
    PutKVConfigRequestHeader,
)
from rocketmq_tx.protocol.names import ORDER_TOPIC_NAMESPACE
from tests.integration.test_broker_service import HOST, BrokerCase
from tests.ports import free_port


class OrderTopics(BrokerCase):
    async def ask_name_server(self, code: RequestCode, header: Any) -> Frame:
        answer = await self.call(Frame.request(code, header), self.namesrv_port)
        self.assertEqual(answer.code, 0, answer.remark)
        return answer

    async def is_ordered(self, topic: str) -> bool:
        answer = await self.call(Frame(RequestCode.GET_ALL_TOPIC_CONFIG))
        return TopicConfigSerializeWrapper.from_bytes(answer.body).topic_config_table[topic].order

    async def becomes(self, topic: str, ordered: bool) -> None:
        """Registrations are answered in their own time; the test's time-out ends a wait in vain."""
        while await self.is_ordered(topic) != ordered:
            await deferLater(reactor, 0.02)

    async def test_a_topic_is_ordered_while_the_name_server_says_so(self) -> None:
        self.namesrv_port = free_port()
        keys = {"listenPort": str(self.namesrv_port), "bindAddress": HOST, "orderMessageEnable": "true"}
        namesrv = make_namesrv(
            load_namesrv(overrides=keys, facts=HostFacts(home=self.mktemp())), reactor, self.said.append
        )
        await namesrv.startService()
        self.addCleanup(namesrv.stopService)
        put = PutKVConfigRequestHeader(namespace=ORDER_TOPIC_NAMESPACE, key="Orders", value="broker-a:4")
        await self.ask_name_server(RequestCode.PUT_KV_CONFIG, put)
        await self.start(namesrvAddr=f"{HOST}:{self.namesrv_port}")

        await self.send(b"x", "Orders")
        await self.send(b"x", "Others")  # each new topic is registered at once, and the answer tells
        await self.becomes("Orders", True)
        self.assertFalse(await self.is_ordered("Others"))
        route = GetRouteInfoRequestHeader(topic="Orders")
        answer = await self.ask_name_server(RequestCode.GET_ROUTEINFO_BY_TOPIC, route)
        self.assertEqual(TopicRouteData.from_bytes(answer.body).order_topic_conf, "broker-a:4")

        delete = DeleteKVConfigRequestHeader(namespace=ORDER_TOPIC_NAMESPACE, key="Orders")
        await self.ask_name_server(RequestCode.DELETE_KV_CONFIG, delete)
        await self.send(b"x", "Another")
        await self.send(b"x", "Yet-another")
        await self.becomes("Orders", False)
