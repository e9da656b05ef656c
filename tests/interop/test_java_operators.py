"""What an operator asks of consumers by Apache's admin client 4.9.7: new offsets, doings, tries, groups."""

from __future__ import annotations

import base64
from typing import Any

from tests.clusters import ClusterTestCase, shared_cluster
from tests.interop import toolchain
from tests.interop.java_client import JavaClient, JavaClientFailed, JavaConsumer, bodies, message
from tests.interop.test_java_client import each_once
from tests.waiting import wait_until

#: A client asks for its queues once a second, not every twenty.
QUICK_REBALANCE = {"rocketmq.client.rebalance.waitInterval": "1000"}
RESET_TAKES_S = 60
"""A client that is told of new offsets stands still for ten seconds before it goes on."""
RETRY_QUEUES = 2


def offsets(table: dict[str, Any]) -> dict[int, int]:
    return {int(queue_id): offset for queue_id, offset in table.items()}


class OperatorTests(ClusterTestCase):
    def setUp(self) -> None:
        toolchain.require_java()
        self.cluster = cluster = shared_cluster()
        self.java = JavaClient(cluster.namesrv_address, **QUICK_REBALANCE)
        self.addCleanup(self.java.stop)

    def consumed(self, name: str, queues: int, count: int) -> tuple[JavaConsumer, list[str]]:
        """A live consumer that has taken and committed `count` messages of a topic of its name."""
        producer = self.java.producer(f"{name}-producer")
        producer.create_topic(name, queues)
        texts = [f"{name} {number}" for number in range(count)]
        self.sent = producer.send([message(name, text) for text in texts])
        consumer = self.java.consumer(name, name)
        consumer.received(count)
        consumer.wait_drained()
        return consumer, texts

    def test_a_live_consumer_that_is_reset_to_a_time_consumes_again_from_there(self) -> None:
        consumer, texts = self.consumed("reset", 2, 20)

        answer = self.java.operator("reset", topic="reset", group="reset", timestamp=1, force=True)

        self.assertEqual(offsets(answer["offsets"]), {0: 0, 1: 0})
        twice = each_once(texts) + each_once(texts)
        self.assertEqual(bodies(consumer.received(40, timeout_s=RESET_TAKES_S)), twice)
        self.assertEqual(bodies(consumer.wait_drained()), twice)

    def test_only_force_passes_over_messages(self) -> None:
        """The consumer has committed nothing of what it holds; a reset to the end leaves it where it is."""
        producer = self.java.producer("skip-producer")
        producer.create_topic("skip", 1)
        producer.send([message("skip", f"skip {number}") for number in range(10)])
        consumer = self.java.consumer("skip", "skip", listener={"pauseMs": 600_000})
        consumer.received(1)
        self.java.call("lag", consumer="skip")

        def reset(force: bool) -> dict[int, int]:
            answer = self.java.operator("reset", topic="skip", group="skip", timestamp=-1, force=force)
            return offsets(answer["offsets"])

        self.assertEqual(reset(force=False), {0: 0})
        self.assertEqual(reset(force=True), {0: 10})

    def test_a_group_without_live_consumers_is_not_reset(self) -> None:
        consumer, _ = self.consumed("gone", 1, 1)
        consumer.stop()

        with self.assertRaisesRegex(JavaClientFailed, "CODE: 206 .*Consumer not online"):
            self.java.operator("reset", topic="gone", group="gone", timestamp=1, force=True)

    def test_what_a_live_consumer_does_and_holds_is_shown(self) -> None:
        consumer, _ = self.consumed("shown", 2, 20)
        ended = [0, 0]
        for result in self.sent:
            ended[result["queueId"]] += 1

        running = self.java.operator("running", group="shown", clientId=consumer.client_id)
        self.assertEqual(sorted(running["subscriptions"]), ["%RETRY%shown:*", "shown:*"])
        self.assertEqual(running["properties"]["PROP_CONSUME_TYPE"], "CONSUME_PASSIVELY")
        held = {name: offset for name, offset in running["queues"].items() if name.startswith("shown:")}
        self.assertEqual(held, {"shown:0": ended[0], "shown:1": ended[1]})

        for client_id in ("", consumer.client_id):
            status = self.java.operator("status", topic="shown", group="shown", clientId=client_id)
            self.assertEqual(list(status["clients"]), [consumer.client_id])
            held_by_client = offsets(status["clients"][consumer.client_id])
            self.assertEqual([held_by_client[0], held_by_client[1]], ended)

        with self.assertRaisesRegex(JavaClientFailed, "The Consumer <shown> <nobody> not online"):
            self.java.operator("running", group="shown", clientId="nobody")

    def test_one_message_is_given_to_one_consumer_once_more(self) -> None:
        consumer, texts = self.consumed("tried", 1, 3)

        for number, id_name in ((1, "msgId"), (2, "offsetMsgId")):
            answer = self.java.operator(
                "try",
                group="tried",
                topic="tried",
                clientId=consumer.client_id,
                id=self.sent[number][id_name],
            )
            self.assertEqual((answer["result"], answer["orderly"]), ("CR_SUCCESS", False))

        again = consumer.received(5)[3:]
        self.assertEqual([base64.b64decode(one["body"]).decode() for one in again], texts[1:])

    def test_groups_are_made_shown_and_deleted(self) -> None:
        broker = self.cluster.broker().address  # type: ignore[union-attr]

        def groups() -> dict[str, Any]:
            return dict(self.java.operator("groups", broker=broker)["groups"])

        self.assertNotIn("kept", groups())
        settings = {"retryQueueNums": RETRY_QUEUES, "retryMaxTimes": 3, "consumeBroadcastEnable": False}
        self.java.operator("put_group", broker=broker, group="kept", settings=settings)
        self.assertEqual(groups()["kept"], {**settings, "consumeEnable": True})

        consumer, _ = self.consumed("kept", 1, 1)
        wait_until(lambda: len(self.retry_queues(consumer)) == RETRY_QUEUES, "all retry queues are consumed")
        consumer.stop()
        self.java.operator("delete_group", broker=broker, group="kept", removeOffset=True)
        self.assertNotIn("kept", groups())

    def retry_queues(self, consumer: JavaConsumer) -> list[str]:
        running = self.java.operator("running", group=consumer.name, clientId=consumer.client_id)
        return [name for name in running["queues"] if name.startswith("%RETRY%")]
