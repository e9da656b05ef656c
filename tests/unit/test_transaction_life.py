"""Whatever happens to transactions, producers and the broker: each ends once, and as its producer said.

Hypothesis makes up the story; crash images cut the writes of a commit at every place.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.store.append import Placed
from tests.memory_disk import Killed, MemoryDisk
from tests.unit.transaction_parts import COMMIT, GIVEN_UP, ROLLBACK, TOPIC, UNKNOWN, Bench, ProducerPeer

CHECKS_MAX = 3
REAL = (TOPIC, 1)


@attrs.define
class Transaction:
    """What a producer knows of one of its transactions."""

    key: str
    body: bytes
    fate: int
    """What it says when it is asked."""
    places: list[Any]
    decided: int | None = None
    checks: int = 0


class Story(RuleBasedStateMachine):
    """Steps in any order; at its end the world is given the time to come to rest."""

    @initialize()
    def begin(self) -> None:
        self.bench = Bench(
            transactionCheckMax=CHECKS_MAX, mappedFileSizeCommitLog=4096, mappedFileSizeConsumeQueue=200
        )
        self.consumed: Counter[bytes] = Counter()
        self.found: Counter[bytes] = Counter()
        self.read_to = {REAL: 0, GIVEN_UP: 0}
        self.transactions: list[Transaction] = []
        self.peers: list[ProducerPeer] = []
        self.asked: list[tuple[Transaction, Any]] = []
        self.crashes = 0
        self.kept = ConsumerOffsets()

    @rule(fate=st.sampled_from([COMMIT, ROLLBACK, UNKNOWN]), immunity=st.sampled_from([None, 1, 200]))
    def a_half_message_is_sent(self, fate: int, immunity: int | None) -> None:
        number = len(self.transactions)
        body = b"message %d" % number
        more = {} if immunity is None else {"CHECK_IMMUNITY_TIME_IN_SECONDS": str(immunity)}
        place = self.bench.send(f"K{number}", body, **more)
        self.transactions.append(Transaction(f"K{number}", body, fate, [place]))

    @rule(data=st.data(), decision=st.sampled_from([COMMIT, ROLLBACK, UNKNOWN]))
    def somebody_ends_one(self, data: st.DataObject, decision: int) -> None:
        """By the place of any copy, also again, also with another decision."""
        if self.transactions:
            transaction = data.draw(st.sampled_from(self.transactions))
            self.end(transaction, data.draw(st.sampled_from(transaction.places)), decision)

    def end(self, transaction: Transaction, place: Any, decision: int) -> None:
        answer = self.bench.end(place, decision, key=transaction.key)
        if place.commit_log_offset < self.bench.store.min_offset and answer != (0, None):
            assert transaction.key not in self.bench.open_keys()
            return  # all is decided, and forgotten with its segment
        assert answer == (0, None)
        if decision == UNKNOWN or transaction.decided is not None:
            return
        self.read_on()
        if self.found[transaction.body] and decision == ROLLBACK:
            return  # nobody will see it anyway; a commit may still come
        transaction.decided = decision

    @rule(seconds=st.sampled_from([1, 7, 60, 61, 180]))
    def time_passes(self, seconds: int) -> None:
        self.bench.advance(seconds)
        for peer in self.peers:
            for header, message in peer.take():
                transaction = next(each for each in self.transactions if each.body == message.body)
                assert transaction.decided is None, "what was decided is not asked about"
                transaction.checks += 1
                place = Placed(header.commit_log_offset, 0, header.tran_state_table_offset)
                transaction.places.append(place)
                self.asked.append((transaction, place))

    @rule()
    def a_producer_comes(self) -> None:
        self.peers.append(self.bench.connect())

    @rule()
    def a_producer_goes(self) -> None:
        if self.peers:
            self.bench.disconnect(self.peers.pop(0))

    @rule(lost=st.booleans())
    def producers_answer(self, lost: bool) -> None:
        """To what they were asked, perhaps long ago."""
        asked, self.asked = self.asked, []
        if not lost:
            for transaction, place in asked:
                self.end(transaction, place, transaction.fate)

    @rule()
    def offsets_are_written(self) -> None:
        self.kept = ConsumerOffsets()
        self.kept.merge(self.bench.offsets.snapshot())

    @rule()
    def the_oldest_segment_is_deleted(self) -> None:
        self.read_on()
        self.bench.delete_oldest_segment()

    def read_on(self) -> None:
        """What consumers and operators get to see, before it is deleted."""
        for queue, seen in ((REAL, self.consumed), (GIVEN_UP, self.found)):
            records = self.bench.queue(*queue, self.read_to[queue])
            seen.update(record.body for record in records)
            self.read_to[queue] += len(records)

    @rule()
    def the_broker_restarts(self) -> None:
        self.follow(self.bench.next_run())
        self.offsets_are_written()

    @rule()
    def the_broker_is_killed(self) -> None:
        self.crashes += 1
        self.follow(self.bench.next_run(offsets=self.kept))

    def follow(self, bench: Bench) -> None:
        self.bench = bench
        self.peers = [bench.connect() for _ in self.peers]

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        self.producers_answer(lost=False)
        if not self.peers:
            self.a_producer_comes()
        for _ in range(CHECKS_MAX + self.crashes + 6):
            self.time_passes(61)
            self.producers_answer(lost=False)
        self.check()

    def check(self) -> None:
        assert self.bench.open_keys() == []
        self.read_on()
        for transaction in self.transactions:
            expected = 1 if transaction.decided == COMMIT else 0
            assert self.consumed[transaction.body] == expected, transaction
            if transaction.decided is None:
                assert self.found[transaction.body] == 1, transaction
            assert transaction.checks <= CHECKS_MAX + self.crashes, transaction
        again = self.bench.next_run()
        assert again.open_keys() == []
        again.store.close(again.now_ms())


class StoryTests(SynchronousTestCase):
    def test_each_transaction_ends_once_and_as_its_producer_said(self) -> None:
        machine = Story.TestCase
        machine.settings = settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        machine("runTest").runTest()


class CrashTests(SynchronousTestCase):
    """The writes of a commit (message, op message, offsets) cut anywhere: delivered once in the end."""

    def finish(self, bench: Bench) -> None:
        """A producer answers COMMIT to whatever it is asked."""
        peer = bench.connect()
        for _ in range(3):
            bench.advance(61)
            for header, _ in peer.take():
                bench.end(Placed(header.commit_log_offset, 0, header.tran_state_table_offset), COMMIT)

    def test_a_kill_between_any_two_changes_of_the_disk(self) -> None:
        kills = 0
        for kill_at in range(60):
            bench = Bench()
            place = bench.send("K1")
            bench.disk.kill_at = bench.disk.changes + kill_at
            try:
                bench.end(place, COMMIT)
                bench.advance(3)
                bench.store.derived.save_checkpoint(bench.now_ms())
                survived = True
            except Killed:
                survived = False
                kills += 1
            again = bench.next_run(bench.disk.after_kill())
            self.finish(again)
            self.assertEqual(again.delivered(), {b"paid": 1}, kill_at)
            if survived:
                break
        self.assertGreater(kills, 3)

    def test_a_commit_whose_op_message_was_lost_gets_it_at_the_start(self) -> None:
        """Apache writes them by two writes; here the second is taken away."""
        for delay in (None, "3"):
            bench = Bench()
            more = {} if delay is None else {"DELAY": delay}
            place = bench.send("K1", **more)
            other = bench.send("K2", b"other")
            written_to = bench.store.written_to
            bench.end(place, COMMIT)
            committed = bench.store.record_at(written_to)
            image = bench.disk.after_kill()
            log = "/store/commitlog/00000000000000000000"
            image.spoil(log, written_to + len(committed), bytes(200))
            again = bench.next_run(image)
            self.assertEqual(again.ops(), [b"0"])
            self.assertEqual(again.open_keys(), ["K2"])
            self.assertEqual(again.end(place, COMMIT), (0, None))
            self.assertEqual(again.end(other, COMMIT), (0, None))
            self.finish(again)
            delivered = {b"other": 1} | ({b"paid": 1} if delay is None else {})
            self.assertEqual(again.delivered(), delivered)

    def test_a_torn_commit_is_no_commit(self) -> None:
        bench = Bench()
        place = bench.send("K1")
        written_to = bench.store.written_to
        bench.end(place, COMMIT)
        size = len(bench.store.record_at(written_to))
        for cut in range(0, size, 7):
            image = bench.disk.after_kill()
            image.spoil("/store/commitlog/00000000000000000000", written_to + cut, bytes(600))
            again = bench.next_run(image)
            self.assertEqual((again.open_keys(), again.delivered()), (["K1"], {}), cut)
            self.finish(again)
            self.assertEqual(again.delivered(), {b"paid": 1}, cut)

    def test_the_end_of_a_lost_half_message_does_not_end_the_one_before_it(self) -> None:
        """Records behind the lost one survived, its op message among them; its queue entry is a filler."""
        bench = Bench()
        bench.send("K1", b"kept")
        lost = bench.send("K2", b"lost")
        bench.end(lost, COMMIT)
        bench.send("K3", b"later")
        image = bench.disk.after_kill()
        image.spoil("/store/commitlog/00000000000000000000", lost.commit_log_offset, bytes(lost.size))
        image.remove_tree("/store/consumequeue")
        again = bench.next_run(image)
        self.assertEqual(again.open_keys(), ["K1", "K3"])
        self.finish(again)
        self.assertEqual(again.delivered(), {b"kept": 1, b"lost": 1, b"later": 1})

    @settings(max_examples=60, deadline=None)
    @given(seed=st.integers(0, 1 << 32), flushes=st.lists(st.booleans(), min_size=6, max_size=6))
    def test_a_power_cut_loses_no_half_message_that_was_on_disk(self, seed: int, flushes: list[bool]) -> None:
        choice = random.Random(seed)
        bench = Bench(mappedFileSizeCommitLog=1 << 20)
        places, durable = [], 0
        for number, flush in enumerate(flushes):
            places.append(bench.send(f"K{number}", b"%d" % number))
            if choice.random() < 0.6:
                bench.end(places[-1], COMMIT)
            if flush:
                bench.flushes.flush(bench.store.written_to)
                durable = len(places)
            if choice.random() < 0.5:
                bench.advance(1)
        kept = ConsumerOffsets()
        kept.merge(bench.offsets.snapshot())
        image: MemoryDisk = bench.disk.after_power_cut(choice)
        again = bench.next_run(image, kept)
        self.finish(again)
        for number in range(durable):
            self.assertEqual(again.delivered()[b"%d" % number], 1, number)
        self.assertLessEqual(max(again.delivered().values(), default=0), 1)
