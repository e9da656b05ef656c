"""What becomes of open transactions whose segment is deleted: they stay open, or operators find them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError, StoreUnavailable
from rocketmq_tx.store.append import Placed
from tests.unit.transaction_parts import COMMIT, GROUP, ROLLBACK, Bench


class RetentionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = Bench(mappedFileSizeCommitLog=8192, mappedFileSizeConsumeQueue=200)

    def fill(self) -> None:
        """Another segment or more of finished transactions."""
        for number in range(40):
            self.bench.end(self.bench.send(f"filler-{number}", bytes(100)), ROLLBACK)

    def test_an_open_transaction_outlives_its_segment(self) -> None:
        place = self.bench.send("K1", colour="red")
        self.fill()
        while self.bench.delete_oldest_segment():
            pass
        self.assertGreater(self.bench.store.min_offset, place.commit_log_offset)
        self.assertEqual(self.bench.open_keys(), ["K1"])
        self.assertGreaterEqual(self.bench.log.figures.put_backs, 1)
        (copy,) = [each for each in self.bench.half_topic() if each.property_map["UNIQ_KEY"] == "K1"]
        self.assertEqual((copy.property_map["colour"], copy.flag, copy.body), ("red", 5, b"paid"))
        peer = self.bench.connect()
        self.bench.advance(61)
        ((header, _),) = peer.take()
        self.bench.end(Placed(header.commit_log_offset, 0, header.tran_state_table_offset), COMMIT)
        self.assertEqual(self.bench.delivered(), {b"paid": 1})

    def test_its_producer_ends_it_by_the_place_that_is_gone(self) -> None:
        for restart in (False, True):
            for decision, delivered in ((COMMIT, {b"paid": 1}), (ROLLBACK, {})):
                self.setUp()
                bench = self.bench
                place = bench.send("K1")
                self.fill()
                while bench.delete_oldest_segment():
                    pass
                if restart:
                    bench = bench.next_run()
                self.assertEqual(bench.end(place, decision, key="K1"), (0, None))
                self.assertEqual((bench.delivered(), bench.open_keys()), (delivered, []))
                self.assertEqual(bench.end(place, COMMIT, key="K1")[0], 1)
                self.assertEqual(bench.delivered(), delivered)

    def test_nobody_else_ends_it_so(self) -> None:
        place = self.bench.send("K1")
        self.fill()
        while self.bench.delete_oldest_segment():
            pass
        for group, key in (("others", "K1"), (GROUP, "K2"), (GROUP, "")):
            self.assertEqual(self.bench.end(place, COMMIT, group, key)[0], 1)
        wrong = place._replace(queue_offset=place.queue_offset + 1)
        self.assertEqual(self.bench.end(wrong, COMMIT, key="K1")[0], 1)
        self.assertEqual(self.bench.open_keys(), ["K1"])

    def test_a_crash_after_the_deletion_finds_the_copy(self) -> None:
        self.bench.send("K1")
        self.fill()
        kept = self.bench.offsets
        self.bench.delete_oldest_segment()
        again = self.bench.next_run(self.bench.disk.after_kill(), kept)
        self.assertEqual(again.open_keys(), ["K1"])

    def test_the_copy_is_on_disk_before_the_segment_may_go(self) -> None:
        self.bench.send("K1")
        self.fill()
        self.bench.flushes.flush(self.bench.store.written_to)
        self.bench.disk.fail("sync", "commitlog", 5)
        with self.assertRaises(StoreError):
            self.bench.delete_oldest_segment()

    def test_while_the_store_takes_nothing_the_segment_is_still_needed(self) -> None:
        self.bench.send("K1")
        self.fill()
        self.bench.flushes.flush(self.bench.store.written_to)
        self.bench.store.refuse("full", "the disk is full")
        with self.assertRaises(StoreUnavailable):
            self.bench.delete_oldest_segment()
        self.bench.store.accept("full")
        self.assertTrue(self.bench.delete_oldest_segment())
        self.assertEqual(self.bench.open_keys(), ["K1"])

    def test_one_that_is_older_than_messages_are_kept_goes_to_the_operators(self) -> None:
        self.bench.send("K1")
        self.fill()
        self.bench.clock.advance(73 * 3600)
        self.bench.delete_oldest_segment()
        self.assertEqual((self.bench.given_up(), self.bench.open_keys()), ([b"paid"], []))
        self.assertEqual(self.bench.log.figures.discards, 1)

    def test_so_does_one_without_room_for_the_place_of_its_first_copy(self) -> None:
        self.bench = Bench(mappedFileSizeCommitLog=40_000, mappedFileSizeConsumeQueue=2000)
        filler = "x" * (32767 - len(self.bench.half("K1").properties) - len("\x02filler\x01"))
        self.bench.send("K1", filler=filler)
        for _ in range(3):
            self.fill()
        self.bench.delete_oldest_segment()
        self.assertEqual((self.bench.given_up(), self.bench.open_keys()), ([b"paid"], []))

    def test_many_are_put_back_in_slices(self) -> None:
        self.bench = Bench(mappedFileSizeCommitLog=65536, mappedFileSizeConsumeQueue=20_000)
        for number in range(200):
            self.bench.send(f"K{number}")
        self.fill()
        for _ in range(2):
            self.bench.delete_oldest_segment()
        self.assertEqual(len(self.bench.open_keys()), 200)
        again = self.bench.next_run()
        self.assertEqual(len(again.open_keys()), 200)
