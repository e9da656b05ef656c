"""What a start finds behind the end of the log: kept in a file unless it is certain to be nothing."""

from __future__ import annotations

import errno
import os
import random

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.os_disk import platform_disk
from rocketmq_tx.store.os_files import PortableFile
from tests.memory_disk import Killed, MemoryDisk
from tests.store_cases import NOW, SEGMENT, message, open_store

FIRST = f"/store/commitlog/{0:020d}"


class DroppedEndTests(SynchronousTestCase):
    """A store of ten records that was killed, and something behind them."""

    def setUp(self) -> None:
        disk = MemoryDisk()
        store = open_store(disk)
        for n in range(10):
            store.append_all([message("T", 0, b"%d " % n + b"x" * 100)], NOW + 1000 + n)
        self.end, self.last = store.written_to, store._log.last_record_at
        self.disk = disk.after_kill()
        self.record = self.disk.content(FIRST)[self.last : self.end]
        self.notices: list[str] = []

    def open(self, disk: MemoryDisk | None = None) -> MessageStore:
        return open_store(disk or self.disk, notices=self.notices)

    def kept(self, disk: MemoryDisk | None = None) -> list[bytes]:
        nodes = (disk or self.disk).nodes
        return [bytes(node.content).rstrip(b"\0") for path, node in nodes.items() if "/cut/" in path]

    def assert_ends_at(self, end: int) -> None:
        store = self.open()
        self.assertEqual(store.written_to, end)
        self.assertEqual(self.disk.content(FIRST)[end:].strip(b"\0"), b"")
        store.close(NOW)

    def test_the_beginning_of_one_record_is_nothing(self) -> None:
        for length in (0, 1, 7, 8, 60, len(self.record) - 3):
            torn = bytearray(self.record[:length])
            torn[28:36] = self.end.to_bytes(8, "big")
            self.disk.spoil(FIRST, self.end, torn[:length])
            self.assert_ends_at(self.end)
            self.disk.put("/store/abort", b"")
        self.assertEqual(self.kept(), [])
        self.assertEqual([line for line in self.notices if "kept" in line], [])

    def test_a_damaged_last_record_that_no_checkpoint_vouches_for_is_kept(self) -> None:
        self.disk.spoil(FIRST, self.last + 95, b"?")
        damaged = self.disk.content(FIRST)[self.last : self.end]
        self.assert_ends_at(self.last)
        self.assertEqual(self.disk.content(f"/store/cut/behind-{self.last}.log"), damaged)
        self.assertIn(f"kept in /store/cut/behind-{self.last}.log", "".join(self.notices))

    def test_whatever_else_is_there_is_kept_in_files_behind_as_well(self) -> None:
        junk = random.Random(5).randbytes(5000)
        self.disk.spoil(FIRST, self.end + 100, junk)
        self.disk.put(f"/store/commitlog/{SEGMENT:020d}", bytes(300) + junk + bytes(SEGMENT - 5300))
        self.assert_ends_at(self.end)
        (kept,) = self.kept()
        self.assertEqual(kept[100:5100], junk)
        self.assertEqual(kept[SEGMENT - self.end + 300 :], junk)

    def test_after_a_clean_end_as_well(self) -> None:
        self.open().close(NOW)
        self.disk.spoil(FIRST, self.end, b"left by somebody else")
        self.assert_ends_at(self.end)
        self.assertEqual(self.kept(), [b"left by somebody else"])

    def test_a_second_end_at_the_same_place_gets_a_file_of_its_own(self) -> None:
        for left in (b"one of the two", b"the other of the two", b"one of the two"):
            self.disk.put("/store/abort", b"")
            self.disk.spoil(FIRST, self.end, left)
            self.assert_ends_at(self.end)
        self.assertEqual(sorted(self.kept()), [b"one of the two", b"the other of the two"])

    def test_without_room_for_a_copy_nothing_is_dropped(self) -> None:
        self.disk.spoil(FIRST, self.end, b"somebody may want this")
        self.disk.fail("write", "/cut/", errno.ENOSPC)
        error = str(self.assertRaises(StoreError, self.open))
        self.assertIn(f"the log ends at {self.end}", error)
        self.assertIn("/cut/", error)
        self.assertIn(b"somebody may want this", self.disk.content(FIRST))
        self.disk.heal()
        self.assert_ends_at(self.end)
        self.assertEqual(self.kept(), [b"somebody may want this"])

    def test_a_crash_at_any_step_loses_none_of_it(self) -> None:
        self.disk.spoil(FIRST, self.end, b"somebody may want this")
        choice = random.Random(7)
        for kill_at in range(1000):
            disk = self.disk.after_kill()
            disk.kill_at = kill_at
            try:
                self.open(disk)
            except Killed:
                for image in (disk.after_kill(), *(disk.after_power_cut(choice) for _ in range(5))):
                    self.open(image)
                    self.assertIn(b"somebody may want this", self.kept(image), kill_at)
            else:
                self.assertGreater(kill_at, 5)
                return


class DataTests(SynchronousTestCase):
    def test_holes_are_passed_over_where_the_platform_can_tell(self) -> None:
        path = self.mktemp()
        file = platform_disk().create(path, 64 << 20)
        self.assertEqual(file.pread(1, 0), b"\0")
        file.pwrite(b"data", 48 << 20)
        for kind in (file, PortableFile(path, os.open(path, os.O_RDONLY))):
            place = kind.data_from(5)
            assert place is not None
            self.assertTrue(5 <= place <= 48 << 20)
            self.assertIsNone(kind.data_from(64 << 20))
