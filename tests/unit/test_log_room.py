"""Room for the log is got ahead of it, a piece at a time, and only where its file has some."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from rocketmq_tx.broker.room_keeping import RoomKeeping
from rocketmq_tx.store.commit_log import CommitLog
from rocketmq_tx.store.log_room import AHEAD_BYTES, LogRoom
from rocketmq_tx.store.os_disk import OsDisk, platform_disk
from rocketmq_tx.store.segments import OpenFiles
from tests.memory_disk import MemoryDisk
from tests.unit.broker_parts import HeldRunner

SEGMENT_BYTES = 3 * AHEAD_BYTES + 7


def new_log() -> CommitLog:
    log = CommitLog(OpenFiles(MemoryDisk()), ["/log"], [], SEGMENT_BYTES)
    log.load()
    return log


class Rooms(SynchronousTestCase):
    @given(st.lists(st.integers(1, AHEAD_BYTES), min_size=1, max_size=12), st.booleans())
    def test_each_byte_is_expected_once_before_it_comes_and_within_its_file(
        self, steps: list[int], always_asked: bool
    ) -> None:
        log = new_log()
        log.set_end(0)
        log.append([(0, b"first")], 5)
        file, _ = log.last_file
        assert file is not None
        asked: list[tuple[int, int]] = []
        file.expect = lambda offset, length: asked.append((offset, length))  # type: ignore[method-assign]
        room = LogRoom(log)
        expected_to = 0
        for step in steps:
            if room.is_due or always_asked:
                job = room.job()
                if job is not None:
                    job()
                    offset, length = asked.pop()
                    self.assertGreaterEqual(offset, max(expected_to, log.written_to))
                    self.assertLessEqual(offset + length, SEGMENT_BYTES)
                    expected_to = offset + length
                self.assertFalse(room.is_due)
                least = min(log.written_to + AHEAD_BYTES // 2, SEGMENT_BYTES)
                self.assertGreaterEqual(expected_to, least)
            log.written_to = min(log.written_to + step, SEGMENT_BYTES)

    def test_a_log_that_was_not_written_to_yet_has_nothing_to_get(self) -> None:
        log = new_log()
        self.assertIsNone(LogRoom(log).job())

    def test_one_piece_is_got_at_a_time_and_none_after_the_stop(self) -> None:
        log = new_log()
        log.set_end(0)
        log.append([(0, b"first")], 5)
        thread = HeldRunner()
        keeping = RoomKeeping(LogRoom(log), thread)
        for wanted in (1, 1):
            keeping.appended()
            self.assertEqual(len(thread.waiting), wanted)
        log.written_to += AHEAD_BYTES
        keeping.appended()
        self.assertEqual(len(thread.waiting), 1)
        thread.finish()
        keeping.appended()
        self.assertEqual(len(thread.waiting), 1)
        thread.finish()
        keeping.stop()
        log.written_to += AHEAD_BYTES
        keeping.appended()
        self.assertEqual(thread.waiting, [])


class Files(TestCase):
    def test_a_file_is_what_it_was_when_more_of_it_is_expected(self) -> None:
        for disk in (OsDisk(), platform_disk()):
            path = self.mktemp()
            file = disk.create(path, 1 << 20)
            file.pwrite(b"begin", 0)
            blocks = os.stat(path).st_blocks
            file.expect(5, 1 << 30)  # beyond its end, too
            self.assertEqual(file.size(), 1 << 20)
            self.assertEqual(file.pread(1 << 20, 0), b"begin".ljust(1 << 20, b"\0"))
            self.assertLessEqual(os.stat(path).st_blocks, max(blocks, 8))
