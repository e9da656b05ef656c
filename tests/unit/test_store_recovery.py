"""Opening what is odd: gaps, foreign files, sizes that changed, times that cannot be right."""

from __future__ import annotations

import errno
import itertools
import random
import sys
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreDamaged, StoreError
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.store import catching_up, derived_files, log_walk, opening_progress
from rocketmq_tx.store.checkpoint import StoreTimes
from rocketmq_tx.store.file_layouts import CheckpointTimes
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.plain_records import PlainRecords
from rocketmq_tx.store.recovery import RecoveryReport
from rocketmq_tx.store.repair import plan_repair
from rocketmq_tx.store.segments import OpenFiles, SegmentFiles, open_files_max
from rocketmq_tx.store.store_files import IndexSize, StoreFiles
from rocketmq_tx.store.verify import verify
from tests import memory_disk
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, SEGMENT, STORE_HOST, message, small_config

LOG = "/store/commitlog/"
QUEUE = "/store/consumequeue/T/0/"
APACHE_TIMES = CheckpointTimes.build({"commit_log_ms": NOW, "queues_ms": NOW, "index_ms": NOW})
LATER = 1 << 62
PREPARED = 0x4


def segment(number: int) -> str:
    return f"{LOG}{number * SEGMENT:020d}"


class RecoveryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()

    def open(self, disk: MemoryDisk | None = None, **changes: object) -> tuple[MessageStore, RecoveryReport]:
        self.notices: list[str] = []
        config = small_config("/store", **changes)
        store = MessageStore(config, disk or self.disk, STORE_HOST, notice=self.notices.append)
        return store, store.open(NOW)

    def filled(self, count: int = 100, size: int = 2000, **changes: object) -> MessageStore:
        """A store of several segments, one message a millisecond."""
        store, _ = self.open(**changes)
        self.fill(store, range(count), size)
        return store

    def fill(self, store: MessageStore, numbers: range, size: int = 2000) -> None:
        """A message for each number, of so many bytes, with a key."""
        for number in numbers:
            body = b"%d " % number + b"x" * size
            store.append_all([message("T", 0, body, unique=f"U{number}")], NOW + number)

    def numbers(self, store: MessageStore) -> list[int]:
        found = []
        offset, end = store.queue_offsets("T", 0)
        while offset < end:
            result = store.get_messages("T", 0, offset, 32)
            found += [int(record.body.split()[0]) for record in decode_records(result.body)]
            offset = result.next_offset
        return found


