"""The store's life within the broker on a fake clock, and the files of its tables when they are damaged."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import derived_tending
from rocketmq_tx.broker.derived_tending import (
    INDEX_BITE_LONGEST_S,
    INDEX_BITE_S,
    INDEX_LATER_S,
    INDEX_PATIENCE_S,
    INDEX_RETRY_S,
    KEYS_A_BITE,
    next_bite_s,
)
from rocketmq_tx.broker.store_service import STOP_WRITES_S, StoreService
from rocketmq_tx.broker.topic_rules import make_topic
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.config.values import FlushDiskType
from rocketmq_tx.errors import IndexNotReady, StoreDamaged, StoreError
from rocketmq_tx.runtime.group_commit import GroupCommit
from rocketmq_tx.runtime.watermark import Watermark
from rocketmq_tx.store.disk_use import DiskUse
from rocketmq_tx.store.early_checkpoints import LITTLE_BYTES, MUCH_BYTES
from rocketmq_tx.store.json_file import JsonFile
from rocketmq_tx.store.os_disk import platform_disk
from rocketmq_tx.store.recovery import RecoveryReport
from tests.unit.broker_parts import FakeStore, HeldRunner, broker_settings


class TendedStore(FakeStore):
    """Counts what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self.ratio = 0.5
        self.refusals: dict[str, str] = {}
        self.expiry = self
        self.derived = self
        self.many_queues = False
        self.bites = 0
        self.closed_with: Any = self
        self.unclaimed_bytes = 0
        self.keys_waiting = 0

    def open(self, now_ms: int) -> RecoveryReport:
        self.done.append("open")
        return RecoveryReport()

    def end_writing(self) -> None:
        """Nothing comes any more."""

    def begin_close(self, now_ms: int) -> Any:
        self.done.append("begin close")
        return self

    def finish_close(self, job: Any) -> None:
        self.done.append("close")
        self.closed_with = job

    def queues(self) -> list[tuple[str, int]]:
        return [("Orders", 0)]

    def queue_offsets(self, topic: str, queue_id: int) -> tuple[int, int]:
        return 3, 10

    @property
    def is_index_behind(self) -> bool:
        return self.bites > 0

    @property
    def index_sentence(self) -> str:
        return f"{self.bites} bites are left"

    def write_index_bite(self, now_ms: int) -> bool:
        if "index" in self.refusals:
            raise StoreError("no room")
        self.done.append("bite" if self.bites else "index")
        self.bites -= 1
        return self.bites >= 0

    def write_index(self, now_ms: int) -> None:
        self.done.append("index")

    def queues_due(self) -> list[int]:
        return list(range(35 if self.many_queues else 1))

    def write_queues(self, queues: list[int]) -> None:
        self.done.append("queues")

    def queues_waiting(self) -> list[int]:
        return self.queues_due()

    def write_some_queues(self, most: int) -> int:
        self.done.append("queues")
        return 25 if self.many_queues else 0

    def claim_checkpoint(self, now_ms: int) -> Any:
        self.done.append("claim")
        return self

    def give_up_claimed(self, claimed: Any) -> None:
        self.done.append("give up")

    def begin_claimed(self, claimed: Any) -> Any:
        self.done.append("begin checkpoint")
        return self

    def run(self) -> None:
        """A checkpoint job does its work in a thread."""

    def finish_checkpoint(self, job: Any) -> None:
        self.done.append("finish checkpoint")

    def condemn_derived(self) -> None:
        self.done.append("condemn")

    def disk_use(self) -> list[DiskUse]:
        return [DiskUse("/data", 100, 50, self.ratio)]

    def check_files(self) -> None:
        """They are there."""

    def avoid_directories(self, full: frozenset[str]) -> None:
        """There is one."""

    def refuse(self, cause: str, sentence: str) -> None:
        self.refusals[cause] = sentence

    def accept(self, cause: str) -> None:
        self.refusals.pop(cause, None)


