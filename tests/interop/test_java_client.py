"""An unmodified Apache RocketMQ 4.9.7 Java client against our NameServer and broker, each in its process."""

from __future__ import annotations

import atexit
import random
import time
from collections import Counter
from datetime import datetime, timezone

from tests.clusters import Cluster, ClusterTestCase, shared_cluster
from tests.interop import toolchain
from tests.interop.java_client import JavaClient, JavaProducer, bodies, message
from tests.waiting import wait_until

_clients: dict[str, JavaClient] = {}


def shared_client(cluster: Cluster) -> JavaClient:
    """One JVM for all tests on the shared cluster; a new one when the last has died."""
    client = _clients.get(cluster.namesrv_address)
    if client is None or not client.is_running:
        client = _clients[cluster.namesrv_address] = JavaClient(cluster.namesrv_address)
        atexit.register(client.stop)
    return client


def each_once(wanted: list[str]) -> Counter[bytes]:
    return Counter(text.encode() for text in wanted)


class JavaClientTests(ClusterTestCase):
    """What needs nothing but a topic and a group of its own."""

    def setUp(self) -> None:
        toolchain.require_java()
        self.cluster = shared_cluster()
        self.java = shared_client(self.cluster)

    def producer(self, group: str, topic: str, queues: int = 4, **settings: object) -> JavaProducer:
        producer = self.java.producer(group, **settings)
        self.addCleanup(producer.stop)
        producer.create_topic(topic, queues)
        return producer

    def test_quickstart_1000_messages_arrive_exactly_once(self) -> None:
        producer = self.java.producer("quickstart-producer")
        self.addCleanup(producer.stop)
        wanted = [f"Hello RocketMQ {number}" for number in range(1000)]

        results = producer.send([message("TopicTest", text, tags="TagA") for text in wanted])
        consumer = self.java.consumer("quickstart-consumer", "TopicTest")
        self.addCleanup(consumer.stop)
        consumer.received(1000)
        ids = {result["msgId"] for result in results}
        # Other tests of the run may have left messages in the same topic.
        received = [one for one in consumer.wait_drained() if one["msgId"] in ids]

        self.assertEqual({result["status"] for result in results}, {"SEND_OK"})
        self.assertEqual(len(ids), 1000)
        # Not 250 each: when the new topic's route replaces its template's, the client begins a new round.
        self.assertEqual({result["queueId"] for result in results}, set(range(4)))
        self.assertEqual(bodies(received), each_once(wanted))
        places = {result["msgId"]: (result["queueId"], result["queueOffset"]) for result in results}
        self.assertEqual({one["msgId"]: (one["queueId"], one["queueOffset"]) for one in received}, places)
        self.assertEqual({one["tags"] for one in received}, {"TagA"})

    def test_a_batch_is_stored_as_single_messages_in_a_row(self) -> None:
        producer = self.producer("batch-producer", "batch")
        wanted = [f"batch {number}" for number in range(100)]

        (result,) = producer.send([message("batch", text, tags="b") for text in wanted], mode="batch")
        consumer = self.java.consumer("batch-consumer", "batch")
        self.addCleanup(consumer.stop)
        consumer.received(100)
        received = consumer.wait_drained()

        self.assertEqual(result["status"], "SEND_OK")
        self.assertEqual(bodies(received), each_once(wanted))
        self.assertEqual({one["queueId"] for one in received}, {result["queueId"]})
        in_order = sorted(received, key=lambda one: one["queueOffset"])
        self.assertEqual([one["queueOffset"] for one in in_order], list(range(100)))
        self.assertEqual([one["msgId"] for one in in_order], result["msgId"].split(","))
        self.assertEqual(len(result["offsetMsgId"].split(",")), 100)

    def test_one_way_messages_arrive(self) -> None:
        producer = self.producer("oneway-producer", "oneway")
        wanted = [f"one way {number}" for number in range(200)]
        consumer = self.java.consumer("oneway-consumer", "oneway")
        self.addCleanup(consumer.stop)

        producer.send([message("oneway", text) for text in wanted], mode="oneway")
        consumer.received(200)

        self.assertEqual(bodies(consumer.wait_drained()), each_once(wanted))

    def test_asynchronous_sends_all_succeed_and_arrive(self) -> None:
        producer = self.producer("async-producer", "async")
        wanted = [f"async {number}" for number in range(500)]
        consumer = self.java.consumer("async-consumer", "async")
        self.addCleanup(consumer.stop)

        results = producer.send([message("async", text) for text in wanted], mode="async")
        consumer.received(500)

        self.assertEqual(Counter(result["status"] for result in results), {"SEND_OK": 500})
        self.assertEqual(bodies(consumer.wait_drained()), each_once(wanted))

    def test_a_consumer_gets_the_tags_that_it_subscribed_to_and_no_other(self) -> None:
        producer = self.producer("tags-producer", "tags")
        everything = [
            message("tags", f"{tag} {number}", tags=tag, keys=f"key-{number}")
            for number in range(50)
            for tag in ("TagA", "TagB", "TagC")
        ]
        everything.append(message("tags", "no tag"))
        # Every queue ends with a wanted message: behind others a pull is held, and commits nothing, for 15 s.
        last = [f"last {number}" for number in range(4)]
        everything += [message("tags", text, tags="TagA") for text in last]

        producer.send(everything)
        some = self.java.consumer("tags-some", "tags", "TagA || TagC")
        self.addCleanup(some.stop)
        every = self.java.consumer("tags-every", "tags", "*")
        self.addCleanup(every.stop)
        some.received(104)
        every.received(155)

        wanted = [f"{tag} {number}" for number in range(50) for tag in ("TagA", "TagC")]
        received = some.wait_drained()
        self.assertEqual(bodies(received), each_once([*wanted, *last]))
        keys = {one["keys"] for one in received if "keys" in one}
        self.assertEqual(keys, {f"key-{number}" for number in range(50)})
        self.assertEqual(len(every.wait_drained()), 155)

    def test_bodies_of_2_mb_arrive_whole(self) -> None:
        producer = self.producer("big-producer", "big", compressMsgBodyOverHowmuch=4 << 20)
        wanted = [random.Random(number).randbytes(2 << 20) for number in range(3)]
        consumer = self.java.consumer("big-consumer", "big")
        self.addCleanup(consumer.stop)

        results = producer.send([message("big", body) for body in wanted])
        consumer.received(3)

        self.assertEqual({result["status"] for result in results}, {"SEND_OK"})
        received = consumer.wait_drained()
        self.assertEqual(bodies(received), Counter(wanted))
        self.assertTrue(all(one["storeSize"] > 2 << 20 for one in received))

    def test_text_of_all_alphabets_arrives_as_it_was_sent(self) -> None:
        producer = self.producer("unicode-producer", "unicode")
        text = '你好, Grüße, привет, \U0001f680, \x00, "quotes" and \\'
        consumer = self.java.consumer("unicode-consumer", "unicode", "标签")
        self.addCleanup(consumer.stop)

        properties = {"Ключ": "wert-\U0001f680"}
        producer.send([message("unicode", text, tags="标签", keys="钥匙", properties=properties)])
        (received,) = consumer.received(1)

        self.assertEqual(bodies([received]), Counter([text.encode()]))
        self.assertEqual(received["tags"], "标签")
        self.assertEqual(received["keys"], "钥匙")
        self.assertEqual(received["properties"]["Ключ"], "wert-\U0001f680")

    def test_a_compressed_body_is_stored_small_and_arrives_as_it_was_sent(self) -> None:
        producer = self.producer("compressed-producer", "compressed")
        body = b"RocketMQ " * 10_000
        consumer = self.java.consumer("compressed-consumer", "compressed")
        self.addCleanup(consumer.stop)

        producer.send([message("compressed", body), message("compressed", b"x" * 4095)])
        consumer.received(2)

        received = {len(one["body"]): one for one in consumer.wait_drained()}
        large, small = received[max(received)], received[min(received)]
        self.assertEqual(bodies([large, small]), Counter([body, b"x" * 4095]))
        self.assertEqual(large["sysFlag"] & 1, 1)
        self.assertLess(large["storeSize"], 4096)
        self.assertEqual(small["sysFlag"] & 1, 0)

    def test_two_consumers_share_the_queues_and_the_one_that_stays_takes_over(self) -> None:
        producer = self.producer("share-producer", "share", queues=8)
        first = self.java.consumer("share", "share", name="share-first")
        self.addCleanup(first.stop)
        first.wait_assigned(8)
        second = self.java.consumer("share", "share", name="share-second")
        self.assertEqual(len({*first.wait_assigned(4), *second.wait_assigned(4)}), 8)

        shared = [f"shared {number}" for number in range(400)]
        producer.send([message("share", text) for text in shared])
        wait_until(lambda: len(first.received()) + len(second.received()) >= 400, "400 messages have come")
        first.lag()  # commits its part of what `second` waits for
        second_got = second.wait_drained()
        second.stop()
        first.wait_assigned(8)
        alone = [f"alone {number}" for number in range(100)]
        producer.send([message("share", text) for text in alone])
        first.received(300)
        first_got = first.wait_drained()

        self.assertEqual(len(second_got), 200)
        self.assertEqual(bodies([*first_got, *second_got]), each_once([*shared, *alone]))

    def test_the_queues_of_a_consumer_that_died_are_taken_over(self) -> None:
        producer = self.producer("death-producer", "death", queues=8)
        survivor = self.java.consumer("death", "death", name="death-survivor")
        self.addCleanup(survivor.stop)
        survivor.wait_assigned(8)
        with JavaClient(self.cluster.namesrv_address) as other:
            other.consumer("death", "death", name="death-victim").wait_assigned(4)
            survivor.wait_assigned(4)
            other.kill()
        survivor.wait_assigned(8)

        wanted = [f"afterwards {number}" for number in range(80)]
        producer.send([message("death", text) for text in wanted])
        survivor.received(80)

        self.assertEqual(bodies(survivor.wait_drained()), each_once(wanted))

    def test_a_restarted_consumer_goes_on_where_its_group_had_stopped(self) -> None:
        producer = self.producer("resume-producer", "resume")
        first = self.java.consumer("resume", "resume", name="resume-before")
        before = [f"before {number}" for number in range(100)]
        producer.send([message("resume", text) for text in before])
        first.received(100)
        self.assertEqual(bodies(first.received()), each_once(before))
        first.stop()

        between = [f"between {number}" for number in range(100)]
        producer.send([message("resume", text) for text in between])
        second = self.java.consumer("resume", "resume", name="resume-after")
        self.addCleanup(second.stop)
        second.received(100)

        self.assertEqual(bodies(second.wait_drained()), each_once(between))


