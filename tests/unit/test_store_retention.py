"""Old messages go: which, when, and without harm to readers, consumers or the next start."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.admin_cleaning import CleaningRequests
from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.broker.retention import HOUR_MS, Retention
from rocketmq_tx.broker.topic_deletions import TopicDeletions
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import StoreError
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.remoting.registry import Reply
from rocketmq_tx.store.disk_use import DiskUse
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.old_segments import last_store_timestamp
from rocketmq_tx.store.pull import GetStatus
from rocketmq_tx.store.retention import (
    Cleaning,
    RetentionRules,
    cleaning_due,
    disk_full_sentence,
    full_log_directories,
    is_expired,
)
from tests.memory_disk import Killed, MemoryDisk
from tests.store_cases import NOW, message, open_store
from tests.unit.broker_parts import FakePeer
from tests.unit.test_store_crash import served

PEER: Any = FakePeer()
RULES = RetentionRules(frozenset({4}), 72 * HOUR_MS, 75, True)
SEGMENT = 4096
SMALL = {"mapped_file_size_commit_log": SEGMENT, "mapped_file_size_consume_queue": 200, "max_index_num": 20}
MESSAGES = 60


def uses(log: float, queues: float = 0.1) -> list[DiskUse]:
    return [DiskUse("/log", 100, 0, log), DiskUse("/queues", 100, 0, queues)]


class DecisionTests(SynchronousTestCase):
    def test_files_go_in_the_hours_set_or_when_the_disk_is_fuller_than_allowed_or_when_asked(self) -> None:
        self.assertIsNone(cleaning_due(RULES, 5, uses(0.75)))
        self.assertEqual(cleaning_due(RULES, 4, uses(0.2)), Cleaning("it is 04 o'clock", False))
        self.assertEqual(cleaning_due(RULES, 5, uses(0.76)), Cleaning("the disk is 76% full", False))
        self.assertEqual(cleaning_due(RULES, 5, uses(0.2, 0.8)), Cleaning("the disk is 80% full", False))
        asked = cleaning_due(RULES, 5, uses(0.2), asked_for=True)
        self.assertEqual(asked, Cleaning("an administrator asked for it", False))

    def test_above_85_percent_age_does_not_count_unless_that_is_forbidden(self) -> None:
        due = cleaning_due(RULES, 5, uses(0.86))
        assert due is not None
        self.assertTrue(is_expired(RULES, due, NOW, NOW))
        kept = cleaning_due(RULES._replace(may_force=False), 5, uses(0.86))
        assert kept is not None
        self.assertFalse(is_expired(RULES, kept, NOW, NOW))
        self.assertTrue(is_expired(RULES, kept, NOW - 72 * HOUR_MS, NOW))

    def test_of_several_log_directories_the_emptiest_counts(self) -> None:
        some = [DiskUse("/a", 1, 1, 0.95), DiskUse("/b", 1, 1, 0.3), DiskUse("/queues", 1, 1, 0.2)]
        self.assertIsNone(cleaning_due(RULES, 5, some))
        self.assertIsNone(disk_full_sentence(some))
        self.assertEqual(full_log_directories(some), {"/a"})
        full = [*(use._replace(ratio=0.93) for use in some[:2]), some[2]]
        sentence = disk_full_sentence(full)
        assert sentence is not None
        self.assertIn("/a is 93% full", sentence)
        self.assertIn("/b is 93% full", sentence)
        self.assertIn("/queues", str(disk_full_sentence([some[1], some[2]._replace(ratio=0.91)])))

    def test_a_disk_whose_use_is_unknown_is_no_reason(self) -> None:
        self.assertIsNone(cleaning_due(RULES, 5, uses(-1.0, -1.0)))
        self.assertIsNone(disk_full_sentence(uses(-1.0, -1.0)))

    @given(st.integers(0, 23), st.floats(-1, 1), st.floats(-1, 1), st.booleans())
    def test_nothing_young_goes_while_there_is_room(
        self, hour: int, log: float, queues: float, asked: bool
    ) -> None:
        due = cleaning_due(RULES, hour, uses(log, queues), asked)
        if due is not None and max(log, queues) <= 0.85:
            self.assertFalse(is_expired(RULES, due, NOW - 71 * HOUR_MS, NOW))


class AtOnce:
    """A thread whose calls are done at once; the test looks in between."""

    def __init__(self) -> None:
        self.before: Callable[[], None] = lambda: None

    def run(self, call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        self.before()
        return execute(call, *arguments)

    def abandon(self) -> None:
        """Nothing runs."""


class RetentionCase(SynchronousTestCase):
    """A store of eight segments, a message an hour, the last one now."""

    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.notices: list[str] = []
        self.store = self.filled(self.disk)
        self.clock = Clock()
        self.thread = AtOnce()
        self.hour = 12
        self.retention = self.retention_of(self.store)
        self.offsets = ConsumerOffsets()
        self.unaware: list[str] = []
        """What keeps slaves from knowing of deletions."""

    def filled(self, disk: MemoryDisk) -> MessageStore:
        store = open_store(disk, notices=self.notices, **SMALL)
        for n in range(MESSAGES):
            time_ms = NOW - (MESSAGES - 1 - n) * HOUR_MS
            store.append_all([message("T", 0, b"%d " % n + b"x" * 400, unique=f"U{n}")], time_ms)
        store.append_all([message("Empty", 1, b"x")], NOW)
        store.derived.save_checkpoint(NOW)
        return store

    def retention_of(self, store: MessageStore) -> Retention:
        retention = Retention(
            store, store.config, self.thread, self.clock, lambda: NOW, lambda now_ms: self.hour
        )
        retention.startService()
        self.addCleanup(retention.stopService)
        return retention

    def rounds(self, count: int = 1) -> None:
        for _ in range(count):
            self.clock.advance(60)
            self.clock.pump([0.1] * 12)

    def age_of(self, number: int) -> int:
        return (MESSAGES - 1 - number) * HOUR_MS

    def segments(self, disk: MemoryDisk | None = None) -> list[str]:
        return (disk or self.disk).names("/store/commitlog")

    def queue_files(self, disk: MemoryDisk | None = None) -> list[str]:
        return (disk or self.disk).names("/store/consumequeue/T/0")


class RetentionTests(RetentionCase):
    def test_in_the_hour_set_files_older_than_the_limit_go_and_no_others(self) -> None:
        self.store.config.file_reserved_time = 30
        before = self.segments()
        self.rounds(3)
        self.assertEqual(self.segments(), before)
        self.hour = 4
        self.rounds()
        first = self.store.queue_offsets("T", 0)[0]
        # Seven messages a segment: the last one deleted is older than the limit, the seventh kept is not.
        self.assertEqual(self.segments(), before[first // 7 :])
        self.assertGreater(first, 7)
        self.assertGreaterEqual(self.age_of(first - 1), 30 * HOUR_MS)
        self.assertLess(self.age_of(first + 6), 30 * HOUR_MS)

    def test_queue_and_index_files_follow_with_the_next_checkpoint(self) -> None:
        self.store.config.file_reserved_time = 30
        self.hour = 4
        queue_files, index_files = self.queue_files(), self.disk.names("/store/index")
        self.rounds()
        self.assertEqual(self.queue_files(), queue_files)
        self.store.derived.save_checkpoint(NOW)
        first = self.store.queue_offsets("T", 0)[0]
        self.assertEqual(self.queue_files(), queue_files[first // 10 :])
        self.assertLess(len(self.disk.names("/store/index")), len(index_files))
        self.assertEqual(self.store.query_by_key("T", "U0", 32, 0, 1 << 62).offsets, [])
        self.assertEqual(len(self.store.query_by_key("T", f"U{first}", 32, 0, 1 << 62).offsets), 1)
        self.assertEqual(
            [record.queue_offset for record in served(self.store)["T", 0]], list(range(first, MESSAGES))
        )

    def test_a_consumer_whose_offset_fell_off_is_sent_to_the_oldest_message(self) -> None:
        self.store.config.file_reserved_time = 30
        self.hour = 4
        self.rounds()
        first, end = self.store.queue_offsets("T", 0)
        result = self.store.get_messages("T", 0, 0, 32)
        self.assertIs(result.status, GetStatus.OFFSET_TOO_SMALL)
        self.assertEqual((result.next_offset, result.min_offset, result.max_offset), (first, first, end))
        self.assertIs(self.store.get_messages("T", 0, first, 32).status, GetStatus.FOUND)
        self.assertIs(self.store.get_messages("T", 0, first - 1, 32).status, GetStatus.OFFSET_TOO_SMALL)
        self.assertEqual(self.store.offset_by_time("T", 0, 0), first)
        self.assertEqual(self.store.store_time_at("T", 0, first - 1), -1)
        self.assertRaises(StoreError, self.store.record_at, 0)

    def test_a_topic_that_begins_anew_keeps_its_files_from_a_checkpoint_that_removes_old_ones(self) -> None:
        """Its first file has the name of the one that went with the old messages."""
        for is_begun in (False, True):
            disk = MemoryDisk()
            store = open_store(disk, **SMALL)
            for n in range(40):
                store.append_all([message("T", 0, b"x" * 1500)], NOW + n)
            store.derived.save_checkpoint(NOW)
            for _ in range(10):
                oldest = store.expiry.oldest()
                assert oldest is not None
                store.expiry.drop(oldest)
            store.expiry.condemn_derived()
            path = "/store/consumequeue/T/0/" + "0" * 20
            self.assertIn(path, store._queues.condemned)
            claimed = store.derived.claim_checkpoint(NOW)
            job = store.derived.begin_claimed(claimed) if is_begun else None
            store.delete_topic("T")
            store.append_all([message("T", 0, b"anew")], NOW + 50)
            store.derived.write_all(NOW)
            job = job or store.derived.begin_claimed(claimed)
            job.run()
            store.derived.finish_checkpoint(job)
            store.derived.save_checkpoint(NOW)
            self.assertIn(path, disk.nodes)
            again = open_store(disk.after_kill(), **SMALL)
            self.assertEqual([record.body for record in served(again)["T", 0]], [b"anew"])

    def test_a_full_disk_takes_ten_files_a_round_but_never_the_last_one(self) -> None:
        self.store.config.file_reserved_time = 1000
        for n in range(40):
            self.store.append_all([message("T", 0, b"%d" % n + b"x" * 1500)], NOW)
        self.store.derived.save_checkpoint(NOW)
        before = self.segments()
        self.assertGreater(len(before), 20)
        self.disk.free_bytes = (1 << 40) // 10
        self.rounds()
        self.assertEqual(self.segments(), before[10:])
        self.rounds(3)
        self.assertEqual(self.segments(), before[-1:])
        self.assertEqual(len(served(self.store)["T", 0]), 1)

    def test_what_is_not_flushed_stays_even_on_a_full_disk(self) -> None:
        disk = MemoryDisk()
        store = open_store(disk, **SMALL)
        store.append_all([message("T", 0, b"x" * 1500) for _ in range(20)], NOW)
        disk.free_bytes = 0
        before = self.segments(disk)
        self.retention_of(store)
        self.rounds(2)
        self.assertEqual(self.segments(disk), before)

    def test_a_reader_that_has_a_file_open_reads_on(self) -> None:
        self.store.config.file_reserved_time = 30
        self.hour = 4
        oldest = self.store.expiry.oldest()
        assert oldest is not None
        reader = self.disk.open(oldest.path)
        content = reader.pread(SEGMENT, 0)
        self.rounds()
        self.assertNotIn(oldest.path.rpartition("/")[2], self.segments())
        self.assertEqual(reader.pread(SEGMENT, 0), content)

    def test_a_cold_read_that_was_overtaken_ends_in_a_correction(self) -> None:
        self.store.config.file_reserved_time = 30
        self.hour = 4
        oldest = self.store.expiry.oldest()
        assert oldest is not None
        self.disk.cold.add(oldest.path)
        cold = self.assertRaises(StoreError, self.store.get_messages, "T", 0, 0, 1)
        self.rounds()
        self.store.warm(cold)  # type: ignore[arg-type]
        self.assertIs(self.store.get_messages("T", 0, 0, 1).status, GetStatus.OFFSET_TOO_SMALL)

    def test_a_file_that_cannot_be_removed_is_tried_again(self) -> None:
        self.store.config.file_reserved_time = 30
        self.hour = 4
        before = self.segments()
        self.disk.fail("remove", "/commitlog/", errno.EROFS)
        self.rounds()
        self.assertEqual(self.segments(), before)
        self.assertEqual(len(self.flushLoggedErrors(StoreError)), 1)
        self.disk.heal()
        self.rounds(2)
        self.assertLess(len(self.segments()), len(before))
        self.assertEqual(len(self.segments()), len(self.store._log.segments.starts))

    def test_stopping_ends_a_round_between_two_files(self) -> None:
        self.disk.free_bytes = 0
        before = self.segments()
        self.clock.advance(60)
        stopped = self.retention.stopService()
        assert stopped is not None
        self.clock.advance(0.1)
        self.successResultOf(stopped)
        self.assertEqual(self.segments(), before[1:])

    def requests(self, *known: str) -> CleaningRequests:
        """For a broker that knows these topics."""
        deletions = TopicDeletions(self.store, self.offsets, lambda timeout_s: succeed(self.unaware))
        return CleaningRequests(
            self.store.config, self.store, known.__contains__, deletions, self.retention.ask
        )

    def clean_expired(self, *known: str) -> Reply:
        frame = Frame.request(RequestCode.CLEAN_EXPIRED_CONSUMEQUEUE)
        return self.successResultOf(self.requests(*known).clean_expired_queues(PEER, frame, None))

    def let_go_of(self, *topics: str) -> None:
        """Sends to them, and then so much to T that their messages go by age."""
        self.store.append_all([message(topic, 0) for topic in topics], NOW)
        for _ in range(20):
            self.store.append_all([message("T", 0, b"x" * 1500)], NOW)
        self.store.derived.save_checkpoint(NOW)
        self.disk.free_bytes = 0
        self.rounds(2)

    def test_topics_without_messages_that_nobody_knows_go_when_asked(self) -> None:
        self.let_go_of("Old", "SCHEDULE_TOPIC_XXXX", "%LMQ%old")
        for topic in ("Old", "Kept", "%LMQ%old"):
            self.offsets.commit("readers", topic, 0, 1)
        queues = [("%LMQ%old", 0), ("Empty", 1), ("Old", 0), ("SCHEDULE_TOPIC_XXXX", 0), ("T", 0)]
        self.assertEqual(sorted(self.store.queues()), queues)
        self.assertEqual(self.clean_expired("T", "New").code, ResponseCode.SUCCESS)
        self.assertEqual(sorted(self.store.queues()), queues[3:])
        self.assertEqual(self.disk.names("/store/consumequeue"), ["SCHEDULE_TOPIC_XXXX", "T"])
        self.assertEqual(self.offsets.topics_of("readers"), ["Kept"])
        self.store.append_all([message("Old", 0, b"again")], NOW)
        self.assertEqual(self.store.queue_offsets("Old", 0), (0, 1))
        again = open_store(self.disk.after_kill(), **SMALL)
        self.assertEqual(again.queue_offsets("Old", 0), (0, 1))
        self.assertLessEqual({"Old", "%LMQ%old"}, set(again.deleted_topics))

    def test_the_numbers_of_a_queue_go_on_when_it_is_cleaned_of_its_last_message(self) -> None:
        self.let_go_of("Old", "Old")
        self.assertEqual(self.store.queue_offsets("Old", 0), (2, 2))
        self.assertEqual(self.clean_expired("T", "Old", "Empty").code, ResponseCode.SUCCESS)
        self.assertEqual(self.store.queue_offsets("Old", 0), (2, 2))
        self.disk.free_bytes = 1 << 40
        self.store = open_store(self.disk.after_kill(), **SMALL)
        self.store.append_all([message("Old", 0, b"again")], NOW)
        self.assertEqual(self.store.queue_offsets("Old", 0), (2, 3))

    def test_a_slave_leaves_cleaning_to_its_master(self) -> None:
        self.let_go_of("Old")
        self.store.config.broker_role = BrokerRole.SLAVE
        self.assertEqual(self.clean_expired().code, ResponseCode.SUCCESS)
        frame = Frame.request(RequestCode.CLEAN_UNUSED_TOPIC)
        self.successResultOf(self.requests().clean_unused_topics(PEER, frame, None))
        self.assertIn(("Old", 0), self.store.queues())

    def test_the_answer_says_which_slaves_do_not_know_what_was_cleaned(self) -> None:
        self.let_go_of("Old")
        self.unaware = ["192.0.2.7:10911 answered: the log here is not as far yet"]
        self.assertIn("192.0.2.7:10911", self.clean_expired("T").remark or "")

    def test_topics_that_nobody_knows_go_when_asked(self) -> None:
        self.store.append_all([message("Gone"), message("RMQ_SYS_TRANS_OP_HALF_TOPIC")], NOW)
        frame = Frame.request(RequestCode.CLEAN_UNUSED_TOPIC)
        reply = self.successResultOf(self.requests("T", "Empty").clean_unused_topics(PEER, frame, None))
        self.assertEqual(reply.code, ResponseCode.SUCCESS)
        left = [("Empty", 1), ("RMQ_SYS_TRANS_OP_HALF_TOPIC", 0), ("T", 0)]
        self.assertEqual(sorted(self.store.queues()), left)

    def test_an_administrator_has_old_files_deleted_in_any_hour(self) -> None:
        self.store.config.file_reserved_time = 30
        requests = self.requests("T")
        before = self.segments()
        reply = requests.delete_expired_files(PEER, Frame.request(RequestCode.DELETE_EXPIRED_COMMITLOG), None)
        self.assertEqual(reply.code, ResponseCode.SUCCESS)
        self.clock.pump([0.1] * 12)
        self.assertLess(len(self.segments()), len(before))
        self.assertLess(NOW - self.store.earliest_store_time("T", 0), 37 * HOUR_MS)


class CrashTests(RetentionCase):
    """Row 4 of the faults: an end in the middle of retention costs nothing that was to stay."""

    def deleted(self, disk: MemoryDisk) -> int:
        """Deletes on a disk until done, or until it ends; returns the oldest message that had to stay."""
        store = open_store(disk, **SMALL)
        store.config.file_reserved_time = 30
        self.hour = 4
        retention = self.retention_of(store)
        self.rounds()
        first = store.queue_offsets("T", 0)[0]
        store.derived.save_checkpoint(NOW)
        retention.stopService()
        return first

    def killed_at(self, change: int) -> MemoryDisk:
        """A disk whose process has ended in the middle of retention, before so many changes of files."""
        disk = self.disk.after_kill()
        disk.kill_at = change
        try:
            self.deleted(disk)
        except Killed:
            pass
        self.flushLoggedErrors(Killed)
        return disk

    def check(self, image: MemoryDisk, first: int, why: str) -> None:
        said: list[str] = []
        store = open_store(image, notices=said, **SMALL)
        self.assertEqual([line for line in said if "has been extended" not in line], [], why)
        numbers = [record.queue_offset for record in served(store)["T", 0]]
        self.assertEqual(numbers, list(range(numbers[0], MESSAGES)), why)
        self.assertLessEqual(numbers[0], first, why)
        for number in numbers:
            self.assertEqual(len(store.query_by_key("T", f"U{number}", 32, 0, 1 << 62).offsets), 1, why)
        store.close(NOW)

    def test_a_kill_at_any_change_leaves_a_store_that_opens_without_building_anything_again(self) -> None:
        whole = self.disk.after_kill()
        first = self.deleted(whole)
        self.assertGreater(whole.changes, 10)
        for kill_at in range(whole.changes):
            image = self.killed_at(kill_at).after_kill()
            self.check(image, first, f"killed at change {kill_at}")
            self.assertEqual(self.deleted(image), first)

    def test_a_power_cut_at_any_change_leaves_a_store_that_opens(self) -> None:
        whole = self.disk.after_kill()
        first = self.deleted(whole)
        for kill_at in range(whole.changes):
            for seed in range(5):
                image = self.killed_at(kill_at).after_power_cut(random.Random(seed))
                self.check(image, first, f"cut at change {kill_at}, seed {seed}")


class DatingTests(SynchronousTestCase):
    def test_the_last_message_is_found_from_any_place_in_the_file(self) -> None:
        disk = MemoryDisk()
        store = open_store(disk)
        for n in range(20):
            store.append_all([message(body=b"\xda\xa3\x20\xa7" * n)], NOW + n)
        content = disk.content("/store/commitlog/" + "0" * 20)
        last = store.last_record_at
        for cut in range(0, last + 1, 7):
            self.assertEqual(last_store_timestamp(content[cut:], cut), NOW + 19, f"cut at {cut}")
        self.assertIsNone(last_store_timestamp(content[last + 1 :], last + 1))
        self.assertIsNone(last_store_timestamp(b"", 0))

    def test_without_any_record_the_next_segment_tells(self) -> None:
        disk = MemoryDisk()
        store = open_store(disk, **SMALL)
        for n in range(3):
            store.append_all([message(body=b"x" * 3000)], NOW + n)
        store.derived.save_checkpoint(NOW)
        oldest = store.expiry.oldest()
        assert oldest is not None
        self.assertEqual(oldest.last_store_timestamp(), NOW)
        disk.spoil("/store/commitlog/" + "0" * 20, 0, bytes(SEGMENT))
        self.assertEqual(oldest.last_store_timestamp(), NOW + 1)
        disk.spoil(f"/store/commitlog/{SEGMENT:020d}", 0, bytes(SEGMENT))
        self.assertIsNone(oldest.last_store_timestamp())
