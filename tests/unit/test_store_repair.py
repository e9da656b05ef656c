"""Row 16 of the faults: segments that are missing, of a wrong size, foreign or twice; and the way out."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreDamaged, StoreLocked
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.store.file_layouts import CheckpointTimes
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.pull import GetStatus
from rocketmq_tx.store.repair import RepairPlan, Step, plan_repair, repair
from tests.memory_disk import Killed, MemoryDisk
from tests.store_cases import NOW, SEGMENT, message, open_store

LOG = "/store/commitlog"


def segment(number: int, directory: str = LOG) -> str:
    return f"{directory}/{number * SEGMENT:020d}"


class RepairCase(SynchronousTestCase):
    """A store of seven segments, 31 messages of about 2,100 bytes in each but the last."""

    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.notices: list[str] = []
        store = open_store(self.disk)
        for n in range(200):
            store.append_all([message("T", 0, b"%d " % n + b"x" * 2000, unique=f"U{n}")], NOW + n)
        store.close(NOW)
        self.disk.syncs.clear()

    def open(self) -> MessageStore:
        return open_store(self.disk, notices=self.notices)

    def close(self, store: MessageStore) -> None:
        store.close(NOW)

    def plan(self) -> RepairPlan:
        return plan_repair(self.disk, "/store", [LOG], SEGMENT)

    def numbers(self, store: MessageStore) -> list[int]:
        found = []
        offset, end = store.queue_offsets("T", 0)
        while offset < end:
            result = store.get_messages("T", 0, offset, 32)
            assert result.next_offset > offset
            found += [int(record.body.split()[0]) for record in decode_records(result.body)]
            offset = result.next_offset
        return found

    def assert_works(self, missing: range) -> None:
        """It opens, has all but the missing, goes on, and does so again when all is built anew."""
        left = [n for n in range(200) if n not in missing]
        store = self.open()
        self.assertEqual(self.numbers(store), left)
        store.append_all([message("T", 0, b"1000 after")], NOW + 300)
        self.assertEqual(store.query_by_key("T", "U0", 32, 0, 1 << 62).offsets, [0] if left[0] == 0 else [])
        self.close(store)
        self.disk.remove("/store/checkpoint")
        self.disk.put("/store/abort", b"")
        for path in [path for path in self.disk.nodes if "/consumequeue/" in path]:
            self.disk.remove(path)
        store = self.open()
        self.assertEqual(self.numbers(store), [*left, 1000])


class RepairTests(RepairCase):
    def test_a_store_that_is_well_needs_nothing(self) -> None:
        plan = self.plan()
        self.assertEqual((plan.actions, plan.lost, plan.segment_size), ([], [], SEGMENT))
        self.assertEqual(repair(self.disk, plan), [])
        self.assert_works(range(0))

    def test_a_gap_is_refused_and_then_passed_over(self) -> None:
        for number in (1, 3, 4):
            self.disk.remove(segment(number))
        error = str(self.assertRaises(StoreDamaged, self.open))
        self.assertIn(f"{0:020d} and {2 * SEGMENT:020d}", error)
        self.assertIn("mqstore repair", error)
        plan = self.plan()
        self.assertEqual(plan.lost, [(n * SEGMENT, (n + 1) * SEGMENT) for n in (1, 3, 4)])
        self.assertEqual([action.step for action in plan.actions], [Step.FILL] * 3)
        self.assertEqual(repair(self.disk, plan), [])
        self.assertEqual(self.plan().actions, [])
        store = self.open()
        left = [*range(31), *range(62, 93), *range(155, 200)]
        self.assertEqual(self.numbers(store), left)
        self.assertIs(store.get_messages("T", 0, 31, 8).status, GetStatus.MESSAGE_WAS_REMOVING)
        store.close(NOW)
        self.disk.put("/store/abort", b"")
        self.disk.remove("/store/checkpoint")
        self.assertEqual(self.numbers(self.open()), left)

    def test_first_segments_that_are_gone_are_said_and_their_messages_with_them(self) -> None:
        self.disk.remove(segment(0))
        self.assertEqual(self.plan().actions, [])
        self.assert_works(range(31))
        self.assertIn(f"from 0 to {SEGMENT}, were removed while no broker ran", self.notices[0])

    def test_last_segments_that_are_gone_are_refused_and_then_cut(self) -> None:
        for number in (5, 6):
            self.disk.remove(segment(number))
        self.assertIn("files are missing", str(self.assertRaises(StoreDamaged, self.open)))
        plan = self.plan()
        self.assertEqual(plan.lost[0][0], 5 * SEGMENT)
        self.assertEqual(repair(self.disk, plan), ["/store/set-aside/checkpoint"])
        self.assert_works(range(155, 200))

    def test_a_log_that_is_gone_altogether_begins_anew_when_that_is_wanted(self) -> None:
        for number in range(7):
            self.disk.remove(segment(number))
        self.assertRaises(StoreDamaged, self.open)
        self.assertEqual(repair(self.disk, self.plan()), ["/store/set-aside/checkpoint"])
        self.assertEqual(list(self.open().queues()), [])

    def test_a_foreign_file_with_the_name_of_a_segment_is_set_aside(self) -> None:
        self.disk.put(f"{LOG}/{777:020d}", bytes(SEGMENT))
        self.assertRaises(StoreDamaged, self.open)
        self.assertEqual(repair(self.disk, self.plan()), [f"{LOG}/set-aside/{777:020d}"])
        self.assert_works(range(0))
        self.assertEqual(self.disk.content(f"{LOG}/set-aside/{777:020d}"), bytes(SEGMENT))

    def test_what_is_too_long_is_shortened_and_kept_as_a_whole_beside(self) -> None:
        whole = self.disk.content(segment(2)) + b"more"
        self.disk.put(segment(2), whole)
        self.assertRaises(StoreDamaged, self.open)
        plan = self.plan()
        self.assertEqual([action.step for action in plan.actions], [Step.SHORTEN])
        self.assertEqual(repair(self.disk, plan), [f"{LOG}/set-aside/{2 * SEGMENT:020d}"])
        self.assertEqual(self.disk.content(f"{LOG}/set-aside/{2 * SEGMENT:020d}"), whole)
        self.assert_works(range(0))

    def test_what_an_earlier_repair_has_set_aside_stays(self) -> None:
        told: list[int] = []
        for content in (b"one", b"two", b"three"):
            self.disk.put(f"{LOG}/{777:020d}", content)
            self.disk.put(segment(2), self.disk.content(segment(2)) + content)
            repair(self.disk, self.plan(), told.append)
        aside = [self.disk.content(f"{LOG}/set-aside/{777:020d}{more}") for more in ("", "-2", "-3")]
        self.assertEqual(aside, [b"one", b"two", b"three"])
        wholes = [self.disk.content(f"{segment(2, LOG + '/set-aside')}{more}") for more in ("", "-2", "-3")]
        self.assertEqual([whole[SEGMENT:] for whole in wholes], [b"one", b"two", b"three"])
        self.assertEqual(sum(told), sum(map(len, wholes)))
        self.assert_works(range(0))

    def test_what_is_too_short_costs_what_was_cut_off_and_no_more(self) -> None:
        self.disk.put(segment(2), self.disk.content(segment(2))[:4000])
        self.assert_works(range(63, 93))
        self.assertIn("was shorter than a segment", self.notices[0])

    def test_the_size_that_most_files_have_counts_and_times_of_apache_tell_of_a_log(self) -> None:
        plan = plan_repair(self.disk, "/store", [LOG], 1 << 30)
        self.assertEqual((plan.segment_size, plan.actions), (SEGMENT, []))
        for number in range(7):
            self.disk.remove(segment(number))
        times = CheckpointTimes.build({"commit_log_ms": NOW, "queues_ms": NOW, "index_ms": 0})
        self.disk.put("/store/checkpoint", times)
        self.assertEqual([action.path for action in self.plan().actions], ["/store/checkpoint"])

    def test_a_running_broker_keeps_the_repair_out(self) -> None:
        store = self.open()
        self.assertRaises(StoreLocked, repair, self.disk, self.plan())
        store.close(NOW)

    def test_a_repair_that_was_killed_is_begun_again(self) -> None:
        self.disk.remove(segment(1))
        self.disk.remove(segment(6))
        self.disk.put(segment(2), self.disk.content(segment(2)) + b"more")
        self.disk.put(f"{LOG}/{777:020d}", bytes(SEGMENT))
        for kill_at in range(100):
            disk = self.disk.after_kill()
            disk.kill_at = kill_at
            try:
                repair(disk, plan_repair(disk, "/store", [LOG], SEGMENT))
            except Killed:
                disk = disk.after_kill()
                repair(disk, plan_repair(disk, "/store", [LOG], SEGMENT))
                self.assertEqual(plan_repair(disk, "/store", [LOG], SEGMENT).actions, [])
                store = open_store(disk)
                left = [*range(31), *range(62, 186)]
                self.assertEqual(self.numbers(store), left, f"killed at {kill_at}")
            else:
                break
        self.assertGreater(kill_at, 5)


class SeveralDirectoriesTests(SynchronousTestCase):
    """storePathCommitLog=a,b and readOnlyCommitLogStorePaths."""

    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.notices: list[str] = []

    def open(self, paths: str = "/b,/a", read_only: str | None = None) -> MessageStore:
        changes = {"store_path_commit_log": paths, "read_only_commit_log_store_paths": read_only}
        return open_store(self.disk, "/store", self.notices, **changes)

    def fill(self, store: MessageStore, count: int = 4) -> None:
        for _ in range(count):
            store.append_all([message("T", 0, b"x" * 60_000)], NOW)

    def numbers(self, directory: str) -> list[int]:
        return [int(name) // SEGMENT for name in self.disk.names(directory)]

    def bodies(self, store: MessageStore) -> int:
        first, end = store.queue_offsets("T", 0)
        return sum([store.get_messages("T", 0, n, 1).count for n in range(first, end)])

    def test_files_go_to_the_directories_in_turn_sorted_by_name(self) -> None:
        store = self.open()
        self.fill(store, 5)
        self.assertEqual((self.numbers("/a"), self.numbers("/b")), ([0, 2, 4], [1, 3]))
        store.close(NOW)
        self.assertEqual(self.bodies(self.open()), 5)

    def test_a_directory_that_is_nearly_full_gets_none_unless_all_are(self) -> None:
        store = self.open()
        store.avoid_directories(frozenset({"/a"}))
        self.fill(store, 2)
        self.assertEqual((self.numbers("/a"), self.numbers("/b")), ([], [0, 1]))
        store.avoid_directories(frozenset({"/a", "/b"}))
        self.fill(store, 2)
        self.assertEqual((self.numbers("/a"), self.numbers("/b")), ([2], [0, 1, 3]))
        self.assertEqual(self.bodies(store), 4)

    def test_a_read_only_directory_is_read_and_gets_none(self) -> None:
        store = self.open()
        self.fill(store)
        store.close(NOW)
        for paths, read_only in (("/b", "/a"), ("/b,/a", "/a")):
            store = self.open(paths, read_only)
            self.fill(store, 1)
            self.assertEqual(self.numbers("/a"), [0, 2])
            store.close(NOW)
        self.assertEqual(self.bodies(self.open("/b", "/a")), 6)

    def test_a_segment_that_is_there_twice_is_refused_and_one_set_aside(self) -> None:
        store = self.open()
        self.fill(store)
        store.close(NOW)
        self.disk.put(segment(1, "/a"), b"short")
        error = str(self.assertRaises(StoreDamaged, self.open))
        self.assertIn("both in /b and in /a", error)
        plan = plan_repair(self.disk, "/store", ["/b", "/a"], SEGMENT)
        self.assertEqual(repair(self.disk, plan), [f"/a/set-aside/{SEGMENT:020d}"])
        self.assertEqual(self.bodies(self.open()), 4)

    def test_old_files_go_from_whichever_directory_they_are_in(self) -> None:
        store = self.open()
        self.fill(store, 5)
        store.derived.save_checkpoint(NOW)
        for _ in range(3):
            oldest = store.expiry.oldest()
            assert oldest is not None
            store.expiry.drop(oldest)
        job = store.expiry.begin_removal()
        job.run()
        store.expiry.finish_removal(job)
        self.assertEqual((self.numbers("/a"), self.numbers("/b")), ([4], [3]))
        self.assertEqual(store.queue_offsets("T", 0), (3, 5))
        store.close(NOW)
        self.assertEqual(self.bodies(self.open()), 2)

    def test_use_is_told_of_each_directory(self) -> None:
        self.assertEqual([use.path for use in self.open().disk_use()], ["/b", "/a", "/store/consumequeue"])

    def test_the_directories_of_all_are_synced(self) -> None:
        store = self.open()
        self.fill(store, 2)
        job = store.begin_flush()
        assert job is not None
        job.run()
        store.finish_flush(job)
        self.assertEqual(
            set(self.disk.durable_names) & {segment(0, "/a"), segment(1, "/b")},
            {segment(0, "/a"), segment(1, "/b")},
        )
