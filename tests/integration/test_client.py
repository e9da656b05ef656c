"""Our client against servers in processes of their own: sharing, a broker that restarts, one that is gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from rocketmq_tx.client import ConsumerSettings, Message, Producer, PushConsumer, ReceivedMessage, SendStatus
from rocketmq_tx.client.producer import ProducerSettings
from rocketmq_tx.errors import RemotingError
from rocketmq_tx.protocol.bodies import ConsumeFromWhere
from tests.clusters import ClusterTestCase, shared_cluster

FIRST = ConsumerSettings(consume_from=ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET)
DEADLINE_S = 60.0


async def until(condition: Callable[[], bool], wanted: str) -> None:
    end_s = reactor.seconds() + DEADLINE_S
    while not condition():
        if reactor.seconds() > end_s:
            raise AssertionError(f"waited in vain until {wanted}")
        await deferLater(reactor, 0.02)


class ClientTests(ClusterTestCase):
    def setUp(self) -> None:
        self.got: Counter[bytes] = Counter()

    def listen(self, messages: list[ReceivedMessage]) -> None:
        self.got.update(message.body for message in messages)

    def producer(self, address: str, **settings: int) -> Producer:
        producer = Producer("client-producer", address, reactor, ProducerSettings(**settings))
        producer.startService()
        self.addCleanup(producer.stopService)
        return producer

    async def consumer(self, group: str, topic: str, address: str, expression: str = "*") -> PushConsumer:
        consumer = PushConsumer(group, address, self.listen, reactor, FIRST)
        consumer.subscribe(topic, expression)
        await consumer.startService()
        self.addCleanup(lambda: consumer.stopService() if consumer.running else None)
        return consumer

    def own_count(self, consumer: PushConsumer, topic: str) -> int:
        return sum(queue.topic == topic for queue in consumer.queues)

    async def test_single_batched_one_way_and_large_messages_all_arrive_once(self) -> None:
        self.cluster = shared_cluster()
        address = self.cluster.namesrv_address
        producer = self.producer(address)
        wanted = [b"one", b"x" * 100_000, *(b"batch %d" % n for n in range(10)), b"one way"]
        await producer.send(Message("client-kinds", wanted[0], tags="TagA"))
        await producer.send(Message("client-kinds", wanted[1], tags="TagB"))
        await producer.send(Message("client-kinds", b"not wanted", tags="TagC"))
        await producer.send_batch([Message("client-kinds", body, tags="TagA") for body in wanted[2:12]])
        await producer.send_oneway(Message("client-kinds", wanted[12], tags="TagB"))
        await self.consumer("client-kinds", "client-kinds", address, "TagA || TagB")
        await until(lambda: len(self.got) >= len(wanted), "everything has come")
        self.assertEqual(self.got, Counter(wanted))

    async def test_two_consumers_share_the_queues_and_the_one_that_stays_takes_over(self) -> None:
        self.cluster = shared_cluster()
        address, topic = self.cluster.namesrv_address, "client-share"
        producer = self.producer(address)
        await producer.send(Message(topic, b"first"))
        one = await self.consumer("client-share", topic, address)
        await until(lambda: self.own_count(one, topic) == 4 and bool(self.got), "one has all queues")
        two = await self.consumer("client-share", topic, address)
        await until(lambda: self.own_count(one, topic) == self.own_count(two, topic) == 2, "two each")
        for number in range(100):
            await producer.send(Message(topic, b"%d" % number))
        await until(lambda: len(self.got) >= 101, "everything has come")
        await two.stopService()
        await until(lambda: self.own_count(one, topic) == 4, "one has all queues again")
        for number in range(100, 200):
            await producer.send(Message(topic, b"%d" % number))
        await until(lambda: len(self.got) >= 201, "everything has come")
        del self.got[b"first"]  # may come twice: it was hardly consumed when the queues were shared
        self.assertEqual(self.got, Counter(b"%d" % number for number in range(200)))

    async def test_both_go_on_when_their_broker_was_restarted(self) -> None:
        cluster = await deferToThread(self.own_cluster)
        producer = self.producer(cluster.namesrv_address)
        await self.consumer("client-restart", "client-restart", cluster.namesrv_address)
        for number in range(20):
            await producer.send(Message("client-restart", b"before %d" % number))
        await until(lambda: len(self.got) >= 20, "everything before the restart has come")
        await deferToThread(cluster.broker().restart)
        for number in range(20):
            result = await producer.send(Message("client-restart", b"after %d" % number))
            self.assertEqual(result.status, SendStatus.SEND_OK)
        await until(lambda: len(self.got) >= 40, "everything after the restart has come")
        self.assertEqual(set(self.got.values()), {1})

    async def test_messages_go_to_the_other_broker_while_one_is_gone(self) -> None:
        cluster = await deferToThread(lambda: self.own_cluster(brokers=2))
        producer = self.producer(cluster.namesrv_address)
        before = {(await producer.send(Message("client-two", b"x"))).queue.broker_name for _ in range(8)}
        self.assertEqual(before, {"broker-a", "broker-b"})
        await deferToThread(cluster.broker("broker-a").kill)
        after = {(await producer.send(Message("client-two", b"x"))).queue.broker_name for _ in range(8)}
        self.assertEqual(after, {"broker-b"})
        await deferToThread(cluster.broker("broker-b").kill)
        with self.assertRaises(RemotingError):
            await producer.send(Message("client-two", b"x"))
