"""Finding messages by key and by time, deleting topics, raw bytes of another's log."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from itertools import accumulate

from hypothesis import given
from hypothesis.strategies import booleans, integers, lists, sampled_from
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError, StoreUnavailable, WouldBlock
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.store import arriving_messages, time_search
from rocketmq_tx.store.layouts import FILLER, FILLER_SIZE, INDEX_HEADER
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, SEGMENT, message, open_store

LATER = 1 << 62


def index_files(disk: MemoryDisk) -> list[str]:
    return sorted(path for path in disk.nodes if path.startswith("/store/index/"))


class KeyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.store = open_store(self.disk, max_hash_slot_num=7, max_index_num=11)

    def send(self, key: str, at: int = NOW, topic: str = "T") -> int:
        return self.store.append_all([message(topic, keys=key)], at)[0].commit_log_offset

    def find(
        self, key: str, count: int = 32, begin: int = 0, end: int = LATER, topic: str = "T"
    ) -> list[int]:
        return self.store.query_by_key(topic, key, count, begin, end).offsets

    def test_what_was_just_sent_is_found(self) -> None:
        sent = [self.send("k"), self.send("k other")]
        result = self.store.query_by_key("T", "k", 32, 0, LATER)
        self.assertEqual(result.offsets, sent)
        self.assertEqual([record.commit_log_offset for record in decode_records(result.body)], sent)
        self.assertEqual(
            (result.index_last_update_timestamp, result.index_last_update_offset), (NOW, sent[-1])
        )

    def test_nothing_is_found_without_keys(self) -> None:
        self.store.append_all([message("T")], NOW)
        result = self.store.query_by_key("T", "k", 32, 0, LATER)
        self.assertEqual(result, ([], b"", 0, 0))

    def test_keys_whose_hashes_agree_are_told_apart(self) -> None:
        # "Aa" and "BB" have one Java hash.
        first, second = self.send("Aa"), self.send("BB")
        self.assertEqual((self.find("Aa"), self.find("BB")), ([first], [second]))
        self.assertEqual(self.find("Aa", topic="U"), [])

    def test_the_newest_ones_are_found_when_there_are_too_many(self) -> None:
        sent = [self.send("k") for _ in range(30)]
        self.assertEqual(self.find("k", 5), sent[-5:])
        self.store.config.max_msgs_num_batch = 3
        self.assertEqual(self.find("k", 5), sent[-3:])
        self.assertEqual(self.find("k", 0), [])

    def test_times_are_exact_although_the_index_has_seconds_only(self) -> None:
        sent = [self.send("k", NOW + 300 * n) for n in range(40)]
        for begin in range(0, 12_000, 700):
            for end in range(begin, 12_000, 1100):
                wanted = [sent[n] for n in range(40) if begin <= 300 * n <= end]
                self.assertEqual(self.find("k", 64, NOW + begin, NOW + end), wanted, (begin, end))

    def test_files_follow_one_another_as_they_fill_up(self) -> None:
        sent = [self.send(f"a{n} b{n} c{n}", NOW + n) for n in range(20)]
        self.store.derived.write_index(NOW)
        self.assertEqual(len(index_files(self.disk)), 6)
        for n in range(20):
            self.assertEqual(self.find(f"b{n}"), [sent[n]])
        self.store.close(NOW)
        headers = [INDEX_HEADER.unpack(self.disk.content(path)[:40]) for path in index_files(self.disk)]
        self.assertEqual([header[5] for header in headers], [11] * 6)
        again = open_store(self.disk, max_hash_slot_num=7, max_index_num=11)
        for n in range(20):
            self.assertEqual(again.query_by_key("T", f"c{n}", 9, 0, LATER).offsets, [sent[n]])

    def test_names_go_up_even_when_the_clock_goes_back(self) -> None:
        for n in range(3):
            self.send(" ".join(f"k{n}.{m}" for m in range(10)), NOW - n * 10_000)
            self.store.derived.write_index(NOW - n * 10_000)
        self.assertEqual(len(set(index_files(self.disk))), 3)
        self.assertEqual(self.find("k2.3"), self.find("k2.9"))

    def test_a_bite_that_cannot_be_written_is_not_lost(self) -> None:
        first = self.send("a b c")
        self.disk.fail("create", "index", errno.ENOSPC)
        self.assertRaises(StoreUnavailable, self.store.derived.write_index, NOW)
        self.disk.heal()
        sent = [self.send(f"k{n} l{n} m{n}") for n in range(4)]
        self.store.derived.write_index(NOW)
        self.disk.fail("write", "index", errno.ENOSPC, short=10)
        sent += [self.send(f"k{n} l{n} m{n}") for n in range(4, 8)]
        self.assertRaises(StoreUnavailable, self.store.derived.write_index, NOW)
        self.disk.heal()
        self.assertEqual(self.find("b"), [first])
        for n in range(8):
            self.assertEqual(self.find(f"l{n}"), [sent[n]])

    def test_a_new_file_that_fails_in_the_middle_of_a_bite_keeps_the_rest(self) -> None:
        sent = [self.send(f"k{n} l{n} m{n}") for n in range(2)]
        self.store.derived.write_index(NOW)
        sent += [self.send(f"k{n} l{n} m{n}") for n in range(2, 7)]
        self.disk.fail("create", "index", errno.ENOSPC)
        self.assertRaises(StoreUnavailable, self.store.derived.write_index, NOW)
        self.disk.heal()
        for n in range(7):
            self.assertEqual([self.find(f"{key}{n}") for key in "klm"], [[sent[n]]] * 3)

    def test_keys_do_not_pile_up_without_end(self) -> None:
        self.patch(arriving_messages, "PENDING_KEYS_MAX", 3)
        self.disk.fail("create", "index", errno.ENOSPC)
        for _ in range(4):
            self.send("k")
        self.assertIn("index", str(self.assertRaises(StoreUnavailable, self.send, "k")))
        self.disk.heal()
        self.store.derived.write_index(NOW)
        self.send("k")
        self.assertEqual(len(self.find("k")), 5)

    def test_without_the_index_no_keys_are_kept_and_turning_it_on_builds_it(self) -> None:
        self.store.config.message_index_enable = False
        sent = self.send("k")
        self.assertEqual(self.find("k"), [])
        self.store.close(NOW)
        off = open_store(self.disk, message_index_enable=False)
        off.close(NOW)
        self.assertEqual(index_files(self.disk), [])
        on = open_store(self.disk)
        self.assertEqual(on.query_by_key("T", "k", 9, 0, LATER).offsets, [sent])

    def test_a_file_of_another_size_is_built_anew(self) -> None:
        sent = self.send("k")
        self.store.close(NOW)
        notices: list[str] = []
        other = open_store(self.disk, max_hash_slot_num=9, notices=notices)
        self.assertEqual(other.query_by_key("T", "k", 9, 0, LATER).offsets, [sent])
        other_size, built = notices
        self.assertIn("has not 40076 bytes", other_size)
        self.assertIn("it is built from the whole log", built)

    def test_damaged_and_cold_records_are_left_out_or_warmed(self) -> None:
        first, second = self.send("k"), self.send("k")
        self.store.derived.write_index(NOW)
        log = "/store/commitlog/" + "0" * 20
        self.disk.cold.add(log)
        error = self.assertRaises(WouldBlock, self.store.query_by_key, "T", "k", 9, 0, LATER, False)
        self.store.warm(error)
        self.disk.spoil(log, first + 88, b"?")
        self.assertEqual(self.find("k"), [second])

    def test_a_broken_chain_ends_the_search(self) -> None:
        sent = [self.send("k") for _ in range(5)]
        self.store.derived.write_index(NOW)
        (path,) = index_files(self.disk)
        entry = 40 + 7 * 4 + 20 * 3
        self.disk.spoil(path, entry + 16, (9).to_bytes(4, "big"))
        self.assertEqual(self.find("k"), sent[2:])
        self.disk.spoil(path, entry + 12, b"\xff")
        self.assertEqual(self.find("k"), sent[3:])


class TimeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.store = open_store(self.disk, mapped_file_size_consume_queue=100)

    def send(self, *times: int) -> None:
        for time in times:
            self.store.append_all([message()], time)

    def at(self, time: int) -> int:
        return self.store.offset_by_time("TopicTest", 0, time)

    def test_an_unknown_queue_is_at_zero(self) -> None:
        self.assertEqual(self.at(NOW), 0)
        self.assertEqual(self.store.earliest_store_time("TopicTest", 0), -1)
        self.assertEqual(self.store.store_time_at("TopicTest", 0, 0), -1)
        self.store.append_all([message(sys_flag=4)], NOW)
        self.assertEqual(self.at(NOW), 0)

    def test_the_nearest_message_counts_and_the_older_one_on_ties(self) -> None:
        self.send(1000, 2000, 3000)
        wanted = {0: 0, 999: 0, 1000: 0, 1499: 0, 1500: 0, 1501: 1, 2000: 1, 2600: 2, 3000: 2, 9000: 2}
        self.assertEqual({time: self.at(time) for time in wanted}, wanted)
        self.assertEqual(self.store.earliest_store_time("TopicTest", 0), 1000)
        self.assertEqual(self.store.store_time_at("TopicTest", 0, 2), 3000)

    def test_the_file_is_chosen_by_the_time_of_its_last_message(self) -> None:
        self.send(*range(1000, 1013))
        self.store.derived.write_all(NOW)
        self.assertEqual([self.at(time) for time in range(1000, 1013)], list(range(13)))
        self.assertEqual((self.at(0), self.at(5000)), (0, 12))

    @given(
        gaps=lists(sampled_from((0, 0, 1, 3)), min_size=1, max_size=40),
        in_files=integers(0, 40),
        near_bytes=sampled_from((0, 300, 1000, 9000)),
        neighbours=booleans(),
        may_block=booleans(),
    )
    def test_what_is_kept_and_read_together_changes_nothing(
        self, gaps: list[int], in_files: int, near_bytes: int, neighbours: bool, may_block: bool
    ) -> None:
        self.patch(time_search, "_KEPT_ENTRIES", 3)
        self.patch(time_search, "_BLOCK_ENTRIES", 4)
        self.patch(time_search, "_NEAR_BYTES", near_bytes)
        self.setUp()
        times = list(accumulate(gaps, initial=1000))
        for number, time in enumerate(times):
            if number == in_files:
                self.store.derived.write_all(NOW)
            self.send(time)
            if neighbours:
                self.store.append_all([message("Other")], time)
        for time in [*range(999, times[-1] + 2)] * 2:
            found = self.store.offset_by_time("TopicTest", 0, time, may_block)
            self.assertEqual(found, self.by_halving_alone(times, time), time)

    def by_halving_alone(self, times: Sequence[int], wanted: int, file_entries: int = 5) -> int:
        """As `spec/store.yaml` tells it, file by file and step by step."""
        starts = range(0, len(times), file_entries)
        last_places = [min(start + file_entries, len(times)) - 1 for start in starts]
        chosen = next((n for n, last in enumerate(last_places) if times[last] >= wanted), len(starts) - 1)
        low, high, start = starts[chosen], last_places[chosen], starts[chosen]
        left = right = None
        while low <= high:
            middle = start + (low - start + high - start) // 2
            if times[middle] == wanted:
                return middle
            if times[middle] > wanted:
                high, right = middle - 1, middle
            else:
                low, left = middle + 1, middle
        if left is None or right is None:
            return right if left is None else left  # type: ignore[return-value]
        return left if wanted - times[left] <= times[right] - wanted else right

    def test_times_that_are_kept_are_those_of_the_messages_that_are_there(self) -> None:
        self.patch(time_search, "_KEPT_ENTRIES", 2)
        self.send(*range(1000, 1010))
        self.store.derived.write_all(NOW)
        self.assertEqual(self.at(1007), 7)
        cut = self.store.entry_at("TopicTest", 0, 3)
        assert cut is not None
        self.store.cut_tail(cut[0], NOW)
        self.send(*range(2000, 2010))
        self.store.derived.write_all(NOW)
        self.assertEqual([self.at(time) for time in (1002, 1900, 2004)], [2, 3, 7])

    def test_so_many_times_are_kept_and_no_more(self) -> None:
        self.patch(time_search, "_KEPT_ENTRIES", 1)
        self.patch(time_search, "KNOWN_TIMES_MAX", 3)
        self.send(*range(1000, 1020))
        self.store.derived.write_all(NOW)
        self.assertEqual([self.at(time) for time in range(1000, 1020)], list(range(20)))
        self.assertEqual(len(self.store._known_times), 3)

    def test_what_is_not_in_memory_is_asked_for_with_its_surroundings(self) -> None:
        self.send(*range(1000, 1003))
        log = "/store/commitlog/" + "0" * 20
        self.disk.cold.add(log)
        with self.assertRaises(WouldBlock) as raised:
            self.store.offset_by_time("TopicTest", 0, 1001, may_block=False)
        found = raised.exception
        self.assertEqual((found.path, found.offset, found.length), (log, 0, 64 << 10))
        self.store.warm(found)
        self.assertEqual(self.store.offset_by_time("TopicTest", 0, 1001, may_block=False), 1)

    def test_an_unreadable_neighbour_does_not_keep_a_time_from_being_found(self) -> None:
        self.send(*range(1000, 1004))
        start = self.store.entry_at("TopicTest", 0, 1)
        assert start is not None
        file = self.store._log.segments.file(0)
        reads: list[int] = []

        def read(length: int, offset: int) -> bytes:
            reads.append(length)
            if length > 100:
                raise StoreError("a bad sector between them")
            return type(file).pread(file, length, offset)

        self.patch(file, "pread", read)
        self.assertEqual([self.at(time) for time in range(1000, 1004)], [0, 1, 2, 3])
        self.assertGreater(max(reads), 100)

    def test_a_record_whose_time_cannot_be_read_ends_the_search(self) -> None:
        self.send(1000, 2000, 3000)
        offset = self.store.entry_at("TopicTest", 0, 1)
        assert offset is not None
        self.disk.spoil("/store/commitlog/" + "0" * 20, offset[0] + 4, bytes(4))
        self.assertEqual(self.at(2000), 0)


class DeletionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.store = open_store(self.disk)

    def bodies(self, store: MessageStore) -> list[bytes]:
        found = store.get_messages("T", 0, 0, 32)
        return [record.body for record in decode_records(found.body)]

    def delete_and_begin_again(self) -> None:
        self.store.append_all([message("T", n % 2, b"old", keys="k") for n in range(4)], NOW)
        self.store.append_all([message("Other")], NOW)
        self.store.derived.write_all(NOW)
        self.store.delete_topic("T")
        self.store.append_all([message("T", 0, b"new", keys="k")], NOW)

    def check(self, store: MessageStore) -> None:
        self.assertEqual(self.bodies(store), [b"new"])
        self.assertEqual(store.queue_offsets("T", 1), (0, 0))
        self.assertEqual(store.queue_offsets("Other", 0), (0, 1))
        self.assertEqual(len(store.query_by_key("T", "k", 9, 0, LATER).offsets), 1)

    def test_a_topic_begins_anew_and_no_start_brings_the_old_messages_back(self) -> None:
        self.delete_and_begin_again()
        self.check(self.store)
        self.check(open_store(self.disk.after_kill()))
        rebuilt = self.disk.after_kill()
        for path in [path for path in rebuilt.nodes if "consumequeue" in path or "checkpoint" in path]:
            rebuilt.remove(path)
        self.check(open_store(rebuilt))
        self.store.close(NOW)
        self.check(open_store(self.disk))

    def test_a_crash_between_the_note_and_the_removal_finishes_the_removal(self) -> None:
        self.store.append_all([message("T", 0, b"old")], NOW)
        self.store.append_all([message("Other")], NOW)
        self.store.derived.save_checkpoint(NOW)
        self.disk.fail("remove", "consumequeue/T", errno.EIO)
        self.assertRaises(StoreError, self.store.delete_topic, "T")
        again = open_store(self.disk.after_kill())
        self.assertEqual(again.queue_offsets("T", 0), (0, 0))
        self.assertEqual(again.queue_offsets("Other", 0), (0, 1))

    def test_entries_in_memory_go_as_well(self) -> None:
        self.store.append_all([message("T")], NOW)
        self.store.delete_topic("T")
        self.store.derived.write_all(NOW)
        self.assertEqual([path for path in self.disk.nodes if "consumequeue" in path], [])
        self.assertEqual(list(self.store.queues()), [])


class RawTests(SynchronousTestCase):
    def test_bytes_of_a_master_make_the_same_store(self) -> None:
        master_disk, disk = MemoryDisk(), MemoryDisk()
        master, slave = open_store(master_disk), open_store(disk)
        for n in range(60):
            master.append_all([message("T", n % 3, b"x" * 2000, unique=f"U{n}", tags="t")], NOW + n)
        at = 0
        for size in [1, 7, 100, 5000] * 100:
            if at >= master.written_to:
                break
            segment = at - at % SEGMENT
            size = min(size, segment + SEGMENT - at, master.written_to - at)
            data = master_disk.content(f"/store/commitlog/{segment:020d}")[at - segment : at - segment + size]
            slave.append_raw(data, at, NOW)
            at += size
        self.assertEqual(slave.written_to, master.written_to)
        for queue_id in range(3):
            ours = slave.get_messages("T", queue_id, 0, 32)
            self.assertEqual(ours.body, master.get_messages("T", queue_id, 0, 32).body)
            self.assertEqual(ours.count, 20)
        self.assertEqual(len(slave.query_by_key("T", "U37", 9, 0, LATER).offsets), 1)
        self.assertRaises(StoreError, slave.append_raw, b"x", at + 1, NOW)

    def test_a_slave_that_begins_in_the_middle_numbers_its_queues_as_its_master(self) -> None:
        master_disk, disk = MemoryDisk(), MemoryDisk()
        master = open_store(master_disk)
        for n in range(70):
            master.append_all([message("T", 0, b"%d" % n + b"x" * 2000)], NOW + n)
        last = f"/store/commitlog/{2 * SEGMENT:020d}"
        disk.put(last, master_disk.content(last))
        disk.put("/store/abort", b"")
        slave = open_store(disk)
        first, end = slave.queue_offsets("T", 0)
        self.assertEqual(end, 70)
        self.assertEqual(slave.min_offset, 2 * SEGMENT)
        result = slave.get_messages("T", 0, first, 32)
        self.assertEqual(result.body, master.get_messages("T", 0, first, 32).body)
        slave.derived.write_all(NOW)
        entries = disk.content("/store/consumequeue/T/0/" + "0" * 20)
        self.assertEqual(entries[: 20 * first], FILLER * first)
        self.assertEqual(int.from_bytes(entries[8:12], "big"), FILLER_SIZE)
        slave.close(NOW)
        self.assertEqual(open_store(disk).queue_offsets("T", 0), (first, 70))
