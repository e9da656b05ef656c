"""The unmodified Java client with a master and its slave: who is down is gone around, nothing is lost."""

from __future__ import annotations

from typing import ClassVar

from rocketmq_tx.protocol.bodies import KVTable
from rocketmq_tx.protocol.codes import RequestCode
from tests.clusters import Broker, Cluster, ClusterTestCase, Ours
from tests.integration.fault_parts import Client
from tests.interop.java_client import QUICK_CONSUMER, JavaClient, bodies, message
from tests.interop.toolchain import require_java
from tests.waiting import wait_until

TOPIC = "Failover"


class MasterAndSlaveCase(ClusterTestCase):
    timeout = 600
    SETTINGS: ClassVar[dict[str, str]] = {}
    """Of both."""

    def setUp(self) -> None:
        require_java()
        self.cluster = Cluster.start(settings={**self.SETTINGS, "brokerRole": "SYNC_MASTER"}, kind=Ours())
        self.addCleanup(self.cluster.kill)
        self.slave = self.cluster.add_broker("broker-a", 1, {**self.SETTINGS, "brokerRole": "SLAVE"})
        self.slave.start()
        self.java = JavaClient(self.cluster.namesrv_address)
        self.addCleanup(self.java.kill)
        self.producer = self.java.producer("failover-producer")
        self.producer.create_topic(TOPIC, 4)
        wait_until(lambda: self.statuses(1, "sync") == {"SEND_OK"}, "the slave is in sync")

    def statuses(self, count: int, name: str) -> set[str]:
        sent = self.producer.send([message(TOPIC, f"{name}-{number}") for number in range(count)])
        return {result["status"] for result in sent}


class JavaFailoverTests(MasterAndSlaveCase):
    def test_a_consumer_goes_on_from_the_slave_and_comes_back_with_its_offsets(self) -> None:
        consumer = self.java.consumer("failover", TOPIC, **QUICK_CONSUMER)
        self.assertEqual(self.statuses(200, "before"), {"SEND_OK"})
        wanted = {f"before-{number}".encode() for number in range(200)}
        wait_until(lambda: wanted <= set(bodies(consumer.received())), "all of them came", 60)
        consumer.stop()
        self.assertEqual(self.statuses(100, "last"), {"SEND_OK"})
        self.cluster.broker().kill()

        late = self.java.consumer("failover", TOPIC, name="late", **QUICK_CONSUMER)
        wanted = {f"last-{number}".encode() for number in range(100)}
        wait_until(lambda: wanted <= set(bodies(late.received())), "the slave gives what the master had", 120)
        late.stop()  # commits to the slave

        self.cluster.broker().start()
        again = self.java.consumer("failover", TOPIC, name="again", **QUICK_CONSUMER)
        again.wait_assigned(4)
        wait_until(lambda: self.statuses(1, "after") == {"SEND_OK"}, "the slave is in sync again")
        wait_until(lambda: b"after-0" in bodies(again.received()), "it goes on", 60)
        repeated = set(bodies(again.received())) & wanted
        self.assertEqual(repeated, set(), "what was consumed from the slave came again from the master")

    def test_the_statuses_that_a_producer_gets_when_the_slave_goes_and_returns(self) -> None:
        self.slave.kill()
        wait_until(lambda: "slave gone" in self.cluster.broker().process.output(), "the master knows")
        self.assertEqual(self.statuses(20, "alone"), {"SLAVE_NOT_AVAILABLE"})
        self.slave.start()
        wait_until(lambda: self.statuses(1, "both") == {"SEND_OK"}, "the slave has caught up")
        self.assertEqual(self.statuses(50, "more"), {"SEND_OK"})


class ReadingFromTheSlaveTests(MasterAndSlaveCase):
    """With `slaveReadEnable` a master sends those away who ask for what has left its memory."""

    SETTINGS: ClassVar[dict[str, str]] = {"slaveReadEnable": "true", "accessMessageInMemoryMaxRatio": "0"}

    def given(self, broker: Broker) -> int:
        """How many messages it gave to consumers."""
        with Client(broker.port) as client:
            figures = KVTable.from_bytes(client.ask(RequestCode.GET_BROKER_RUNTIME_INFO).body).table
        return int(figures["msgGetTotalTodayNow"])

    def set_up(self, broker: Broker, line: str) -> None:
        with Client(broker.port) as client:
            self.assertEqual(client.ask(RequestCode.UPDATE_BROKER_CONFIG, body=line.encode()).code, 0)

    def test_a_consumer_far_behind_reads_from_the_slave_and_comes_back_when_it_is_not(self) -> None:
        master = self.cluster.broker()
        self.assertEqual(self.statuses(400, "old"), {"SEND_OK"})
        settings = {**QUICK_CONSUMER, "pullBatchSize": 8}
        consumer = self.java.consumer("far-behind", TOPIC, **settings)
        wanted = {f"old-{number}".encode() for number in range(400)}
        wait_until(lambda: wanted <= set(bodies(consumer.received())), "all of them came", 60)
        self.assertLess(self.given(master), 200)  # the first answer of each queue, which sends it away
        self.assertGreater(self.given(self.slave), 200)

        for broker in (master, self.slave):
            self.set_up(broker, "accessMessageInMemoryMaxRatio=40")
        self.assertEqual(self.statuses(40, "turn"), {"SEND_OK"})  # each queue hears that it is not behind
        wanted = {f"turn-{number}".encode() for number in range(40)}
        wait_until(lambda: wanted <= set(bodies(consumer.received())), "they came", 60)
        before = self.given(master)
        self.assertEqual(self.statuses(100, "new"), {"SEND_OK"})
        wanted = {f"new-{number}".encode() for number in range(100)}
        wait_until(lambda: wanted <= set(bodies(consumer.received())), "the new ones came", 60)
        self.assertEqual(self.given(master) - before, 100)
