"""A slave's log has records before its queues: who waits is told in between, and nothing is left out."""

from __future__ import annotations

import errno

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config.values import FlushDiskType
from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, message, open_store
from tests.unit.replication_parts import Pair, log_of
from tests.unit.test_plain_records import shown
from tests.unit.test_plain_runs import FLIPS, STRETCHES, ends_of_records, log_of_stretches


def append_in_pieces(store: MessageStore, data: bytes, sizes: list[int], deleting_at: int) -> list[object]:
    """What comes of each piece, until one is refused; before one of them a topic is deleted."""
    results: list[object] = []
    at = 0
    while at < len(data):
        if len(results) == deleting_at:
            store.delete_topic("T")
        size = sizes[len(results) % len(sizes)]
        ends: list[int] = []

        def was_written(ends: list[int] = ends) -> None:
            ends.append(store.written_to)

        try:
            arrived = store.append_raw(data[at : at + size], at, NOW, was_written)
        except StoreError as error:
            return [*results, str(error)]
        at += size
        assert ends in ([], [store.written_to]), "told before the log had all of it"
        results.append((store.written_to, arrived, shown(store)))
    return results


class ToldBeforeEntered(SynchronousTestCase):
    def setUp(self) -> None:
        self.data, self.begin = log_of_stretches([([("T", 0), ("T", 1)], 100, 12, "UNIQ_KEY\x01{:016d}", 1)])
        first = ends_of_records(self.data[self.begin :])[39]
        self.half = self.begin + first
        self.disk = MemoryDisk()
        self.slave = open_store(self.disk)
        self.slave.append_raw(self.data[: self.half], 0, NOW)  # from now on it knows their shape
        self.whole = open_store(MemoryDisk())
        self.whole.append_raw(self.data, 0, NOW)

    def numbers(self) -> list[int]:
        return [self.slave.queue_offsets("T", queue_id)[1] for queue_id in (0, 1)]

    def break_entering(self) -> None:
        def fail(*_: object) -> None:
            raise StoreError("entering failed")

        self.patch(self.slave._raw._plain, "enter_again", fail)

    def test_who_waits_is_told_when_the_log_has_the_records_and_then_they_are_entered(self) -> None:
        before, seen = self.numbers(), []

        def was_written() -> None:
            end = self.slave.written_to
            seen.append((end, log_of(self.slave, 0, end), self.numbers()))

        self.slave.append_raw(self.data[self.half :], self.half, NOW, was_written)
        self.assertEqual(seen, [(len(self.data), self.data, before)])
        self.assertEqual(shown(self.slave), shown(self.whole))

    def test_nobody_is_told_of_records_that_cannot_be_written(self) -> None:
        self.disk.fail("write", "commitlog", errno.ENOSPC)
        before, told = shown(self.slave), []
        call = self.slave.append_raw, self.data[self.half :], self.half, NOW, lambda: told.append(1)
        self.assertRaises(StoreError, *call)
        self.assertEqual((told, shown(self.slave)), ([], before))
        self.disk.heal()
        self.slave.drop_unfinished()
        self.slave.append_raw(*call[1:])
        self.assertEqual((told, shown(self.slave)), ([1], shown(self.whole)))

    def test_a_damaged_record_in_the_middle_is_not_written(self) -> None:
        damaged = bytearray(self.data)
        place = ends_of_records(self.data[self.begin :])[69] + self.begin
        damaged[place + 92] ^= 1  # in its body
        self.assertRaises(StoreError, self.slave.append_raw, bytes(damaged[self.half :]), self.half, NOW)
        self.assertEqual(self.slave.written_to, place)

    def test_a_topic_that_cannot_be_one_is_not_written(self) -> None:
        place = ends_of_records(self.data[self.begin :])[69] + self.begin
        topic_at = place + 88 + 12
        self.assertEqual(self.data[topic_at : topic_at + 2], b"\1T")
        for at, value in [(0, 0), (0, 2), (0, 129), (1, 0)]:
            self.setUp()
            damaged = bytearray(self.data)
            damaged[topic_at + at] = value
            with self.subTest(at=at, value=value):
                piece = bytes(damaged[self.half :])
                self.assertRaises(StoreError, self.slave.append_raw, piece, self.half, NOW)
                self.assertEqual(self.slave.written_to, place)
                self.slave.drop_unfinished()
                self.slave.append_raw(self.data[place:], place, NOW)
                self.assertEqual(shown(self.slave), shown(self.whole))

    def test_what_could_not_be_entered_is_entered_with_what_comes_next(self) -> None:
        later = ends_of_records(self.data[self.begin :])[79] + self.begin
        self.break_entering()
        told: list[int] = []
        end = self.slave.derived.dispatched_to
        piece = self.data[self.half : later]
        self.assertRaises(StoreError, self.slave.append_raw, piece, self.half, NOW, lambda: told.append(1))
        self.assertEqual((told, self.slave.written_to), ([1], later))
        self.assertEqual(self.slave.derived.dispatched_to, end)  # so no checkpoint covers it
        self.doCleanups()
        self.slave.drop_unfinished()
        self.slave.append_raw(self.data[later:], later, NOW)
        self.assertEqual(shown(self.slave), shown(self.whole))

    def test_what_could_not_be_entered_a_start_enters(self) -> None:
        self.break_entering()
        self.assertRaises(StoreError, self.slave.append_raw, self.data[self.half :], self.half, NOW)
        self.slave.derived.save_checkpoint(NOW)
        again = open_store(self.disk.after_kill())
        self.assertEqual(shown(again)[0], shown(self.whole)[0])
        for number in range(1, 101):
            self.assertEqual(len(again.query_by_key("T", f"{number:016d}", 32, 0, 1 << 62).offsets), 1)

    def test_what_could_not_be_entered_is_entered_before_this_broker_appends_itself(self) -> None:
        self.break_entering()
        self.assertRaises(StoreError, self.slave.append_raw, self.data[self.half :], self.half, NOW)
        self.doCleanups()
        self.slave.end_stream()
        self.assertEqual(shown(self.slave), shown(self.whole))
        for store in (self.slave, self.whole):
            store.append_all([message("T", 0, b"own")], NOW)
        self.assertEqual(shown(self.slave), shown(self.whole))

    def test_an_other_record_that_could_not_be_entered_is_entered_with_what_comes_next(self) -> None:
        def fail(*_: object, **__: object) -> None:
            raise StoreError("entering failed")

        master = open_store(MemoryDisk())
        for number in range(3):
            master.append_all([message("New", 0, b"x", unique=f"U{number}")], NOW)
        data = master.log_bytes(0, 1 << 20)
        first = int.from_bytes(data[:4], "big")
        slave = open_store(MemoryDisk())
        self.patch(slave._dispatcher, "enter", fail)
        self.assertRaises(StoreError, slave.append_raw, data[:first], 0, NOW)
        self.doCleanups()
        slave.drop_unfinished()
        slave.append_raw(data[first:], first, NOW)
        self.assertEqual(shown(slave), shown(master))

    def test_a_master_is_told_before_queues_have_what_it_sent(self) -> None:
        self.assertEqual(self.numbers_at_reports(FlushDiskType.ASYNC_FLUSH), [201])

    def test_under_SYNC_FLUSH_it_is_told_when_all_is_on_disk(self) -> None:
        self.assertEqual(self.numbers_at_reports(FlushDiskType.SYNC_FLUSH), [241])

    def numbers_at_reports(self, flush: FlushDiskType) -> list[int]:
        """How many messages the slave's queue has at each report, when forty more have come."""
        pair = Pair()
        pair.send(1, queues=1)
        pair.connect().pump()
        pair.send(200, queues=1)
        pair.wire.pump(100_000)
        pair.slave.config.flush_disk_type = flush
        numbers: list[int] = []
        report = pair.following._report
        self.patch(
            pair.following,
            "_report",
            lambda: (numbers.append(pair.slave.queue_offsets("T", 0)[1]), report()),
        )
        pair.send(40, queues=1, announce=False)
        pair.slaves.log_grew()
        pair.wire.pump(100_000)
        self.assertEqual(pair.sending.acknowledged, pair.master.written_to)
        self.assertEqual(pair.queues(pair.slave), pair.queues(pair.master))
        return numbers


class BothWays(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(STRETCHES, FLIPS, st.lists(st.integers(1, 9000), min_size=1, max_size=4), st.integers(0, 6))
    def test_runs_that_are_entered_later_make_the_same_store(
        self, stretches: list, flips: list, sizes: list[int], deleting_at: int
    ) -> None:
        """Behind a deletion queues are unknown, and numbers are not those that come next."""
        data, begin = log_of_stretches(stretches)
        damaged = bytearray(data)
        for place, change in flips:
            damaged[min(begin + int(place * (len(data) - begin)), len(data) - 1)] ^= change
        found = []
        for later in (True, False):
            store = open_store(MemoryDisk())
            if not later:
                store._raw._plain.judge_again = lambda data, at, base: None  # type: ignore[method-assign]
            results = append_in_pieces(store, bytes(damaged), sizes, deleting_at)
            found.append((results, shown(store), log_of(store, 0, store.written_to)))
        self.assertEqual(found[0], found[1])
