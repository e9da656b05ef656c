"""The timer index: in order, whatever the times; the same after each restart; nothing lost in any crash."""

from __future__ import annotations

import errno
import random
from typing import Any

from construct import Int32ub
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreDamaged, StoreError
from rocketmq_tx.store.file_layouts import TimerEntryLayout
from rocketmq_tx.store.timer_entries import (
    AFTER_ALL,
    after_ms,
    due_ms_of,
    entry_offset,
    pack_entry,
    unpack_entry,
)
from rocketmq_tx.store.timer_index import TimerIndex
from rocketmq_tx.store.timer_manifest import Claim, RunFacts, TimerManifest
from tests.memory_disk import Killed, MemoryDisk

DIRECTORY = "/store/timers"
LATE = 1 << 50
NEVER = 1 << 40

times = st.integers(0, 60)


def new_index(disk: MemoryDisk, notices: list[str] | None = None, **sizes: int) -> TimerIndex:
    said = notices if notices is not None else []
    return TimerIndex(disk, DIRECTORY, said.append, **{"spill_entries": 4, "runs_max": 3, **sizes})


def entry_of(number: int, due_ms: int) -> bytes:
    """The message with this queue offset; its record stands at a hundred times that."""
    return pack_entry(due_ms, number * 100, 100)


def number_of(entry: bytes) -> int:
    return int(entry_offset(entry)[0]) // 100


def enter(index: TimerIndex, due: list[int], some: int = 3) -> None:
    """Enters messages of a queue, from where the index wants them."""
    while index.intake_from < len(due):
        begin = index.intake_from
        end = min(begin + some, len(due))
        entries = [entry_of(number, due[number]) for number in range(begin, end)]
        index.enter(entries, end, end * 100)


def deliver(index: TimerIndex, now_ms: int, at_once: int = 5) -> list[int]:
    """Takes all that is due."""
    delivered: list[int] = []
    while taken := index.take(now_ms, at_once):
        delivered += map(number_of, taken)
        index.done()
    index.done()
    return delivered


def save(index: TimerIndex, log_end: int = NEVER, everything: bool = False) -> None:
    job = index.begin_save(log_end, everything)
    if job is not None:
        job.run()
        index.finish_save(job)


def merge_all(index: TimerIndex) -> None:
    if index.begin_merge():
        while not index.merge_step(3):
            pass


class Entries(SynchronousTestCase):
    @given(st.integers(0, LATE), st.integers(0, LATE), st.integers(0, 1 << 24), st.booleans())
    def test_the_declared_layout_and_the_packed_bytes_are_the_same(
        self, due_ms: int, offset: int, size: int, is_cancellation: bool
    ) -> None:
        packed = pack_entry(due_ms, offset, size, is_cancellation)

        kind = size + (is_cancellation << 31)
        declared = TimerEntryLayout.build(
            {"due_ms": due_ms, "commit_log_offset": offset, "size_and_kind": kind}
        )
        self.assertEqual(packed, declared)
        self.assertEqual(unpack_entry(packed), (due_ms, offset, size, is_cancellation))
        self.assertEqual(due_ms_of(packed), due_ms)
        self.assertEqual(Int32ub.parse(packed[16:]), kind)

    @given(st.lists(st.tuples(st.integers(0, LATE), st.integers(0, LATE)), max_size=8), st.integers(0, LATE))
    def test_entries_sort_as_bytes_by_time_and_then_by_place(
        self, pairs: list[tuple[int, int]], now_ms: int
    ) -> None:
        entries = sorted(pack_entry(due_ms, offset, 100) for due_ms, offset in pairs)

        self.assertEqual([unpack_entry(entry)[:2] for entry in entries], sorted(pairs))
        for entry in entries:
            self.assertEqual(entry < after_ms(now_ms), due_ms_of(entry) <= now_ms)
            self.assertLess(entry, AFTER_ALL)

    def test_times_before_1970_and_beyond_all_time_are_brought_within(self) -> None:
        self.assertEqual(due_ms_of(pack_entry(-5, 1, 1)), 0)
        self.assertEqual(due_ms_of(pack_entry(1 << 70, 1, 1)), (1 << 63) - 1)