class LogTests(RecoveryCase):
    def test_a_start_behind_a_checkpoint_waits_for_no_device_and_a_later_crash_loses_nothing(self) -> None:
        store = self.filled(60)
        store.derived.save_checkpoint(NOW)
        claimed_to = store.written_to
        self.disk = self.disk.after_kill()
        killed, _ = self.open()
        for number in range(60, 100):
            killed.append_all([message("T", 0, b"%d" % number)], NOW + number)
        self.disk = self.disk.after_kill()
        self.disk.fail("sync", "/consumequeue/", errno.EIO)
        self.disk.fail("sync", "/commitlog/", errno.EIO)
        again, report = self.open()
        self.assertEqual((report.records_walked, again.flushed_to), (40, claimed_to))
        self.assertEqual(again.derived.unclaimed_bytes, again.written_to - claimed_to)
        self.assertEqual(self.numbers(again), list(range(100)))
        self.disk.heal()
        job = again.begin_flush()
        assert job is not None
        job.run()
        self.assertEqual(again.finish_flush(job), again.written_to)
        for seed in range(20):
            cut, _ = self.open(self.disk.after_power_cut(random.Random(seed)))
            self.assertEqual(self.numbers(cut), list(range(100)))

    def killed_80_messages_behind_a_checkpoint(self) -> MemoryDisk:
        """Of 110 messages in all; a start leaves the keys of those 80 for later, in bites of 8."""
        self.patch(catching_up, "BITE_KEYS", 8)
        store = self.filled(30)
        store.derived.save_checkpoint(NOW)
        self.fill(store, range(30, 110))
        return self.disk.after_kill()

    def missing_keys(self, store: MessageStore, count: int) -> list[int]:
        """Numbers of the messages that their unique key does not find, or finds twice."""
        found = [store.query_by_key("T", f"U{number}", 32, 0, LATER).offsets for number in range(count)]
        return [number for number, offsets in enumerate(found) if len(offsets) != 1]

    def test_keys_that_a_start_leaves_for_later_are_found_whenever_the_next_crash_comes(self) -> None:
        killed, bites = self.killed_80_messages_behind_a_checkpoint(), 0
        while True:
            image = killed.after_kill()
            again, report = self.open(image)
            self.assertEqual((report.records_walked, again._index.entry_count), (80, 30))
            left = [again.derived.write_index_bite(NOW) for _ in range(bites)]
            again.append_all([message("T", 0, b"110 ", unique="U110")], NOW + 110)
            for disk in (image.after_kill(), image.after_power_cut(random.Random(bites))):
                crashed, _ = self.open(disk)
                count = 1 + self.numbers(crashed)[-1]
                self.assertGreaterEqual(count, 30)
                self.assertEqual((self.missing_keys(crashed, count), crashed._index.entry_count), ([], count))
            self.assertEqual(self.missing_keys(again, 111), [])
            again.close(NOW)
            self.assertEqual(self.open(image)[0]._index.entry_count, 111)
            if bites and not left[-1]:
                break
            bites += 1
        self.assertGreater(bites, 3)

    def test_a_checkpoint_or_too_many_bites_or_too_many_keys_behind_them_wait_for_no_later(self) -> None:
        self.patch(catching_up, "_WRITTEN_OUT_EVERY", 20)
        killed = self.killed_80_messages_behind_a_checkpoint()
        again, _ = self.open(killed.after_kill())
        again.derived.save_checkpoint(NOW)
        self.assertEqual((again.derived.is_index_behind, again._index.entry_count), (False, 110))
        again, _ = self.open(killed.after_kill())
        for _ in range(20):
            again.derived.bound_pending_keys(NOW)
        self.assertEqual((again.derived.is_index_behind, again._index.entry_count), (False, 110))
        self.patch(derived_files, "BITES_ASIDE_MAX", 1)
        again, _ = self.open(killed.after_kill())
        self.assertGreater(again._index.entry_count, 80)
        self.assertEqual(self.missing_keys(again, 110), [])

    def test_a_bite_that_finds_no_room_waits_for_it(self) -> None:
        image = self.killed_80_messages_behind_a_checkpoint()
        again, _ = self.open(image)
        again.derived.write_index_bite(NOW)
        image.fail("write", "/index/", errno.ENOSPC)
        self.assertRaises(StoreError, again.derived.write_index_bite, NOW)
        self.assertRaises(StoreError, again.derived.write_index, NOW)
        image.heal()
        self.assertEqual(self.missing_keys(again, 110), [])

    def test_a_start_that_finds_anything_odd_makes_its_checkpoint_before_anything_else(self) -> None:
        store = self.filled(60)
        store.derived.save_checkpoint(NOW)
        (last,) = store.append_all([message("T", 0, b"60 last")], NOW + 60)
        store.append_all([message("T", 0, b"61")], NOW + 61)
        self.disk = self.disk.after_kill()
        number, at = divmod(last.commit_log_offset, SEGMENT)
        self.disk.spoil(segment(number), at + 90, b"?")
        again, report = self.open()
        self.assertEqual((len(report.damage), again.flushed_to), (1, again.written_to))
        self.assertEqual(again.derived.unclaimed_bytes, 0)

    def test_a_missing_segment_is_refused_with_its_place(self) -> None:
        self.filled().close(NOW)
        self.disk.remove(segment(1))
        error = self.assertRaises(StoreDamaged, self.open)
        self.assertIn(f"{0:020d} and {2 * SEGMENT:020d}", str(error))

    def test_damage_in_the_middle_costs_nothing_behind_it_whatever_else_is_built_again(self) -> None:
        """A log is as long as its checkpoint says, though no step leads over a gap in it."""
        self.filled().close(NOW)
        closed = self.disk.after_kill()
        at = [0]
        store, _ = self.open(closed.after_kill())
        for number in range(100):
            entry = store.entry_at("T", 0, number)
            assert entry is not None
            at.append(entry[0])
        self.patch(log_walk, "_RESYNC_BYTES", 20_000)
        for part in ("/index/", "/consumequeue/", "/checkpoint", "nothing"):
            for abort in (False, True):
                for first, count in ((30, 1), (40, 20), (99, 1)):
                    image = closed.after_kill()
                    for path in [path for path in image.nodes if part in path]:
                        image.remove(path)
                    if abort:
                        image.put("/store/abort", b"")
                    for number in range(first, first + count):  # the lengths of records
                        start = at[number + 1]
                        image.spoil(segment(start // SEGMENT), start % SEGMENT, b"\xff" * 8)
                    store, _ = self.open(image)
                    why = f"without {part}, abort {abort}, {count} records from {first} on damaged"
                    wanted = [number for number in range(100) if not first <= number < first + count]
                    numbers = self.numbers(store)
                    if count > 1 and part in ("/consumequeue/", "/checkpoint"):
                        # more than is searched: what is to be entered anew goes on with the next file
                        numbers = sorted({*numbers, 60, 61})
                    self.assertEqual(numbers, wanted, why)
                    if first < 99:  # the last record of all is cut off, and its number is free again
                        self.assertEqual(store.queue_offsets("T", 0), (0, 100), why)

    def test_a_segment_that_cannot_be_opened_is_no_reason_to_pass_over_its_messages(self) -> None:
        """Consumers would go on behind them, and not come back when the permissions are right again."""
        self.filled().close(NOW)
        image = self.disk.after_kill()
        image.fail("open", segment(1), errno.EACCES)
        error = self.assertRaises(StoreError, self.open, image)
        self.assertIn(f"cannot open {segment(1)}: Permission denied", str(error))
        image.heal()
        store, _ = self.open(image)
        self.assertEqual(self.numbers(store), list(range(100)))

    def test_foreign_files_are_left_alone(self) -> None:
        """Row 16 of the faults."""
        self.filled().close(NOW)
        self.disk.put(LOG + "notes.txt", b"mine")
        self.disk.put("/store/consumequeue/T/backup/x", b"mine")
        self.disk.put("/store/index/notes.txt", b"mine")
        store, _ = self.open()
        self.assertEqual(self.numbers(store), list(range(100)))
        self.assertEqual(self.disk.content(LOG + "notes.txt"), b"mine")

    def test_the_size_on_disk_wins_over_the_configured_one(self) -> None:
        self.filled().close(NOW)
        store, report = self.open(mapped_file_size_commit_log=1 << 20, mapped_file_size_consume_queue=600)
        self.assertEqual(self.numbers(store), list(range(100)))
        self.assertEqual(len(report.warnings), 1)
        self.assertIn("mappedFileSizeCommitLog=1048576", self.notices[0])
        store.append_all([message(body=b"x" * 60_000)], NOW)
        self.assertEqual(self.disk.file_size(segment(4)), SEGMENT)
        store.derived.write_all(NOW)
        self.assertEqual(self.disk.file_size(QUEUE + "0" * 20), 6000)

    def test_a_segment_that_is_too_long_is_refused(self) -> None:
        self.filled().close(NOW)
        self.disk.put(segment(1), self.disk.content(segment(1)) + b"more")
        self.assertRaises(StoreDamaged, self.open)

    def test_a_segment_that_cannot_be_read_is_no_empty_store(self) -> None:
        self.filled()
        image = self.disk.after_kill()
        image.fail("read", "commitlog", errno.EIO)
        self.assertRaises(StoreError, self.open, image)

    def test_a_log_that_is_gone_is_no_empty_store(self) -> None:
        """Row 16 of the faults: perhaps its disk is not mounted, so nothing is begun anew, nor removed."""
        self.filled().close(NOW)
        for path in [path for path in self.disk.nodes if path.startswith(LOG)]:
            self.disk.remove(path)
        before = set(self.disk.nodes)
        self.assertIn("is the disk mounted?", str(self.assertRaises(StoreDamaged, self.open)))
        times = CheckpointTimes.build({"commit_log_ms": NOW, "queues_ms": NOW, "index_ms": 0})
        self.disk.put("/store/checkpoint", times)
        self.assertIn("is the disk mounted?", str(self.assertRaises(StoreDamaged, self.open)))
        self.assertEqual(set(self.disk.nodes), before)

    def test_a_checkpoint_of_another_store_is_told_from_one_whose_files_are_gone(self) -> None:
        """Row 14 of the faults."""
        self.filled(200).close(NOW)
        strange = self.disk.content("/store/checkpoint")
        self.disk = MemoryDisk()
        own, _ = self.open()
        own.append_all([message("T", 0, b"%d " % n, unique=f"U{n}") for n in range(10)], NOW + 5)
        own.close(NOW)
        for cut in (None, 40):  # the log's only file as it was, or cut off within the first record
            image = self.disk.after_kill()
            image.put("/store/checkpoint", strange)
            if cut is not None:
                image.put(segment(0), image.content(segment(0))[:cut])
                self.assertIn("files are missing", str(self.assertRaises(StoreDamaged, self.open, image)))
                continue
            store, _ = self.open(image)
            self.assertEqual(self.numbers(store), list(range(10)))
            self.assertEqual(len(self.notices), 1)
            self.assertIn("the checkpoint is that of another store", self.notices[0])
            strange_image = self.disk.after_kill()
            strange_image.put("/store/checkpoint", strange)
            report = verify(StoreFiles(strange_image, "/store", index_size=IndexSize(500, 2000)))
            self.assertTrue(report.is_clean)
            self.assertIn("that of another store", report.findings.kept[0].sentence)
            self.assertEqual(plan_repair(strange_image, "/store", [LOG[:-1]], SEGMENT).actions, [])
            store.close(NOW)
            self.open(image)
            self.assertEqual(self.notices, [])

    def test_an_end_that_was_on_the_device_and_is_lost_is_told(self) -> None:
        store = self.filled(10, 100)
        (last,) = store.append_all([message("T", 0, b"10 last")], NOW + 20)
        store.derived.save_checkpoint(NOW)
        image = self.disk.after_kill()
        image.spoil(segment(0), last.commit_log_offset, bytes(last.size))
        again, _ = self.open(image)
        self.assertEqual(self.numbers(again), list(range(10)))
        self.assertEqual(
            [line for line in self.notices if "are lost" in line],
            [
                f"by the checkpoint the log was on the device up to {last.commit_log_offset + last.size}, "
                f"but it ends at {last.commit_log_offset}: the messages in between are lost"
            ],
        )

    def test_an_index_that_is_built_from_the_whole_log_is_told_in_one_line(self) -> None:
        self.filled().close(NOW)
        whole = self.disk.after_kill()
        for path in [path for path in whole.nodes if "/index/" in path]:
            for gone in (True, False):
                image = whole.after_kill()
                if gone:
                    image.remove(path)
                else:
                    image.put(path, bytes(len(image.content(path))))
                store, report = self.open(image)
                self.assertEqual(
                    self.notices, ["there is no complete message index: it is built from the whole log"]
                )
                self.assertEqual(report.records_walked, 100)
                self.assertEqual(len(store.query_by_key("T", "U7", 9, 0, LATER).offsets), 1)
        self.open(whole)
        self.assertEqual(self.notices, [])

    def test_a_store_that_was_killed_before_it_had_an_index_says_nothing_of_it(self) -> None:
        self.filled()
        self.open(self.disk.after_kill())
        self.assertEqual(self.notices, [])

    def test_without_a_log_queues_and_index_name_nothing(self) -> None:
        self.filled().close(NOW)
        for number in range(4):
            self.disk.remove(segment(number))
        self.disk.remove("/store/checkpoint")
        store, report = self.open()
        self.assertEqual((report.log_end_offset, store.queue_offsets("T", 0)), (0, (0, 0)))
        self.assertEqual(store.query_by_key("T", "U1", 9, 0, LATER).offsets, [])

    def test_a_stretch_of_garbage_over_the_end_of_a_segment_costs_what_it_covers(self) -> None:
        self.filled()
        self.disk.spoil(segment(1), 40_000, random.Random(1).randbytes(SEGMENT - 40_000))
        store, report = self.open(self.disk.after_kill())
        numbers = self.numbers(store)
        self.assertEqual(numbers[-1], 99)
        self.assertEqual(len(numbers), len(set(numbers)))
        self.assertGreater(len(numbers), 80)
        self.assertEqual(len(report.records_withheld), 1)
        offset = store.entry_at("T", 0, 99)
        assert offset is not None

    def test_a_record_is_found_behind_damage_and_a_hole_wherever_it_stands(self) -> None:
        """A start reads on behind a gap, but for what was never written."""
        self.patch(log_walk, "_PIECE_BYTES", 4096)
        big = {"mapped_file_size_commit_log": 1 << 20}
        store = self.filled(3, **big)
        placed = store.append_all([message("T", 0, b"3 ", unique="U3"), message("U", 0, b"")], NOW + 3)
        image = self.disk.after_kill()
        content = image.content(segment(0))
        for (at, size, _), pages, more in itertools.product(placed, (12, 40, 200), range(3)):
            # The record ends with a page, or its last bytes are in the next: zeros, without properties.
            end = (pages << 12) + more
            moved = bytearray(content[at : at + size])
            moved[28:36] = (end - size).to_bytes(8, "big")
            head = content[: placed[0].commit_log_offset] + b"?" * 100
            whole = head.ljust(end - size, b"\0") + bytes(moved)
            disk = image.after_kill()
            disk.put(segment(0), whole.ljust(1 << 20, b"\0"))
            _, report = self.open(disk, **big)
            self.assertEqual((report.log_end_offset, report.records_walked), (end, 4))

    def test_the_hole_behind_the_last_record_is_not_read(self) -> None:
        self.filled(20, mapped_file_size_commit_log=32 << 20)
        read = []
        pread = memory_disk._MemoryFile.pread

        def counted(file: memory_disk._MemoryFile, length: int, offset: int) -> bytes:
            read.append(length if LOG in file.path else 0)
            return pread(file, length, offset)

        self.patch(memory_disk._MemoryFile, "pread", counted)
        store, _ = self.open(self.disk.after_kill(), mapped_file_size_commit_log=32 << 20)
        self.assertEqual(self.numbers(store), list(range(20)))
        self.assertLess(sum(read), 3 << 20)

    def test_old_records_behind_an_end_that_apache_cut_stay_cut(self) -> None:
        """Apache leaves the bytes; a record of before that stands there is older than the last one."""
        old, _ = self.open()
        placed = [old.append_all([message("T", 0, b"%d " % n + b"x" * 100)], NOW)[0] for n in range(10)]
        content = self.disk.content(segment(0))
        old.close(NOW)
        self.disk = MemoryDisk()
        new, _ = self.open()
        for n in range(5):
            new.append_all([message("T", 0, b"%d " % n + b"x" * 100)], NOW + 1000)
        new.append_all([message("T", 0, b"5 " + b"x" * 90)], NOW + 1000)
        image = self.disk.after_kill()
        end = new.written_to
        image.spoil(segment(0), end, content[end:])
        self.assertLess(end, placed[6].commit_log_offset)
        store, report = self.open(image)
        self.assertEqual(report.log_end_offset, end)
        self.assertEqual(self.numbers(store), list(range(6)))
        (line,) = self.notices
        kept = f"/store/cut/behind-{end}.log"
        self.assertIn(
            f"the log ends at {end}; what stands behind is cut off and kept in {kept}; it has", line
        )
        self.assertEqual(image.content(kept).rstrip(b"\0"), content[end:].rstrip(b"\0"))
        self.open(image.after_kill())
        self.assertEqual(self.notices, [])

    def test_a_beginning_that_cannot_be_read_hinders_neither_checkpoint_nor_start(self) -> None:
        self.filled()
        store, _ = self.open(self.disk.after_kill())
        disk = store._disk
        assert isinstance(disk, MemoryDisk)
        disk.fail("read", segment(0), errno.EIO)
        store.append_all([message("T", 0, b"100")], NOW + 5000)
        store.derived.save_checkpoint(NOW)
        image = disk.after_kill()
        image.fail("read", segment(0), errno.EIO)
        again, report = self.open(image)
        self.assertEqual((report.records_walked, report.warnings), (0, []))
        self.assertEqual(again.queue_offsets("T", 0)[1], 101)

    def test_without_a_checkpoint_nobody_has_stopped_in_order(self) -> None:
        """A store that was killed before its first checkpoint, and whose `abort` somebody has removed."""
        store, _ = self.open()
        for n in range(30):
            store.append_all([message("ABC"[n % 3], 0, b"%d" % n, unique=f"U{n}")], NOW + n)
        store.derived.write_some_queues(1)
        store.append_all([message("A", 0, b"30")], NOW + 30)
        image = self.disk.after_kill()
        image.remove("/store/abort")
        store, report = self.open(image)
        self.assertFalse(report.clean)
        self.assertEqual([store.queue_offsets(topic, 0) for topic in "ABC"], [(0, 11), (0, 10), (0, 10)])

    def test_plain_records_and_others_are_entered_in_the_order_of_the_log(self) -> None:
        """The first of a queue, those without keys, of a transaction, and damaged ones are not plain."""
        store, _ = self.open()
        placed = []
        for n in range(300):
            kind = n % 7
            like = message("ABC"[n % 3], n % 2, b"%d" % n, unique=f"U{n}" if kind else None)
            if kind == 6:
                like = like._replace(sys_flag=PREPARED)
            placed += store.append_all([like], NOW + n)
        for place in placed[50], placed[51], placed[200]:
            at = place.commit_log_offset % SEGMENT
            self.disk.spoil(segment(place.commit_log_offset // SEGMENT), at + 88, b"?")
        ahead, behind = self.disk.after_kill(), self.disk.after_kill()
        fast, report = self.open(ahead)
        with mock.patch.object(PlainRecords, "take", lambda records, data, at, base: at):
            slow, slow_report = self.open(behind)
        self.assertEqual(report, slow_report)
        self.assertEqual(report.records_walked, 297)
        for disk, opened in (ahead, fast), (behind, slow):
            opened.close(NOW)
            self.assertIn("/store/index", "".join(disk.nodes))
        self.assertEqual(self.derived(ahead), self.derived(behind))

    def derived(self, disk: MemoryDisk) -> dict[str, bytes]:
        """Queues and index as they stand in their files."""
        return {
            path: bytes(node.content)
            for path, node in disk.nodes.items()
            if "/consumequeue/" in path or "/index/" in path
        }

    def test_the_crc_is_not_looked_at_when_told_so_but_reads_do(self) -> None:
        self.filled(5)
        self.disk.spoil(segment(0), 100, b"?")
        store, report = self.open(self.disk.after_kill(), check_crc_on_recover=False)
        self.assertEqual(report.records_walked, 5)
        self.assertEqual(self.numbers(store), [1, 2, 3, 4])

    def open_slowly(self, disk: MemoryDisk, seconds_a_look: float) -> list[str]:
        """What is said on the way when the clock moves on so much each time that it is looked at."""
        self.patch(opening_progress, "_WORK_BETWEEN_LOOKS", 20_000)
        now_s = itertools.count()
        notices: list[str] = []
        store = MessageStore(
            small_config("/store"),
            disk,
            STORE_HOST,
            1 << 30,
            notices.append,
            lambda: next(now_s) * seconds_a_look,
        )
        store.open(NOW)
        return [line for line in notices if line.startswith(("recovering", "opening"))]

    def test_a_recovery_of_more_than_two_seconds_tells_how_far_it_is(self) -> None:
        self.filled(200)
        lines = self.open_slowly(self.disk.after_kill(), 2.1)
        self.assertGreater(len(lines), 5)
        self.assertIn(f"of at most {7 * SEGMENT}", lines[0])
        self.assertEqual(self.open_slowly(self.disk.after_kill(), 0.01), [])

    def test_looking_through_very_many_queues_tells_how_far_it_is(self) -> None:
        store, _ = self.open()
        store.append_all([message(f"T{n}") for n in range(50)], NOW)
        store.close(NOW)
        lines = self.open_slowly(self.disk.after_kill(), 0.5)
        self.assertTrue([line for line in lines if line.startswith("opening: found ")], lines)
        self.assertTrue([line for line in lines if line.endswith(" of 50 queues")], lines)

    def test_a_long_recovery_writes_what_it_has_on_the_way(self) -> None:
        store, _ = self.open(mapped_file_size_commit_log=16 << 20)
        for _ in range(700):
            store.append_all([message("T", 0, b"1 ", unique="U") for _ in range(100)], NOW)
        again, report = self.open(
            self.disk.after_kill(), mapped_file_size_commit_log=16 << 20, max_index_num=100_000
        )
        self.assertEqual((report.records_walked, again.queue_offsets("T", 0)), (70_000, (0, 70_000)))


class ApacheCheckpointTests(RecoveryCase):
    """Without a claim of ours the store times decide where to begin."""

    def killed(self, times: StoreTimes) -> MemoryDisk:
        store = self.filled()
        store.derived.write_all(NOW)
        image = self.disk.after_kill()
        image.put("/store/checkpoint", CheckpointTimes.build(times._asdict()).ljust(4096, b"\0"))
        return image

    def test_only_segments_behind_the_safe_time_are_walked(self) -> None:
        image = self.killed(StoreTimes(NOW + 3050, NOW + 3060, NOW + 3060))
        # Times of messages are made plausible: nothing in the log is older than the checkpoint.
        store, report = self.open(image)
        self.assertTrue(report.rebuilt)
        self.assertEqual(self.numbers(store), list(range(100)))

    def test_a_checkpoint_of_times_that_were_reached_is_believed(self) -> None:
        store, _ = self.open()
        for n in range(100):
            store.append_all([message("T", 0, b"%d " % n + b"x" * 2000, unique=f"U{n}")], NOW + n * 1000)
        store.derived.write_all(NOW)
        image = self.disk.after_kill()
        times = StoreTimes(NOW + 60_000, NOW + 60_000, NOW + 90_000)
        image.put("/store/checkpoint", CheckpointTimes.build(times._asdict()).ljust(4096, b"\0"))
        again, report = self.open(image)
        self.assertEqual((report.rebuilt, self.numbers(again)), (False, list(range(100))))
        self.assertEqual(
            again.query_by_key("T", "U3", 9, 0, LATER).offsets,
            store.query_by_key("T", "U3", 9, 0, LATER).offsets,
        )

    def test_garbage_and_future_times_lose_nothing(self) -> None:
        """Row 14 of the faults."""
        for times in (StoreTimes(LATER, LATER, LATER), StoreTimes(-5, LATER, 0), StoreTimes(1, 1, 1)):
            self.disk = MemoryDisk()
            store, _ = self.open(self.killed(times))
            self.assertEqual(self.numbers(store), list(range(100)))


class QueueTests(RecoveryCase):
    def damaged(self) -> MemoryDisk:
        """A clean store whose queue takes several files."""
        self.filled(100, 100, mapped_file_size_consume_queue=200).close(NOW)
        return self.disk.after_kill()

    def check(self, image: MemoryDisk) -> None:
        store, report = self.open(image, mapped_file_size_consume_queue=200)
        self.assertEqual(self.numbers(store), list(range(100)))
        self.assertTrue(report.rebuilt)

    def test_a_file_that_is_missing_anywhere_is_built_again(self) -> None:
        """Row 15 of the faults."""
        for number in range(10):
            image = self.damaged()
            image.remove(f"{QUEUE}{number * 200:020d}")
            self.check(image)
            self.disk = MemoryDisk()

    def test_a_file_of_zeros_anywhere_is_built_again(self) -> None:
        for number in range(10):
            image = self.damaged()
            image.put(f"{QUEUE}{number * 200:020d}", bytes(200))
            self.check(image)
            self.disk = MemoryDisk()

    def test_entries_ahead_of_the_log_go(self) -> None:
        """Row 15 of the faults."""
        store = self.filled(3)
        store.close(NOW)
        image = self.disk.after_kill()
        image.put("/store/checkpoint", APACHE_TIMES)
        path = QUEUE + "0" * 20
        image.spoil(path, 60, (9999).to_bytes(8, "big") + (100).to_bytes(4, "big") + bytes(8))
        again, report = self.open(image)
        self.assertEqual((again.queue_offsets("T", 0), report.rebuilt), ((0, 3), True))

    def test_a_clean_store_of_apache_without_queues_gets_them_again(self) -> None:
        self.filled(10).close(NOW)
        image = self.disk.after_kill()
        for path in [path for path in image.nodes if "queue" in path or "index" in path]:
            image.remove(path)
        image.put("/store/checkpoint", APACHE_TIMES)
        store, report = self.open(image)
        self.assertEqual((self.numbers(store), report.clean), (list(range(10)), True))
        self.assertEqual(len(store.query_by_key("T", "U7", 9, 0, LATER).offsets), 1)

    def test_a_number_that_was_lost_is_taken_when_its_message_comes_after_all(self) -> None:
        """A flipped bit makes number 1 a 33, far ahead of the log's pace, or a 0 that is taken already."""
        store, _ = self.open()
        placed = [
            store.append_all([message("T", 0, b"%d " % n), message("U", body=b"x" * 3000)], NOW)[0]
            for n in range(9)
        ]
        for bit in (1, 2, 4, 32, 128):
            image = self.disk.after_kill()
            at = placed[1].commit_log_offset + 27
            image.spoil(segment(0), at, bytes([1 ^ bit]))
            again, _ = self.open(image)
            self.assertLessEqual({0, 2, 3, 4, 5, 6, 7, 8} - {1 ^ bit}, set(self.numbers(again)), bit)
            everything = again.get_messages("T", 0, 0, 32)
            filtered = again.get_messages("T", 0, 0, 32, wants=lambda properties: True)
            self.assertEqual(decode_records(filtered.body), decode_records(everything.body), bit)


class SegmentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.files = OpenFiles(self.disk, limit=2)
        self.segments = SegmentFiles(self.files, "/d", 100)

    def test_at_most_so_many_files_stay_open(self) -> None:
        for start in (0, 100, 200, 300):
            self.segments.write(b"%d" % start, start)
        self.assertEqual(len(self.files), 2)
        self.assertEqual(self.segments.read(0, 1), b"0")
        self.files.forget_all()
        self.assertEqual(len(self.files), 0)

    def test_a_quarter_of_the_descriptors_is_for_files_and_never_more_than_half(self) -> None:
        for descriptors, files in (
            (40, 8),
            (64, 8),
            (100, 26),
            (1024, 400),
            (20_000, 5000),
            (sys.maxsize, 8192),
        ):
            self.assertEqual(open_files_max(descriptors), files)

    def test_what_is_not_there_is_not_read_and_gaps_are_not_made(self) -> None:
        self.assertFalse(self.segments.has(0))
        self.assertEqual((self.segments.first, self.segments.end), (0, 0))
        self.assertRaises(StoreError, self.segments.read, 0, 1)
        self.segments.write(b"x", 100)
        self.assertRaises(StoreError, self.segments.read, 0, 1)
        self.assertRaises(StoreError, self.segments.write, b"x", 300)
        self.assertRaises(StoreError, self.segments.read, 190, 20)
        self.assertEqual((self.segments.first, self.segments.end), (100, 200))

    def test_cutting_drops_what_is_behind(self) -> None:
        for start in (0, 100, 200):
            self.segments.write(b"x" * 100, start)
        self.segments.cut(130)
        self.assertEqual(self.segments.starts, [0, 100])
        self.assertEqual(self.segments.read(100, 100), b"x" * 30 + bytes(70))
        self.segments.cut(100)
        self.assertEqual(self.segments.starts, [0])
