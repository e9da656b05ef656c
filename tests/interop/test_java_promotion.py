"""The unmodified Java client while slaves are promoted: it follows by route refresh, and loses nothing."""

from __future__ import annotations

from tests.clusters import Broker, Cluster, ClusterTestCase, Ours
from tests.integration.test_promotion import mqpromote
from tests.integration.test_replication import store_of
from tests.interop.java_client import JavaClient, JavaClientFailed, bodies, message
from tests.interop.toolchain import require_java
from tests.store_compare import wait_until_equal
from tests.waiting import wait_until

TOPIC = "Promoted"
QUEUES = 4
FOLLOWS_WITHIN_S = 30.0
"""What the client asks for routes by itself, were it not told to do so more often."""


class JavaPromotionTests(ClusterTestCase):
    timeout = 600

    def setUp(self) -> None:
        require_java()
        self.cluster = Cluster.start(settings={"brokerRole": "SYNC_MASTER"}, kind=Ours())
        self.addCleanup(self.cluster.kill)
        self.first = self.cluster.broker()
        self.second = self.cluster.add_broker("broker-a", 1, {"brokerRole": "SLAVE"})
        self.second.start()
        self.java = JavaClient(self.cluster.namesrv_address)
        self.addCleanup(self.java.kill)
        self.producer = self.java.producer("promotion-producer")
        self.producer.create_topic(TOPIC, QUEUES)
        self.sent = 0
        self.acknowledged: list[bytes] = []
        wait_until(lambda: self.status(message(TOPIC, "sync")) == "SEND_OK", "the slave is in sync")

    def status(self, made: dict[str, object], queue_id: int = 0) -> str:
        try:
            return str(self.producer.send([made], queueId=queue_id)[0]["status"])
        except JavaClientFailed as failure:
            return str(failure)

    def send(self, count: int) -> None:
        """To each queue one after the other, each again until it is acknowledged, as who needs order does."""
        for _ in range(count):
            for queue_id in range(QUEUES):
                body = f"{queue_id}-{self.sent}"
                made = message(TOPIC, body)
                wait_until(
                    lambda made=made, queue_id=queue_id: self.status(made, queue_id) == "SEND_OK",
                    f"{body} is acknowledged",
                    FOLLOWS_WITHIN_S,
                )
                self.acknowledged.append(body.encode())
            self.sent += 1

    def promote(self, broker: Broker) -> str:
        done = mqpromote(broker)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_producers_and_order_consumers_follow_promotions(self) -> None:
        consumer = self.java.consumer("promotion", TOPIC, listener={"orderly": True})
        self.send(50)
        self.assertIn("HAND_OVER", self.promote(self.second))
        self.send(50)
        wait_until_equal(store_of(self.second), store_of(self.first))
        self.second.kill()
        self.assertIn("COMPLETE", self.promote(self.first))
        self.second.start()
        self.send(50)
        wait_until_equal(store_of(self.first), store_of(self.second))
        wanted = set(self.acknowledged)
        wait_until(lambda: wanted <= set(bodies(consumer.received())), "everything acknowledged came", 90)
        for queue_id in range(QUEUES):
            came = [
                int(body.partition(b"-")[2])
                for body in dict.fromkeys(bodies_in_order(consumer.received()))
                if body.startswith(b"%d-" % queue_id)
            ]
            self.assertEqual(came, sorted(came), f"queue {queue_id} came out of order")
            self.assertEqual(came, list(range(150)))


def bodies_in_order(messages: list[dict[str, object]]) -> list[bytes]:
    """Each in order of arrival, with what was delivered again."""
    return [body for made in messages for body in bodies([made])]
