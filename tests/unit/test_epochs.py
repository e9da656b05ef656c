"""Epochs and the verdict on a promotion: values in, values out; and the file that keeps them."""

from __future__ import annotations

import errno

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import StoreDamaged
from rocketmq_tx.failover.epoch_file import EpochFile, Standing
from rocketmq_tx.failover.epochs import FIRST, Epoch, EpochHistory, common_end, may_follow
from rocketmq_tx.failover.state import BrokerState
from rocketmq_tx.failover.verdict import Verdict, judge
from rocketmq_tx.store.json_file import JsonFile
from tests.memory_disk import Killed, MemoryDisk

steps = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 100), st.integers(0, 4)), max_size=6)


def history_of(changes: list[tuple[int, int, int]], begin: EpochHistory | None = None) -> EpochHistory:
    history = begin or EpochHistory()
    for number, offset, freed in changes:
        newest = history.newest
        history = history.begun(newest.number + number, newest.start_offset + offset, freed)
    return history


histories = steps.map(history_of)


class EpochTests(SynchronousTestCase):
    @given(histories)
    def test_a_history_survives_as_text(self, history: EpochHistory) -> None:
        self.assertEqual(EpochHistory.from_text(history.to_text()), history)

    def test_text_that_is_no_history_is_refused(self) -> None:
        for text in ("", "1:0:0", "0:0", "0:0:0,0:5:1", "0:0:0,2:5:1,1:9:1", "0:0:0,1:5:1,2:4:1", "0:0:0,x"):
            self.assertRaises(ValueError, EpochHistory.from_text, text)

    @given(histories, st.integers(0, 50))
    def test_every_byte_is_of_the_epoch_within_whose_ends_it_lies(
        self, history: EpochHistory, more: int
    ) -> None:
        log_end = history.newest.start_offset + more
        begins = 0
        for epoch in history.epochs:
            end = history.end_of(epoch.number, log_end)
            for offset in range(begins, end):
                self.assertEqual(history.epoch_at(offset), epoch.number)
            begins = end
        self.assertEqual(begins, log_end)

    def test_an_unknown_epoch_has_no_end(self) -> None:
        self.assertRaises(KeyError, EpochHistory().end_of, 1, 100)

    @given(steps, steps, steps, st.integers(0, 50), st.integers(0, 50))
    def test_logs_are_common_up_to_the_nearer_end_of_the_last_epoch_shared(
        self, shared: list, only_mine: list, only_theirs: list, my_more: int, their_more: int
    ) -> None:
        begin = history_of(shared)
        mine, theirs = history_of(only_mine, begin), history_of(only_theirs, begin)
        my_end = mine.newest.start_offset + my_more
        their_end = theirs.newest.start_offset + their_more
        found = common_end(mine, my_end, theirs, their_end)
        self.assertEqual(found, common_end(theirs, their_end, mine, my_end))
        self.assertGreaterEqual(found.epoch, begin.number)
        self.assertGreaterEqual(found.offset, min(begin.newest.start_offset, my_end, their_end))
        self.assertLessEqual(found.offset, min(my_end, their_end))
        for offset in range(found.offset):
            self.assertEqual(mine.epoch_at(offset), theirs.epoch_at(offset))

    def test_what_a_former_master_wrote_after_the_promotion_is_not_common(self) -> None:
        promoted = EpochHistory().begun(1, 300, 1)
        self.assertEqual(common_end(EpochHistory(), 500, promoted, 900), (0, 300))
        self.assertEqual(common_end(EpochHistory(), 200, promoted, 900), (0, 200))
        self.assertEqual(common_end(promoted, 400, promoted.begun(2, 350, 2), 900), (1, 350))

    def test_the_same_number_with_another_beginning_is_another_epoch(self) -> None:
        mine, theirs = EpochHistory().begun(1, 300, 1), EpochHistory().begun(1, 400, 2)
        self.assertEqual(common_end(mine, 900, theirs, 900), (0, 300))
        self.assertFalse(may_follow(mine, theirs))
        self.assertTrue(may_follow(mine, theirs.begun(2, 500, 1)))
        self.assertFalse(may_follow(mine, EpochHistory()))
        self.assertTrue(may_follow(EpochHistory(), mine))

    @given(histories, st.integers(0, 30))
    def test_a_former_master_takes_the_id_that_its_successor_has_freed(
        self, history: EpochHistory, number: int
    ) -> None:
        later = [epoch.freed_broker_id for epoch in history.epochs if epoch.number > number]
        self.assertEqual(history.id_for_master_of(number), later[0] if later else None)