class JavaClientOwnClusterTests(ClusterTestCase):
    """What stops a broker, or wants other settings than the rest."""

    def setUp(self) -> None:
        toolchain.require_java()

    def test_clients_go_on_after_a_broker_restart_without_loss_or_repetition(self) -> None:
        cluster = self.own_cluster()
        java = JavaClient(cluster.namesrv_address)
        self.addCleanup(java.stop)
        producer = java.producer("restart-producer", retryTimesWhenSendFailed=10)
        producer.create_topic("restart", 4)
        consumer = java.consumer("restart", "restart")
        before = [f"before {number}" for number in range(100)]
        sent_before = producer.send([message("restart", text) for text in before])
        consumer.received(100)
        consumer.wait_drained()

        cluster.broker().restart()
        after = [f"after {number}" for number in range(100)]
        sent_after = producer.send([message("restart", text) for text in after])
        consumer.received(200)

        self.assertEqual({result["status"] for result in [*sent_before, *sent_after]}, {"SEND_OK"})
        self.assertEqual(bodies(consumer.wait_drained()), each_once([*before, *after]))
        offsets = [(result["queueId"], result["queueOffset"]) for result in [*sent_before, *sent_after]]
        self.assertEqual(len(set(offsets)), 200)
        consumer.stop()

        # What the group had consumed is known to the broker that comes back, too.
        cluster.broker().restart()
        latest = [f"latest {number}" for number in range(20)]
        producer.send([message("restart", text) for text in latest])
        again = java.consumer("restart", "restart", name="again")
        again.received(20)
        self.assertEqual(bodies(again.wait_drained()), each_once(latest))

    def test_a_new_group_starts_at_the_time_that_it_asks_for(self) -> None:
        # A broker whose queue still begins at 0 tells a new group to start there while it takes the first
        # message for one in memory; the client then does not ask for the time. With this setting nothing is.
        cluster = self.own_cluster(settings={"accessMessageInMemoryMaxRatio": "0"})
        java = JavaClient(cluster.namesrv_address)
        self.addCleanup(java.stop)
        producer = java.producer("time-producer")
        producer.create_topic("time", 2)
        producer.send([message("time", f"early {number}") for number in range(50)])
        # The client states the time in whole seconds, and brokers answer with the message stored nearest to
        # it: a second that begins a while after the early messages, and right before the late ones.
        start_s = int(time.time()) + 2
        wait_until(lambda: time.time() >= start_s, "that second has begun")
        late = [f"late {number}" for number in range(50)]
        producer.send([message("time", text) for text in late])
        consumer = java.consumer(
            "time-consumer",
            "time",
            consumeFromWhere="CONSUME_FROM_TIMESTAMP",
            consumeTimestamp=datetime.fromtimestamp(start_s, timezone.utc).strftime("%Y%m%d%H%M%S"),
        )
        consumer.received(50)

        self.assertEqual(bodies(consumer.wait_drained()), each_once(late))
