"""Consumers of an unmodified Java client 4.9.7 that pull, broadcast, reply and look up."""

from __future__ import annotations

import base64
import time
from typing import Any

from attrs import define, field

from tests.clusters import ClusterTestCase, shared_cluster
from tests.interop import toolchain
from tests.interop.java_client import (
    QUICK_CONSUMER,
    JavaClient,
    JavaClientFailed,
    JavaProducer,
    bodies,
    message,
)
from tests.interop.test_java_client import each_once, shared_client

Messages = list[dict[str, Any]]
Queue = dict[str, Any]

NOTHING_COMES_S = 1.5
"""How long a poll looks for messages that should not be there."""


def texts(messages: Messages) -> list[str]:
    return [base64.b64decode(one["body"]).decode() for one in messages]


@define
class LitePullConsumer:
    """A started DefaultLitePullConsumer, which commits only when it is told."""

    java: JavaClient = field(repr=False)
    name: str
    topic: str

    def __call__(self, command: str, **arguments: Any) -> dict[str, Any]:
        return self.java.call(f"lite_{command}", consumer=self.name, topic=self.topic, **arguments)

    def queues(self) -> list[Queue]:
        return sorted(self("queues")["queues"], key=lambda queue: int(queue["queueId"]))

    def poll(self, count: int, timeout_s: float = 30.0) -> Messages:
        return list(self("poll", count=count, timeoutMs=int(timeout_s * 1000))["messages"])

    def nothing_comes(self) -> bool:
        return self.poll(1, NOTHING_COMES_S) == []

    def seek(self, queue: Queue, offset: int | str) -> None:
        self("seek", queue=queue, offset=str(offset))

    def committed(self, queue: Queue) -> int:
        return int(self("committed", queue=queue)["value"])

    def stop(self) -> None:
        self("stop")


