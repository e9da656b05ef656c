"""Rows 8 to 12, 18 and 19 of the faults, on a disk that fails on demand and a clock turned by hand."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.config.values import FlushDiskType
from rocketmq_tx.errors import RequestRefused, StoreError, StoreUnavailable
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.runtime.arrivals import Arrivals
from rocketmq_tx.runtime.group_commit import GroupCommit
from rocketmq_tx.runtime.watermark import Watermark
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, SEGMENT, message, open_store
from tests.unit.broker_parts import HeldRunner

LOG = "/store/commitlog/"


class StoreCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.notices: list[str] = []
        self.store = open_store(self.disk, notices=self.notices)

    def send(self, *bodies: bytes) -> None:
        self.store.append_all([message("T", 0, body) for body in bodies], NOW)

    def bodies(self, store: MessageStore | None = None) -> list[bytes]:
        result = (store or self.store).get_messages("T", 0, 0, 32)
        return [record.body for record in decode_records(result.body, check_crc=True)]


class NoRoomTests(StoreCase):
    """Row 8: no room in the middle of a record or a batch."""

    def test_whatever_was_written_before_the_room_ended_is_never_seen(self) -> None:
        self.send(b"before")
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            for short in (0, 1, 40, 150, 300):
                self.disk.fail("write", LOG, number, short)
                error = self.assertRaises(StoreUnavailable, self.send, b"x" * 100, b"y" * 100)
                self.assertIn(f"the disk of {LOG[:-1]} is", str(error))
                self.assertEqual(self.bodies(), [b"before"])
                self.assertEqual(self.bodies(open_store(self.disk.after_kill())), [b"before"])
                self.disk.heal()
        self.send(b"after")
        self.assertEqual(self.bodies(), [b"before", b"after"])
        self.assertEqual(self.bodies(open_store(self.disk.after_kill())), [b"before", b"after"])

    def test_a_start_that_fails_at_its_lock_lets_go_of_it(self) -> None:
        disk = MemoryDisk()
        disk.fail("write", "/lock", errno.EIO)
        self.assertRaises(StoreError, open_store, disk)
        disk.heal()
        open_store(disk).close(NOW)

    def test_a_segment_that_cannot_be_made_refuses_and_is_made_later(self) -> None:
        self.send(b"x" * 60_000)
        for action in ("create", "truncate"):
            self.disk.fail(action, f"{SEGMENT:020d}", errno.EFBIG)
            self.assertRaises(StoreUnavailable, self.send, b"y" * 60_000)
            self.disk.heal()
        self.send(b"y" * 60_000)
        self.assertEqual(len(self.store.get_messages("T", 0, 1, 1).body), self.store.entry_at("T", 0, 1)[1])  # type: ignore[index]

    def test_a_disk_that_is_full_at_the_start_serves_and_catches_up_when_there_is_room(self) -> None:
        """Else nothing could be read, and old messages not be deleted."""
        self.send(*[b"%d" % number for number in range(30)])
        image = self.disk.after_kill()
        for part in ("/consumequeue/", "/index/", "/checkpoint", LOG):
            image.fail("write", part, errno.ENOSPC)
        notices: list[str] = []
        store = open_store(image, notices=notices)
        self.assertEqual(len(self.bodies(store)), 30)
        self.assertEqual(len(notices), 1)
        self.assertIn("no checkpoint is made until there is room", notices[0])
        self.assertRaises(StoreUnavailable, store.append_all, [message("T", 0, b"x")], NOW)
        self.assertEqual(len(self.bodies(store)), 30)
        image.heal()
        store.append_all([message("T", 0, b"after")], NOW)
        store.close(NOW)
        again = open_store(image.after_kill())
        self.assertEqual(again.queue_offsets("T", 0), (0, 31))


class WriteErrorTests(StoreCase):
    """Row 9: EIO on write."""

    def test_the_send_fails_and_the_end_of_the_log_is_where_it_was(self) -> None:
        self.send(b"before")
        end = self.store.written_to
        self.disk.fail("write", LOG, errno.EIO)
        self.assertIn("at offset", str(self.assertRaises(StoreError, self.send, b"lost")))
        self.assertEqual(self.store.written_to, end)
        self.assertEqual(self.store.queue_offsets("T", 0), (0, 1))
        self.disk.heal()
        self.send(b"after")
        self.assertEqual(self.bodies(open_store(self.disk.after_kill())), [b"before", b"after"])

    def test_bytes_that_cannot_be_taken_back_are_overwritten_or_cut(self) -> None:
        self.send(b"before")
        self.disk.fail("write", LOG, errno.EIO, 150)
        self.disk.fail("truncate", LOG, errno.EIO)
        self.assertIn(
            "what was written of it stays", str(self.assertRaises(StoreError, self.send, b"z" * 300))
        )
        self.disk.heal()
        self.assertEqual(self.bodies(open_store(self.disk.after_kill())), [b"before"])
        self.send(b"after")
        self.assertEqual(self.bodies(open_store(self.disk.after_kill())), [b"before", b"after"])


class FlushCase(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.thread = HeldRunner()
        self.store.config.flush_disk_type = FlushDiskType.SYNC_FLUSH
        self.flushes = GroupCommit(self.store, Watermark(self.clock), [self.thread], self.clock)
        self.appending = Appending(self.store.config, self.store, self.flushes, Arrivals(self.clock))
        self.jobs: list[Any] = []
        begin = self.store.begin_flush

        def begin_flush() -> Any:
            self.jobs.append(begin())
            return self.jobs[-1]

        self.store.begin_flush = begin_flush  # type: ignore[method-assign]

    def sent(self, body: bytes = b"x") -> Any:
        return self.appending.settle(self.appending.append([message("T", 0, body)], NOW))

    def flush_ends(self) -> None:
        """The thread does its work now."""
        self.jobs[-1].run()
        self.thread.finish()


class SyncErrorTests(FlushCase):
    """Row 10: EIO on fsync."""

    def test_nothing_is_acknowledged_then_or_later_whatever_the_next_sync_says(self) -> None:
        waiting = self.sent()
        self.disk.fail("sync", LOG, errno.EIO)
        self.flush_ends()
        refusal = self.failureResultOf(waiting, RequestRefused).value
        self.assertEqual(refusal.code, ResponseCode.SERVICE_NOT_AVAILABLE)
        self.disk.heal()
        refusal = self.assertRaises(RequestRefused, self.sent, b"later")
        self.assertEqual(refusal.code, ResponseCode.SERVICE_NOT_AVAILABLE)
        self.assertEqual(self.store.flushed_to, 0)
        self.assertEqual(self.bodies(), [b"x"])
        self.flushLoggedErrors()


class SlowSyncTests(FlushCase):
    """Row 11: fsync takes 200 ms, 5 s, for ever."""

    def test_200_ms_is_waited_for(self) -> None:
        waiting = self.sent()
        self.clock.advance(0.2)
        self.flush_ends()
        self.assertEqual(self.successResultOf(waiting), ResponseCode.SUCCESS)

    def test_2_s_are_waited_for_with_an_answer_for_everybody(self) -> None:
        waiting = [self.sent() for _ in range(3)]
        self.clock.advance(2)
        for one in waiting:
            self.assertNoResult(one)
        self.flush_ends()
        self.clock.advance(0)  # the next one begins in the next turn
        self.flush_ends()
        for one in waiting:
            self.assertEqual(self.successResultOf(one), ResponseCode.SUCCESS)

    def test_a_send_that_comes_while_a_checkpoint_is_made_is_flushed_for_itself(self) -> None:
        self.store.append_all([message("T", 0, b"before")], NOW)
        checkpoint = self.store.derived.begin_checkpoint(NOW)
        waiting = self.sent()
        checkpoint.run()
        self.store.derived.finish_checkpoint(checkpoint)
        self.flush_ends()
        self.assertEqual(self.successResultOf(waiting), ResponseCode.SUCCESS)

    def test_a_send_while_all_that_is_written_is_flushed_by_a_checkpoint_is_answered(self) -> None:
        placed = self.appending.append([message("T", 0, b"x")], NOW)
        checkpoint = self.store.derived.begin_checkpoint(NOW)
        waiting = self.appending.settle(placed)
        checkpoint.run()
        self.store.derived.finish_checkpoint(checkpoint)
        self.flush_ends()
        self.assertEqual(self.successResultOf(waiting), ResponseCode.SUCCESS)

    def test_5_s_is_a_timeout_reads_go_on_and_the_next_is_well_again(self) -> None:
        waiting = self.sent(b"slow")
        self.clock.advance(4.99)
        self.assertNoResult(waiting)
        self.assertEqual(self.bodies(), [b"slow"])
        self.clock.advance(0.01)
        self.assertEqual(self.successResultOf(waiting), ResponseCode.FLUSH_DISK_TIMEOUT)
        self.flush_ends()
        waiting = self.sent(b"well")
        self.flush_ends()
        self.assertEqual(self.successResultOf(waiting), ResponseCode.SUCCESS)

    def test_for_ever_times_out_each_send_and_does_not_hold_the_stop(self) -> None:
        for _ in range(3):
            waiting = self.sent()
            self.clock.advance(5)
            self.assertEqual(self.successResultOf(waiting), ResponseCode.FLUSH_DISK_TIMEOUT)
        self.assertEqual(len(self.bodies()), 3)
        self.assertEqual(self.store.flushed_to, 0)
        waiting = self.sent()
        self.flushes.stop()
        self.failureResultOf(waiting, RequestRefused)


class BlockedTests(FlushCase):
    """Row 7: the reactor does nothing for two seconds, then all that is due comes at once."""

    def test_a_wait_that_ends_in_time_succeeds_though_nobody_looked(self) -> None:
        waiting = self.sent()
        self.clock.advance(2)
        self.assertNoResult(waiting)
        self.flush_ends()
        self.assertEqual(self.successResultOf(waiting), ResponseCode.SUCCESS)

    def test_a_wait_whose_time_was_up_meanwhile_is_a_timeout_and_the_next_is_well(self) -> None:
        waiting = self.sent()
        self.clock.advance(4)
        later = self.sent()
        self.clock.advance(2)
        self.assertEqual(self.successResultOf(waiting), ResponseCode.FLUSH_DISK_TIMEOUT)
        self.assertNoResult(later)
        self.flush_ends()
        self.clock.advance(0)
        self.flush_ends()
        self.assertEqual(self.successResultOf(later), ResponseCode.SUCCESS)


class ReadErrorTests(StoreCase):
    """Row 12: EIO on read of one record."""

    def test_that_record_is_refused_with_its_place_and_the_others_are_served(self) -> None:
        self.send(b"x" * 60_000)
        self.send(b"y" * 60_000)
        self.store.close(NOW)
        store = open_store(self.disk.after_kill(), notices=self.notices)
        disk: Any = store._disk
        disk.fail("read", f"{LOG}{0:020d}", errno.EIO)
        result = store.get_messages("T", 0, 0, 32)
        self.assertEqual([record.body[:1] for record in decode_records(result.body)], [b"y"])
        self.assertEqual(result.next_offset, 2)
        self.assertIn("the record at 0 is withheld", self.notices[-1])
        self.assertIn("Input/output error", self.notices[-1])

    def test_so_is_a_record_that_this_process_wrote(self) -> None:
        self.send(b"x" * 60_000)
        self.send(b"y" * 60_000)
        self.disk.fail("read", f"{LOG}{0:020d}", errno.EIO)
        result = self.store.get_messages("T", 0, 0, 32)
        self.assertEqual([record.body[:1] for record in decode_records(result.body)], [b"y"])
        self.assertIn("the record at 0 is withheld", self.notices[-1])


class UnusableTests(StoreCase):
    """Row 18: the file system became read-only, or the files are gone."""

    def test_on_a_read_only_file_system_reads_go_on_and_sends_say_why(self) -> None:
        self.send(b"before")
        for action in ("write", "truncate", "create", "remove"):
            self.disk.fail(action, "/store", errno.EROFS)
        self.assertIn("Read-only file system", str(self.assertRaises(StoreError, self.send, b"x")))
        self.assertEqual(self.bodies(), [b"before"])
        self.disk.heal()
        self.send(b"after")
        self.assertEqual(self.bodies(), [b"before", b"after"])

    def test_a_file_removed_under_us_ends_the_writing_once_and_for_all(self) -> None:
        self.store.check_files()
        self.send(b"before")
        self.store.check_files()
        self.disk.remove(f"{LOG}{0:020d}")
        self.store.check_files()
        self.store.check_files()
        self.assertEqual(len(self.notices), 1)
        self.assertIn("was removed", self.notices[0])
        self.assertRaises(StoreUnavailable, self.send, b"x")


class DescriptorTests(StoreCase):
    """Row 19: no descriptor is left when a file is to be opened."""

    def test_files_kept_open_make_room(self) -> None:
        self.send(b"x")
        self.store.derived.write_all(NOW)
        opens = self.disk.open
        failed: list[str] = []

        def open_once_more(path: str) -> Any:
            if not failed:
                failed.append(path)
                self.disk.fail("open", path, errno.EMFILE)
            try:
                return opens(path)
            finally:
                self.disk.heal()

        self.disk.open = open_once_more  # type: ignore[method-assign]
        self.store._files.forget(f"/store/consumequeue/T/0/{0:020d}")
        self.assertEqual(self.bodies(), [b"x"])
        self.assertEqual(len(failed), 1)

    def test_without_any_file_to_close_it_is_an_error(self) -> None:
        self.store._files.forget_all()
        self.disk.fail("create", LOG, errno.EMFILE)
        self.assertRaises(StoreError, self.send, b"x")
