"""Where topics are: their queues for sending and for pulling, and the addresses of brokers.

Rules in `spec/client_algorithms.yaml`, route. What queues a route gives is computed by plain functions;
`Routes` keeps what the NameServers said and asks again.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from rocketmq_tx.client.name_servers import NameServers
from rocketmq_tx.protocol.bodies import BrokerData, MessageQueue, TopicRouteData
from rocketmq_tx.protocol.flags import Perm
from rocketmq_tx.protocol.names import AUTO_CREATE_TOPIC, MASTER_ID


def publish_queues(topic: str, route: TopicRouteData) -> list[MessageQueue]:
    """Queues to send to. An order topic has exactly those that its configuration names, `b1:4;b2:4`."""
    if route.order_topic_conf:
        return [
            MessageQueue(topic, broker, queue_id)
            for broker, count in _order_parts(route.order_topic_conf)
            for queue_id in range(count)
        ]
    with_master = {one.broker_name for one in route.broker_datas if one.master_address is not None}
    return [
        MessageQueue(topic, data.broker_name, queue_id)
        for data in sorted(route.queue_datas, key=lambda data: data.broker_name)
        if data.perm & Perm.WRITE and data.broker_name in with_master
        for queue_id in range(data.write_queue_nums)
    ]


def _order_parts(text: str) -> Iterable[tuple[str, int]]:
    for part in text.split(";"):
        broker, _, count = part.partition(":")
        if broker and count.isdecimal():
            yield broker, int(count)


def subscribe_queues(topic: str, route: TopicRouteData) -> list[MessageQueue]:
    """Queues to pull from, sorted; a slave alone will do."""
    return sorted(
        MessageQueue(topic, data.broker_name, queue_id)
        for data in route.queue_datas
        if data.perm & Perm.READ
        for queue_id in range(data.read_queue_nums)
    )


def route_of_new_topic(template: TopicRouteData, queue_count: int) -> TopicRouteData:
    """The route that a topic will have once the first message creates it after the template's pattern."""
    queue_datas = [
        attrs.evolve(data, read_queue_nums=count, write_queue_nums=count)
        for data in template.queue_datas
        for count in [min(queue_count, data.read_queue_nums)]
    ]
    return attrs.evolve(template, queue_datas=queue_datas)


class Routes:
    """Routes of the topics that were asked for once; `refresh` asks for all of them again."""

    def __init__(
        self,
        name_servers: NameServers,
        template_topic: str = AUTO_CREATE_TOPIC,
        new_topic_queue_count: int = 4,
    ) -> None:
        self._name_servers = name_servers
        self._template_topic = template_topic
        self._new_topic_queue_count = new_topic_queue_count
        self._routes: dict[str, TopicRouteData | None] = {}
        self._publish: dict[str, list[MessageQueue]] = {}
        self._templates: set[str] = set()
        self._brokers: dict[str, BrokerData] = {}

    async def publish_queues(self, topic: str) -> list[MessageQueue]:
        """Queues to send to, from memory if it has any; empty when no broker would take the topic."""
        queues = self._publish.get(topic)
        if queues:
            return queues
        if not await self._look_up(topic):
            await self._look_up_template(topic)
        return self._publish.get(topic, [])

    async def subscribe_queues(self, topic: str) -> list[MessageQueue]:
        """Queues to pull from, from memory if it has any; empty when the topic has no route."""
        if not self.is_known(topic):
            await self._look_up(topic)
        route = self._routes.get(topic)
        return [] if route is None else subscribe_queues(topic, route)

    def is_known(self, topic: str) -> bool:
        """Has a NameServer given a route of the topic?"""
        return self._routes.get(topic) is not None

    async def refresh(self) -> None:
        """Asks again for every topic known; what cannot be asked now keeps its old route."""
        for topic in list(self._routes):
            if not await self._look_up(topic) and topic in self._templates:
                await self._look_up_template(topic)

    def master_address(self, broker_name: str) -> str | None:
        """None while the broker is unknown, or only its slaves are there."""
        broker = self._brokers.get(broker_name)
        return None if broker is None else broker.master_address

    def readable_address(self, broker_name: str, broker_id: int = MASTER_ID) -> str | None:
        """The broker with that id, if it is there, else the next slave, else any of the name."""
        broker = self._brokers.get(broker_name)
        if broker is None or not broker.broker_addrs:
            return None
        addresses = broker.broker_addrs
        if broker_id in addresses:
            return addresses[broker_id]
        if broker_id != MASTER_ID and broker_id + 1 in addresses:
            return addresses[broker_id + 1]
        return addresses[min(addresses)]

    def addresses(self, masters_only: bool) -> set[str]:
        """Of all brokers that have a topic of ours."""
        return {
            address
            for broker in self._brokers.values()
            for broker_id, address in broker.broker_addrs.items()
            if broker_id == MASTER_ID or not masters_only
        }

    async def _look_up(self, topic: str) -> bool:
        """Whether the topic has a route; without one an earlier one is kept: the NameServer may be new."""
        route = await self._name_servers.route(topic)
        if route is None:
            self._routes.setdefault(topic, None)
            return False
        self._learn(topic, route)
        return True

    async def _look_up_template(self, topic: str) -> None:
        self._templates.add(topic)
        template = await self._name_servers.route(self._template_topic)
        if template is not None and self._routes.get(topic) is None:
            new = route_of_new_topic(template, self._new_topic_queue_count)
            self._note_brokers(new)
            self._publish[topic] = publish_queues(topic, new)

    def _learn(self, topic: str, route: TopicRouteData) -> None:
        self._templates.discard(topic)
        self._routes[topic] = route
        self._publish[topic] = publish_queues(topic, route)
        self._note_brokers(route)

    def _note_brokers(self, route: TopicRouteData) -> None:
        for broker in route.broker_datas:
            self._brokers[broker.broker_name] = broker
