"""Numbers of queues over a promotion, with real processes: an acknowledged deletion, and a clean-up."""

from __future__ import annotations

import os
import signal

from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import DeleteTopicRequestHeader
from rocketmq_tx.protocol.message import decode_records
from tests.clusters import Broker
from tests.integration.test_promotion import mqpromote
from tests.integration.test_replication import QUEUES, TOPIC, ReplicationCase, store_of
from tests.store_compare import wait_until_equal
from tests.waiting import wait_until

OLD = "Old"
SMALL = {"mappedFileSizeCommitLog": "16384", "fileReservedTime": "0", "cleanResourceInterval": "50"}


class DeletionsAfterPromotion(ReplicationCase):
    def promoted(self, slave: Broker) -> None:
        done = mqpromote(slave, "--force")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def numbers(self, broker: Broker, topic: str, queue_id: int = 0, begin: int = 0) -> dict[int, bytes]:
        """Numbers and bodies of what a consumer gets from there on."""
        records = decode_records(self.client(broker).pull(begin, topic, queue_id).body)
        return {record.queue_offset: record.body for record in records}

    def test_what_was_deleted_does_not_come_back_however_soon_the_master_dies(self) -> None:
        master, slave = self.master_of(), self.slave_of()
        self.assertEqual(set(self.send(master, 30 * QUEUES)), {0})
        wait_until_equal(store_of(master), store_of(slave))
        with self.client(master) as admin:
            header = DeleteTopicRequestHeader(topic=TOPIC)
            deleted = admin.ask(RequestCode.DELETE_TOPIC_IN_BROKER, header)
            master.kill()
        self.assertEqual((deleted.code, deleted.remark), (ResponseCode.SUCCESS, None))
        self.assertFalse((store_of(slave) / "consumequeue" / TOPIC).exists())
        self.promoted(slave)
        self.assertEqual(set(self.send(slave, QUEUES)), {0})
        for queue_id in range(QUEUES):
            self.assertEqual(list(self.numbers(slave, TOPIC, queue_id)), [0])

    def test_a_slave_that_is_stopped_is_named_and_deletes_when_it_is_back(self) -> None:
        master, slave = self.master_of(), self.slave_of()
        self.send(master, QUEUES)
        wait_until_equal(store_of(master), store_of(slave))
        os.kill(slave.process.pid, signal.SIGSTOP)
        header = DeleteTopicRequestHeader(topic=TOPIC)
        deleted = self.client(master).ask(RequestCode.DELETE_TOPIC_IN_BROKER, header)
        os.kill(slave.process.pid, signal.SIGCONT)
        self.assertEqual(deleted.code, ResponseCode.SUCCESS)
        self.assertIn("not known to all slaves: TAKE_TABLES", deleted.remark or "")
        wait_until(lambda: not (store_of(slave) / "consumequeue" / TOPIC).exists(), "the slave deletes it")

    def test_the_numbers_of_a_cleaned_queue_go_on_at_the_slave_that_takes_over(self) -> None:
        master, slave = self.master_of(**SMALL), self.slave_of(**SMALL)
        client = self.client(master)
        for _ in range(7):
            self.assertEqual(client.send_message(OLD).code, ResponseCode.SUCCESS)
        self.send(master, 100)
        wait_until_equal(store_of(master), store_of(slave))
        for broker in (master, slave):
            admin = self.client(broker)
            self.assertEqual(admin.ask(RequestCode.DELETE_EXPIRED_COMMITLOG).code, ResponseCode.SUCCESS)
            gone = f"{0:020}"
            log = store_of(broker) / "commitlog"
            wait_until(lambda log=log, gone=gone: not (log / gone).exists(), "old messages are gone")
            self.assertEqual(admin.ask(RequestCode.CLEAN_EXPIRED_CONSUMEQUEUE).code, ResponseCode.SUCCESS)
        self.assertEqual(client.send_message(OLD, b"on").code, ResponseCode.SUCCESS)
        wait_until(lambda: self.numbers(slave, OLD, begin=7) == {7: b"on"}, "the slave goes on")
        master.kill()
        self.promoted(slave)
        self.assertEqual(self.client(slave).send_message(OLD, b"further").code, ResponseCode.SUCCESS)
        self.assertEqual(self.numbers(slave, OLD, begin=7), {7: b"on", 8: b"further"})