class Order(SynchronousTestCase):
    @given(st.lists(times, max_size=80), st.integers(1, 9), st.integers(1, 9))
    def test_every_message_comes_once_when_it_is_due_and_in_order(
        self, due: list[int], some: int, at_once: int
    ) -> None:
        index = new_index(MemoryDisk())
        index.load(NEVER, NEVER)
        delivered: list[int] = []
        for now_ms in range(61):
            if now_ms == 0:
                enter(index, due, some)
            save(index)
            merge_all(index)
            now = deliver(index, now_ms, at_once)
            self.assertEqual({due[number] for number in now} - {now_ms}, set())
            delivered += now

        self.assertEqual(delivered, sorted(range(len(due)), key=lambda number: (due[number], number)))
        self.assertEqual((index.pending, index.next_due_ms()), (0, None))

    def test_a_message_that_comes_too_late_is_the_next(self) -> None:
        index = new_index(MemoryDisk())
        index.load(NEVER, NEVER)
        enter(index, [5, 50])
        self.assertEqual(deliver(index, 40), [0])

        enter(index, [5, 50, 20])

        self.assertEqual(index.next_due_ms(), 20)
        self.assertEqual(deliver(index, 40), [2])

    def test_what_could_not_be_delivered_is_due_as_before(self) -> None:
        disk = MemoryDisk()
        index = new_index(disk)
        index.load(NEVER, NEVER)
        enter(index, [3, 1, 2])
        save(index, everything=True)
        taken = index.take(10, 2)
        self.assertIsNone(index.begin_save(NEVER), "the state is in between")

        index.give_back(taken)
        save(index)

        for one in (new_index(disk), index):
            if one is not index:
                self.assertTrue(one.load(NEVER, 3))
            self.assertEqual(deliver(one, 10), [1, 2, 0])

    def test_memory_is_bounded_until_something_is_saved(self) -> None:
        index = new_index(MemoryDisk(), spill_entries=8)
        index.load(NEVER, NEVER)
        due = [7] * 100
        while index.has_room:
            enter(index, due[: index.intake_from + 4], 4)
        self.assertEqual(index.pending, 32)

        save(index)

        self.assertTrue(index.has_room)

    def test_runs_are_few_however_many_messages_wait(self) -> None:
        choice = random.Random(1)
        index = new_index(MemoryDisk())
        index.load(NEVER, NEVER)
        due = [choice.randrange(1000) for _ in range(1000)]
        for end in range(0, 1001, 10):
            enter(index, due[:end])
            save(index)
            merge_all(index)
            self.assertLessEqual(index.run_count, 4)

        self.assertEqual(deliver(index, 1000), sorted(range(1000), key=lambda number: (due[number], number)))


class Merging(SynchronousTestCase):
    def many_runs(self, disk: MemoryDisk) -> tuple[TimerIndex, list[int]]:
        index = new_index(disk)
        index.load(NEVER, NEVER)
        due = [number * 7 % 40 for number in range(40)]
        for end in range(4, 41, 4):
            enter(index, due[:end])
            save(index)
        return index, due

    def test_what_is_delivered_while_runs_are_merged_is_not_delivered_again(self) -> None:
        index, due = self.many_runs(MemoryDisk())
        delivered: list[int] = []
        self.assertTrue(index.begin_merge())
        self.assertTrue(index.is_merging)
        for now_ms in range(20):
            delivered += deliver(index, now_ms)
            index.merge_step(1)
        while not index.merge_step(2):
            pass
        save(index)
        delivered += deliver(index, 40)

        self.assertEqual(delivered, sorted(range(40), key=lambda number: (due[number], number)))

    def test_a_merge_that_everything_overtakes_leaves_nothing(self) -> None:
        disk = MemoryDisk()
        index, _ = self.many_runs(disk)
        index.begin_merge()
        self.assertEqual(len(deliver(index, 100)), 40)

        while not index.merge_step(7):
            pass
        save(index)

        self.assertEqual((index.pending, index.run_count), (0, 0))
        self.assertEqual(
            [name for name in disk.names(DIRECTORY) if name.isdecimal()], [], "no file is left behind"
        )

    def test_a_merge_without_room_on_the_disk_is_given_up_and_tried_again(self) -> None:
        disk = MemoryDisk()
        index, due = self.many_runs(disk)
        index.begin_merge()
        disk.fail("write", "timers", errno.ENOSPC)
        self.assertRaises(StoreError, index.merge_step, 5)
        self.assertFalse(index.is_merging)
        disk.heal()

        merge_all(index)
        save(index)

        self.assertLess(index.run_count, 4)
        self.assertEqual(deliver(index, 40), sorted(range(40), key=lambda number: (due[number], number)))

    def test_files_go_only_when_the_manifest_does_not_name_them_any_more(self) -> None:
        disk = MemoryDisk()
        index, _ = self.many_runs(disk)
        before = set(disk.names(DIRECTORY))
        merge_all(index)
        self.assertLessEqual(before, set(disk.names(DIRECTORY)))

        save(index)

        self.assertFalse(before & {name for name in disk.names(DIRECTORY) if name.isdecimal()})


