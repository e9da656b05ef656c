"""What counts as being on the device: flushes in order, never past a failed one; checkpoints, too."""

from __future__ import annotations

import errno
import functools
import itertools
import random

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError, StoreUnavailable
from rocketmq_tx.store import queue_table
from rocketmq_tx.store.checkpoint import read_checkpoint
from rocketmq_tx.store.disk_use import disk_use
from rocketmq_tx.store.flush import PAGE_BYTES, FlushJob, is_flush_due
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.segments import OPEN_FILES_MAX
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, SEGMENT, STORE_HOST, message, open_store, small_config

LOG = "/store/commitlog/"


class FlushTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.notices: list[str] = []
        self.store = open_store(self.disk, notices=self.notices)

    def send(self, count: int = 1, size: int = 100) -> int:
        self.store.append_all([message(body=b"x" * size, unique="U") for _ in range(count)], NOW)
        return self.store.written_to

    def test_nothing_is_to_be_done_at_first(self) -> None:
        self.assertIsNone(self.store.begin_flush())
        self.assertEqual(self.store.flushed_to, 0)

    def test_a_job_covers_what_was_written_before_it_began(self) -> None:
        end = self.send()
        job = self.store.begin_flush()
        assert job is not None
        self.send()
        job.run()
        self.assertEqual(self.store.flushed_to, 0)
        self.assertEqual(self.store.finish_flush(job), end)
        self.assertEqual(self.store.flushed_to, end)

    def test_every_segment_that_was_written_is_synced_and_the_directory_when_it_changed(self) -> None:
        self.send(3, SEGMENT // 2)
        self.disk.syncs.clear()
        job = self.store.begin_flush()
        assert job is not None
        job.run()
        self.assertEqual(self.disk.syncs, [f"{LOG}{n * SEGMENT:020d}" for n in range(3)])
        self.assertEqual(self.disk.name_changes, [])
        self.store.finish_flush(job)
        self.assertIsNone(self.store.begin_flush())

    def test_jobs_that_overlap_count_in_their_order(self) -> None:
        first_end = self.send()
        first = self.store.begin_flush()
        self.assertIsNone(self.store.begin_flush())
        second_end = self.send()
        second = self.store.begin_flush()
        assert first is not None and second is not None
        second.run()
        self.assertEqual(self.store.finish_flush(second), 0)
        first.run()
        self.assertEqual(self.store.finish_flush(first), second_end)
        self.assertLess(first_end, second_end)

    def test_a_failed_flush_is_final_and_stops_the_writing(self) -> None:
        end = self.send()
        self.store.derived.save_checkpoint(NOW)
        self.send()
        first = self.store.begin_flush()
        self.send()
        second = self.store.begin_flush()
        assert first is not None and second is not None
        self.disk.fail("sync", LOG, errno.EIO)
        first.run()
        self.disk.heal()
        second.run()
        self.assertEqual(self.store.finish_flush(second) if not first.done else end, end)
        error = self.assertRaises(StoreError, self.store.finish_flush, first)
        self.assertIn("Input/output error", str(error))
        self.assertRaises(StoreError, self.store.finish_flush, second)
        self.assertEqual(self.store.flushed_to, end)
        self.assertIsNone(self.store.begin_flush())
        self.assertIn("flush failed", str(self.assertRaises(StoreUnavailable, self.send)))
        self.assertEqual(self.store.get_messages("TopicTest", 0, 0, 32).count, 3)
        self.assertEqual(len(self.notices), 1)
        self.store.close(NOW)
        self.assertIn("/store/abort", self.disk.nodes)

    def test_each_of_several_overlapping_syncs_hears_that_a_write_failed(self) -> None:
        """Linux tells a description once: would two share one, the other would call the lost data flushed."""
        for order in itertools.permutations(range(3)):
            self.setUp()
            end = self.send()
            self.store.derived.save_checkpoint(NOW)
            jobs: list[FlushJob] = []
            for _ in range(2):
                self.send()
                job = self.store.begin_flush()
                assert job is not None
                jobs.append(job)
            checkpoint = self.store.derived.begin_checkpoint(NOW)
            self.disk.lose_unsynced(LOG)
            runs = (jobs[0].run, jobs[1].run, checkpoint.run)
            finishes = (
                functools.partial(self.store.finish_flush, jobs[0]),
                functools.partial(self.store.finish_flush, jobs[1]),
                functools.partial(self.store.derived.finish_checkpoint, checkpoint),
            )
            for number in order:
                runs[number]()
                self.assertRaises(StoreError, finishes[number])
                self.assertEqual(self.store.flushed_to, end, f"ended in the order {order}")
            self.assertIn("flush failed", str(self.store.refusal))

    def test_a_file_is_held_from_its_first_byte_until_it_is_on_the_device(self) -> None:
        """Closed in between, a file's failed write may never be told to anybody."""
        self.send(2, SEGMENT // 2)
        for number in range(OPEN_FILES_MAX + 10):
            self.store._files.create(f"/other/{number}", 1)
        self.disk.lose_unsynced(LOG)
        for path in [path for path in self.disk.nodes if path.startswith(LOG)]:  # somebody syncs them as well
            self.assertRaises(StoreError, self.disk.open(path).sync)
        job = self.store.begin_flush()
        assert job is not None
        job.run()
        self.assertRaises(StoreError, self.store.finish_flush, job)
        self.assertEqual(self.store.flushed_to, 0)

    def test_a_segment_that_was_taken_back_and_made_again_is_synced_as_the_file_that_it_is_now(self) -> None:
        self.send(1, SEGMENT // 2)
        self.disk.fail("write", f"{SEGMENT:020d}", errno.ENOSPC, 10)
        self.assertRaises(StoreUnavailable, self.send, 1, SEGMENT * 3 // 4)
        self.disk.heal()
        end = self.send(1, SEGMENT * 3 // 4)
        job = self.store.begin_flush()
        assert job is not None
        job.run()
        self.assertEqual(self.store.finish_flush(job), end)
        image = self.disk.after_power_cut(random.Random(0))
        self.assertEqual(open_store(image).queue_offsets("TopicTest", 0), (0, 2))

    def test_files_on_the_device_are_let_go(self) -> None:
        for _ in range(5):
            self.send(1, SEGMENT // 2)
            self.store.derived.save_checkpoint(NOW)
        self.assertEqual(list(self.store._log.unsynced), [4 * SEGMENT])
        self.store.close(NOW)
        self.assertEqual(list(self.store._log.unsynced), [])

    def test_pages_are_counted_as_apache_counts_them(self) -> None:
        for flushed_to, written_to, pages, is_due in (
            (0, 0, 0, False),
            (0, 1, 0, True),
            (0, 4 * PAGE_BYTES - 1, 4, False),
            (0, 4 * PAGE_BYTES, 4, True),
            (PAGE_BYTES - 1, PAGE_BYTES, 1, True),
            (PAGE_BYTES, 2 * PAGE_BYTES - 1, 1, False),
            (SEGMENT - 1, SEGMENT, 4, True),
            (SEGMENT, SEGMENT + PAGE_BYTES, 4, False),
            (SEGMENT - 1, SEGMENT + 1, 4, True),
        ):
            found = is_flush_due(flushed_to, written_to, SEGMENT, pages)
            self.assertEqual(found, is_due, (flushed_to, written_to, pages))

    def test_who_waits_for_a_flush_does_not_wait_for_a_checkpoint(self) -> None:
        """The end of a checkpoint wakes no sender: one that came meanwhile would wait for the next."""
        end = self.send()
        checkpoint = self.store.derived.begin_checkpoint(NOW)
        flush = self.store.begin_flush()
        assert flush is not None
        flush.run()
        checkpoint.run()
        self.store.finish_flush(flush)
        self.store.derived.finish_checkpoint(checkpoint)
        self.assertEqual(self.store.flushed_to, end)
        self.assertIsNone(self.store.begin_flush())

    def test_a_checkpoint_claims_nothing_while_an_earlier_flush_has_failed(self) -> None:
        self.send()
        flush = self.store.begin_flush()
        checkpoint = self.store.derived.begin_checkpoint(NOW)
        assert flush is not None
        self.disk.fail("sync", LOG, errno.EIO)
        flush.run()
        self.disk.heal()
        checkpoint.run()
        self.assertRaises(StoreError, self.store.derived.finish_checkpoint, checkpoint)
        self.assertIsNone(read_checkpoint(self.disk, "/store/checkpoint").claim)
        self.assertRaises(StoreError, self.store.finish_flush, flush)

    def test_a_checkpoint_does_not_wait_for_a_flush_that_is_under_way(self) -> None:
        self.send()
        flush = self.store.begin_flush()
        checkpoint = self.store.derived.begin_checkpoint(NOW)
        assert flush is not None
        checkpoint.run()
        self.store.derived.finish_checkpoint(checkpoint)
        claim = read_checkpoint(self.disk, "/store/checkpoint").claim
        assert claim is not None
        self.assertEqual(claim.dispatched_to, self.store.written_to)

    def test_a_checkpoint_claims_no_file_whose_name_an_earlier_flush_has_not_synced_yet(self) -> None:
        self.store.derived.save_checkpoint(NOW)
        self.send(3, SEGMENT // 2)
        job = self.store.begin_flush()
        assert job is not None
        checkpoint = self.store.derived.begin_checkpoint(NOW)
        checkpoint.run()  # the flush, which noticed the new files first, takes longer
        for power_cut in range(20):
            image = self.disk.after_power_cut(random.Random(power_cut))
            self.assertEqual(open_store(image).written_to, self.store.written_to)

    def test_one_checkpoint_at_a_time(self) -> None:
        self.send()
        job = self.store.derived.begin_checkpoint(NOW)
        self.assertRaises(StoreError, self.store.derived.begin_checkpoint, NOW)
        self.store.delete_topic("TopicTest")
        self.assertEqual(open_store(self.disk.after_kill()).queue_offsets("TopicTest", 0), (0, 0))
        job.run()
        self.store.derived.finish_checkpoint(job)
        self.assertEqual(open_store(self.disk.after_kill()).queue_offsets("TopicTest", 0), (0, 0))
        self.store.derived.save_checkpoint(NOW)

    def test_a_checkpoint_that_fails_is_made_up_for_by_the_next(self) -> None:
        for part in ("checkpoint", "consumequeue", "index", "commitlog"):
            self.setUp()
            self.send(5)
            self.disk.fail("sync", f"/store/{part}", errno.EIO)
            self.assertRaises(StoreError, self.store.derived.save_checkpoint, NOW)
            self.disk.heal()
            if part == "commitlog":
                self.assertRaises(StoreError, self.store.derived.save_checkpoint, NOW)
                continue
            self.disk.syncs.clear()
            self.store.derived.save_checkpoint(NOW)
            if part != "checkpoint":
                self.assertTrue([path for path in self.disk.syncs if part in path])
            image = self.disk.after_kill()
            again = open_store(image)
            self.assertEqual(again.queue_offsets("TopicTest", 0), (0, 5))
            self.assertEqual(
                again.query_by_key("TopicTest", "U", 9, 0, NOW).offsets,
                sorted({n * again.written_to // 5 for n in range(5)}),
            )

    def test_very_many_queues_are_synced_all_at_once(self) -> None:
        self.disk.syncs.clear()
        self.store.append_all([message(f"T{n}") for n in range(100)], NOW)
        self.store.derived.save_checkpoint(NOW)
        self.assertEqual([path for path in self.disk.syncs if "consumequeue" in path], [])
        self.assertTrue(all(path in self.disk.durable_names for path in self.disk.nodes))
        self.disk.fail("sync", "/store/consumequeue", errno.EIO)
        self.store.append_all([message(f"T{n}") for n in range(100)], NOW)
        self.assertRaises(StoreError, self.store.derived.save_checkpoint, NOW)
        self.disk.heal()
        self.store.derived.save_checkpoint(NOW)
        self.assertEqual(open_store(self.disk.after_kill()).queue_offsets("T99", 0), (0, 2))

    def test_a_few_queues_a_call_are_written_when_that_is_asked_for(self) -> None:
        self.store.append_all([message(f"T{n}") for n in range(10)], NOW)
        self.assertEqual([self.store.derived.write_some_queues(4) for _ in range(3)], [6, 2, 0])
        self.assertEqual(len(self.disk.names("/store/consumequeue")), 10)

    def test_few_queues_are_due_whatever_waits(self) -> None:
        self.store.append_all([message(f"T{n}") for n in range(64)], NOW)
        self.assertEqual(len(self.store.derived.queues_due()), 64)
        self.store.append_all([message("One more")], NOW)
        self.assertEqual(self.store.derived.queues_due(), [])

    def test_queues_are_due_when_two_pages_of_entries_wait_or_all_queues_together_wait_for_much(self) -> None:
        self.patch(queue_table, "FEW_QUEUES", 0)
        self.store.append_all([message("Few"), *[message("Many")] * 500], NOW)
        (due,) = self.store.derived.queues_due()
        self.assertEqual(due.topic, "Many")
        self.store.derived.write_queues([due])
        self.assertEqual(self.disk.names("/store/consumequeue"), ["Many"])
        self.assertEqual(self.store.derived.queues_due(), [])
        self.patch(queue_table, "WAITING_BYTES_MAX", 19)
        self.assertEqual([queue.topic for queue in self.store.derived.queues_due()], ["Few"])
        self.patch(queue_table, "WAITING_BYTES_MAX", 1000)
        self.store.config.flush_consume_queue_least_pages = 0
        self.assertEqual([queue.topic for queue in self.store.derived.queues_due()], ["Few"])

    def test_a_queue_that_was_written_or_removed_since_it_was_found_due_is_left_alone(self) -> None:
        self.store.append_all([message(f"T{n}") for n in range(2)], NOW)
        self.store.config.flush_consume_queue_least_pages = 0
        due = self.store.derived.queues_due()
        self.store.delete_topic("T0")
        self.store.derived.write_queues(due)
        self.store.derived.write_queues(due)
        self.assertEqual(self.disk.names("/store/consumequeue"), ["T1"])

    def test_a_store_knows_how_much_no_checkpoint_covers(self) -> None:
        self.store.derived.save_checkpoint(NOW)
        self.assertEqual(self.store.derived.unclaimed_bytes, 0)
        before = self.store.written_to
        self.send(3)
        self.assertEqual(self.store.derived.unclaimed_bytes, self.store.written_to - before)
        job = self.store.derived.begin_checkpoint(NOW)
        job.run()
        between = self.store.written_to
        self.send(2)
        self.store.derived.finish_checkpoint(job)
        self.assertEqual(self.store.derived.unclaimed_bytes, self.store.written_to - between)

    def test_a_checkpoint_claims_what_there_was_before_its_queues_were_written(self) -> None:
        """Writing them takes many turns where they are thousands, and messages come in each."""
        for number in range(3):
            self.store.append_all([message(f"T{number}")], NOW)
        claimed, claimed_to = self.store.derived.claim_checkpoint(NOW), self.store.written_to
        self.assertRaises(StoreError, self.store.derived.claim_checkpoint, NOW)
        for queue in self.store.derived.queues_waiting():
            self.store.append_all([message(f"T{number}", unique=f"U{number}") for number in range(4)], NOW)
            self.store.derived.write_queues([queue])
        self.store.derived.write_index(NOW)
        job = self.store.derived.begin_claimed(claimed)
        self.assertEqual([queue.topic for queue in self.store.derived.queues_waiting()], ["T3", "T0", "T1"])
        job.run()
        self.store.derived.finish_checkpoint(job)
        claim = read_checkpoint(self.disk, "/store/checkpoint").claim
        assert claim is not None
        self.assertEqual((claim.dispatched_to, claim.queue_count, claim.entry_count), (claimed_to, 3, 3))
        self.assertEqual(self.store.derived.unclaimed_bytes, self.store.written_to - claimed_to)
        again = MessageStore(small_config("/store"), self.disk.after_kill(), STORE_HOST)
        report = again.open(NOW)
        self.assertEqual((report.records_walked, report.rebuilt, report.warnings), (12, False, []))
        self.assertEqual([again.queue_offsets(f"T{n}", 0) for n in range(4)], [(0, 4)] * 3 + [(0, 3)])
        self.assertEqual(len(again.query_by_key("T2", "U2", 9, 0, NOW).offsets), 3)

    def test_a_checkpoint_whose_queues_cannot_be_written_is_given_up_and_made_up_for_by_the_next(
        self,
    ) -> None:
        self.send(5)
        claimed = self.store.derived.claim_checkpoint(NOW)
        self.disk.fail("create", "consumequeue", errno.ENOSPC)
        waiting = self.store.derived.queues_waiting()
        self.assertRaises(StoreUnavailable, self.store.derived.write_queues, waiting)
        self.store.derived.give_up_claimed(claimed)
        self.disk.heal()
        self.store.derived.save_checkpoint(NOW)
        again = MessageStore(small_config("/store"), self.disk.after_kill(), STORE_HOST)
        self.assertEqual(again.open(NOW).records_walked, 0)
        self.assertEqual(again.query_by_key("TopicTest", "U", 9, 0, NOW).offsets[:1], [0])

    def test_a_checkpoint_that_cannot_begin_is_made_up_for_by_the_next(self) -> None:
        jobs = []
        for _ in range(4):  # so many overlap that the next one has to open the log once more
            self.send()
            jobs.append(self.store.begin_flush())
        self.disk.fail("open", LOG, errno.EMFILE)
        self.assertRaises(StoreError, self.store.derived.save_checkpoint, NOW)
        self.disk.heal()
        for job in jobs:
            assert job is not None
            job.run()
            self.store.finish_flush(job)
        self.store.derived.save_checkpoint(NOW)
        self.assertEqual(self.store.derived.unclaimed_bytes, 0)

    def test_queues_that_cannot_be_written_are_written_later(self) -> None:
        self.send(3)
        self.disk.fail("create", "consumequeue", errno.ENOSPC)
        self.assertRaises(StoreUnavailable, self.store.derived.write_all, NOW)
        self.assertEqual(self.store.get_messages("TopicTest", 0, 0, 32).count, 3)
        self.disk.heal()
        self.store.derived.write_all(NOW)
        self.assertEqual(self.disk.content("/store/consumequeue/TopicTest/0/" + "0" * 20)[:8], bytes(8))
        self.assertEqual(self.store.get_messages("TopicTest", 0, 0, 32).count, 3)

    def test_closing_twice_is_harmless_and_a_closed_store_takes_nothing(self) -> None:
        self.send()
        self.store.close(NOW)
        self.store.close(NOW)
        self.assertNotIn("/store/abort", self.disk.nodes)
        self.assertRaises(StoreUnavailable, self.send)

    def test_a_close_that_fails_leaves_an_unclean_end_and_no_lock(self) -> None:
        self.send()
        self.disk.fail("sync", "checkpoint", errno.EIO)
        self.assertRaises(StoreError, self.store.close, NOW)
        self.disk.heal()
        self.assertIn("/store/abort", self.disk.nodes)
        self.assertEqual(open_store(self.disk).queue_offsets("TopicTest", 0), (0, 1))

    def test_an_open_that_fails_lets_the_lock_go(self) -> None:
        self.store.close(NOW)
        self.disk.fail("create", "abort", errno.EROFS)
        self.assertRaises(StoreError, open_store, self.disk)
        self.disk.heal()
        open_store(self.disk)

    def test_disk_use_is_rounded_up_to_hundredths(self) -> None:
        self.disk.free_bytes = (1 << 40) * 3 // 10
        ratios = [use.ratio for use in self.store.disk_use()]
        self.assertEqual(ratios, [0.71, 0.71])
        self.disk.fail("space", "/", errno.EIO)
        self.assertEqual(disk_use(self.disk, "/x").ratio, -1.0)
        self.disk.heal()
        self.disk.free_bytes = 1 << 40
        self.assertEqual(disk_use(self.disk, "/x").ratio, 0.0)