class FileTests(SynchronousTestCase):
    def file(self, disk: MemoryDisk) -> EpochFile:
        return EpochFile(JsonFile(disk, "/store/config/epochs.json", lambda sentence: None))

    @given(histories, st.sampled_from(BrokerRole), st.integers(0, 9))
    def test_what_was_saved_is_loaded(self, history: EpochHistory, role: BrokerRole, broker_id: int) -> None:
        disk = MemoryDisk()
        promised_to = None if broker_id % 2 else "192.0.2.2:10911"
        standing = Standing(role, broker_id, BrokerRole.SYNC_MASTER, history, promised_to)
        self.file(disk).save(standing)
        self.assertEqual(self.file(disk).load(), standing)

    def test_what_is_no_such_table_is_said_in_words(self) -> None:
        disk = MemoryDisk()
        disk.put("/store/config/epochs.json", b'{"brokerId":1}')
        error = self.assertRaises(StoreDamaged, self.file(disk).load)
        self.assertIn("no table of epochs: 'epochs' is missing. Put a good copy in place", str(error))

    def test_a_crash_at_any_change_leaves_the_old_or_the_new(self) -> None:
        old = Standing(BrokerRole.SLAVE, 1)
        new = attrs.evolve(old, broker_role=BrokerRole.SYNC_MASTER, broker_id=0)
        for kill_at in range(100):
            disk = MemoryDisk()
            self.file(disk).save(old)
            disk.kill_at = disk.changes + kill_at
            try:
                self.file(disk).save(new)
            except Killed:
                self.assertIn(self.file(disk.after_kill()).load(), (old, new))
                continue
            break
        self.assertGreater(kill_at, 3)

    def test_a_file_that_was_spoiled_is_not_replaced_by_what_was_true_before(self) -> None:
        """A former master would begin as a master again."""
        disk = MemoryDisk()
        file = self.file(disk)
        before = Standing(BrokerRole.SYNC_MASTER, 0, BrokerRole.SYNC_MASTER)
        now = Standing(BrokerRole.SLAVE, 1, BrokerRole.SYNC_MASTER, EpochHistory().begun(1, 700, 1))
        for standing in (before, now):
            file.save(standing)
        disk.put("/store/config/epochs.json", b"garbage")
        self.assertEqual(file.load(), now)

    def test_what_is_written_holds_though_its_copy_cannot_be_written(self) -> None:
        disk = MemoryDisk()
        disk.fail("write", ".bak", errno.ENOSPC)
        standing = Standing(BrokerRole.SYNC_MASTER, 0)
        self.file(disk).save(standing)
        self.assertEqual(self.file(disk).load(), standing)

    def test_a_file_that_cannot_be_read_stops_the_start(self) -> None:
        for content in (b"{", b"[]", b'{"epochs":[]}', b'{"epochs":[1],"brokerRole":"SLAVE","brokerId":1}'):
            disk = MemoryDisk()
            disk.put("/store/config/epochs.json", content)
            self.assertRaises(StoreDamaged, self.file(disk).load)

    def test_without_a_file_nothing_is_known(self) -> None:
        self.assertIsNone(self.file(MemoryDisk()).load())


