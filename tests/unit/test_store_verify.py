"""Verifying a store in memory: kinds of damage that recordings do not have, and disks that only read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError
from rocketmq_tx.protocol.flags import SysFlag
from rocketmq_tx.store.file_layouts import CheckpointTimes
from rocketmq_tx.store.file_lock import lock_holder
from rocketmq_tx.store.log_scan import LogScan
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.os_disk import platform_disk
from rocketmq_tx.store.read_only_disk import ReadOnlyDisk
from rocketmq_tx.store.records import Verdict
from rocketmq_tx.store.store_files import IndexSize, QueueFiles, StoreFiles, usual_index_size
from rocketmq_tx.store.verify import VerifyReport, verify
from rocketmq_tx.store.verify_index import read_head
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, STORE_HOST, message, open_store, small_config

SMALL = {"mapped_file_size_commit_log": 8192, "mapped_file_size_consume_queue": 200, "max_index_num": 101}
LOG = "/store/commitlog/"
QUEUE = "/store/consumequeue/T/0/"
INDEX_AT = 40 + 500 * 4


class VerifyCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.store = open_store(self.disk, **SMALL)

    def fill(self, count: int = 60, begin_s: int = 0) -> None:
        for number in range(count):
            one = message("T", 0, b"%d " % number * 50, unique=f"U{number}")
            self.store.append_all([one], NOW + (begin_s + number) * 1000)

    def closed(self) -> MemoryDisk:
        self.store.close(NOW)
        return self.disk.after_kill()

    def verify(self, image: MemoryDisk, entries: int = 101) -> VerifyReport:
        return verify(StoreFiles(image, "/store", index_size=IndexSize(500, entries)))

    def damage(self, image: MemoryDisk) -> list[str]:
        return [finding.sentence for finding in self.verify(image).findings.kept if finding.is_damage]

    def notes(self, image: MemoryDisk) -> list[str]:
        return [finding.sentence for finding in self.verify(image).findings.kept if not finding.is_damage]

    def index_path(self, image: MemoryDisk) -> str:
        return sorted(path for path in image.nodes if "/index/" in path)[0]


class MovingFiles(StoreFiles):
    """Files of a store to which a broker appends when the log has been read, and the queues have not."""

    moves: Callable[[], object]

    def queues(self) -> Iterator[QueueFiles]:
        self.moves()
        return super().queues()


class LiveStoreTests(VerifyCase):
    def test_what_a_broker_appends_meanwhile_is_told_and_is_no_damage(self) -> None:
        self.fill(40)
        self.store.derived.save_checkpoint(NOW)
        self.fill(5, begin_s=50)  # their entries wait in memory when the log is read
        for being_written in (False, True):
            files = MovingFiles(self.disk, "/store", index_size=IndexSize(500, 101))
            files.moves = self.append_and_write
            report = verify(files, being_written=being_written)
            self.assertEqual(report.is_clean, being_written, report.findings.kept)
            sentences = [finding.sentence for finding in report.findings.kept]
            self.assertTrue(any("lies behind the end of the log" in each for each in sentences), sentences)

    def append_and_write(self) -> None:
        self.fill(5, begin_s=60)
        self.store.derived.save_checkpoint(NOW)

    def test_a_wrong_entry_is_damage_while_a_broker_writes_too(self) -> None:
        self.fill()
        image = self.closed()
        image.open(QUEUE + f"{0:020d}").pwrite(b"\1", 3 * 20)
        report = verify(StoreFiles(image, "/store", index_size=IndexSize(500, 101)), being_written=True)
        self.assertFalse(report.is_clean)

    def test_records_that_are_written_while_the_log_is_read_are_found(self) -> None:
        self.fill(3)
        steps = iter(LogScan(StoreFiles(self.disk, "/store")))
        found = [next(steps)]
        self.fill(3)
        found.extend(steps)
        self.assertEqual([step.verdict for step in found], [Verdict.WHOLE] * 6)


class QueueTests(VerifyCase):
    def test_a_missing_and_a_short_queue_file_are_told(self) -> None:
        self.fill()
        image = self.closed()
        image.remove(f"{QUEUE}{200:020d}")
        self.assertEqual(
            self.damage(image),
            [
                "T queue 0: 10 entries are missing, from 10 on",
                "T queue 0: a file is missing between 10 and 20",
            ],
        )
        image = self.disk.after_kill()
        last = f"{QUEUE}{1000:020d}"
        image.put(last, image.content(last)[:90])
        self.assertEqual(self.damage(image), ["T queue 0: 6 entries are missing, from 54 on"])
        self.assertEqual(self.notes(image), [f"{last} is shorter than the others; a start mends it"])

    def test_messages_that_stand_in_no_queue_are_missed_in_none(self) -> None:
        prepared = message("T", 0, b"x", sys_flag=int(SysFlag.TRANSACTION_PREPARED))
        rolled_back = message("T", 0, b"x", sys_flag=int(SysFlag.TRANSACTION_ROLLBACK), unique="R")
        self.fill(3)
        self.store.append_all([prepared, rolled_back], NOW)
        self.fill(1)
        image = self.closed()
        self.assertEqual(self.damage(image), [])
        for step in LogScan(StoreFiles(image, "/store")):
            image.spoil(f"{LOG}{0:020d}", step.offset + 89, b"\x99")
        self.assertEqual(len(self.damage(image)), 6)

    def test_after_a_crash_what_the_checkpoint_vouches_for_must_be_there(self) -> None:
        self.fill(30)
        self.store.derived.save_checkpoint(NOW)
        self.fill(5)
        image = self.disk.after_kill()
        self.assertEqual(self.damage(image), [])
        self.assertIn("T queue 0: 5 entries are not there, from 30 on; a start adds them", self.notes(image))
        image.remove(f"{QUEUE}{400:020d}")
        self.assertEqual(self.damage(image), ["T queue 0: 15 entries are missing, from 20 on"])

    def test_after_a_crash_of_apache_its_times_vouch(self) -> None:
        self.fill(30)
        self.store.derived.write_all(NOW)
        image = self.disk.after_kill()
        image.remove(f"{QUEUE}{400:020d}")
        for time, settled in ((NOW + 20_000, False), (NOW + 25_000, True)):
            times = {"commit_log_ms": time, "queues_ms": time, "index_ms": 0}
            image.put("/store/checkpoint", CheckpointTimes.build(times).ljust(4096, b"\0"))
            self.assertEqual(bool(self.damage(image)), settled, time)

    def test_numbers_that_do_not_follow_one_another_are_damage(self) -> None:
        self.fill(5)
        image = self.closed()
        third = self.store_offsets(image)[2]
        image.spoil(f"{LOG}{0:020d}", third + 27, b"\x07")
        self.assertIn(f"T queue 0: the record at {third} has the number 7 and not 2", self.damage(image))

    def store_offsets(self, image: MemoryDisk) -> list[int]:
        return [step.offset for step in LogScan(StoreFiles(image, "/store"))]


class IndexTests(VerifyCase):
    def test_keys_in_several_files_are_followed(self) -> None:
        self.fill(250)
        report = self.verify(self.closed())
        self.assertEqual((report.index_files, report.index_entries, report.is_clean), (3, 250, True))

    def test_an_older_index_that_is_gone_is_told_and_a_cut_one_is_damage(self) -> None:
        self.fill(250)
        image = self.closed()
        path = self.index_path(image)
        cut = image.after_kill()
        image.remove(path)
        self.assertEqual(self.notes(image), ["100 messages with keys are older than the index"])
        cut.put(path, cut.content(path)[: INDEX_AT + 50 * 20].ljust(INDEX_AT + 101 * 20, b"\0"))
        self.assertTrue(self.damage(cut))

    def test_entries_that_name_no_message_are_damage(self) -> None:
        self.fill(20)
        image = self.closed()
        path = self.index_path(image)
        at = INDEX_AT + 5 * 20 + 4
        offset = int.from_bytes(image.content(path)[at : at + 8], "big")
        image.spoil(path, at, (offset + 1).to_bytes(8, "big"))
        self.assertIn(f"1 entries of the index name no message, first {offset + 1}", self.damage(image))

    def test_keys_that_a_crash_took_are_added_by_a_start(self) -> None:
        self.fill(10)
        self.store.derived.save_checkpoint(NOW)
        self.fill(3)
        image = self.disk.after_kill()
        self.assertEqual(self.damage(image), [])
        self.assertTrue(
            any(note.startswith("keys of 3 messages are not in the index yet") for note in self.notes(image))
        )
        whole = self.index_path(image)
        image.remove(whole)
        self.assertIn(
            "there is no index; a start builds it unless messageIndexEnable is false", self.notes(image)
        )

    def test_slots_ahead_of_their_header_are_a_note_after_a_crash_only(self) -> None:
        self.fill(10)
        image = self.closed()
        path = self.index_path(image)
        slot = 40 + 4 * next(n for n in range(500) if image.content(path)[40 + 4 * n + 3])
        image.spoil(path, slot, (50).to_bytes(4, "big"))
        self.assertEqual(len(self.damage(image)), 1)
        image.put("/store/abort", b"")
        self.assertEqual(self.damage(image), [])
        self.assertIn("1 slots are ahead of its header", self.notes(image)[1])

    def test_a_file_that_becomes_full_while_a_checkpoint_is_made_is_written_by_the_next(self) -> None:
        self.fill(60)
        job = self.store.derived.begin_checkpoint(NOW)
        self.fill(90)
        self.store.derived.write_index(NOW)  # goes on in a second file
        job.run()
        self.store.derived.finish_checkpoint(job)
        for number in (0, 59, 60, 89):
            found = self.store.query_by_key("T", f"U{number}", 32, 0, 1 << 62).offsets
            self.assertEqual(len(found), 1 + (number < 60), f"key U{number}")
        self.store.derived.save_checkpoint(NOW)
        image = self.disk.after_kill()
        self.assertEqual(self.damage(image), [])
        again = MessageStore(small_config("/store", **SMALL), image, STORE_HOST)
        self.assertEqual(again.open(NOW).records_walked, 0)

    def test_apache_would_keep_what_is_safe_after_a_kill_and_nothing_else(self) -> None:
        """It removes files that end later than the checkpoint says, and goes on where the last one ends."""
        self.fill(60)
        self.store.derived.save_checkpoint(NOW)
        self.fill(90, 100)
        self.store.derived.write_index(NOW)
        image = self.disk.after_kill()
        files = StoreFiles(image, "/store", index_size=IndexSize(500, 101))
        safe_ms = files.checkpoint().times.index_ms
        kept, removed = [read_head(files, file) for file in files.index_files()]
        self.assertEqual((kept.end_ms, kept.next_number), (safe_ms, 61))
        self.assertGreater(removed.end_ms, safe_ms)
        image.put("/store/checkpoint", image.content("/store/checkpoint")[:24].ljust(4096, b"\0"))
        again = MessageStore(small_config("/store", **SMALL), image, STORE_HOST)
        again.open(NOW)  # without the claim ours goes by the same rule
        for number in (0, 59, 89):
            found = again.query_by_key("T", f"U{number}", 32, 0, 1 << 62).offsets
            self.assertEqual(len(found), 1 + (number < 60))

    def test_a_size_tells_the_usual_proportions_only(self) -> None:
        self.assertEqual(usual_index_size(IndexSize(500, 2000).file_bytes), IndexSize(500, 2000))
        self.assertEqual(usual_index_size(420_000_040), IndexSize(5_000_000, 20_000_000))
        self.assertIsNone(usual_index_size(IndexSize(500, 101).file_bytes))
        self.assertIsNone(usual_index_size(0))


class LogTests(VerifyCase):
    def test_a_scan_may_begin_at_any_record(self) -> None:
        self.fill(80)
        files = StoreFiles(self.closed(), "/store")
        everything = [step.offset for step in LogScan(files) if step.verdict is Verdict.WHOLE]
        for start in everything[::7]:
            found = [step.offset for step in LogScan(files, start=start) if step.verdict is Verdict.WHOLE]
            self.assertEqual(found, [offset for offset in everything if offset >= start])

    def test_a_number_that_looks_like_a_record_is_none(self) -> None:
        self.fill(3)
        whole = bytes.fromhex("DAA320A7") * 4
        self.store.append_all([message("T", 0, whole, unique="m"), message("T", 0, b"last")], NOW + 5000)
        image = self.closed()
        *_, bad, last = LogScan(StoreFiles(image, "/store"))
        image.spoil(f"{LOG}{0:020d}", bad.offset, b"\x7f")
        self.assertIn(f"{bad.size} bytes at {bad.offset} of the log are no record", self.damage(image))
        self.assertEqual(self.verify(image).log_end_offset, last.offset + last.size)

    def test_progress_is_told_by_the_megabyte(self) -> None:
        disk = MemoryDisk()
        large = open_store(disk, mapped_file_size_commit_log=8 << 20)
        for _ in range(50):
            large.append_all([message("T", 0, b"x" * 100_000)], NOW)
        large.close(NOW)
        told: list[int] = []
        files = StoreFiles(disk, "/store", index_size=IndexSize(500, 2000))
        self.assertTrue(verify(files, told.append).is_clean)
        self.assertEqual(len(told), 4)

    def test_an_empty_store_is_clean(self) -> None:
        self.assertTrue(self.verify(self.closed()).is_clean)

    def test_deleted_topics_that_cannot_be_read_are_damage(self) -> None:
        image = self.closed()
        image.put("/store/config/deletedTopics.json", b'{"deletedTopics":3}')
        self.assertIn("deletedTopics.json", self.damage(image)[0])


class ReadOnlyTests(SynchronousTestCase):
    def test_whatever_changes_something_is_refused(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        path = str(folder / "file")
        Path(path).write_bytes(b"here")
        disk = ReadOnlyDisk()
        for attempt in (
            lambda: disk.create(path, 10),
            lambda: disk.make_directory(f"{path}.d"),
            lambda: disk.remove(path),
            lambda: disk.remove_tree(str(folder)),
            lambda: disk.rename(path, f"{path}.new"),
            lambda: disk.lock(path),
            lambda: disk.open(path).pwrite(b"x", 0),
            lambda: disk.open(path).truncate(0),
            lambda: disk.open(f"{path}.missing"),
        ):
            self.assertRaises(StoreError, attempt)
        self.assertEqual(disk.open(path).pread(10, 0), b"here")
        self.assertEqual(os.listdir(folder), ["file"])

    def test_who_holds_a_lock_is_found_without_taking_it(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        path = folder / "lock"
        self.assertIsNone(lock_holder(str(path)))
        path.touch()
        self.assertIsNone(lock_holder(str(path)))
        locked = platform_disk().lock(str(path))
        assert locked is not None
        self.addCleanup(locked.release)
        asked = subprocess.run(
            [
                sys.executable,
                "-c",
                f"from rocketmq_tx.store.file_lock import *; print(lock_holder({str(path)!r}))",
            ],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            check=True,
        )
        self.assertEqual(asked.stdout.strip(), str(os.getpid()))
