"""Mixed clusters with Apache RocketMQ 4.9.7: each side's slave follows the other's master, byte for byte."""

from __future__ import annotations

import shutil
from typing import ClassVar

from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.message import decode_records
from tests.clusters import Apache, Broker, Cluster, ClusterTestCase, Kind, Mixed, Ours
from tests.integration.fault_parts import Client, send_header
from tests.integration.test_replication import store_of
from tests.interop.toolchain import require_java
from tests.store_compare import wait_until_equal
from tests.waiting import wait_until

SMALL_FILES = {
    "mappedFileSizeCommitLog": str(1 << 20),
    "mappedFileSizeConsumeQueue": str(20 * 3000),
    "haSendHeartbeatInterval": "1000",  # an Apache slave says nothing before it has passed once
    "flushDiskType": "ASYNC_FLUSH",
}
TOPIC = "Mixed"


class MixedCase(ClusterTestCase):
    timeout = 600

    def setUp(self) -> None:
        require_java()

    def start(self, namesrv: Kind, master: Kind, **settings: str) -> Broker:
        self.cluster = Cluster.start(settings={**SMALL_FILES, **settings}, kind=Mixed(namesrv, master))
        self.addCleanup(self.cluster.kill)
        return self.cluster.broker()

    def slave(self, kind: Kind, **settings: str) -> Broker:
        assert self.cluster is not None
        slave = self.cluster.add_broker(
            "broker-a", 1, {**SMALL_FILES, "brokerRole": "SLAVE", **settings}, kind=kind
        )
        slave.start()
        return slave

    def send(self, broker: Broker, count: int, body_bytes: int = 1000, topic: str = TOPIC) -> list[int]:
        with Client(broker.port) as client:
            codes = []
            for n in range(count):
                frame = Frame.request(
                    RequestCode.SEND_MESSAGE_V2, send_header(topic, n % 4), b"%d-" % n + b"x" * body_bytes
                )
                client.send(frame)
                codes.append(client.receive().code)
        return codes

    def pulled(self, broker: Broker, queue_id: int) -> list[bytes]:
        bodies: list[bytes] = []
        with Client(broker.port) as client:
            while True:
                answer = client.pull(len(bodies), TOPIC, queue_id)
                if answer.code != ResponseCode.SUCCESS:
                    return bodies
                bodies += [record.body for record in decode_records(answer.body)]


class MixedTests:
    """What holds for either mixture."""

    NAMESRV: ClassVar[Kind]
    MASTER: ClassVar[Kind]
    SLAVE: ClassVar[Kind]

    def test_the_slave_catches_up_and_stays_equal(self) -> None:
        master = self.start(self.NAMESRV, self.MASTER)
        self.assertEqual(set(self.send(master, 1000)), {0})
        slave = self.slave(self.SLAVE)
        self.send(master, 1500)
        wait_until_equal(store_of(master), store_of(slave), 90)
        slave.stop()
        self.send(master, 1500)
        slave.start()
        self.send(master, 10)
        wait_until_equal(store_of(master), store_of(slave), 90)
        for queue_id in range(4):
            self.assertEqual(self.pulled(slave, queue_id), self.pulled(master, queue_id))

    def test_a_double_write_is_acknowledged(self) -> None:
        master = self.start(self.NAMESRV, self.MASTER, brokerRole="SYNC_MASTER")
        self.assertEqual(set(self.send(master, 3)), {ResponseCode.SLAVE_NOT_AVAILABLE})
        slave = self.slave(self.SLAVE)
        wait_until(lambda: self.send(master, 1) == [0], "the slave is in sync", 60)
        self.assertEqual(set(self.send(master, 50)), {0})
        wait_until_equal(store_of(master), store_of(slave), 60)

    def test_a_new_topic_of_the_master_comes_to_the_slave(self) -> None:
        master = self.start(self.NAMESRV, self.MASTER)
        slave = self.slave(self.SLAVE)
        self.send(master, 1, topic="ComesOver")
        topics = store_of(slave) / "config" / "topics.json"
        wait_until(lambda: topics.exists() and "ComesOver" in topics.read_text(), "the slave has it", 60)


class OurSlaveOfApacheTests(MixedTests, MixedCase):
    NAMESRV, MASTER, SLAVE = Ours(), Apache(), Ours()


class ApacheSlaveOfOursTests(MixedTests, MixedCase):
    NAMESRV, MASTER, SLAVE = Apache(), Ours(), Apache()


class DivergedFromApacheTests(MixedCase):
    def test_our_slave_that_is_ahead_of_apaches_log_stops_and_keeps_what_it_has(self) -> None:
        master = self.start(Ours(), Apache())
        self.send(master, 20)
        slave = self.slave(Ours())
        wait_until_equal(store_of(master), store_of(slave), 60)
        slave.stop()
        master.stop()
        kept = store_of(master).with_name("kept")
        shutil.copytree(store_of(master), kept)
        master.start()
        slave.start()
        self.send(master, 20)
        wait_until_equal(store_of(master), store_of(slave), 60)
        slave.stop()
        master.stop()
        shutil.rmtree(store_of(master))
        kept.rename(store_of(master))
        master.start()
        slave.start()
        wait_until(lambda: "beyond the end" in slave.process.output(), "the slave says so", 30)
        self.assertEqual(self.pulled(slave, 0)[5:], [b"%d-" % n + b"x" * 1000 for n in range(0, 20, 4)])

    def test_our_slave_stops_when_apaches_log_is_another(self) -> None:
        master = self.start(Ours(), Apache())
        self.send(master, 20)
        slave = self.slave(Ours())
        wait_until_equal(store_of(master), store_of(slave), 60)
        slave.stop()
        master.stop()
        shutil.rmtree(store_of(master))
        master.start()
        self.send(master, 30, body_bytes=1001)
        slave.start()
        wait_until(lambda: "replication is stopped" in slave.process.output(), "the slave says so", 20)
        self.assertIn("has another record than that of its master", slave.process.output())
