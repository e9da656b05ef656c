"""Whatever happens to the process or the power: the next start is right.

Images come from `tests/memory_disk.py`. A failing seed is printed by Hypothesis or stands in the message.
"""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError
from rocketmq_tx.protocol.message import MessageRecord, decode_records
from rocketmq_tx.store import catching_up
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import Killed, MemoryDisk, killed_at_each_change
from tests.store_cases import NOW, message, open_store

SEGMENT = 4096
SMALL = {"mapped_file_size_commit_log": SEGMENT, "mapped_file_size_consume_queue": 200, "max_index_num": 40}
LATER = 1 << 62
EVERYTHING = 1 << 60


def served(store: MessageStore) -> dict[tuple[str, int], list[MessageRecord]]:
    """Every message that pulls give, by queue."""
    found = {}
    for where in sorted(store.queues()):
        records: list[MessageRecord] = []
        offset, end = store.queue_offsets(*where)
        while offset < end:
            result = store.get_messages(*where, offset, 32, may_block=True)
            assert result.next_offset > offset
            records += decode_records(result.body, check_crc=True)
            offset = result.next_offset
        if records:
            found[where] = records
    return found


class Workload:
    """Appends, flushes and checkpoints at random; remembers what was acknowledged and what was flushed."""

    def __init__(self, disk: MemoryDisk, seed: int) -> None:
        self.disk = disk
        self.choice = random.Random(seed)
        self.count = 0
        self.acknowledged: dict[int, tuple[str, int, int, bytes]] = {}
        self.flushed_to = 0

    def run(self, steps: int) -> None:
        store = open_store(self.disk, **SMALL)
        for _ in range(steps):
            self.step(store)
            self.flushed_to = store.flushed_to

    def step(self, store: MessageStore) -> None:
        action = self.choice.randrange(11)
        if action < 6:
            self.append(store)
        elif action == 6:
            job = store.begin_flush()
            if job is not None:
                job.run()
                store.finish_flush(job)
        elif action == 7:
            store.derived.write_all(NOW)
        elif action == 8:
            store.derived.write_index(NOW)
        elif action == 9:
            store.derived.save_checkpoint(NOW + self.count)
        else:
            self.checkpoint_in_turns(store)

    def append(self, store: MessageStore) -> None:
        batch = [self.make() for _ in range(self.choice.randint(1, 6))]
        whole = self.choice.random() < 0.3
        placed = store.append_all(batch, NOW + self.count, whole)
        for sent, place in zip(batch, placed, strict=True):
            self.acknowledged[place.commit_log_offset] = (
                sent.topic,
                sent.queue_id,
                place.queue_offset,
                sent.body,
            )

    def checkpoint_in_turns(self, store: MessageStore) -> None:
        """A queue a turn, and messages in between, of which some are written with those that are claimed."""
        claimed = store.derived.claim_checkpoint(NOW + self.count)
        for queue in store.derived.queues_waiting():
            self.append(store)
            store.derived.write_queues([queue])
        self.append(store)
        if self.choice.random() < 0.5:
            store.derived.write_index(NOW)
        job = store.derived.begin_claimed(claimed)
        self.append(store)
        job.run()
        store.derived.finish_checkpoint(job)

    def make(self) -> NewMessage:
        self.count += 1
        return message(
            self.choice.choice(("A", "B")),
            self.choice.randrange(2),
            bytes([self.count % 251]) * self.choice.randint(1, 400),
            unique=f"K{self.count}",
        )


class CrashTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(catching_up, "BITE_KEYS", 5)

    def check(self, image: MemoryDisk, work: Workload, kept_to: int, why: str) -> None:
        """Everything acknowledged below `kept_to` is there, in order, and found by key; the store goes on."""
        store = open_store(image, **SMALL)
        found = {}
        for (topic, queue_id), records in served(store).items():
            numbers = [record.queue_offset for record in records]
            self.assertEqual(numbers, sorted(set(numbers)), why)
            for record in records:
                found[record.commit_log_offset] = (topic, queue_id, record.queue_offset, record.body)
                keys = store.query_by_key(topic, record.property_map["UNIQ_KEY"], 32, 0, LATER)
                self.assertIn(record.commit_log_offset, keys.offsets, why)
        if kept_to == EVERYTHING:
            self.assertEqual(sorted(found), sorted(set(found) | set(work.acknowledged)), why)
        for offset, wanted in work.acknowledged.items():
            if offset < kept_to:
                self.assertEqual(found.get(offset), wanted, why)
        (placed,) = store.append_all([message("A", 0, b"after")], NOW)
        self.assertEqual(store.record_at(placed.commit_log_offset)[:4], placed.size.to_bytes(4, "big"))
        store.close(NOW)
        again = open_store(image, **SMALL)
        self.assertEqual(served(again)["A", 0][-1].body, b"after", why)
        again.close(NOW)

    def test_a_kill_at_any_change_of_the_disk_loses_nothing_acknowledged(self) -> None:
        """Row 2 of the faults, as an image of the disk."""
        for seed in range(3):
            whole = Workload(MemoryDisk(), seed)
            whole.run(25)
            for kill_at in range(0, whole.disk.changes, 1 + whole.disk.changes // 60):
                disk = MemoryDisk()
                disk.kill_at = kill_at
                work = Workload(disk, seed)
                self.assertRaises(Killed, work.run, 25)
                self.check(disk.after_kill(), work, EVERYTHING, f"seed {seed}, killed at change {kill_at}")

    def test_a_kill_in_a_checkpoint_loses_no_key_of_a_message_whose_keys_two_files_share(self) -> None:
        def work(disk: MemoryDisk) -> None:
            store = open_store(disk, **{**SMALL, "max_index_num": 6})
            for number in range(6):
                keys = " ".join(f"{number}{letter}" for letter in "abc")
                store.append_all([message("A", 0, b"x", keys=keys)], NOW + number)
                if number % 3 == 2:
                    store.derived.save_checkpoint(NOW + number)

        for kill_at, disk in killed_at_each_change(MemoryDisk(), work):
            store = open_store(disk.after_kill(), **{**SMALL, "max_index_num": 6})
            for number in range(store.queue_offsets("A", 0)[1]):
                for letter in "abc":
                    found = store.query_by_key("A", f"{number}{letter}", 32, 0, LATER).offsets
                    self.assertEqual(len(found), 1, f"{number}{letter}, killed at change {kill_at}")

    def test_a_power_cut_that_takes_the_log_in_front_of_a_deletion_takes_no_later_message(self) -> None:
        def work(disk: MemoryDisk) -> None:
            store = open_store(disk, **SMALL)
            store.append_all([message("A", 0, b"before")], NOW)
            store.derived.save_checkpoint(NOW)
            for _ in range(8):
                store.append_all([message("A", 0, b"deleted" * 30)], NOW)
            store.delete_topic("A")

        for kill_at, disk in killed_at_each_change(MemoryDisk(), work):
            for seed in range(4):
                image = disk.after_power_cut(random.Random(seed))
                store = open_store(image, **SMALL)
                store.append_all([message("A", 0, b"later")], NOW)
                store.close(NOW)
                bodies = [record.body for record in served(open_store(image, **SMALL))["A", 0]]
                self.assertEqual(bodies[-1], b"later", f"cut at change {kill_at}, seed {seed}")

    def test_a_kill_while_recovering_loses_nothing(self) -> None:
        """Row 4 of the faults."""
        work = Workload(MemoryDisk(), 7)
        work.run(40)
        first = work.disk.after_kill()
        for kill_at, disk in killed_at_each_change(first, lambda disk: open_store(disk, **SMALL)):
            self.check(disk.after_kill(), work, EVERYTHING, f"killed at change {kill_at} of the recovery")

    @settings(max_examples=150, deadline=None)
    @given(st.integers(0, 1 << 32), st.integers(1, 60))
    def test_a_power_cut_keeps_everything_flushed(self, seed: int, steps: int) -> None:
        """Row 3 of the faults."""
        work = Workload(MemoryDisk(), seed)
        work.run(steps)
        for cut in range(3):
            image = work.disk.after_power_cut(random.Random(seed + cut))
            self.check(image, work, work.flushed_to, f"seed {seed}, {steps} steps, cut {cut}")

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 1 << 32), st.integers(1, 40))
    def test_a_power_cut_during_the_recovery_keeps_everything_flushed(self, seed: int, steps: int) -> None:
        """Rows 3 and 4 of the faults."""
        work = Workload(MemoryDisk(), seed)
        work.run(steps)
        choice = random.Random(seed)
        image = work.disk.after_power_cut(choice)
        image.kill_at = choice.randrange(20)
        try:
            open_store(image, **SMALL)
        except Killed:
            pass
        image.kill_at = None
        self.check(image.after_power_cut(choice), work, work.flushed_to, f"seed {seed}, {steps} steps")

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 1 << 32), st.sampled_from(("checkpoint", "consumequeue", "index")))
    def test_derived_files_that_are_lost_or_garbage_are_built_again(self, seed: int, part: str) -> None:
        """Rows 14 and 15 of the faults."""
        work = Workload(MemoryDisk(), seed)
        work.run(30)
        image = work.disk.after_kill()
        choice = random.Random(seed)
        for path in [path for path in image.nodes if f"/{part}" in path]:
            if choice.random() < 0.5:
                image.remove(path)
            elif choice.random() < 0.5:
                image.put(path, bytes(len(image.content(path))))
            elif part == "checkpoint":
                image.put(path, choice.randbytes(4096))
        self.check(image.after_kill(), work, EVERYTHING, f"seed {seed}")

    def test_a_store_that_was_closed_opens_without_walking_any_record(self) -> None:
        disk = MemoryDisk()
        store = open_store(disk, **SMALL)
        store.append_all([message(body=b"x" * 300, unique=f"K{n}") for n in range(50)], NOW)
        store.close(NOW)
        self.assertNotIn("/store/abort", disk.nodes)
        again = MemoryDisk.after_kill(disk)
        reopened = open_store(again, **SMALL)
        self.assertEqual(reopened.queue_offsets("TopicTest", 0), (0, 50))
        self.assertEqual(len(served(reopened)["TopicTest", 0]), 50)

    def test_a_torn_tail_is_cut_at_each_of_its_bytes(self) -> None:
        """Row 13 of the faults."""
        disk = MemoryDisk()
        store = open_store(disk, **SMALL)
        store.append_all([message(body=b"first")], NOW)
        (last,) = store.append_all([message(body=b"the last one", unique="U", tags="T")], NOW)
        whole = disk.content("/store/commitlog/" + "0" * 20)
        for cut in range(last.size):
            image = disk.after_kill()
            keep = last.commit_log_offset + cut
            image.put("/store/commitlog/" + "0" * 20, whole[:keep].ljust(SEGMENT, b"\0"))
            again = open_store(image, **SMALL)
            self.assertEqual(again.written_to, last.commit_log_offset, f"cut after {cut} bytes")
            self.assertEqual([record.body for record in served(again)["TopicTest", 0]], [b"first"])
            garbage = disk.after_kill()
            image.put("/store/commitlog/" + "0" * 20, whole[:keep].ljust(SEGMENT, b"\xff"))
            again = open_store(garbage, **SMALL)
            self.assertGreaterEqual(again.written_to, last.commit_log_offset)

    def test_a_flipped_bit_anywhere_in_a_record_costs_that_record_only(self) -> None:
        """Rows 12 and 13 of the faults."""
        disk = MemoryDisk()
        store = open_store(disk, **SMALL)
        placed = store.append_all([message(body=b"body %d" % n, unique=f"K{n}") for n in range(5)], NOW)
        path = "/store/commitlog/" + "0" * 20
        bad = placed[2]
        for at in range(bad.size):
            image = disk.after_kill()
            place = bad.commit_log_offset + at
            image.spoil(path, place, bytes([image.content(path)[place] ^ 0x40]))
            again = open_store(image, **SMALL)
            bodies = [record.body for record in served(again).get(("TopicTest", 0), [])]
            for number in (0, 1, 3, 4):
                self.assertIn(b"body %d" % number, bodies, f"flipped at byte {at}")
            self.assertEqual(again.written_to, store.written_to)

    def test_a_record_that_rots_after_a_clean_end_is_withheld_when_read(self) -> None:
        """Row 12 of the faults."""
        disk = MemoryDisk()
        store = open_store(disk, **SMALL)
        placed = store.append_all([message(body=b"body %d" % n) for n in range(5)], NOW)
        store.close(NOW)
        image = disk.after_kill()
        image.spoil("/store/commitlog/" + "0" * 20, placed[2].commit_log_offset + 89, b"?")
        notices: list[str] = []
        again = open_store(image, notices=notices, **SMALL)
        bodies = [record.body for record in served(again)["TopicTest", 0]]
        self.assertEqual(bodies, [b"body 0", b"body 1", b"body 3", b"body 4"])
        self.assertEqual(len(notices), 1)
        self.assertRaises(StoreError, again.record_at, placed[2].commit_log_offset)
