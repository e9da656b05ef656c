"""What a route gives: queues to send to, queues to pull from, and whom to ask."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.client.name_servers import NameServers
from rocketmq_tx.client.routes import Routes, publish_queues, route_of_new_topic, subscribe_queues
from rocketmq_tx.protocol.bodies import BrokerData, QueueData, TopicRouteData
from rocketmq_tx.protocol.flags import Perm
from rocketmq_tx.protocol.frame import Frame
from tests.unit.fake_cluster import NAMESRV, FakeRemoting

RW = int(Perm.READ | Perm.WRITE)


def route(*queue_datas: QueueData, order: str | None = None, **addresses: dict[int, str]) -> TopicRouteData:
    brokers = [BrokerData("DefaultCluster", name, found) for name, found in addresses.items()]
    return TopicRouteData(brokers, list(queue_datas), order_topic_conf=order)


def places(queues: list[Any]) -> list[str]:
    return [f"{queue.broker_name}:{queue.queue_id}" for queue in queues]


class QueuesOfARouteTests(SynchronousTestCase):
    def test_messages_go_to_writable_queues_of_brokers_with_a_master_in_order_of_their_names(self) -> None:
        found = route(
            QueueData("c", 2, 2, RW),
            QueueData("b", 2, 2, int(Perm.READ)),
            QueueData("a", 4, 2, RW),
            QueueData("d", 2, 2, RW),
            a={0: "1.1.1.1:1"},
            b={0: "1.1.1.2:1"},
            c={0: "1.1.1.3:1"},
            d={1: "1.1.1.4:1"},
        )
        self.assertEqual(places(publish_queues("T", found)), ["a:0", "a:1", "c:0", "c:1"])

    def test_an_order_topic_has_the_queues_of_its_configuration_whatever_brokers_say(self) -> None:
        found = route(QueueData("a", 8, 8, RW), order="b2:2;b1:1;;broken", a={0: "1.1.1.1:1"})
        self.assertEqual(places(publish_queues("T", found)), ["b2:0", "b2:1", "b1:0"])

    def test_messages_come_from_readable_queues_even_of_a_slave_alone(self) -> None:
        found = route(
            QueueData("b", 1, 0, int(Perm.READ)),
            QueueData("a", 2, 2, RW),
            QueueData("c", 2, 2, int(Perm.WRITE)),
            b={1: "1.1.1.2:1"},
        )
        self.assertEqual(places(subscribe_queues("T", found)), ["a:0", "a:1", "b:0"])

    def test_a_new_topic_gets_as_many_queues_as_wanted_but_no_more_than_its_template_has(self) -> None:
        template = route(QueueData("a", 8, 8, 7), QueueData("b", 2, 8, 7), a={0: "1:1"}, b={0: "2:1"})
        self.assertEqual(len(publish_queues("new", route_of_new_topic(template, 4))), 4 + 2)


class RoutesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.answers: dict[str, TopicRouteData] = {}
        self.routes = Routes(NameServers(NAMESRV, FakeRemoting(self.answer, None)))  # type: ignore[arg-type]

    def answer(self, address: str, frame: Frame) -> Frame:
        found = self.answers.get((frame.ext_fields or {})["topic"])
        return frame.answer(17, "no route") if found is None else frame.answer(body=found.to_bytes())

    def now(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def test_a_slave_stands_in_for_its_master_in_reading_only(self) -> None:
        self.answers["T"] = route(QueueData("a", 1, 1, RW), a={1: "1.1.1.2:1", 2: "1.1.1.3:1"})
        self.assertEqual(len(self.now(self.routes.subscribe_queues("T"))), 1)
        self.assertIsNone(self.routes.master_address("a"))
        self.assertEqual(self.routes.readable_address("a"), "1.1.1.2:1")
        self.assertEqual(self.routes.readable_address("a", 2), "1.1.1.3:1")
        self.assertEqual(self.routes.readable_address("a", 9), "1.1.1.2:1")

    def test_pulls_suggested_to_a_missing_slave_go_to_the_next_one(self) -> None:
        self.answers["T"] = route(QueueData("a", 1, 1, RW), a={0: "1.1.1.1:1", 2: "1.1.1.3:1"})
        self.now(self.routes.subscribe_queues("T"))
        self.assertEqual(self.routes.readable_address("a", 1), "1.1.1.3:1")
        self.assertEqual(self.routes.addresses(masters_only=True), {"1.1.1.1:1"})
        self.assertEqual(self.routes.addresses(masters_only=False), {"1.1.1.1:1", "1.1.1.3:1"})

    def test_nobody_is_to_be_asked_about_a_broker_that_no_route_names(self) -> None:
        self.assertIsNone(self.routes.master_address("a"))
        self.assertIsNone(self.routes.readable_address("a"))

    def test_a_topic_made_from_the_template_gets_its_own_route_when_it_has_one(self) -> None:
        self.answers["TBW102"] = route(QueueData("a", 8, 8, 7), a={0: "1.1.1.1:1"})
        self.assertEqual(len(self.now(self.routes.publish_queues("T"))), 4)
        self.now(self.routes.refresh())
        self.assertEqual(len(self.now(self.routes.publish_queues("T"))), 4)
        self.answers["T"] = route(QueueData("a", 3, 3, RW), a={0: "1.1.1.1:1"})
        self.now(self.routes.refresh())
        self.assertEqual(len(self.now(self.routes.publish_queues("T"))), 3)

    def test_a_route_that_is_gone_is_kept_as_a_name_server_may_have_started_anew(self) -> None:
        self.answers["T"] = route(QueueData("a", 2, 2, RW), a={0: "1.1.1.1:1"})
        self.now(self.routes.publish_queues("T"))
        self.answers.clear()
        self.now(self.routes.refresh())
        self.assertEqual(len(self.now(self.routes.publish_queues("T"))), 2)
        self.assertEqual(len(self.now(self.routes.subscribe_queues("T"))), 2)
