"""Mixed sets when the master changes, and Apache's NameServer with two masters of ours."""

from __future__ import annotations

import shutil

from rocketmq_tx.protocol.codes import ResponseCode
from tests.clusters import Apache, Broker, Mixed, Ours, write_properties
from tests.integration.test_promotion import mqpromote
from tests.integration.test_replication import store_of
from tests.interop.java_client import JavaClient, bodies, message
from tests.interop.test_replication_apache import SMALL_FILES, MixedCase
from tests.store_compare import wait_until_equal
from tests.waiting import wait_until

QUICK = {"registerNameServerPeriod": "10000"}
"""An Apache slave hears of another master when it registers."""

QUICK_REBALANCE = {"rocketmq.client.rebalance.waitInterval": "1000"}


def become(broker: Broker, role: str, broker_id: int) -> None:
    """What an operator writes into the file of a stopped broker."""
    config = broker.process.folder / "broker.properties"
    values = dict(line.split("=", 1) for line in config.read_text().splitlines())
    write_properties(config, {**values, "brokerRole": role, "brokerId": str(broker_id)})


class ChangesWithApache(MixedCase):
    def test_our_former_master_follows_the_apache_slave_that_was_made_master(self) -> None:
        former = self.start(Ours(), Ours())
        self.send(former, 200)
        apache = self.slave(Apache())
        wait_until_equal(store_of(former), store_of(apache), 60)
        former.kill()
        apache.stop()
        become(apache, "ASYNC_MASTER", 0)
        become(former, "SLAVE", 1)
        apache.start()
        self.assertEqual(set(self.send(apache, 100)), {ResponseCode.SUCCESS})
        former.start()
        wait_until_equal(store_of(apache), store_of(former), 60)
        for queue_id in range(4):
            self.assertEqual(len(self.pulled(former, queue_id)), 75)
            self.assertEqual(self.pulled(former, queue_id), self.pulled(apache, queue_id))

    def test_an_apache_slave_follows_whichever_broker_of_ours_leads(self) -> None:
        first = self.start(Ours(), Ours())
        second = self.slave(Ours())
        assert self.cluster is not None
        settings = {**SMALL_FILES, **QUICK, "brokerRole": "SLAVE"}
        apache = self.cluster.add_broker("broker-a", 2, settings, kind=Apache())
        apache.start()
        self.send(first, 200)
        wait_until_equal(store_of(first), store_of(second), 60)
        wait_until_equal(store_of(first), store_of(apache), 60)
        first.kill()
        self.promote(second, "--force")
        self.assertEqual(set(self.send(second, 100)), {ResponseCode.SUCCESS})
        first.start()
        wait_until_equal(store_of(second), store_of(first), 60)
        self.promote(first)
        self.assertEqual(set(self.send(first, 100)), {ResponseCode.SUCCESS})
        wait_until_equal(store_of(first), store_of(apache), 60)

    def promote(self, broker: Broker, *options: str) -> None:
        done = mqpromote(broker, *options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_an_apache_slave_that_has_what_our_master_has_lost_gets_nothing_more(self) -> None:
        """Not even when the master's log is longer again, with other messages."""
        master = self.start(Ours(), Ours())
        self.send(master, 20)
        master.stop()
        kept = store_of(master).with_name("kept")
        shutil.copytree(store_of(master), kept)
        master.start()
        self.send(master, 20)
        apache = self.slave(Apache())
        wait_until_equal(store_of(master), store_of(apache), 60)
        log = store_of(apache) / "commitlog" / f"{0:020}"
        before = log.read_bytes()
        master.stop()
        shutil.rmtree(store_of(master))
        kept.rename(store_of(master))
        master.start()
        self.send(master, 40, body_bytes=777)
        wait_until(lambda: "it needs an empty store" in master.process.output(), "the master says so", 30)
        self.assertNotIn("slave follows", master.process.output())
        self.assertEqual(log.read_bytes(), before)


class ApacheNameServerTests(MixedCase):
    def test_clients_go_on_with_one_of_two_masters_and_with_both_when_it_is_back(self) -> None:
        cluster = self.own_cluster(kind=Mixed(Apache(), Ours()), brokers=2)
        one, other = cluster.broker("broker-a"), cluster.broker("broker-b")
        with JavaClient(cluster.namesrv_address, **QUICK_REBALANCE) as java:
            producer = java.producer("two-masters")
            java.call("create_topic", producer="two-masters", topic="TwoMasters", queues=2)
            consumer = java.consumer("two-masters", "TwoMasters")
            wanted: set[bytes] = set()

            def sent_to(count: int) -> set[str]:
                """Brokers that took the next messages; every one is acknowledged."""
                texts = [f"{len(wanted) + number}" for number in range(count)]
                wanted.update(text.encode() for text in texts)
                results = producer.send([message("TwoMasters", text) for text in texts])
                self.assertEqual({result["status"] for result in results}, {"SEND_OK"})
                return {result["brokerName"] for result in results}

            both = {"broker-a", "broker-b"}
            wait_until(lambda: sent_to(4) == both, "both are routed", 20)
            one.kill()
            self.assertEqual(sent_to(40), {"broker-b"})
            wait_until(lambda: not one.is_routed(), "the NameServer forgets it", 20)
            self.assertTrue(other.is_routed())
            one.start()
            wait_until(lambda: sent_to(4) == both, "both are used again", 20)
            wait_until(lambda: wanted <= set(bodies(consumer.received())), "all came", 30)
