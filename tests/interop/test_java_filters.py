"""SQL92 subscriptions of an unmodified Apache RocketMQ 4.9.7 Java client."""

from __future__ import annotations

from typing import Any

from tests.clusters import ClusterTestCase
from tests.interop import toolchain
from tests.interop.java_client import JavaClient, JavaClientFailed, JavaProducer, bodies, message
from tests.interop.test_java_client import each_once


class JavaFilterTests(ClusterTestCase):
    def setUp(self) -> None:
        toolchain.require_java()

    def start(self, **settings: str) -> None:
        cluster = self.own_cluster(settings=settings)
        self.java = JavaClient(cluster.namesrv_address)
        self.addCleanup(self.java.stop)

    def producer(self, topic: str) -> JavaProducer:
        producer = self.java.producer(f"{topic}-producer")
        producer.create_topic(topic, 2)
        return producer

    def test_a_consumer_gets_the_messages_that_its_expression_matches_and_no_other(self) -> None:
        self.start(enablePropertyFilter="true")
        producer = self.producer("orders")
        orders: list[dict[str, Any]] = []
        for number in range(60):
            properties = {"amount": str(number), "region": ("eu", "us", "asia")[number % 3]}
            if number % 5 == 0:
                properties["express"] = "true"
            orders.append(
                message("orders", f"order {number}", tags=f"Tag{number % 2}", properties=properties)
            )
        producer.send(orders)
        expressions = {
            "amount > 39": lambda n: n > 39,
            "amount BETWEEN 10 AND 20 AND region = 'eu'": lambda n: 10 <= n <= 20 and n % 3 == 0,
            "region NOT IN ('eu', 'us') AND express IS NOT NULL": lambda n: n % 3 == 2 and n % 5 == 0,
            "(TAGS = 'Tag1' AND amount >= 50.5) OR express = TRUE": lambda n: (
                (n % 2 == 1 and n >= 51) or n % 5 == 0
            ),
            "NOT (amount < 55)": lambda n: n >= 55,
        }
        wanted = {
            sql: [f"order {number}" for number in range(60) if holds(number)]
            for sql, holds in expressions.items()
        }
        consumers = {
            sql: self.java.consumer(f"orders-{place}", "orders", sql=sql)
            for place, sql in enumerate(expressions)
        }
        for sql, consumer in consumers.items():
            consumer.received(len(wanted[sql]))

        # Pulls that are held now see one message that they want behind others that they do not.
        late = [
            message("orders", f"late {number}", properties={"amount": amount})
            for number, amount in enumerate(("0", "not a number", "57"))
        ]
        for one in late:
            producer.send([one])
        for sql in ("amount > 39", "NOT (amount < 55)"):
            consumers[sql].received(len(wanted[sql]) + 1)
            wanted[sql].append("late 2")

        for sql, consumer in consumers.items():
            self.assertEqual(bodies(consumer.received()), each_once(wanted[sql]), sql)

    def test_an_expression_may_change_from_one_start_of_a_group_to_the_next(self) -> None:
        self.start(enablePropertyFilter="true")
        producer = self.producer("changing")
        first = self.java.consumer("changing", "changing", sql="a > 5", name="changing-first")
        producer.send([message("changing", f"first {n}", properties={"a": str(n)}) for n in range(10)])
        first.received(4)
        first.stop()
        second = self.java.consumer("changing", "changing", sql="a < 2", name="changing-second")
        producer.send([message("changing", f"second {n}", properties={"a": str(n)}) for n in range(10)])
        second.received(2)

        self.assertLessEqual({"second 0", "second 1"}, {body.decode() for body in bodies(second.received())})
        self.assertNotIn("second 6", {body.decode() for body in bodies(second.received())})

    def test_a_wrong_expression_is_refused_at_the_start_with_its_place(self) -> None:
        self.start(enablePropertyFilter="true")
        self.producer("refused")
        failure = self.assertRaises(
            JavaClientFailed, self.java.consumer, "refused", "refused", sql="a > 3 AND\n b >>> 5"
        )
        self.assertIn("line 2, column 5", str(failure))
        self.assertIn("23", str(failure))

    def test_a_broker_without_property_filters_says_so_at_the_start(self) -> None:
        self.start()
        self.producer("off")
        failure = self.assertRaises(JavaClientFailed, self.java.consumer, "off", "off", sql="a > 3")
        self.assertIn("The broker does not support consumer to filter message by SQL92", str(failure))