def state(
    address: str = "192.0.2.2:1",
    role: BrokerRole = BrokerRole.SLAVE,
    end: int = 100,
    history: EpochHistory | None = None,
    slaves: int = 0,
) -> BrokerState:
    return BrokerState("c", "n", address, 1, role, role, history or EpochHistory(), 0, end, end, slaves)


MASTER = state("192.0.2.1:1", BrokerRole.SYNC_MASTER, slaves=1)
OTHER = "192.0.2.3:1"


class VerdictTests(SynchronousTestCase):
    def test_a_master_that_answers_hands_over_whatever_others_have(self) -> None:
        judgement = judge(state(), MASTER, None, {OTHER: state(OTHER, end=200)})
        self.assertEqual((judgement.verdict, judgement.needs_force), (Verdict.HAND_OVER, False))

    def test_without_the_master_its_last_word_counts(self) -> None:
        cases = [
            (MASTER, {}, 100, Verdict.COMPLETE),
            (MASTER, {}, 99, Verdict.UNKNOWN),
            (MASTER, {OTHER: state(OTHER, end=100)}, 100, Verdict.COMPLETE),
            (MASTER, {OTHER: state(OTHER, end=101)}, 100, Verdict.MISSING),
            (MASTER, {OTHER: None}, 100, Verdict.UNKNOWN),
            (None, {}, 100, Verdict.UNKNOWN),
            (attrs.evolve(MASTER, role=BrokerRole.ASYNC_MASTER), {}, 100, Verdict.UNKNOWN),
            (attrs.evolve(MASTER, slaves=2), {}, 100, Verdict.UNKNOWN),
            (attrs.evolve(MASTER, slaves=2), {OTHER: state(OTHER)}, 100, Verdict.COMPLETE),
            (attrs.evolve(MASTER, handing_over_to=OTHER), {}, 100, Verdict.UNKNOWN),
            (attrs.evolve(MASTER, handing_over_to=OTHER), {OTHER: state(OTHER)}, 100, Verdict.COMPLETE),
            (attrs.evolve(MASTER, handing_over_to=state().address), {}, 100, Verdict.COMPLETE),
        ]
        for told, others, end, verdict in cases:
            judgement = judge(state(end=end), None, told, others)
            self.assertEqual(judgement.verdict, verdict, judgement.reason)
            self.assertEqual(judgement.needs_force, verdict is not Verdict.COMPLETE)

    def test_only_a_master_that_is_followed_can_hand_over(self) -> None:
        """Else what a newer one has acknowledged would be cut."""
        promoted = EpochHistory((FIRST, Epoch(1, 50, 1)))
        outdated, newer = MASTER, attrs.evolve(MASTER, address=OTHER, history=promoted)
        self.assertEqual(judge(state(), newer, None, {}).verdict, Verdict.UNKNOWN)
        self.assertEqual(judge(state(), outdated, None, {OTHER: newer}).verdict, Verdict.MISSING)
        self.assertEqual(judge(state(), outdated, None, {OTHER: None}, OTHER).verdict, Verdict.UNKNOWN)
        self.assertEqual(judge(state(history=promoted), newer, None, {}).verdict, Verdict.HAND_OVER)
        self.assertEqual(judge(state(history=promoted), None, MASTER, {}).verdict, Verdict.UNKNOWN)

    def test_a_master_of_apaches_is_to_be_stopped_first_whatever_was_heard_before(self) -> None:
        judgement = judge(state(), None, MASTER, {}, foreign_master=MASTER.address)
        self.assertEqual(judgement.verdict, Verdict.UNKNOWN)
        self.assertIn("the master 192.0.2.1:1 is alive", judgement.reason)
        self.assertIn("stop it first", judgement.reason)

    def test_a_newer_epoch_is_more_than_a_longer_log(self) -> None:
        newer = state(OTHER, end=50, history=EpochHistory((FIRST, Epoch(1, 50, 1))))
        self.assertEqual(judge(state(), None, MASTER, {OTHER: newer}).verdict, Verdict.MISSING)
