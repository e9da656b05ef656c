"""Files of queues and index that the device cannot read: a start sets them aside and builds them again."""

from __future__ import annotations

import errno

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError, Unreadable
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.recovery import RecoveryReport
from rocketmq_tx.store.unreadable import SET_ASIDE_MAX
from tests.memory_disk import MemoryDisk, killed_at_each_change
from tests.store_cases import NOW, STORE_HOST, message, small_config

COUNT = 60
LATER = 1 << 62
SMALL = {"mapped_file_size_consume_queue": 200, "max_index_num": 20, "mapped_file_size_commit_log": 8192}


class UnreadableFiles(SynchronousTestCase):
    """Two queues of 30 messages, in three files each, and 60 keys in four index files."""

    def setUp(self) -> None:
        self.notices: list[str] = []

    def stored(self, closed: bool) -> MemoryDisk:
        disk = MemoryDisk()
        store, _ = self.open(disk)
        for number in range(COUNT):
            stored = message("T", number % 2, b"%d" % number, unique=f"U{number}")
            store.append_all([stored], NOW + number * 1000)
        if closed:
            store.close(NOW)
        else:
            store.derived.save_checkpoint(NOW)
        return disk.after_kill()

    def open(self, disk: MemoryDisk) -> tuple[MessageStore, RecoveryReport]:
        store = MessageStore(small_config("/store", **SMALL), disk, STORE_HOST, notice=self.notices.append)
        return store, store.open(NOW)

    def derived(self, disk: MemoryDisk) -> list[str]:
        return sorted(path for path in disk.nodes if "/index/" in path or "/consumequeue/T/" in path)

    def check(self, store: MessageStore, why: str) -> None:
        for queue_id in range(2):
            bodies, offset = [], 0
            while offset < store.queue_offsets("T", queue_id)[1]:
                found = store.get_messages("T", queue_id, offset, 32)
                bodies += [int(record.body) for record in decode_records(found.body)]
                offset = found.next_offset
            self.assertEqual(bodies, list(range(queue_id, COUNT, 2)), why)
        for number in range(COUNT):
            found_by_key = store.query_by_key("T", f"U{number}", 9, 0, LATER).offsets
            self.assertEqual(len(found_by_key), 1, f"{why}: U{number}")

    def test_each_is_kept_told_and_built_again_whether_the_store_was_closed_or_killed(self) -> None:
        set_aside = 0
        for closed in (True, False):
            for path in self.derived(self.stored(closed)):
                for action in ("open", "read"):
                    disk = self.stored(closed)
                    content = disk.content(path)
                    disk.spoil_sectors(action, path)
                    self.notices.clear()
                    store, report = self.open(disk)
                    if self.notices:  # else nothing of it was needed
                        set_aside += 1
                        kept = path.replace("/store/", "/store/set-aside/")
                        self.assertEqual(disk.content(kept), content)
                        told = f"{path}.*nput/output error; the file is kept as {kept}, and is built again"
                        self.assertRegex(self.notices[0], told)
                        self.assertEqual(sum(kept in sentence for sentence in self.notices), 1)
                        self.assertIn(self.notices[0], report.warnings)
                    self.check(store, path)
                    store.close(NOW)
                    again, report = self.open(disk)
                    self.assertEqual((report.warnings, report.records_walked), ([], 0))
                    self.check(again, path)
        self.assertGreater(set_aside, 20)

    def test_several_of_both_kinds_are_set_aside_at_one_start(self) -> None:
        disk = self.stored(closed=False)
        index = [path for path in self.derived(disk) if "/index/" in path]
        for path in (index[1], index[3], f"/store/consumequeue/T/1/{0:020d}"):
            disk.spoil_sectors("read", path)
        store, report = self.open(disk)
        self.assertEqual(len([path for path in disk.nodes if "/set-aside/" in path]), 3)
        self.assertEqual(sum("set-aside" in warning for warning in report.warnings), 3)
        self.check(store, "several")

    def test_a_second_file_of_that_name_does_not_replace_the_first(self) -> None:
        disk = self.stored(closed=True)
        path = f"/store/consumequeue/T/0/{0:020d}"
        for _ in range(2):
            disk.spoil_sectors("read", path)
            self.open(disk)[0].close(NOW)
        kept = [name for name in disk.nodes if "/set-aside/" in name and path.rpartition("/")[2] in name]
        self.assertEqual(len(kept), 2)

    def test_a_kill_at_any_change_of_that_start_loses_nothing(self) -> None:
        disk = self.stored(closed=False)
        index = [path for path in self.derived(disk) if "/index/" in path]
        bad = (index[2], f"/store/consumequeue/T/0/{200:020d}")

        def start(image: MemoryDisk) -> None:
            for path in bad:
                image.spoil_sectors("read", path)
            self.open(image)

        for change, image in killed_at_each_change(disk, start):
            self.check(self.open(image.after_kill())[0], f"killed at change {change}")

    def test_a_device_that_can_read_nothing_and_a_log_that_cannot_be_read_stop_the_start(self) -> None:
        disk = self.stored(closed=False)
        disk.fail("read", "/commitlog/", errno.EIO)
        before = sorted(disk.nodes)
        error = self.assertRaises(Unreadable, self.open, disk)
        self.assertIn("/store/commitlog/", str(error))
        self.assertEqual([path for path in disk.nodes if path not in before and "set-aside" in path], [])
        disk = self.stored(closed=False)
        for number in range(SET_ASIDE_MAX + 5):
            for path in [path for path in disk.nodes if path.startswith("/store/consumequeue/T/0/")]:
                disk.put(path.replace("/T/0/", f"/T/{number + 10}/"), disk.content(path))
        disk.fail("read", "consumequeue/T/", errno.EIO)
        self.assertRaises(StoreError, self.open, disk)
        disk.heal()
        self.check(self.open(disk)[0], "healed")
