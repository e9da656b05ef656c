"""Transactions of an unmodified Apache Java client: its TransactionMQProducer with a TransactionListener."""

from __future__ import annotations

import atexit
import base64
import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from attrs import define, field

from tests.clusters import Cluster, ClusterTestCase
from tests.interop import toolchain
from tests.interop.java_client import (
    QUICK_PRODUCER,
    JavaClient,
    JavaClientFailed,
    bodies,
    message,
)
from tests.waiting import wait_until

#: Checks come soon, so that a test takes seconds; the rest is as configured by default.
QUICK_CHECKS = {"transactionTimeOut": "1000", "transactionCheckInterval": "1000", "transactionCheckMax": "5"}


@functools.cache
def cluster_with_quick_checks() -> Cluster:
    cluster = Cluster.start(settings=QUICK_CHECKS)
    atexit.register(cluster.stop)
    return cluster


@functools.cache
def java_client(namesrv_address: str) -> JavaClient:
    """One JVM for all tests that do not kill theirs."""
    client = JavaClient(namesrv_address)
    atexit.register(client.stop)
    return client


@functools.cache
def long_transaction() -> LongTransaction:
    """Begins when it is asked for first, and takes its time while other tests run."""
    return LongTransaction.begin()


@define
class TransactionProducer:
    """A started TransactionMQProducer; `interop.Transactions` says what messages ask of it."""

    client: JavaClient = field(repr=False)
    group: str

    @classmethod
    def start(cls, client: JavaClient, group: str, namesrv_address: str) -> TransactionProducer:
        # a broker can ask only who has sent a heartbeat, and Java's first comes up to 30 s after the route
        settings = {**QUICK_PRODUCER, "heartbeatBrokerInterval": 500}
        client.call("start_transaction_producer", producer=group, namesrv=namesrv_address, settings=settings)
        return cls(client, group)

    def send(self, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return list(
            self.client.call("send_transactions", producer=self.group, messages=list(messages))["results"]
        )

    def send_in_background(self, messages: Sequence[dict[str, Any]]) -> None:
        self.client.call("send_transactions", producer=self.group, messages=list(messages), inBackground=True)

    def checks(self, body: str) -> list[str]:
        """What was answered to the checks of a message."""
        seen = self.client.call("transaction_checks", producer=self.group)["checks"]
        return [check["state"] for check in seen if check["body"] == body]

    def stop(self) -> None:
        self.client.call("stop_transaction_producer", producer=self.group)


@define
class LongTransaction:
    """A local transaction of 65 s against a broker with default settings, so checked after 60 s."""

    cluster: Cluster
    client: JavaClient
    producer: TransactionProducer

    TOPIC = "tx-unscaled"
    BODY = "took 65 s"

    @classmethod
    def begin(cls) -> LongTransaction:
        cluster = Cluster.start()
        atexit.register(cluster.stop)
        client = JavaClient(cluster.namesrv_address)
        atexit.register(client.stop)
        client.producer("tx-unscaled-maker").create_topic(cls.TOPIC, 4)
        producer = TransactionProducer.start(client, "tx-unscaled-producer", cluster.namesrv_address)
        producer.send_in_background(
            [half(cls.TOPIC, cls.BODY, "COMMIT_MESSAGE", executeMs="65000", check="ROLLBACK_MESSAGE")]
        )
        return cls(cluster, client, producer)


def half(topic: str, body: str, local: str, **properties: str) -> dict[str, Any]:
    return message(topic, body, tags="TagA", keys=f"key-{body}", properties={"local": local, **properties})


class JavaTransactionTests(ClusterTestCase):
    def setUp(self) -> None:
        toolchain.require_java()
        long_transaction()
        self.cluster = cluster_with_quick_checks()
        self.java = java_client(self.cluster.namesrv_address)

    def producer(self, group: str, client: JavaClient | None = None) -> TransactionProducer:
        assert self.cluster is not None
        producer = TransactionProducer.start(client or self.java, group, self.cluster.namesrv_address)
        if client is None:
            self.addCleanup(producer.stop)
        return producer

    def topic(self, name: str) -> str:
        """Made before, so that its consumer's queues stay what they are."""
        plain = self.java.producer(f"{name}-maker")
        self.addCleanup(plain.stop)
        plain.create_topic(name, 4)
        return name

    def received(self, topic: str, count: int) -> Counter[bytes]:
        """What a consumer of the topic has got, once it has got `count` and everything is committed."""
        consumer = self.java.consumer(f"{topic}-consumer", topic)
        self.addCleanup(consumer.stop)
        consumer.received(count, timeout_s=60)
        return bodies(consumer.wait_drained())

    def test_a_commit_is_delivered_and_a_rollback_never(self) -> None:
        topic = self.topic("tx-decided")
        producer = self.producer("tx-decided-producer")
        wanted = [f"commit {number}" for number in range(20)]

        results = producer.send(
            [half(topic, body, "COMMIT_MESSAGE") for body in wanted]
            + [half(topic, f"rollback {number}", "ROLLBACK_MESSAGE") for number in range(20)]
        )

        self.assertEqual({result["status"] for result in results}, {"SEND_OK"})
        self.assertEqual(self.received(topic, len(wanted)), Counter(body.encode() for body in wanted))

    def test_a_committed_message_carries_everything(self) -> None:
        topic = self.topic("tx-whole")
        producer = self.producer("tx-whole-producer")
        producer.send([half(topic, "whole", "COMMIT_MESSAGE", colour="red")])
        consumer = self.java.consumer("tx-whole-consumer", topic, expression="TagA")
        self.addCleanup(consumer.stop)
        (got,) = consumer.received(1)
        self.assertEqual(base64.b64decode(got["body"]), b"whole")
        self.assertEqual((got["tags"], got["keys"]), ("TagA", "key-whole"))
        self.assertEqual(got["properties"]["colour"], "red")

    def test_unknown_is_asked_about_until_the_producer_knows(self) -> None:
        topic = self.topic("tx-unknown")
        producer = self.producer("tx-unknown-producer")

        producer.send(
            [
                half(topic, "at once", "UNKNOW", check="COMMIT_MESSAGE"),
                half(topic, "third time", "UNKNOW", check="COMMIT_MESSAGE", checksBefore="2"),
                half(topic, "rolled back", "UNKNOW", check="ROLLBACK_MESSAGE"),
            ]
        )

        self.assertEqual(self.received(topic, 2), Counter([b"at once", b"third time"]))
        self.assertEqual(producer.checks("at once"), ["COMMIT_MESSAGE"])
        self.assertEqual(producer.checks("third time"), ["UNKNOW", "UNKNOW", "COMMIT_MESSAGE"])
        self.assertEqual(producer.checks("rolled back"), ["ROLLBACK_MESSAGE"])

    def test_a_check_during_a_long_local_transaction_changes_nothing(self) -> None:
        """65 s against checks each 60 s, scaled down by 15; `UnscaledTests` takes its time."""
        topic = self.topic("tx-long")
        producer = self.producer("tx-long-producer")

        producer.send_in_background(
            [half(topic, "took long", "COMMIT_MESSAGE", executeMs="4300", check="ROLLBACK_MESSAGE")]
        )

        self.assertEqual(self.received(topic, 1), Counter([b"took long"]))
        answers = producer.checks("took long")
        self.assertGreater(len(answers), 1)
        self.assertEqual(set(answers), {"UNKNOW"})

    def test_another_producer_of_the_group_answers_for_one_that_was_killed(self) -> None:
        """Fault 30, first half."""
        assert self.cluster is not None
        topic = self.topic("tx-killed")
        doomed = JavaClient(self.cluster.namesrv_address)
        self.addCleanup(doomed.stop)
        first = self.producer("tx-killed-producer", doomed)
        with self.assertRaises(JavaClientFailed):
            first.send([half(topic, "left behind", "HALT", check="COMMIT_MESSAGE")])
        wait_until(lambda: not doomed.is_running, "the producer is dead")

        second = self.producer("tx-killed-producer")
        # it is known to the broker once it knows the broker: by a route that it asked for
        second.send([half(topic, "its own", "COMMIT_MESSAGE")])

        self.assertEqual(self.received(topic, 2), Counter([b"its own", b"left behind"]))
        self.assertEqual(second.checks("left behind"), ["COMMIT_MESSAGE"])

    def test_what_nobody_knows_is_given_up_and_can_be_found(self) -> None:
        """Fault 30, second half."""
        topic = self.topic("tx-lost")
        producer = self.producer("tx-lost-producer")

        producer.send([half(topic, "nobody knows", "UNKNOW", check="UNKNOW")])

        wait_until(lambda: len(producer.checks("nobody knows")) == 5, "it is asked about five times", 30)
        consumer = self.java.consumer("tx-lost-consumer", "TRANS_CHECK_MAX_TIME_TOPIC")
        self.addCleanup(consumer.stop)
        wait_until(lambda: self.of_topic(topic, consumer.received()), "it is found")
        self.assertEqual(self.of_topic(topic, consumer.received()), [b"nobody knows"])
        self.assertEqual(len(producer.checks("nobody knows")), 5)

    def of_topic(self, topic: str, messages: list[dict[str, Any]]) -> list[bytes]:
        return [base64.b64decode(one["body"]) for one in messages if one["properties"]["REAL_TOPIC"] == topic]

    def test_open_transactions_survive_a_restart_and_a_kill_of_the_broker(self) -> None:
        cluster = self.cluster = self.own_cluster(settings=QUICK_CHECKS)
        self.java = JavaClient(cluster.namesrv_address)
        self.addCleanup(self.java.stop)
        topic = self.topic("tx-restart")
        producer = self.producer("tx-restart-producer")
        broker = cluster.broker()
        for action, body in ((broker.restart, "restart"), (self.kill_and_start, "kill")):
            producer.send(
                [
                    half(topic, f"{body} open", "UNKNOW", check="COMMIT_MESSAGE", checksBefore="2"),
                    half(topic, f"{body} done", "COMMIT_MESSAGE"),
                ]
            )
            wait_until(lambda body=body: producer.checks(f"{body} open"), "it is asked about")
            action()
        wanted = [f"{body} {state}".encode() for body in ("restart", "kill") for state in ("open", "done")]
        self.assertEqual(self.received(topic, 4), Counter(wanted))

    def kill_and_start(self) -> None:
        assert self.cluster is not None
        self.cluster.broker().kill()
        self.cluster.broker().start()


class UnscaledTests(ClusterTestCase):
    """Comes after the others of this module, whose time it shares."""

    def test_a_local_transaction_of_65_seconds_with_default_settings(self) -> None:
        toolchain.require_java()
        long = long_transaction()
        self.cluster = long.cluster
        consumer = long.client.consumer("tx-unscaled-consumer", long.TOPIC)
        self.addCleanup(consumer.stop)
        wait_until(lambda: long.producer.checks(long.BODY), "it is asked about while it executes", 90)
        consumer.received(1, timeout_s=60)
        self.assertEqual(bodies(consumer.wait_drained()), Counter([long.BODY.encode()]))
        self.assertEqual(long.producer.checks(long.BODY), ["UNKNOW"])