class Restarts(SynchronousTestCase):
    @given(st.lists(times, max_size=60), st.lists(st.tuples(times, st.booleans()), max_size=12))
    @settings(deadline=None)
    def test_orderly_restarts_neither_lose_nor_repeat(
        self, due: list[int], steps: list[tuple[int, bool]]
    ) -> None:
        disk = MemoryDisk()
        index = new_index(disk)
        index.load(NEVER, 0)
        delivered: list[int] = []
        known = 0
        for now_ms, restarts in [*steps, (100, True), (100, False)]:
            known = min(len(due), known + 7) if now_ms < 100 else len(due)
            enter(index, due[:known])
            merge_all(index)
            if restarts:
                save(index, everything=True)
                index = new_index(disk)
                self.assertTrue(index.load(NEVER, known))
                self.assertEqual(index.intake_from, known)
            else:
                save(index)
            delivered += deliver(index, now_ms)

        self.assertEqual(sorted(delivered), list(range(len(due))))

    @given(
        st.lists(times, min_size=1, max_size=40),
        st.integers(0, 400),
        st.randoms(use_true_random=False),
        st.booleans(),
    )
    @settings(deadline=None, max_examples=150)
    def test_no_crash_loses_a_message_and_what_was_saved_is_not_repeated(
        self, due: list[int], kill_at: int, choice: random.Random, power_cut: bool
    ) -> None:
        disk = MemoryDisk()
        disk.kill_at = kill_at
        index = new_index(disk)
        delivered: list[int] = []
        saved: list[int] = []
        try:
            index.load(NEVER, len(due))
            for now_ms in range(0, 60, 7):
                enter(index, due[: (now_ms + 7) * len(due) // 60])
                delivered += deliver(index, now_ms)
                before = list(delivered)
                save(index, everything=now_ms % 3 == 0)
                saved = before
                merge_all(index)
        except Killed:
            pass
        image = disk.after_power_cut(choice) if power_cut else disk.after_kill()

        index = new_index(image)
        index.load(NEVER, len(due))
        enter(index, due)
        again = deliver(index, 100)

        self.assertEqual(set(delivered) | set(again), set(range(len(due))))
        self.assertEqual(len(again), len(set(again)))
        self.assertEqual(set(again) & set(saved), set())

    def test_a_restart_in_the_middle_of_short_delays_repeats_only_what_came_after_the_last_save(self) -> None:
        disk = MemoryDisk()
        index = new_index(disk, spill_entries=1000)
        index.load(NEVER, NEVER)
        due = list(range(50))
        enter(index, due)
        deliver(index, 20)
        save(index)
        deliver(index, 22)

        index = new_index(disk.after_kill(), spill_entries=1000)
        index.load(NEVER, 50)
        enter(index, due)

        self.assertEqual(deliver(index, 100), list(range(21, 50)))

    def test_an_index_of_another_log_is_built_anew(self) -> None:
        for log_end, queue_end in ((500, 10), (5000, 1)):
            disk, notices = MemoryDisk(), []
            index = new_index(disk)
            index.load(1000, 2)
            enter(index, [1, 2])
            save(index, 1000, everything=True)

            index = new_index(disk, notices)

            self.assertFalse(index.load(log_end, queue_end))
            self.assertEqual((index.intake_from, index.pending), (0, 0))
            self.assertIn("is built anew", notices[0])

    def test_files_that_are_damaged_lose_nothing(self) -> None:
        def cut(disk: MemoryDisk) -> None:
            disk.open(f"{DIRECTORY}/0000000001").truncate(39)

        def remove(disk: MemoryDisk) -> None:
            disk.remove(f"{DIRECTORY}/0000000001")

        def scribble(disk: MemoryDisk) -> None:
            for name in disk.names(DIRECTORY):
                if name.startswith("manifest"):
                    disk.put(f"{DIRECTORY}/{name}", b"{]")

        for damage in (cut, remove, scribble):
            disk, notices = MemoryDisk(), []
            index = new_index(disk)
            index.load(NEVER, NEVER)
            due = [9, 8, 7]
            enter(index, due)
            save(index, everything=True)
            damage(disk)

            index = new_index(disk, notices)
            self.assertFalse(index.load(NEVER, 3))
            enter(index, due)
            save(index, everything=True)

            self.assertTrue(notices)
            self.assertEqual(deliver(index, 10), [2, 1, 0])

    def test_a_run_that_shrinks_while_it_is_read_is_said(self) -> None:
        disk = MemoryDisk()
        index = new_index(disk)
        index.load(NEVER, NEVER)
        enter(index, [number % 7 for number in range(300)])
        save(index, everything=True)
        disk.open(f"{DIRECTORY}/0000000001").truncate(4080)

        self.assertRaises(StoreDamaged, deliver, index, 100)

    def test_a_save_that_fails_is_done_by_the_next(self) -> None:
        disk = MemoryDisk()
        index = new_index(disk)
        index.load(NEVER, NEVER)
        enter(index, [1, 2, 3, 4])
        disk.fail("sync", "timers", errno.EIO)
        job = index.begin_save(NEVER)
        assert job is not None
        self.assertRaises(StoreError, job.run)
        index.take_back(job)
        disk.heal()

        save(index)

        index = new_index(disk)
        self.assertTrue(index.load(NEVER, 4))
        self.assertEqual(deliver(index, 10), [0, 1, 2, 3])

    def test_nothing_is_written_while_nothing_changes(self) -> None:
        index = new_index(MemoryDisk())
        index.load(NEVER, NEVER)
        enter(index, [1, 2])
        save(index, 1000)

        self.assertIsNone(index.begin_save(2000))

    def test_entries_in_force_come_again_after_a_restart(self) -> None:
        disk = MemoryDisk()
        index = new_index(disk)
        index.load(NEVER, NEVER)
        enter(index, [1, 5])
        taken = index.take(3, 5)
        index.in_force = lambda: taken
        index.done()
        save(index, everything=True)

        index = new_index(disk)
        index.load(NEVER, 2)

        self.assertEqual(deliver(index, 10), [0, 1])


class Claims(SynchronousTestCase):
    def test_what_another_broker_delivered_is_passed_over(self) -> None:
        disk = MemoryDisk()
        index = new_index(disk)
        index.load(NEVER, NEVER)
        due = [1, 2, 3, 4, 5, 6]
        enter(index, due[:3])
        save(index, everything=True)

        index = new_index(disk)
        index.load(NEVER, 6)
        index.claim(Claim(entry_of(2, 3), 500))
        self.assertFalse(index.is_caught_up)
        enter(index, due)

        self.assertEqual(deliver(index, 10), [2, 3, 4, 5])
        self.assertTrue(index.is_caught_up)

    def test_a_message_that_was_stored_after_the_claim_counts_whatever_its_time(self) -> None:
        index = new_index(MemoryDisk())
        index.load(NEVER, NEVER)
        index.claim(Claim(entry_of(0, 50), 200))

        enter(index, [1, 1, 1, 60])

        self.assertEqual(deliver(index, 100), [2, 3])

    def test_claims_that_say_no_more_than_the_index_itself_are_dropped(self) -> None:
        disk = MemoryDisk()
        index = new_index(disk)
        index.load(NEVER, NEVER)
        index.claim(Claim(entry_of(0, 5), 200))
        enter(index, [1, 1, 9])
        deliver(index, 6)
        save(index)
        save(index)

        index = new_index(disk)
        index.load(NEVER, 3)
        enter(index, [1, 1, 9])

        self.assertEqual(deliver(index, 100), [2])

    def test_an_index_that_begins_anew_remembers_what_is_done_with(self) -> None:
        disk = MemoryDisk()
        index, due = Merging().many_runs(disk)
        delivered = deliver(index, 11)
        index.begin_merge()

        index.begin_anew()
        enter(index, due)
        save(index)

        self.assertEqual(sorted(delivered + deliver(index, 100)), list(range(40)))


class Moving(SynchronousTestCase):
    """Records below a log offset are appended again, each once, and count where they stand now."""

    def queue_of(self, count: int) -> list[int]:
        return [number * 13 % 50 + 10 for number in range(count)]

    def move_some(self, index: TimerIndex, due: list[int], origin: dict[int, int], steps: int = 1000) -> bool:
        """Appends again, for so many steps; whether that was all."""
        for _ in range(steps):
            entries = index.next_to_move(3)
            if entries is None:
                return True
            for entry in entries:
                origin[len(due)] = origin.get(number_of(entry), number_of(entry))
                due.append(due_ms_of(entry))
            index.moved()
        return False

    @given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 40), st.integers(0, 12), st.booleans())
    @settings(deadline=None)
    def test_every_message_comes_once_though_old_records_are_deleted(
        self, count: int, below: int, now_ms: int, steps: int, restarts: bool
    ) -> None:
        below = min(below, count)  # what is to go lies below the end of the log
        disk = MemoryDisk()
        index = new_index(disk)
        index.load(NEVER, NEVER)
        due, origin = self.queue_of(count), {}
        enter(index, due)
        save(index)
        delivered = deliver(index, now_ms)
        index.begin_move(below * 100)
        all_moved = self.move_some(index, due, origin, steps)
        if restarts:
            enter(index, due)
            save(index, everything=True)
            index = new_index(disk)
            index.load(NEVER, len(due))
        delivered += deliver(index, now_ms + 5)
        if not all_moved:
            index.begin_move(below * 100)
            self.assertTrue(self.move_some(index, due, origin))
        enter(index, due)
        merge_all(index)
        late = deliver(index, 100)

        self.assertGreaterEqual(index.void_below, below * 100)
        self.assertTrue(all(number >= below for number in late))
        self.assertEqual(
            sorted(origin.get(number, number) for number in delivered + late), list(range(count))
        )

    def test_a_move_covers_what_was_given_back_meanwhile(self) -> None:
        index = new_index(MemoryDisk())
        index.load(NEVER, NEVER)
        due, origin = [1, 2, 3, 4], {}
        enter(index, due)
        save(index)
        taken = index.take(2, 2)
        index.begin_move(400)
        self.move_some(index, due, origin, 2)
        index.give_back(taken)

        self.assertTrue(self.move_some(index, due, origin))
        enter(index, due)

        self.assertEqual(sorted(origin[number] for number in deliver(index, 9)), [0, 1, 2, 3])

    def test_no_merge_begins_during_a_move(self) -> None:
        index, _ = Merging().many_runs(MemoryDisk())
        index.begin_move(1000)

        self.assertTrue(index.is_moving)
        self.assertFalse(index.begin_merge())


class Manifests(SynchronousTestCase):
    @given(
        st.builds(
            TimerManifest,
            *[st.integers(0, LATE)] * 3,
            st.lists(st.builds(Claim, st.binary(min_size=20, max_size=20), st.integers(0, LATE))).map(tuple),
            *[st.integers(0, LATE)] * 3,
            st.lists(st.binary(min_size=20, max_size=20)).map(tuple),
            st.lists(st.builds(RunFacts, *[st.integers(0, LATE)] * 5)).map(tuple),
        )
    )
    def test_a_manifest_is_read_as_it_was_written(self, manifest: TimerManifest) -> None:
        self.assertEqual(TimerManifest.from_json(manifest.to_json()), manifest)

    def test_anything_else_is_refused(self) -> None:
        good = TimerManifest(claims=(Claim(bytes(20), 1),)).to_json()
        wrong: list[Any] = [b"[]", b"{}", b"{", good.replace(b'"version":1', b'"version":2')]
        wrong += [good.replace(b"00" * 20, b"00" * 19), good.replace(b'"runs":[]', b'"runs":[{}]')]
        for content in wrong:
            self.assertRaises(ValueError, TimerManifest.from_json, content)
