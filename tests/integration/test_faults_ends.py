"""Rows 1 and 4 of the faults: a broker is stopped under load, and killed while it deletes old messages."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.kill_loop import KEYS, Broker, load_until_ended, read_back
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import (
    QueryConsumerOffsetRequestHeader,
    UpdateConsumerOffsetRequestHeader,
)
from rocketmq_tx.protocol.message import MessageRecord, decode_records
from rocketmq_tx.store.read_only_disk import ReadOnlyDisk
from rocketmq_tx.store.store_files import IndexSize, StoreFiles
from rocketmq_tx.store.verify import verify
from tests.integration.fault_parts import Client, FaultCase
from tests.waiting import wait_until

EXIT_WITHIN_S = 5.0
SEED = random.randrange(1 << 32)


class StopTests(SynchronousTestCase):
    """Row 1: SIGTERM under load."""

    timeout = 120

    def warnings(self, broker: Broker) -> list[str]:
        """All but the one that a lone broker gives: that no NameServer knows it."""
        return [line for line in broker.warnings() if "no NameServer is set" not in line]

    def test_accepted_requests_are_answered_and_nothing_is_left_to_recover(self) -> None:
        for flush in ("SYNC_FLUSH", "ASYNC_FLUSH"):
            with tempfile.TemporaryDirectory(prefix="stop-") as folder:
                # the queues get many entries between two checkpoints
                keys = [key for key in KEYS if "Interval" not in key and "flushDiskType" not in key]
                broker = Broker(folder, [*keys, f"flushDiskType={flush}"])
                self.addCleanup(broker.kill)
                broker.start()
                self.commit(broker)
                choice = random.Random(SEED)
                acknowledged = load_until_ended(broker, "stop", choice, 0.7, 4, 32, broker.ask_to_stop)
                broker.wait_for_end(EXIT_WITHIN_S)
                self.assertGreater(len(acknowledged), 50)
                self.assertFalse(Path(broker.store, "abort").exists())
                self.assertEqual(self.warnings(broker), [])
                broker.start()
                self.assertEqual((broker.records_walked(), self.warnings(broker)), (0, []))
                read_back(broker.port, acknowledged)
                self.assertEqual(self.committed(broker), 7)
                broker.stop()

    def commit(self, broker: Broker) -> None:
        header = UpdateConsumerOffsetRequestHeader(
            consumer_group="stop", topic="KillLoop0", queue_id=0, commit_offset=7
        )
        with Client(broker.port) as client:
            answer = client.ask(RequestCode.UPDATE_CONSUMER_OFFSET, header)
        self.assertEqual(answer.code, ResponseCode.SUCCESS, answer.remark)

    def committed(self, broker: Broker) -> int:
        header = QueryConsumerOffsetRequestHeader(consumer_group="stop", topic="KillLoop0", queue_id=0)
        with Client(broker.port) as client:
            return int((client.ask(RequestCode.QUERY_CONSUMER_OFFSET, header).ext_fields or {})["offset"])


class RetentionKillTests(FaultCase):
    """Row 4: SIGKILL while old segments, and then queue and index files, are being deleted."""

    timeout = 240
    rounds = 3

    def test_whatever_the_kill_leaves_opens_with_all_that_was_not_deleted(self) -> None:
        print(f"retention is killed with seed {SEED}")
        choice = random.Random(SEED)
        server = self.broker(
            flushDiskType="SYNC_FLUSH",
            syncFlushTimeout=15000,  # a busy disk is no fault here
            mappedFileSizeCommitLog=8192,
            mappedFileSizeConsumeQueue=200,
            maxHashSlotNum=50,
            maxIndexNum=40,
            fileReservedTime=0,
            deleteCommitLogFilesInterval=20,
            cleanResourceInterval=50,
            flushConsumeQueueThoroughInterval=50,
        )
        store = server.process.folder / "store"
        log = store / "commitlog"
        sent: list[bytes] = []
        for number in range(self.rounds):
            with self.client(server) as client:
                for _ in range(60):
                    body = b"%d " % len(sent) + b"x" * 900
                    self.assertEqual(client.send_message(body=body).code, ResponseCode.SUCCESS)
                    sent.append(body)
                before = set(log.iterdir())
                self.assertEqual(client.ask(RequestCode.DELETE_EXPIRED_COMMITLOG).code, ResponseCode.SUCCESS)
                few = choice.randint(1, 6)
                wait_until(lambda few=few, before=before: len(before - set(log.iterdir())) >= few, "files go")
                time.sleep(choice.uniform(0, 0.1))  # the moment of the kill
                server.process.kill()
            server.start()
            self.assertEqual(server.lines("built again"), [], f"round {number}")
            self.check(server.port, sent)
        server.process.stop()
        report = verify(StoreFiles(ReadOnlyDisk(), str(store), index_size=IndexSize(50, 40)))
        self.assertEqual([one.sentence for one in report.findings.kept if one.is_damage], [])

    def check(self, port: int, sent: list[bytes]) -> None:
        """All of the newest messages are there; who asks for an older one is sent to the first."""
        with Client(port) as client:
            moved = client.pull(0)
            self.assertEqual(moved.code, ResponseCode.PULL_OFFSET_MOVED)
            first = int((moved.ext_fields or {})["nextBeginOffset"])
            self.assertLess(first, len(sent))
            records = list(self.pulled(client, first))
        self.assertEqual([record.queue_offset for record in records], list(range(first, len(sent))))
        self.assertEqual([record.body for record in records], sent[first:])

    def pulled(self, client: Client, offset: int) -> Iterator[MessageRecord]:
        while (answer := client.pull(offset)).code == ResponseCode.SUCCESS:
            yield from decode_records(answer.body, check_crc=True)
            offset = int((answer.ext_fields or {})["nextBeginOffset"])
