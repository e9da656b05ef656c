"""The end of a log that another one does not have: kept in a file and cut, as if it had never been."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.layouts import BLANK, CHECKPOINT_CLAIM_AT
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import Killed, MemoryDisk
from tests.store_cases import NOW, message, open_store
from tests.unit.replication_parts import log_of
from tests.unit.test_store_crash import LATER, SMALL, served

CUT_FILE = "/store/cut/epoch-0-from-1.log"


def filled(disk: MemoryDisk, seed: int, count: int) -> tuple[MessageStore, list[int]]:
    """A store with messages of two topics, some of them written and synced; and where each begins."""
    choice = random.Random(seed)
    store = open_store(disk, **SMALL)
    starts = []
    for number in range(count):
        body = bytes([number % 251]) * choice.randint(1, 400)
        made = message(choice.choice("AB"), choice.randrange(2), body, unique=f"K{number}")
        starts.append(store.append_all([made], NOW + number * 700)[0].commit_log_offset)
        if choice.random() < 0.1:
            store.derived.save_checkpoint(NOW + number * 700)
        if choice.random() < 0.1:
            store.derived.write_all(NOW)
    return store, [*starts, store.written_to]


class TailCutTests(SynchronousTestCase):
    def check_is_cut(self, store: MessageStore, log: bytes, before: dict, at: int, why: str = "") -> None:
        """Log, queues and index hold what stood before `at` and nothing else; and the store goes on."""
        self.assertEqual(store.written_to, at, why)
        self.assertEqual(log_of(store, 0, at), log[:at], why)
        kept = {
            where: [record for record in records if record.commit_log_offset < at]
            for where, records in before.items()
        }
        self.assertEqual(served(store), {where: records for where, records in kept.items() if records}, why)
        for (topic, _), records in before.items():
            for record in records:
                key = record.property_map["UNIQ_KEY"]
                found = store.query_by_key(topic, key, 32, 0, LATER).offsets
                wanted = [record.commit_log_offset] if record.commit_log_offset < at else []
                self.assertEqual(found, wanted, why)
        (placed,) = store.append_all([message("A", 0, b"after", unique="after")], NOW + 10**6)
        segment_end = at - at % store.segment_size + store.segment_size
        fits = at + placed.size + BLANK.size <= segment_end
        begins = at if fits else segment_end
        self.assertEqual(placed.commit_log_offset, begins, why)
        self.assertEqual(served(store)["A", 0][-1].body, b"after", why)
        self.assertEqual(store.query_by_key("A", "after", 32, 0, LATER).offsets, [begins], why)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 1 << 32), st.integers(1, 60), st.floats(0, 1))
    def test_after_a_cut_the_store_is_as_if_the_rest_had_never_been(
        self, seed: int, count: int, share: float
    ) -> None:
        disk = MemoryDisk()
        store, starts = filled(disk, seed, count)
        log, before = log_of(store, 0, store.written_to), served(store)
        at = store.record_boundary(starts[round(share * count)])
        kept = store.keep_tail(CUT_FILE, at)
        self.assertEqual(disk.content(CUT_FILE), log[at:])
        self.assertEqual(kept, (CUT_FILE, at, len(log), sum(start >= at for start in starts[:-1])))
        store.cut_tail(at, NOW)
        self.assertEqual(store.flushed_to, at)
        self.check_is_cut(store, log, before, at)
        store.close(NOW + 10**6)
        self.assertEqual(served(open_store(disk, **SMALL))["A", 0][-1].body, b"after")

    def test_a_crash_at_any_step_leaves_a_store_that_opens_and_can_be_cut_again(self) -> None:
        whole = MemoryDisk()
        store, starts = filled(whole, 11, 40)
        log, before, at = log_of(store, 0, store.written_to), served(store), starts[17]
        first = whole.changes
        store.keep_tail(CUT_FILE, at)
        store.cut_tail(at, NOW)
        self.assertGreater(whole.changes, first + 5)
        for kill_at in range(first, whole.changes):
            for power_cut in (False, True):
                why = f"killed at change {kill_at - first}, power cut: {power_cut}"
                disk = MemoryDisk()
                store, _ = filled(disk, 11, 40)
                store.derived.save_checkpoint(NOW)  # else a power cut loses more than what is cut
                disk.kill_at = disk.changes + kill_at - first
                try:
                    store.keep_tail(CUT_FILE, at)
                    store.cut_tail(at, NOW)
                except Killed:
                    pass
                disk.kill_at = None
                image = disk.after_power_cut(random.Random(kill_at)) if power_cut else disk.after_kill()
                again = open_store(image, **SMALL)
                self.assertGreaterEqual(again.written_to, at, why)
                if again.written_to > at:
                    again.keep_tail(CUT_FILE, at)
                    again.cut_tail(at, NOW)
                self.assertEqual(image.content(CUT_FILE), log[at:], why)
                self.check_is_cut(again, log, before, at, why)

    def test_another_tail_from_the_same_offset_gets_another_file(self) -> None:
        disk = MemoryDisk()
        store = open_store(disk, **SMALL)
        for body in (b"one", b"other"):
            store.append_all([message("A", 0, body)], NOW)
            store.keep_tail(CUT_FILE, 0)
            store.keep_tail(CUT_FILE, 0)
            store.cut_tail(0, NOW)
        self.assertEqual(disk.names("/store/cut"), ["epoch-0-from-1-2.log", "epoch-0-from-1.log"])
        self.assertIn(b"one", disk.content(CUT_FILE))
        self.assertIn(b"other", disk.content("/store/cut/epoch-0-from-1-2.log"))

    def test_a_log_is_cut_between_records_only(self) -> None:
        store = open_store(MemoryDisk(), **SMALL)
        placed = store.append_all([message("A", 0, b"x" * 100) for _ in range(3)], NOW)
        inside = placed[1].commit_log_offset + 5
        self.assertRaises(StoreError, store.cut_tail, inside, NOW)
        self.assertEqual(store.record_boundary(inside), placed[1].commit_log_offset)
        self.assertRaises(StoreError, store.record_boundary, store.written_to + 1)

    def test_what_was_deleted_with_a_topic_beyond_the_cut_does_not_hide_what_comes_later(self) -> None:
        store = open_store(MemoryDisk(), **SMALL)
        store.append_all([message("A", 0, b"first")], NOW)
        at = store.written_to
        store.append_all([message("B", 0, b"x" * 500)], NOW)
        store.delete_topic("B")
        store.cut_tail(at, NOW)
        other = open_store(MemoryDisk(), **SMALL)
        other.append_all([message("A", 0, b"first")], NOW)
        other.append_all([message("B", 0, b"new")], NOW)
        store.append_raw(other.log_bytes(at, 1 << 20), at, NOW)
        self.assertEqual([record.body for record in served(store)["B", 0]], [b"new"])

    def test_an_index_of_before_a_cut_without_one_does_not_pass_for_that_of_what_came_then(self) -> None:
        disk = MemoryDisk()
        store = open_store(disk)
        placed = store.append_all([message("A", 0, b"x", unique=f"old{number}") for number in range(6)], NOW)
        store.close(NOW)
        store = open_store(disk, message_index_enable=False)
        store.cut_tail(placed[3].commit_log_offset, NOW)
        store.append_all([message("A", 0, b"x", unique=f"new{number}") for number in range(6)], NOW)
        store.derived.save_checkpoint(NOW)
        image = disk.after_kill()
        image.spoil("/store/checkpoint", CHECKPOINT_CLAIM_AT, bytes(100))
        store = open_store(image)
        for key in ("old0", "old2", *(f"new{number}" for number in range(6))):
            self.assertEqual(len(store.query_by_key("A", key, 32, 0, LATER).offsets), 1, key)

    def test_behind_a_blank_of_its_master_a_new_master_begins_a_file(self) -> None:
        master, slave = open_store(MemoryDisk(), **SMALL), open_store(MemoryDisk(), **SMALL)
        master.append_all([message("A", 0, b"x" * 1500) for _ in range(3)], NOW)
        end_of_first = 4096
        blank_at = master.record_boundary(end_of_first - 1)
        slave.append_raw(master.log_bytes(0, blank_at + 20), 0, NOW)
        self.assertEqual(slave.written_to, blank_at + 20)
        slave.end_stream()
        self.assertEqual(slave.written_to, end_of_first)
        (placed,) = slave.append_all([message("A", 0, b"new")], NOW)
        self.assertEqual(placed.commit_log_offset, end_of_first)
        self.assertEqual(log_of(slave, 0, end_of_first), log_of(master, 0, end_of_first))
