"""Rows 8, 16, 18 and 19 of the faults: a real broker whose disk is full, limited, read-only, or gone.

A small disk is a tmpfs in a mount namespace of the broker's own, for root and, where the system lets them,
for others: nothing is left when the broker has ended.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest

from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.store.os_disk import platform_disk
from rocketmq_tx.store.repair import plan_repair, repair
from tests.clusters import Ours
from tests.integration.fault_parts import Client, FaultCase, Server
from tests.waiting import wait_until

SMALL_FILES = {
    "mappedFileSizeCommitLog": 4 << 20,
    "mappedFileSizeConsumeQueue": 6000,
    "maxHashSlotNum": 500,
    "maxIndexNum": 2000,
}
DISK_BYTES = 6 << 20
BALLAST_BYTES = 3 << 20
BODY_BYTES = 50_000


def namespace() -> list[str]:
    """The command that gives another one mounts of its own; SkipTest where no such is allowed."""
    for command in (["unshare", "-m"], ["unshare", "-rm"]):
        mount = [*command, "mount", "-t", "tmpfs", "none", tempfile.gettempdir()]
        if shutil.which("unshare") and subprocess.call(mount, stderr=subprocess.DEVNULL) == 0:
            return command
    raise SkipTest("neither root nor user namespaces may mount a small disk here")


class OnDisk(Ours):
    """Brokers whose store is a small disk of their own, which has some options."""

    def __init__(self, options: str) -> None:
        self._options = options

    def broker_command(self, folder: Path, config: Path) -> list[str]:
        script = 'mkdir -p "$1" && mount -t tmpfs -o "$2" none "$1" && shift 2 && exec "$@"'
        store = [str(folder / "store"), self._options]
        return [*namespace(), "sh", "-c", script, "sh", *store, *super().broker_command(folder, config)]


class Limited(Ours):
    """Brokers that may write files up to some size only."""

    def __init__(self, kilobytes: int) -> None:
        self._kilobytes = kilobytes

    def broker_command(self, folder: Path, config: Path) -> list[str]:
        # a block of `ulimit -f` has 512 bytes by POSIX, which is what sh does
        script = f'ulimit -S -f {self._kilobytes * 2}; exec "$@"'
        return ["sh", "-c", script, "sh", *super().broker_command(folder, config)]


class DiskCase(FaultCase):
    def sent(self, client: Client, count: int = 200) -> Frame:
        """Sends until one is refused; `self.acknowledged` has the bodies of the others."""
        for _ in range(count):
            body = os.urandom(BODY_BYTES)
            answer = client.send_message(body=body)
            if answer.code != ResponseCode.SUCCESS:
                return answer
            self.acknowledged.append(body)
        return answer

    def setUp(self) -> None:
        super().setUp()
        self.acknowledged: list[bytes] = []

    def pulled(self, client: Client) -> list[bytes]:
        bodies: list[bytes] = []
        while len(bodies) < len(self.acknowledged):
            answer = client.pull(len(bodies))
            self.assertEqual(answer.code, ResponseCode.SUCCESS, answer.remark)
            bodies += [record.body for record in decode_records(answer.body, check_crc=True)]
        return bodies

    def resumed(self, client: Client) -> bool:
        body = b"there is room again"
        if client.send_message(body=body).code != ResponseCode.SUCCESS:
            return False
        self.acknowledged.append(body)
        return True

    def store_of(self, server: Server) -> Path:
        return Path(f"/proc/{server.process.pid}/root{server.process.folder}/store")


class FullDiskTests(DiskCase):
    """Row 8: a full disk, or one file too large."""

    def check(self, server: Server, *words: str) -> Client:
        client = self.client(server)
        refused = self.sent(client)
        self.assertEqual(refused.code, ResponseCode.SERVICE_NOT_AVAILABLE, refused.remark)
        for word in ("commitlog", *words):
            self.assertIn(word, refused.remark or "")
        self.assertEqual(self.pulled(client), self.acknowledged)
        return client

    def test_a_full_disk_refuses_names_itself_serves_pulls_and_takes_messages_again(self) -> None:
        server = self.server(OnDisk(f"size={DISK_BYTES}"), flushDiskType="SYNC_FLUSH")
        ballast = self.store_of(server) / "ballast"
        ballast.write_bytes(bytes(BALLAST_BYTES))
        client = self.check(server, "% full")
        self.assertGreater(len(self.acknowledged), 10)
        again = self.sent(client, 3)
        self.assertEqual(again.code, ResponseCode.SERVICE_NOT_AVAILABLE)
        ballast.unlink()
        wait_until(lambda: self.resumed(client), "messages are taken again", 30)
        self.assertEqual(self.pulled(client), self.acknowledged)

    def test_a_limit_of_file_sizes_is_named_and_lifting_it_is_enough(self) -> None:
        server = self.server(Limited(2048))
        client = self.check(server, str(2 << 20), "RLIMIT_FSIZE")
        limit = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (limit[1], limit[1]))
        wait_until(lambda: self.resumed(client), "messages are taken again", 30)
        self.assertEqual(self.pulled(client), self.acknowledged)

    def server(self, kind: Ours, **keys: object) -> Server:
        return self.broker(kind=kind, **SMALL_FILES, **keys)


class UnusableDiskTests(DiskCase):
    """Row 18: nothing can be written, or somebody removed the directory."""

    def test_a_read_only_disk_ends_the_start_with_one_sentence(self) -> None:
        server = self.broker(kind=OnDisk("size=1m,ro"), start=False)
        server.process.start()
        wait_until(lambda: not server.process.is_running, "the broker has ended")
        self.assertEqual(server.process.exit_code, 1)
        self.assertIn("Read-only file system", server.process.output())

    def test_a_directory_removed_under_the_broker_stops_the_sends_with_a_reason(self) -> None:
        server = self.broker(**SMALL_FILES)
        client = self.client(server)
        self.sent(client, 3)
        shutil.rmtree(server.process.folder / "store" / "commitlog")

        def refused() -> bool:
            answer = self.sent(client, 1)
            return answer.code == ResponseCode.SERVICE_NOT_AVAILABLE and "commitlog" in str(answer.remark)

        wait_until(refused, "sends are refused", 30)
        self.assertEqual(len(server.lines("no more messages are taken")), 1)
        self.assertEqual(self.pulled(client), self.acknowledged)


class MissingSegmentTests(DiskCase):
    """Row 16: segments that are gone, of a wrong size, or somebody else's."""

    def stopped(self) -> Path:
        """The folder of a log of five segments, whose broker has ended in order."""
        self.server = self.broker(**{**SMALL_FILES, "mappedFileSizeCommitLog": 1 << 20})
        with self.client(self.server) as client:
            self.sent(client, 80)
        self.server.process.stop()
        return self.server.process.folder / "store" / "commitlog"

    def refused(self) -> str:
        """What a start says that ends with exit code 1 and without a trace."""
        self.server.process.start()
        wait_until(lambda: not self.server.process.is_running, "the broker has ended")
        self.assertEqual(self.server.process.exit_code, 1)
        return self.server.process.output()

    def test_the_last_segment_gone_is_refused_until_it_is_back(self) -> None:
        log = self.stopped()
        last = sorted(log.iterdir())[-1]
        last.rename(log.parent / "elsewhere")
        self.assertIn("files are missing", self.refused())
        (log.parent / "elsewhere").rename(last)
        self.server.start()
        self.assertEqual(self.pulled(self.client(self.server)), self.acknowledged)

    def test_the_first_segment_gone_is_told_and_the_others_are_served(self) -> None:
        log = self.stopped()
        (log / f"{0:020d}").unlink()
        self.server.start()
        self.assertEqual(len(self.server.lines("the first files of the commit log", "were removed")), 1)
        with self.client(self.server) as client:
            moved = client.pull(0)
            self.assertEqual(moved.code, ResponseCode.PULL_OFFSET_MOVED)
            first = int((moved.ext_fields or {})["nextBeginOffset"])
            (record, *_) = decode_records(client.pull(first).body, check_crc=True)
        self.assertEqual(record.body, self.acknowledged[first])

    def test_a_segment_too_long_and_a_foreign_file_are_refused_by_name(self) -> None:
        log = self.stopped()
        os.truncate(log / f"{1 << 20:020d}", (1 << 20) + 5)
        self.assertIn(f"{1 << 20:020d}", self.refused())
        os.truncate(log / f"{1 << 20:020d}", 1 << 20)
        (log / f"{12345:020d}").write_bytes(b"somebody's")
        self.assertIn(f"{12345:020d}", self.refused())
        (log / f"{12345:020d}").rename(log / "somebodys")
        self.server.start()
        self.assertEqual(self.pulled(self.client(self.server)), self.acknowledged)

    def test_the_start_is_refused_with_its_place_until_the_store_is_repaired(self) -> None:
        server = self.broker(**{**SMALL_FILES, "mappedFileSizeCommitLog": 1 << 20})
        client = self.client(server)
        self.sent(client, 80)
        client.close()
        server.process.stop()
        store = server.process.folder / "store"
        os.unlink(store / "commitlog" / f"{1 << 20:020d}")
        server.process.start()
        wait_until(lambda: not server.process.is_running, "the broker has ended")
        self.assertEqual(server.process.exit_code, 1)
        self.assertIn(f"{0:020d} and {2 << 20:020d}", server.process.output())
        plan = plan_repair(platform_disk(), str(store), [str(store / "commitlog")], 1 << 20)
        self.assertEqual(plan.lost, [(1 << 20, 2 << 20)])
        repair(platform_disk(), plan)
        server.start()
        client = self.client(server)
        bodies, offset = [], 0
        while offset < 80:
            answer = client.pull(offset)
            bodies += [record.body for record in decode_records(answer.body, check_crc=True)]
            offset = int((answer.ext_fields or {})["nextBeginOffset"])
        lost = [body for body in self.acknowledged if body not in bodies]
        self.assertEqual(len(lost), 20)
        self.assertEqual(bodies, [body for body in self.acknowledged if body not in lost])


class DescriptorTests(DiskCase):
    """Row 19: fewer descriptors than files."""

    def test_more_queues_than_descriptors_are_written_and_read(self) -> None:
        server = self.broker(**SMALL_FILES, flushConsumeQueueThoroughInterval=1000)
        client = self.client(server)
        queues = 150
        limit = 100
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        for number in range(queues):
            answer = client.send_message(topic=f"T{number}", body=b"%d" % number)
            self.assertEqual(answer.code, ResponseCode.SUCCESS, answer.remark)
        queue_files = server.process.folder / "store" / "consumequeue"
        wait_until(lambda: len(list(queue_files.glob("T*/*/*"))) == queues, "the queues are written")
        for number in range(queues):
            (record,) = decode_records(client.pull(0, topic=f"T{number}").body)
            self.assertEqual(record.body, b"%d" % number)
        another = self.client(server)
        self.assertEqual(another.send_message(topic="T0").code, ResponseCode.SUCCESS)
