"""Retries, dead letters, delays, order and broadcasting as an unmodified Java client 4.9.7 sees them."""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.clusters import ClusterTestCase
from tests.interop import toolchain
from tests.interop.java_client import JavaClient, JavaProducer, bodies, message
from tests.interop.test_java_client import each_once
from tests.waiting import wait_until

#: The level of the first retry, 3, and those after it are short; the last one is long enough for a restart.
LEVELS_S = (1, 2, *[1] * 15, 8)
#: Tests of other builds may have the processors; a delivery is never early, and 100 ms late at most when not.
TOLERANCE_MS = 1000
#: A client asks for the queues of its retry topic once a second, not every twenty.
QUICK_REBALANCE = {"rocketmq.client.rebalance.waitInterval": "1000"}
LOCK_EXPIRED_S = 60


def texts(messages: Sequence[dict[str, Any]]) -> list[str]:
    return [base64.b64decode(one["body"]).decode() for one in messages]


class JavaRetryDelayCase(ClusterTestCase):
    def setUp(self) -> None:
        toolchain.require_java()
        levels = " ".join(f"{seconds}s" for seconds in LEVELS_S)
        self.cluster = self.own_cluster(settings={"messageDelayLevel": levels})
        self.java = self.client()

    def client(self) -> JavaClient:
        client = JavaClient(self.cluster.namesrv_address, **QUICK_REBALANCE)
        self.addCleanup(client.stop)
        return client

    def producer(self, topic: str, queues: int = 2) -> JavaProducer:
        producer = self.java.producer(f"{topic}-producer")
        producer.create_topic(topic, queues)
        return producer


class Retries(JavaRetryDelayCase):
    def test_a_message_comes_again_until_it_is_consumed(self) -> None:
        producer = self.producer("again")
        wanted = [f"message {number}" for number in range(20)]
        consumer = self.java.consumer("again", "again", listener={"failures": 2})
        producer.send([message("again", text, tags="T", keys="k") for text in wanted])

        tries = consumer.received(60, timeout_s=60)

        self.assertEqual(len(consumer.received(61, timeout_s=3)), 60, "one came too often")
        counts = Counter((one["reconsumeTimes"], text) for one, text in zip(tries, texts(tries), strict=True))
        self.assertEqual(counts, Counter((times, text) for times in range(3) for text in wanted))
        self.assertEqual({one["topic"] for one in tries}, {"again"})  # what listeners see of a retry
        self.assertEqual({(one["tags"], one["keys"]) for one in tries}, {("T", "k")})
        first_ids = {one["properties"]["ORIGIN_MESSAGE_ID"] for one in tries if one["reconsumeTimes"]}
        self.assertEqual(len(first_ids), 20)

    def test_a_message_that_is_never_consumed_ends_as_a_dead_letter(self) -> None:
        producer = self.producer("never")
        consumer = self.java.consumer("never", "never", listener={"failures": 99}, maxReconsumeTimes=2)
        producer.send([message("never", f"message {number}") for number in range(5)])

        tries = consumer.received(15, timeout_s=60)
        dead = self.java.consumer("undertaker", "%DLQ%never").received(5)

        self.assertEqual(Counter(one["reconsumeTimes"] for one in tries), {0: 5, 1: 5, 2: 5})
        self.assertEqual(bodies(dead), each_once([f"message {number}" for number in range(5)]))
        self.assertEqual({one["reconsumeTimes"] for one in dead}, {3})
        self.assertEqual({one["properties"]["RETRY_TOPIC"] for one in dead}, {"never"})
        self.assertEqual(len(consumer.received()), 15)


