"""Brokers that agree by ZooKeeper who is master, as real processes: kills, and a ZooKeeper that is not there.

Faults 37 and 38; every history that chance finds is in tests.unit.test_failover_simulated. Needs Java.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct

from benchmarks.failover_loop import TAKEN, Pair, run
from tests.clusters import Broker, ClusterTestCase
from tests.integration.test_promotion import mqpromote
from tests.interop.java_client import QUICK_CONSUMER, JavaClient, JavaClientFailed, bodies, message
from tests.interop.toolchain import require_java
from tests.waiting import wait_until
from tests.zookeeper import Proxy, ZooKeeper

TOPIC = "Agreed"
TAKES_OVER_S = 10.0
"""What is promised: a session of 4 s, a tick of ZooKeeper's, and the route refresh of the client."""


def refusal_of(broker: Broker) -> str:
    """What a producer is told that still sends there: by a request built here."""
    header = {
        "code": 10, "flag": 0, "language": "JAVA", "opaque": 1, "version": 407,
        "extFields": {
            "producerGroup": "late", "topic": TOPIC, "defaultTopic": "TBW102", "defaultTopicQueueNums": "1",
            "queueId": "0", "sysFlag": "0", "bornTimestamp": "1", "flag": "0", "properties": "",
        },
    }  # fmt: skip
    encoded = json.dumps(header).encode()
    with socket.create_connection(("127.0.0.1", broker.port), timeout=10) as connection:
        connection.sendall(struct.pack(">ii", 4 + len(encoded), len(encoded)) + encoded)
        with connection.makefile("rb") as answer:
            (size,) = struct.unpack(">i", answer.read(4))
            return answer.read(size).decode(errors="replace")


class KilledMasterTests(ClusterTestCase):
    timeout = 400

    def test_alternating_masters_killed_under_load_lose_nothing_and_keep_the_order(self) -> None:
        require_java()
        outcome = run(kills=2, queues=4, pause_ms=5, quiet_s=1.0)
        self.assertEqual((outcome.missing, outcome.out_of_order), ({}, {}))
        self.assertGreater(outcome.statuses["SEND_OK"], 500)
        for gap in outcome.gaps:
            self.assertLess(gap.all_ms, TAKES_OVER_S * 1000)


