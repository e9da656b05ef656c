"""Configuration files: at each instant one whole version is there."""

from __future__ import annotations

import errno
import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreDamaged, StoreError
from rocketmq_tx.protocol.bodies import KVTable
from rocketmq_tx.store.deleted_topics import DeletedTopics
from rocketmq_tx.store.json_file import JsonFile
from tests.memory_disk import Killed, MemoryDisk

PATH = "/store/config/topics.json"


class JsonFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.notices: list[str] = []
        self.file = JsonFile(self.disk, PATH, self.notices.append)

    def load(self, disk: MemoryDisk | None = None) -> Any:
        return JsonFile(disk or self.disk, PATH, self.notices.append).load(json.loads)

    def test_nothing_is_there_at_first(self) -> None:
        self.assertIsNone(self.load())

    def test_the_version_before_is_kept(self) -> None:
        self.file.save(b"[1]")
        self.file.save(b"[2]")
        self.assertEqual(self.load(), [2])
        self.assertEqual(self.disk.content(PATH + ".bak"), b"[1]")
        self.assertEqual(self.notices, [])

    def test_a_removed_file_leaves_nothing_that_stands_in_for_it(self) -> None:
        self.file.remove()
        self.file.save(b"[1]")
        self.file.save(b"[2]")
        self.file.remove()
        self.assertIsNone(self.load())
        self.assertEqual(self.disk.names("/store/config"), [])

    def test_the_bak_stands_in_for_what_cannot_be_read(self) -> None:
        self.file.save(b"[1]")
        self.file.save(b"[2]")
        for content in (b"", b"  \n", b"[2", b"\xff\xfe"):
            self.disk.put(PATH, content)
            self.assertEqual(self.load(), [1])
        self.assertEqual(len(self.notices), 4)
        self.assertIn(".bak stands in", self.notices[0])
        self.disk.remove(PATH)
        self.assertEqual(self.load(), [1])

    def test_the_bak_stands_in_for_what_is_no_body_of_its_kind(self) -> None:
        self.file.save(KVTable(table={"kept": "1"}).to_bytes())
        self.file.save(b"[]")
        kept = self.file.load(KVTable.from_bytes)
        assert kept is not None
        self.assertEqual(kept.table, {"kept": "1"})
        self.disk.put(PATH + ".bak", b"{}}")
        error = self.assertRaises(StoreDamaged, self.file.load, KVTable.from_bytes)
        self.assertIn("remove both files", str(error))

    def test_a_file_that_cannot_be_read_is_never_an_empty_table(self) -> None:
        self.disk.put(PATH, b"[")
        error = self.assertRaises(StoreDamaged, self.load)
        self.assertIn(PATH, str(error))
        self.assertIn("remove both files", str(error))
        self.disk.put(PATH + ".bak", b"")
        self.assertRaises(StoreDamaged, self.load)
        self.disk.put(PATH + ".bak", b"[7]")
        self.disk.fail("read", "topics.json", errno.EIO)
        self.assertRaises(StoreDamaged, self.load)

    def test_nobody_is_told_to_remove_what_could_only_not_be_looked_at(self) -> None:
        self.file.save(b"[1]")
        self.disk.fail("open", PATH, errno.EACCES)
        error = self.assertRaises(StoreDamaged, self.load)
        self.assertNotIn("remove", str(error))
        self.assertIn("See that the broker may read it", str(error))

    def test_a_failed_save_leaves_what_was_there(self) -> None:
        self.file.save(b"[1]")
        self.disk.fail("sync", ".tmp", errno.EIO)
        self.assertRaises(StoreError, self.file.save, b"[2]")
        self.assertEqual(self.load(), [1])

    def test_a_kill_at_any_change_leaves_one_version_or_the_other(self) -> None:
        for kill_at in range(20):
            self.setUp()
            self.file.save(b"[1]")
            self.file.save(b"[2]")
            self.disk.kill_at = self.disk.changes + kill_at
            try:
                self.file.save(b"[3]")
            except Killed:
                self.assertIn(self.load(self.disk.after_kill()), ([2], [3]))
            else:
                self.assertEqual(self.load(), [3])

    @given(st.integers(0, 10_000), st.integers(0, 12))
    def test_a_power_cut_leaves_one_version_or_the_other(self, seed: int, kill_at: int) -> None:
        self.setUp()
        self.file.save(b"[1]")
        self.disk.kill_at = self.disk.changes + kill_at
        try:
            self.file.save(b"[2]")
        except Killed:
            pass
        self.assertIn(self.load(self.disk.after_power_cut(random.Random(seed))), ([1], [2]))


class DeletedTopicsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()

    def make(self) -> DeletedTopics:
        deleted = DeletedTopics(JsonFile(self.disk, PATH, lambda sentence: None))
        deleted.load()
        return deleted

    def test_records_before_the_deletion_are_gone_and_later_ones_are_not(self) -> None:
        self.make().add({"T": 500})
        deleted = self.make()
        self.assertTrue(deleted.is_gone("T", 499))
        self.assertFalse(deleted.is_gone("T", 500))
        self.assertFalse(deleted.is_gone("U", 0))

    def test_what_the_log_has_not_got_any_more_is_forgotten(self) -> None:
        deleted = self.make()
        deleted.add({"T": 500})
        deleted.add({"U": 900})
        deleted.forget_below(500)
        self.assertEqual(self.make().items(), [("U", 900)])

    def test_a_file_of_another_shape_is_damage(self) -> None:
        for content in (b"[]", b"{}", b'{"deletedTopics":{"T":null}}', b'{"deletedTopics":3}'):
            self.disk.put(PATH, content)
            self.assertRaises(StoreDamaged, self.make)
