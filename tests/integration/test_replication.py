"""Master and slave as real processes: catching up, double write, kills, what stops a slave."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    CreateTopicRequestHeader,
    QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader,
    SendMessageResponseHeader,
    UpdateConsumerOffsetRequestHeader,
)
from rocketmq_tx.protocol.message import decode_records
from tests.clusters import HOST, Broker, Cluster, ClusterTestCase, Kind, Ours, cluster_info
from tests.integration.fault_parts import Client, pull_header, send_header
from tests.integration.test_faults_disk import OnDisk
from tests.ports import free_port
from tests.processes import ServerFailed
from tests.store_compare import wait_until_equal
from tests.waiting import wait_until

SMALL_FILES = {"mappedFileSizeCommitLog": str(1 << 20), "mappedFileSizeConsumeQueue": str(20 * 3000)}
TOPIC = "Faults"
QUEUES = 4


class ReplicationCase(ClusterTestCase):
    """One master, and its slaves as a test adds them."""

    def master_of(self, **settings: str) -> Broker:
        self.cluster = Cluster.start(settings={**SMALL_FILES, **settings}, kind=Ours())
        self.addCleanup(self.stop_cluster)
        return self.cluster.broker()

    def stop_cluster(self) -> None:
        """Those that run must stop in an orderly way; what was killed has gone already."""
        for broker in self.cluster.brokers.values():
            if not broker.process.is_running:
                broker.process.kill()
        self.cluster.stop()

    def slave_of(
        self, start: bool = True, broker_id: int = 1, kind: Kind | None = None, **settings: str
    ) -> Broker:
        assert self.cluster is not None
        slave = self.cluster.add_broker(
            "broker-a", broker_id, {**SMALL_FILES, "brokerRole": "SLAVE", **settings}, kind
        )
        if start:
            slave.start()
        return slave

    def client(self, broker: Broker) -> Client:
        client = Client(broker.port)
        self.addCleanup(client.close)
        return client

    def send(self, broker: Broker, count: int, body_bytes: int = 1000) -> list[int]:
        """The codes of the answers."""
        client = self.client(broker)
        frames = [
            Frame.request(
                RequestCode.SEND_MESSAGE_V2, send_header(TOPIC, n % QUEUES), b"%d-" % n + b"x" * body_bytes
            )
            for n in range(count)
        ]
        client.send(*frames)
        return [client.receive().code for _ in frames]

    def wait_in_sync(self, master: Broker) -> None:
        """Until a double write succeeds."""
        client = self.client(master)
        wait_until(lambda: client.send_message(TOPIC).code == ResponseCode.SUCCESS, "a slave is in sync", 20)


def store_of(broker: Broker) -> Path:
    return broker.process.folder / "store"


class CatchingUpTests(ReplicationCase):
    def test_a_slave_catches_up_from_nothing_and_after_it_was_away(self) -> None:
        master = self.master_of()
        self.assertEqual(set(self.send(master, 3000)), {0})
        slave = self.slave_of()
        wait_until_equal(store_of(master), store_of(slave))
        self.assertGreater(len(list((store_of(slave) / "commitlog").iterdir())), 2)
        slave.stop()
        self.send(master, 2000)
        slave.start()
        wait_until_equal(store_of(master), store_of(slave))
        slave.kill()
        self.send(master, 500)
        slave.start()
        wait_until_equal(store_of(master), store_of(slave))

    def test_a_slave_that_is_started_first_finds_its_master(self) -> None:
        master = self.master_of()
        master.stop()
        slave = self.slave_of()
        master.start()
        self.send(master, 10)
        wait_until_equal(store_of(master), store_of(slave), 20)

    def test_consumers_who_wait_at_a_slave_get_messages_as_they_come(self) -> None:
        master = self.master_of()
        slave = self.slave_of()
        self.send(master, 1)
        wait_until_equal(store_of(master), store_of(slave))
        client = self.client(slave)
        wait_until(lambda: client.pull(0, TOPIC).code == 0, "the slave knows topic and message", 8)
        client.send(Frame.request(RequestCode.PULL_MESSAGE, pull_header(TOPIC, 0, 1, sys_flag=6)))
        self.send(master, 1)
        self.assertEqual([record.body[:2] for record in decode_records(client.receive().body)], [b"0-"])

    def test_a_new_topic_is_known_to_the_slave_at_once(self) -> None:
        master = self.master_of()
        slave = self.slave_of()
        wait_until(lambda: "following" in slave.process.output(), "the slave follows")
        header = CreateTopicRequestHeader(
            topic="News", default_topic="TBW102", read_queue_nums=3, write_queue_nums=3, perm=6,
            topic_filter_type="SINGLE_TAG", topic_sys_flag=0, order=False,
        )  # fmt: skip
        self.assertEqual(self.client(master).ask(RequestCode.UPDATE_AND_CREATE_TOPIC, header).code, 0)
        topics = store_of(slave) / "config" / "topics.json"
        wait_until(lambda: topics.exists() and "News" in topics.read_text(), "the slave has it", 6)

    def test_a_slave_takes_no_message(self) -> None:
        self.master_of()
        answer = self.client(self.slave_of()).send_message(TOPIC)
        self.assertEqual(answer.code, ResponseCode.SERVICE_NOT_AVAILABLE)
        self.assertIn("slave", answer.remark)


class DoubleWriteTests(ReplicationCase):
    def test_the_statuses_tell_when_the_slave_goes_and_comes_back(self) -> None:
        """Row 34: the master goes on."""
        master = self.master_of(brokerRole="SYNC_MASTER")
        self.assertEqual(set(self.send(master, 5)), {ResponseCode.SLAVE_NOT_AVAILABLE})
        slave = self.slave_of()
        self.wait_in_sync(master)
        self.assertEqual(set(self.send(master, 200)), {ResponseCode.SUCCESS})
        slave.kill()
        wait_until(lambda: "slave gone" in master.process.output(), "the master has noticed", 5)
        self.assertEqual(set(self.send(master, 20)), {ResponseCode.SLAVE_NOT_AVAILABLE})
        slave.start()
        self.wait_in_sync(master)
        wait_until_equal(store_of(master), store_of(slave))

    def test_a_slave_that_stands_still_makes_FLUSH_SLAVE_TIMEOUT_and_nothing_else(self) -> None:
        """Row 34: stopped by a signal, it keeps its connection and takes nothing."""
        master = self.master_of(brokerRole="SYNC_MASTER", slaveTimeout="300")
        slave = self.slave_of()
        self.wait_in_sync(master)
        os.kill(slave.process.pid, signal.SIGSTOP)
        try:
            self.assertEqual(set(self.send(master, 50)), {ResponseCode.FLUSH_SLAVE_TIMEOUT})
            self.assertGreaterEqual(len(decode_records(self.client(master).pull(0, TOPIC).body)), 10)
        finally:
            os.kill(slave.process.pid, signal.SIGCONT)
        self.wait_in_sync(master)
        wait_until_equal(store_of(master), store_of(slave))

    def test_a_slave_whose_disk_is_full_holds_nobody_up_and_catches_up_when_there_is_room(self) -> None:
        """Row 34."""
        master = self.master_of(brokerRole="SYNC_MASTER", slaveTimeout="500")
        slave = self.slave_of(kind=OnDisk("size=6m"))
        store = Path(f"/proc/{slave.process.pid}/root{store_of(slave)}")
        self.wait_in_sync(master)
        ballast = store / "ballast"
        ballast.write_bytes(bytes(3 << 20))
        codes = set()
        for _ in range(10):
            codes |= set(self.send(master, 300))
        self.assertIn(ResponseCode.SUCCESS, codes)
        self.assertLessEqual(
            codes, {ResponseCode.SUCCESS, ResponseCode.FLUSH_SLAVE_TIMEOUT, ResponseCode.SLAVE_NOT_AVAILABLE}
        )
        wait_until(
            lambda: set(self.send(master, 1)) == {ResponseCode.SLAVE_NOT_AVAILABLE},
            "the slave stays away",
            30,
        )
        self.assertEqual(self.client(slave).pull(0, TOPIC).code, 0)
        ballast.unlink()
        wait_until(lambda: set(self.send(master, 1)) == {ResponseCode.SUCCESS}, "the slave is back", 60)
        wait_until_equal(store_of(master), store)

    def test_everything_acknowledged_is_on_the_slave_when_the_master_is_killed(self) -> None:
        """Row 33, three times: under load the master gets SIGKILL."""
        master = self.master_of(brokerRole="SYNC_MASTER")
        slave = self.slave_of()
        for _ in range(3):
            self.wait_in_sync(master)
            senders = [Sender(master.port, queue_id) for queue_id in range(QUEUES)]
            wait_until(lambda senders=senders: min(len(one.acknowledged) for one in senders) > 200, "load")
            master.kill()
            for sender in senders:
                sender.join(10)
            for sender in senders:
                self.assertOnSlave(slave, sender)
            master.start()

    def assertOnSlave(self, slave: Broker, sender: Sender) -> None:
        stored: dict[int, bytes] = {}
        offset = min(sender.acknowledged)
        client = self.client(slave)
        while offset <= max(sender.acknowledged):
            answer = client.pull(offset, TOPIC, sender.queue_id)
            self.assertEqual(answer.code, 0, f"{answer.remark} at {offset} of {max(sender.acknowledged)}")
            for record in decode_records(answer.body):
                stored[record.queue_offset] = record.body
                offset = record.queue_offset + 1
        lost = {at: body for at, body in sender.acknowledged.items() if stored.get(at) != body}
        self.assertEqual(lost, {})


class Sender(threading.Thread):
    """Sends to one queue until the broker has gone; `acknowledged`: what got SEND_OK, by queue offset."""

    def __init__(self, port: int, queue_id: int) -> None:
        super().__init__(daemon=True)
        self.queue_id = queue_id
        self.acknowledged: dict[int, bytes] = {}
        self._client = Client(port)
        self.start()

    def run(self) -> None:
        number = 0
        try:
            while True:
                bodies = [b"%d-%d" % (self.queue_id, number + n) for n in range(8)]
                number += 8
                header = send_header(TOPIC, self.queue_id)
                frames = [Frame.request(RequestCode.SEND_MESSAGE_V2, header, body) for body in bodies]
                self._client.send(*frames)
                for _ in bodies:
                    answer = self._client.receive()
                    if answer.code == ResponseCode.SUCCESS:
                        sent = SendMessageResponseHeader.from_ext_fields(answer.ext_fields)
                        self.acknowledged[sent.queue_offset] = bodies[(answer.opaque - 1) % 8]
        except OSError:
            self._client.close()


class OffsetTests(ReplicationCase):
    def test_offsets_committed_to_a_slave_come_back_to_its_master(self) -> None:
        master = self.master_of()
        slave = self.slave_of()
        self.send(master, 40)
        self.commit(self.client(master), 3)
        wait_until(lambda: self.offset(slave) == 3, "the slave has the offset", 20)
        master.kill()
        self.commit(self.client(slave), 7)
        master.start()
        self.assertEqual(self.offset(master), 7)
        self.commit(self.client(master), 9)
        wait_until(lambda: self.offset(slave) == 9, "the slave has the offset", 20)

    def commit(self, client: Client, offset: int) -> None:
        header = UpdateConsumerOffsetRequestHeader(
            consumer_group="readers", topic=TOPIC, queue_id=0, commit_offset=offset
        )
        self.assertEqual(client.ask(RequestCode.UPDATE_CONSUMER_OFFSET, header).code, 0)

    def offset(self, broker: Broker) -> int:
        header = QueryConsumerOffsetRequestHeader(consumer_group="readers", topic=TOPIC, queue_id=0)
        with Client(broker.port) as client:
            answer = client.ask(RequestCode.QUERY_CONSUMER_OFFSET, header)
        return QueryConsumerOffsetResponseHeader.from_ext_fields(answer.ext_fields).offset


class StoppedSlaveTests(ReplicationCase):
    """Row 36."""

    def test_a_slave_whose_log_differs_says_where_and_keeps_it(self) -> None:
        master = self.master_of()
        slave = self.slave_of()
        self.send(master, 100, body_bytes=500)
        wait_until_equal(store_of(master), store_of(slave))
        slave.stop()
        before = {path.name: path.read_bytes() for path in (store_of(slave) / "commitlog").iterdir()}
        master.stop()
        shutil.rmtree(store_of(master))
        master.start()
        self.send(master, 300, body_bytes=501)
        slave.start()
        wait_until(lambda: "replication is stopped" in slave.process.output(), "the slave says so", 20)
        self.assertIn("differs from that of its master", slave.process.output())
        self.assertIn("at offset 3 ", slave.process.output())  # the last byte of the first record's length
        self.assertEqual(
            before, {path.name: path.read_bytes() for path in (store_of(slave) / "commitlog").iterdir()}
        )
        self.assertEqual(self.client(slave).pull(0, TOPIC).code, 0)

    def test_a_slave_that_is_ahead_says_so_and_follows_when_the_master_got_its_store(self) -> None:
        master = self.master_of()
        self.send(master, 10)
        master.stop()
        kept = store_of(master).with_name("kept")
        shutil.copytree(store_of(master), kept)
        master.start()
        slave = self.slave_of()
        self.send(master, 10)
        wait_until_equal(store_of(master), store_of(slave))
        slave.stop()
        master.stop()
        shutil.rmtree(store_of(master))
        kept.rename(store_of(master))
        master.start()
        slave.start()
        wait_until(lambda: "beyond the end" in slave.process.output(), "the slave says so", 20)
        slave.stop()
        master.stop()
        shutil.rmtree(store_of(master))
        shutil.copytree(store_of(slave), store_of(master))
        master.start()
        slave.start()
        self.send(master, 10)
        wait_until_equal(store_of(master), store_of(slave))


class PortTests(ReplicationCase):
    def published(self) -> str:
        """What the NameServer tells slaves."""
        assert self.cluster is not None
        return self.cluster.broker().process.output()

    def test_the_port_is_listenPort_plus_10000(self) -> None:
        master = self.master_of()
        self.assertIn(f"listening for slaves: address=0.0.0.0:{master.port + 10_000}", self.published())

    def test_a_taken_one_is_replaced_by_a_free_one_that_slaves_learn(self) -> None:
        master = self.master_of()
        master.stop()
        with socket.create_server((HOST, master.port + 10_000)):
            master.start()
            self.assertNotIn(f"0.0.0.0:{master.port + 10_000}", self.published())
            self.send(master, 5)
            slave = self.slave_of()
            wait_until_equal(store_of(master), store_of(slave), 20)

    def test_a_given_one_that_is_taken_refuses_the_start(self) -> None:
        master = self.master_of()
        assert self.cluster is not None
        port = free_port()
        other = self.cluster.add_broker("broker-b", settings={"haListenPort": str(port)})
        with socket.create_server((HOST, port)):
            self.assertRaises(ServerFailed, other.start)
        self.assertIn("haListenPort", other.process.output())
        self.assertNotIn("Traceback", other.process.output())
        del self.cluster.brokers["broker-b"]
        self.assertTrue(master.is_routed())

    def test_a_slave_opens_none(self) -> None:
        self.master_of()
        slave = self.slave_of()
        self.assertNotIn("listening for slaves", slave.process.output())


class RoleTests(ReplicationCase):
    def test_a_slave_with_the_number_of_a_master_is_refused(self) -> None:
        self.master_of()
        assert self.cluster is not None
        wrong = self.cluster.add_broker("broker-c", settings={"brokerRole": "SLAVE", "brokerId": "0"})
        self.assertRaises(ServerFailed, wrong.start)
        self.assertIn("Slave's brokerId must be > 0", wrong.process.output())
        del self.cluster.brokers["broker-c"]


class TwoNameServersTests(ReplicationCase):
    def test_a_set_goes_on_when_one_of_two_name_servers_dies(self) -> None:
        master = self.master_of()
        assert self.cluster is not None
        second = Cluster.start(brokers=0, kind=Ours())
        self.addCleanup(second.kill)
        both: Mapping[str, str] = {
            "namesrvAddr": f"{second.namesrv_address};{self.cluster.namesrv_address}",
            "registerNameServerPeriod": "10000",
        }
        master.stop()
        write_more(master, both)
        master.start()
        slave = self.slave_of(**{**both, "namesrvAddr": both["namesrvAddr"].replace(";", ",")})
        wait_until(lambda: slave.address in cluster_info(second.namesrv_address), "both know the slave")
        second.namesrv.kill()
        slave.stop()
        self.send(master, 20)
        slave.start()
        wait_until_equal(store_of(master), store_of(slave), 20)


def write_more(broker: Broker, settings: Mapping[str, str]) -> None:
    """Later lines of a properties file win."""
    with (broker.process.folder / "broker.properties").open("a") as file:
        file.writelines(f"{key}={value}\n" for key, value in settings.items())