class Delays(JavaRetryDelayCase):
    def test_messages_come_when_their_delay_is_over(self) -> None:
        producer = self.producer("later")
        consumer = self.java.consumer("later", "later")
        began_ms = time.time_ns() // 1_000_000
        levels = (1, 2, 18, 99)
        producer.send([message("later", str(level), delayLevel=level) for level in levels])
        sent_ms = time.time_ns() // 1_000_000

        received = consumer.received(4, timeout_s=30)

        came = dict(zip(texts(received), received, strict=True))
        self.assertEqual(sorted(came), ["1", "18", "2", "99"])
        for level in levels:
            one = came[str(level)]
            delay_ms = LEVELS_S[min(level, 18) - 1] * 1000
            self.assertGreaterEqual(one["storeTimestamp"], began_ms + delay_ms)
            self.assertLessEqual(one["storeTimestamp"], sent_ms + delay_ms + TOLERANCE_MS)
            self.assertEqual(one["properties"]["DELAY"], str(min(level, 18)))
        self.assertEqual(len(consumer.wait_drained()), 4)

    def test_what_waits_outlives_a_restart_and_comes_once(self) -> None:
        producer = self.producer("patient")
        consumer = self.java.consumer("patient", "patient")
        wanted = [f"patient {number}" for number in range(50)]
        soon = [f"soon {number}" for number in range(50)]
        producer.send([message("patient", text, delayLevel=1) for text in soon])
        producer.send([message("patient", text, delayLevel=18) for text in wanted])
        consumer.received(50)

        self.cluster.broker().restart()
        consumer.received(100, timeout_s=60)

        self.assertEqual(bodies(consumer.wait_drained()), each_once([*soon, *wanted]))

    def test_what_waits_outlives_a_crash(self) -> None:
        producer = self.producer("tough")
        wanted = [f"tough {number}" for number in range(50)]
        producer.send([message("tough", text, delayLevel=18) for text in wanted])

        self.cluster.broker().kill()
        self.cluster.broker().start()
        consumer = self.java.consumer("tough", "tough")

        self.assertEqual(set(bodies(consumer.received(50, timeout_s=60))), {text.encode() for text in wanted})


class Order(JavaRetryDelayCase):
    def test_a_queue_stays_in_order_when_its_consumer_is_killed(self) -> None:
        producer = self.producer("ordered", queues=2)
        survivor = self.java.consumer(
            "ordered", "ordered", name="survivor", listener={"orderly": True, "pauseMs": 5}
        )
        survivor.wait_assigned(2)
        other = self.client()
        victim = other.consumer("ordered", "ordered", name="victim", listener={"orderly": True, "pauseMs": 5})
        victim.wait_assigned(1)
        survivor.wait_assigned(1)
        for queue_id in (0, 1):
            producer.send(
                [message("ordered", f"{queue_id}:{number}") for number in range(300)], queueId=queue_id
            )

        before = victim.received(50)
        other.kill()
        wait_until(lambda: len(survivor.assigned()) == 2, "the lock has expired", LOCK_EXPIRED_S + 60)
        wait_until(
            lambda: {"0:299", "1:299"} <= set(texts(survivor.received())), "everything is consumed", 60
        )

        by_survivor: dict[int, list[int]] = {0: [], 1: []}
        for text in texts(survivor.received()):
            queue, number = text.split(":")
            by_survivor[int(queue)].append(int(number))
        (taken_over,) = {int(text.split(":")[0]) for text in texts(before)}
        self.assertEqual(by_survivor[1 - taken_over], list(range(300)))
        rest = by_survivor[taken_over]
        self.assertEqual(rest, list(range(rest[0], 300)))
        seen = [int(text.split(":")[1]) for text in texts(before)]
        self.assertEqual(seen, list(range(len(seen))))

    def test_a_message_that_fails_holds_up_its_queue_until_it_is_a_dead_letter(self) -> None:
        producer = self.producer("strict", queues=1)
        producer.send([message("strict", f"message {number}") for number in range(3)])
        consumer = self.java.consumer(
            "strict",
            "strict",
            listener={"orderly": True, "failures": 99},
            maxReconsumeTimes=2,
            suspendCurrentQueueTimeMillis=10,
        )

        tries = consumer.received(9, timeout_s=60)
        dead = self.java.consumer("strict-undertaker", "%DLQ%strict").received(3, timeout_s=60)

        wanted = [f"message {number}" for number in range(3) for _ in range(3)]
        self.assertEqual(texts(tries), wanted)
        self.assertEqual(sorted(texts(dead)), ["message 0", "message 1", "message 2"])


class Broadcasting(JavaRetryDelayCase):
    def test_each_instance_gets_every_message_and_nothing_is_tried_again(self) -> None:
        producer = self.producer("news")
        settings = {"messageModel": "BROADCASTING"}
        instances = [
            self.java.consumer(
                "news", "news", name=name, instanceName=name, listener={"failures": 1}, **settings
            )
            for name in ("one", "two")
        ]
        for instance in instances:
            instance.wait_assigned(2)
        wanted = [f"news {number}" for number in range(50)]
        producer.send([message("news", text) for text in wanted])

        for instance in instances:
            self.assertEqual(bodies(instance.received(50)), each_once(wanted))
        for instance in instances:
            self.assertEqual(len(instance.received(51, timeout_s=2)), 50, "one was tried again")