class Tending(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = TendedStore()
        self.flush_thread, self.checkpoint_thread = HeldRunner(), HeldRunner()
        self.flushes = GroupCommit(self.store, Watermark(self.clock), [self.flush_thread], self.clock)
        self.service = StoreService(
            self.store,  # type: ignore[arg-type]
            broker_settings().store,
            self.flushes,
            self.checkpoint_thread,
            self.clock,
            lambda: 1700000000000,
        )
        self.service.startService()

    def stop(self) -> None:
        stopped = self.service.stopService()
        while self.checkpoint_thread.waiting:
            self.checkpoint_thread.finish()
        if stopped is not None:
            self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_keys_enter_the_index_once_soon_after_their_messages(self) -> None:
        for _ in range(3):
            self.service.appended()
        self.clock.pump([0.004, 0.004])
        self.assertEqual(self.store.done, ["open", "index"])
        self.service.appended()
        self.clock.advance(INDEX_BITE_LONGEST_S)
        self.assertEqual(self.store.done, ["open", "index", "index"])
        self.stop()

    def test_few_keys_wait_for_more_of_them_and_many_do_not(self) -> None:
        for keys, waited_s in ((1, INDEX_BITE_S), (1, INDEX_BITE_LONGEST_S), (10_000, INDEX_BITE_LONGEST_S)):
            self.store.keys_waiting = keys
            self.service.appended()
            self.clock.advance(waited_s - 0.0005)
            written = self.store.done.count("index")
            self.clock.advance(0.0005)
            self.assertEqual(self.store.done.count("index"), written + 1, (keys, waited_s))
        self.service.appended()
        self.clock.advance(INDEX_BITE_S)
        self.assertEqual(self.store.done.count("index"), 4)
        self.stop()

    @given(st.floats(INDEX_BITE_S, INDEX_BITE_LONGEST_S), st.integers(0, 100_000))
    def test_keys_wait_so_long_that_as_many_come_as_are_entered_cheaply_within_bounds(
        self, last_s: float, keys: int
    ) -> None:
        bite_s = next_bite_s(last_s, keys)
        self.assertTrue(INDEX_BITE_S <= bite_s <= INDEX_BITE_LONGEST_S)
        if INDEX_BITE_S < bite_s < INDEX_BITE_LONGEST_S:
            self.assertAlmostEqual(keys * bite_s / last_s, KEYS_A_BITE)

    def start_again(self, bites: int) -> None:
        """As a start that has left so many bites of keys for later."""
        self.stop()
        self.store.done.clear()
        self.store.bites = bites
        self.service.startService()

    def test_keys_that_a_start_left_enter_the_index_bite_by_bite_and_new_ones_behind_them(self) -> None:
        self.start_again(bites=3)
        self.service.appended()
        self.clock.advance(INDEX_LATER_S)
        self.assertEqual(self.store.done, ["open", "bite"])
        self.clock.pump([INDEX_BITE_S] * 20)
        self.assertEqual(self.store.done, ["open", "bite", "bite", "bite", "index"])
        self.stop()

    def test_a_checkpoint_waits_for_all_bites_and_they_do_not_hurry_for_it(self) -> None:
        self.patch(derived_tending, "INDEX_BITE_S", 100.0)
        self.start_again(bites=3)
        self.store.derived.unclaimed_bytes = MUCH_BYTES
        wanted = ["bite", "bite", "bite", "begin checkpoint"]
        for done, seconds in enumerate((1.0, 100.0, 100.0), 1):
            self.clock.pump([seconds, 0.0, 0.0])
            self.assertEqual([what for what in self.store.done if what in wanted][:3], wanted[:done])
        self.assertEqual([what for what in self.store.done if what in wanted], wanted)
        self.stop()

    def let_a_bite_take(self, seconds: float) -> None:
        bite = self.store.write_index_bite

        def slow_bite(now_ms: int) -> bool:
            self.clock.rightNow += seconds
            return bite(now_ms)

        self.patch(self.store, "write_index_bite", slow_bite)

    def test_after_a_bite_that_took_long_the_others_have_twice_as_long(self) -> None:
        self.start_again(bites=3)
        self.let_a_bite_take(0.03)
        self.clock.advance(INDEX_LATER_S)
        self.assertEqual(self.store.bites, 2)
        self.clock.advance(0.0599)
        self.assertEqual(self.store.bites, 2)
        self.clock.advance(0.0002)
        self.assertEqual(self.store.bites, 1)
        self.store.bites = 0
        self.stop()

    def test_a_bite_that_cannot_be_entered_is_tried_again_after_a_second(self) -> None:
        self.start_again(bites=3)
        self.store.refusals["index"] = "no room"
        self.clock.advance(INDEX_LATER_S)
        failed = self.service.index_ready()
        self.clock.pump([INDEX_RETRY_S, INDEX_RETRY_S])
        self.failureResultOf(failed, StoreError)
        self.assertEqual(self.store.bites, 3)
        del self.store.refusals["index"]
        self.clock.pump([INDEX_RETRY_S, *[INDEX_BITE_S] * 2])
        self.assertEqual(self.store.bites, 0)
        self.stop()

    def test_whoever_needs_the_index_waits_for_its_bites_but_not_too_long(self) -> None:
        self.assertIsNone(self.successResultOf(self.service.index_ready()))
        self.start_again(bites=3)
        ready = self.service.index_ready()
        self.clock.pump([INDEX_LATER_S, INDEX_BITE_S])
        self.assertNoResult(ready)
        self.clock.advance(INDEX_BITE_S)
        self.assertIsNone(self.successResultOf(ready))
        self.start_again(bites=3)
        self.patch(derived_tending, "INDEX_BITE_S", INDEX_PATIENCE_S)
        impatient, patient = self.service.index_ready(), self.service.index_ready(None)
        self.clock.advance(INDEX_PATIENCE_S)
        error = self.failureResultOf(impatient, IndexNotReady).value
        self.assertIn("2 bites are left", str(error))
        self.assertNoResult(patient)
        self.store.bites = 0
        self.stop()
        self.failureResultOf(patient, IndexNotReady)

    def test_a_stop_goes_on_with_bites_for_a_while_and_leaves_the_rest_to_the_next_start(self) -> None:
        self.let_a_bite_take(0.01)
        in_time = round(STOP_WRITES_S / 0.01)
        for bites, is_whole in ((3, True), (2 * in_time, False)):
            self.start_again(bites)
            stopped = self.service.stopService()
            assert stopped is not None
            self.clock.advance(0)
            while self.checkpoint_thread.waiting:
                self.checkpoint_thread.finish()
            self.successResultOf(stopped)
            self.assertEqual(self.store.closed_with is not None, is_whole)
            self.assertEqual("begin close" in self.store.done, is_whole)
            self.assertEqual(self.store.done.count("bite"), min(bites, in_time + 1))
            self.store.bites = 0
            self.service.startService()
        self.stop()

    def test_queue_entries_are_written_every_second(self) -> None:
        self.clock.pump([0.5] * 4)
        self.assertEqual(self.store.done.count("queues"), 2)
        self.stop()

    def test_very_many_queues_are_written_a_few_a_turn(self) -> None:
        self.store.many_queues = True
        self.clock.advance(1)
        self.assertEqual(self.store.done.count("queues"), 1 + 3)
        self.store.many_queues = False
        self.stop()

    def test_much_that_no_checkpoint_covers_is_covered_before_the_interval_is_over(self) -> None:
        self.store.derived.unclaimed_bytes = MUCH_BYTES
        self.clock.advance(1)
        self.assertEqual(self.store.done.count("begin checkpoint"), 1)
        self.clock.pump([1.0] * 80)
        self.assertEqual(self.store.done.count("begin checkpoint"), 1)
        self.checkpoint_thread.finish()  # it has taken 80 s
        self.clock.pump([1.0] * 20)
        self.assertEqual(self.store.done.count("finish checkpoint"), 1)
        self.assertEqual(self.store.done.count("begin checkpoint"), 1)
        self.stop()

    def test_a_checkpoint_is_made_when_a_load_ends(self) -> None:
        for unclaimed_bytes, checkpoints in ((LITTLE_BYTES, 0), (2 * LITTLE_BYTES, 0), (2 * LITTLE_BYTES, 1)):
            self.store.derived.unclaimed_bytes = unclaimed_bytes
            self.clock.advance(1)
            self.assertEqual(self.store.done.count("begin checkpoint"), checkpoints)
        self.stop()

    def test_a_checkpoint_claims_before_it_writes_a_few_queues_a_turn(self) -> None:
        self.store.many_queues = True
        self.store.derived.unclaimed_bytes = MUCH_BYTES
        self.clock.advance(0.25)
        self.assertEqual(self.store.done[-6:], ["claim", *["queues"] * 4, "begin checkpoint"])
        self.checkpoint_thread.finish()
        self.assertEqual(self.store.done[-1], "finish checkpoint")
        self.store.many_queues = False
        self.stop()

    def test_a_checkpoint_whose_queues_cannot_be_written_is_given_up(self) -> None:
        self.store.derived.unclaimed_bytes = MUCH_BYTES
        with mock.patch.object(self.store, "write_queues", side_effect=StoreError("no room")):
            self.clock.advance(0.25)
        self.assertEqual(self.store.done[-2:], ["claim", "give up"])
        self.assertEqual(len(self.flushLoggedErrors(StoreError)), 1)
        self.stop()

    def test_sentences_that_differ_in_figures_are_said_once_a_minute(self) -> None:
        lines: list[str] = []
        log = SimpleNamespace(
            warn=lambda text, sentence, held_back: lines.append(sentence), info=lambda *a, **k: None
        )
        self.patch(StoreService, "_log", log)
        for number in range(5):
            self.service.notice(f"the record at {number} is withheld")
        self.service.notice("the disk is slow")
        self.clock.pump([1] * 61)
        self.service.notice("the record at 77 is withheld")
        self.assertEqual(
            lines, ["the record at 0 is withheld", "the disk is slow", "the record at 77 is withheld"]
        )
        self.checkpoint_thread.finish()
        self.stop()

    def flushed_after(self, seconds: float) -> int:
        """How many flushes begin and end in that time, looking twice a second."""
        before = self.flushes.flushes
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            while self.flush_thread.waiting:
                self.flush_thread.finish()
        return self.flushes.flushes - before

    def test_four_pages_of_the_log_are_flushed_within_half_a_second(self) -> None:
        self.store.written_to = 4 * 4096
        self.assertEqual(self.flushed_after(0.5), 1)
        self.assertEqual(self.store.flushed_to, 4 * 4096)
        self.stop()

    def test_less_is_flushed_before_it_has_waited_for_ten_seconds(self) -> None:
        self.assertEqual(self.flushed_after(30), 0)
        self.store.written_to = 100
        self.assertEqual(self.flushed_after(9), 0)
        self.assertEqual(self.flushed_after(1), 1)
        self.assertEqual(self.store.flushed_to, 100)
        self.assertEqual(self.flushed_after(30), 0)
        self.stop()

    def test_a_trickle_never_waits_longer_than_the_thorough_interval(self) -> None:
        waited_s = [0.0]
        written_s: dict[int, float] = {}
        for _ in range(200):
            self.store.written_to += 50
            written_s[self.store.written_to] = self.clock.seconds()
            self.flushed_after(0.5)
            for end in [end for end in written_s if end <= self.store.flushed_to]:
                waited_s.append(self.clock.seconds() - written_s.pop(end))
        self.assertLessEqual(max(waited_s), 10)
        self.assertGreater(max(waited_s), 9)
        self.stop()

    def test_pages_and_interval_may_change_while_it_runs(self) -> None:
        config = self.service._config
        config.flush_commit_log_least_pages = 0
        self.store.written_to = 1
        self.assertEqual(self.flushed_after(0.5), 1)
        config.flush_commit_log_least_pages = 100
        config.flush_commit_log_thorough_interval = 2000
        self.store.written_to = 50_000
        self.assertEqual(self.flushed_after(1.5), 0)
        self.assertEqual(self.flushed_after(0.5), 1)
        self.stop()

    def test_under_sync_flush_the_period_flushes_nothing(self) -> None:
        self.service._config.flush_disk_type = FlushDiskType.SYNC_FLUSH
        self.store.written_to = 1 << 19
        self.assertEqual(self.flushed_after(15), 0)
        self.stop()

    def test_what_a_killed_process_has_left_unflushed_is_flushed_at_once(self) -> None:
        for kind in (FlushDiskType.ASYNC_FLUSH, FlushDiskType.SYNC_FLUSH):
            self.stop()
            self.service._config.flush_disk_type = kind
            self.store.written_to += 100
            thread = HeldRunner()
            self.service._flushes = GroupCommit(self.store, Watermark(self.clock), [thread], self.clock)
            self.service.startService()
            self.clock.advance(0.01)
            self.assertEqual(len(thread.waiting), 1)
            thread.finish()
            self.assertEqual(self.store.flushed_to, self.store.written_to)
        self.stop()

    def test_the_end_of_a_checkpoint_answers_who_waits_for_what_it_has_flushed(self) -> None:
        self.store.written_to = 500
        waiting = self.flushes.durable(500, 100)
        self.clock.pump([1] * 60)
        self.assertNoResult(waiting)
        self.store.flushed_to = 500  # what had ended before counts only now
        self.checkpoint_thread.finish()
        self.successResultOf(waiting)
        self.stop()

    def test_a_checkpoint_is_made_every_minute_off_the_reactor(self) -> None:
        self.clock.pump([1] * 60)
        self.assertIn("begin checkpoint", self.store.done)
        self.assertNotIn("finish checkpoint", self.store.done)
        self.checkpoint_thread.finish()
        self.assertEqual(self.store.done[-1], "finish checkpoint")
        self.stop()

    def test_a_full_disk_refuses_until_there_is_room_again(self) -> None:
        self.store.ratio = 0.95
        self.clock.pump([1] * 11)
        self.assertEqual(
            list(self.store.refusals.values()),
            ["the disk of /data is 95% full, above 90% no message is taken"],
        )
        self.store.ratio = 0.5
        self.clock.pump([1] * 10)
        self.assertEqual(self.store.refusals, {})
        self.stop()

    def test_stopping_closes_the_store_last(self) -> None:
        self.service.appended()
        self.stop()
        self.assertEqual(self.store.done, ["open", "queues", "begin close", "close"])
        self.assertIsNotNone(self.flushes.failure)

    def test_very_many_queues_hold_a_stop_up_for_seconds_only_and_the_next_start_recovers(self) -> None:
        def take_half_a_second(most: int) -> int:
            self.store.done.append("queues")
            self.clock.rightNow += 0.5
            return 250

        self.store.done.clear()
        with mock.patch.object(self.store, "write_some_queues", take_half_a_second):
            stopped = self.service.stopService()
            assert stopped is not None
            self.assertEqual(self.store.done, ["queues"])  # the reactor has its turn in between
            self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.store.done, ["queues"] * 5 + ["close"])
        self.assertIsNone(self.store.closed_with)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_disk_that_hangs_does_not_hold_up_the_reactor_at_the_end(self) -> None:
        stopped = self.service.stopService()
        assert stopped is not None
        self.assertEqual(self.store.done, ["open", "queues", "begin close"])
        self.assertNoResult(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_store_that_did_not_open_is_not_closed(self) -> None:
        self.stop()
        self.store.done.clear()
        self.assertIsNone(self.service.stopService())
        self.assertEqual(self.store.done, [])


class TablesOnDisk(SynchronousTestCase):
    """Row 17 of the faults: a table that cannot be read is never an empty table."""

    def setUp(self) -> None:
        self.path = os.path.join(self.mktemp(), "topics.json")
        self.notices: list[str] = []
        table = self.table()
        table.put(make_topic("Orders", 4))
        table.put(make_topic("Payments", 4))

    def table(self) -> TopicTable:
        file = JsonFile(platform_disk(), self.path, self.notices.append)
        return TopicTable(broker_settings().broker, file, lambda: 0)

    def write(self, name: str, content: bytes) -> None:
        with open(name, "wb") as file:
            file.write(content)

    def test_damaged_text_makes_the_copy_stand_in(self) -> None:
        for content in (b"", b'{"topicConfigTable":{"Orders', b"garbage", b'{"topicConfigTable":[1]}'):
            self.write(self.path, content)
            table = self.table()
            table.load()
            self.assertEqual(table.get("Orders"), make_topic("Orders", 4))
            self.assertIn(self.path, self.notices.pop())

    def test_without_any_readable_copy_the_start_is_refused(self) -> None:
        self.write(self.path, b"garbage")
        self.write(f"{self.path}.bak", b"garbage")
        error = self.assertRaises(StoreDamaged, self.table().load)
        self.assertIn("topics.json", str(error))

    def test_unknown_fields_of_a_newer_version_are_no_damage(self) -> None:
        self.write(
            self.path, b'{"topicConfigTable":{"T":{"topicName":"T","perm":4,"attributes":{"a":"b"}}},"x":1}'
        )
        table = self.table()
        table.load()
        config = table.get("T")
        self.assertEqual(config and config.perm, 4)