class JavaConsumingTests(ClusterTestCase):
    def setUp(self) -> None:
        toolchain.require_java()
        self.cluster = cluster = shared_cluster()
        self.namesrv_address = cluster.namesrv_address
        self.java = shared_client(cluster)

    def producer(self, topic: str, queues: int) -> JavaProducer:
        producer = self.java.producer(f"{topic}-producer")
        self.addCleanup(producer.stop)
        producer.create_topic(topic, queues)
        return producer

    def lite_pull(self, topic: str, group: str, **arguments: Any) -> LitePullConsumer:
        consumer = LitePullConsumer(self.java, group, topic)
        settings = {**QUICK_CONSUMER, "autoCommit": False}
        consumer("start", group=group, namesrv=self.namesrv_address, settings=settings, **arguments)
        return consumer

    # -- lite pull -------------------------------------------------------------------------------------------

    def test_a_lite_pull_consumer_that_subscribes_goes_on_behind_what_it_has_committed(self) -> None:
        producer = self.producer("lite-subscribed", 4)
        early = [f"{tag} {number}" for tag in ("TagA", "TagB") for number in range(40)]
        producer.send([message("lite-subscribed", text, tags=text[:4]) for text in early])

        first = self.lite_pull("lite-subscribed", "lite-subscribed", expression="TagA")
        got = first.poll(40)
        self.assertEqual(bodies(got), each_once([text for text in early if text.startswith("TagA")]))
        first("commit")
        offsets = [first.committed(queue) for queue in first.queues()]
        self.assertEqual(len(offsets), 4)
        # One behind the last message that was given out, on each queue.
        last = [max(one["queueOffset"] for one in got if one["queueId"] == place) for place in range(4)]
        self.assertEqual(offsets, [offset + 1 for offset in last])
        first.stop()

        late = [f"TagA late {number}" for number in range(20)]
        producer.send([message("lite-subscribed", text, tags="TagA") for text in late])
        second = self.lite_pull("lite-subscribed", "lite-subscribed", expression="TagA")
        self.addCleanup(second.stop)
        self.assertEqual(bodies(second.poll(20)), each_once(late))
        self.assertTrue(second.nothing_comes())

    def test_a_lite_pull_consumer_reads_the_queues_that_it_assigns_to_itself_from_where_it_seeks(
        self,
    ) -> None:
        producer = self.producer("lite-assigned", 2)
        producer.send([message("lite-assigned", f"text {number}") for number in range(40)])
        consumer = self.lite_pull("lite-assigned", "lite-assigned")
        self.addCleanup(consumer.stop)
        queue, _ = consumer.queues()

        consumer("assign", queues=[queue])
        everything = consumer.poll(20)
        self.assertEqual([one["queueOffset"] for one in everything], list(range(20)))
        self.assertEqual({one["queueId"] for one in everything}, {queue["queueId"]})
        self.assertTrue(consumer.nothing_comes())

        consumer.seek(queue, 15)
        self.assertEqual(texts(consumer.poll(5)), texts(everything[15:]))
        consumer.seek(queue, "begin")
        self.assertEqual(texts(consumer.poll(20)), texts(everything))
        consumer.seek(queue, "end")
        self.assertTrue(consumer.nothing_comes())
        with self.assertRaisesRegex(JavaClientFailed, "illegal"):
            consumer.seek(queue, 1000)

    def test_a_lite_pull_consumer_gets_nothing_while_paused_and_all_of_it_when_resumed(self) -> None:
        producer = self.producer("lite-paused", 1)
        wanted = [f"text {number}" for number in range(10)]
        producer.send([message("lite-paused", text) for text in wanted])
        consumer = self.lite_pull("lite-paused", "lite-paused")
        self.addCleanup(consumer.stop)
        (queue,) = consumer.queues()
        consumer("assign", queues=[queue])
        self.assertEqual(texts(consumer.poll(10)), wanted)

        consumer("pause", queues=[queue], paused=True)
        consumer.seek(queue, "begin")
        self.assertTrue(consumer.nothing_comes())
        consumer("pause", queues=[queue], paused=False)
        self.assertEqual(texts(consumer.poll(10)), wanted)

    def test_a_lite_pull_consumer_finds_the_offset_of_a_time(self) -> None:
        producer = self.producer("lite-time", 1)
        producer.send([message("lite-time", "early")])
        time.sleep(0.05)  # two times that no clock takes for one
        producer.send([message("lite-time", "late")])
        consumer = self.lite_pull("lite-time", "lite-time")
        self.addCleanup(consumer.stop)
        (queue,) = consumer.queues()
        consumer("assign", queues=[queue])
        early_ms, late_ms = (one["storeTimestamp"] for one in consumer.poll(2))

        for timestamp, wanted in ((1, 0), (early_ms, 0), (late_ms, 1), (late_ms + 3_600_000, 1)):
            found = consumer("offset_by_time", queue=queue, timestamp=timestamp)["value"]
            self.assertEqual(found, wanted, timestamp)

    # -- pull ------------------------------------------------------------------------------------------------

    def test_a_pull_consumer_gets_each_answer_that_there_is(self) -> None:
        producer = self.producer("pulled", 1)
        before_ms = int(time.time() * 1000)
        producer.send([message("pulled", f"text {number}", tags="TagA") for number in range(12)])
        to: dict[str, Any] = {"consumer": "pulled", "topic": "pulled"}
        self.java.call("pull_start", group="pulled", namesrv=self.namesrv_address, settings={}, **to)
        self.addCleanup(self.java.call, "pull_stop", **to)
        (queue,) = self.java.call("pull_queues", **to)["queues"]

        def pull(offset: int, expression: str = "*", block: bool = False) -> dict[str, Any]:
            return self.java.call(
                "pull_once", queue=queue, offset=offset, expression=expression, count=8, block=block, **to
            )

        def offsets() -> dict[str, Any]:
            return self.java.call("pull_offsets", queue=queue, timestamp=1, **to)

        first, second = pull(0), pull(8, "TagA", block=True)
        self.assertEqual((first["status"], first["next"], first["min"], first["max"]), ("FOUND", 8, 0, 12))
        self.assertEqual((second["status"], second["next"]), ("FOUND", 12))
        self.assertEqual(texts(first["messages"] + second["messages"]), [f"text {n}" for n in range(12)])
        unwanted = pull(0, "TagB")
        self.assertEqual((unwanted["status"], unwanted["messages"]), ("NO_MATCHED_MSG", []))
        self.assertGreater(unwanted["next"], 0)
        end, beyond = pull(12), pull(1000)
        self.assertEqual((end["status"], end["next"]), ("NO_NEW_MSG", 12))
        self.assertEqual((beyond["status"], beyond["next"]), ("OFFSET_ILLEGAL", 12))

        known = offsets()
        self.assertEqual((known["min"], known["max"], known["byTime"]), (0, 12, 0))
        self.assertGreaterEqual(known["earliest"], before_ms)
        self.java.call("pull_commit", queue=queue, offset=8, **to)
        self.assertEqual(offsets()["committed"], 8)

    # -- broadcasting ----------------------------------------------------------------------------------------

    def test_every_instance_of_a_broadcasting_group_gets_every_message_and_goes_on_where_it_was(self) -> None:
        producer = self.producer("broadcast", 4)
        clients = [JavaClient(self.namesrv_address) for _ in range(2)]
        for client in clients:
            self.addCleanup(client.stop)

        def start(client: JavaClient) -> Any:
            consumer = client.consumer("broadcast", "broadcast", messageModel="BROADCASTING")
            consumer.wait_assigned(4)
            return consumer

        first, second = start(clients[0]), start(clients[1])
        early = [f"early {number}" for number in range(50)]
        producer.send([message("broadcast", text) for text in early])
        self.assertEqual(bodies(first.received(50)), each_once(early))
        self.assertEqual(bodies(second.received(50)), each_once(early))

        first.stop()
        late = [f"late {number}" for number in range(20)]
        producer.send([message("broadcast", text) for text in late])
        self.assertEqual(bodies(second.received(70)), each_once([*early, *late]))
        # Its progress lies in a file of the client; the broker keeps none for the group.
        again = start(clients[0])
        self.assertEqual(bodies(again.received(20)), each_once(late))

    # -- request and reply -----------------------------------------------------------------------------------

    def test_a_request_gets_the_reply_of_a_consumer_and_one_without_reply_times_out(self) -> None:
        self.producer("requests", 2)
        namesrv = self.namesrv_address
        asker = JavaClient(namesrv)
        self.addCleanup(asker.stop)
        self.java.call("ask_start_replier", group="replier", topic="requests", namesrv=namesrv)
        asker.call("ask_start", asker="asker", namesrv=namesrv)

        def request(body: str, timeout_ms: int) -> dict[str, Any]:
            return asker.call(
                "ask_request", asker="asker", message=message("requests", body), timeoutMs=timeout_ms
            )

        for number in range(5):
            self.assertEqual(request(f"question {number}", 20_000)["reply"], f"re: question {number}")
        with self.assertRaisesRegex(JavaClientFailed, "RequestTimeoutException"):
            request("keep silent", 1500)

    # -- look-ups --------------------------------------------------------------------------------------------

    def test_messages_are_found_by_their_keys_their_unique_ids_and_their_places(self) -> None:
        self.java.call("ask_start", asker="looker", namesrv=self.namesrv_address)
        producer = self.producer("lookups", 4)
        before_ms = int(time.time() * 1000) - 1000
        sent = producer.send(
            [
                message("lookups", f"text {number}", keys=f"key-{number} parity-{number % 2}")
                for number in range(20)
            ]
        )
        after_ms = int(time.time() * 1000) + 1000

        def query(key: str, count: int = 64, begin: int = before_ms, end: int = after_ms) -> list[str]:
            found = self.java.call(
                "ask_query", asker="looker", topic="lookups", key=key, count=count, begin=begin, end=end
            )
            return texts(found["messages"])

        def view(message_id: str, **topic: Any) -> list[str]:
            return texts([self.java.call("ask_view", asker="looker", id=message_id, **topic)["message"]])

        self.assertEqual(query("key-7"), ["text 7"])
        self.assertEqual(sorted(query("parity-1")), sorted(f"text {n}" for n in range(1, 20, 2)))
        self.assertEqual(len(query("parity-0", count=3)), 3)
        with self.assertRaisesRegex(JavaClientFailed, "no message"):
            query("key-99")
        with self.assertRaisesRegex(JavaClientFailed, "no message"):
            query("key-7", begin=1000, end=2000)

        for number in (0, 13):
            result = sent[number]
            self.assertEqual(view(result["offsetMsgId"]), [f"text {number}"])
            self.assertEqual(view(result["offsetMsgId"], topic="lookups"), [f"text {number}"])
            self.assertEqual(view(result["msgId"], topic="lookups"), [f"text {number}"])
        with self.assertRaises(JavaClientFailed):
            view("7F00000100002A9F0000000000000001")