class ZooKeeperFaultTests(ClusterTestCase):
    timeout = 400

    def setUp(self) -> None:
        require_java()
        self.zookeeper = ZooKeeper()
        self.addCleanup(self.zookeeper.remove)
        self.zookeeper.start()
        self.ways = [Proxy(self.zookeeper.port), Proxy(self.zookeeper.port)]
        for way in self.ways:
            self.addCleanup(way.close)
        self.pair = Pair([way.address for way in self.ways])
        self.cluster = self.pair.cluster
        self.addCleanup(self.cluster.kill)
        self.pair.start()
        self.first, self.second = self.pair.brokers
        self.java = JavaClient(self.cluster.namesrv_address)
        self.addCleanup(self.java.kill)
        self.producer = self.java.producer("agreed", sendMsgTimeout=1500)
        self.producer.create_topic(TOPIC, 1)
        self.sent: list[str] = []
        self.safe: list[str] = []
        wait_until(lambda: self.send() == "SEND_OK", "messages are taken")

    def send(self) -> str:
        """The status of one message, or the reason why there is none."""
        body = f"{len(self.sent)}"
        self.sent.append(body)
        try:
            status = str(self.producer.send([message(TOPIC, body)])[0]["status"])
        except JavaClientFailed as failure:
            return str(failure)
        if status == "SEND_OK":
            self.safe.append(body)
        return status

    def session_is_gone(self, *brokers: Broker) -> None:
        for broker in brokers:
            wait_until(
                lambda broker=broker: "no connection to ZooKeeper" in broker.process.output(),
                "the session is seen to be gone",
            )

    def check_nothing_lost(self) -> None:
        """Whoever is master has what was answered SEND_OK."""
        consumer = self.java.consumer("check", TOPIC, **QUICK_CONSUMER)
        wanted = {body.encode() for body in self.safe}
        wait_until(lambda: wanted <= set(bodies(consumer.received())), "all that was SEND_OK is there", 60)

    def test_without_zookeeper_nobody_takes_over_and_messages_are_taken_while_both_are_there(self) -> None:
        self.zookeeper.kill()
        self.session_is_gone(self.first, self.second)
        self.assertEqual({self.send() for _ in range(20)}, {"SEND_OK"})
        self.second.kill()
        wait_until(lambda: "no session" in refusal_of(self.first), "a master alone refuses")
        self.assertNotIn(self.send(), TAKEN)
        self.first.kill()
        self.second.process.start()
        self.second.process.wait_for_output("boot success")
        self.session_is_gone(self.second)
        self.assertNotIn("elected", self.second.process.output())
        self.zookeeper.start()
        self.second.process.wait_for_output("elected", 30)
        wait_until(lambda: self.send() in TAKEN, "messages are taken again")
        self.check_nothing_lost()

    def test_a_frozen_zookeeper_is_as_one_that_is_not_there(self) -> None:
        self.zookeeper.freeze()
        self.session_is_gone(self.first, self.second)
        self.assertEqual({self.send() for _ in range(20)}, {"SEND_OK"})
        self.zookeeper.thaw()
        self.first.process.wait_for_output("session with ZooKeeper")
        wait_until(lambda: self.send() in TAKEN, "messages are taken whoever is master now")
        self.pair.wait_in_sync()
        wait_until(lambda: self.send() == "SEND_OK", "both are in sync")
        self.check_nothing_lost()

    def test_a_master_cut_off_from_zookeeper_is_deposed_and_acknowledges_nothing_after_that(self) -> None:
        self.ways[0].cut()
        self.second.process.wait_for_output("elected", 30)
        wait_until(lambda: self.send() in TAKEN, "messages are taken by the other", TAKES_OVER_S)
        self.assertIn("no session", refusal_of(self.first))
        self.ways[0].heal()
        self.first.process.wait_for_output("this broker is a slave now", 30)
        wait_until(lambda: self.send() == "SEND_OK", "both are in sync", 60)
        self.check_nothing_lost()

    def test_a_slave_cut_off_from_zookeeper_goes_on_acknowledging(self) -> None:
        self.ways[1].cut()
        self.session_is_gone(self.second)
        self.assertEqual({self.send() for _ in range(20)}, {"SEND_OK"})
        self.assertNotIn("elected", self.second.process.output())
        self.ways[1].heal()
        wait_until(lambda: self.second.process.output().count("session with ZooKeeper") > 1, "it is back", 30)
        self.assertEqual({self.send() for _ in range(20)}, {"SEND_OK"})

    def test_a_frozen_master_is_replaced_and_wakes_up_as_a_slave(self) -> None:
        os.killpg(self.first.process.pid, signal.SIGSTOP)
        self.addCleanup(os.killpg, self.first.process.pid, signal.SIGCONT)
        self.second.process.wait_for_output("elected", 30)
        wait_until(lambda: self.send() in TAKEN, "messages are taken by the other", 20)
        os.killpg(self.first.process.pid, signal.SIGCONT)
        self.first.process.wait_for_output("the session with ZooKeeper has expired", 30)
        self.first.process.wait_for_output("this broker is a slave now", 30)
        wait_until(lambda: self.send() == "SEND_OK", "both are in sync", 60)
        self.check_nothing_lost()

    def test_a_master_that_stops_in_order_is_followed_at_once_and_nobody_else_promotes(self) -> None:
        by_hand = mqpromote(self.second, "--force")
        self.assertEqual(by_hand.returncode, 1)
        self.assertIn("stop the master in order", by_hand.stdout + by_hand.stderr)
        self.first.stop()
        self.second.process.wait_for_output("elected", 2)
        wait_until(lambda: self.send() in TAKEN, "messages are taken by the other", 5)
        self.first.process.start()
        wait_until(lambda: self.send() == "SEND_OK", "both are in sync", 60)
        self.check_nothing_lost()
