"""No producer is asked about more transactions than it answers, and none is lost for that."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.check_window import OUTSTANDING_MAX, SILENCE_S
from rocketmq_tx.store.append import Placed
from tests.unit.transaction_parts import COMMIT, GROUP, ROLLBACK, UNKNOWN, Bench, ProducerPeer


class PacingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = Bench(mappedFileSizeCommitLog=8 << 20, maxIndexNum=20_000)

    def send_many(self, count: int, group: str = GROUP) -> None:
        halves = [self.bench.half(f"{group}-{number}", b"%d" % number, group) for number in range(count)]
        self.bench.append(*halves)

    def answer(self, peer: ProducerPeer, count: int, decision: int = COMMIT, group: str = GROUP) -> None:
        """The oldest checks that it has got."""
        asked, peer.asked = peer.asked[:count], peer.asked[count:]
        frames: list[Any] = []
        for frame in asked:
            fields = frame.ext_fields or {}
            place = Placed(int(fields["commitLogOffset"]), 0, int(fields["tranStateTableOffset"]))
            frames.append(self.bench.end_frame(place, decision, group))
        self.bench.answers(frames)
        self.settle()

    def settle(self) -> None:
        """What is to be done soon."""
        for _ in range(200):
            self.bench.clock.advance(0)

    def test_a_producer_gets_no_more_than_it_may_have_unanswered(self) -> None:
        peer = self.bench.connect()
        self.send_many(OUTSTANDING_MAX + 700)
        self.bench.advance(60)
        self.assertEqual(len(peer.asked), OUTSTANDING_MAX)
        self.assertEqual(self.bench.checks.waiting, 700)
        self.assertEqual(self.bench.log.figures.checks, OUTSTANDING_MAX)
        self.assertEqual(len(self.bench.half_topic()), 2 * OUTSTANDING_MAX + 700)

    def test_answers_bring_the_next_checks_at_once_until_all_were_asked(self) -> None:
        peer = self.bench.connect()
        self.send_many(1700)
        self.bench.advance(60)
        answered = 0
        while peer.asked:
            self.assertLessEqual(len(peer.asked), OUTSTANDING_MAX)
            answered += min(100, len(peer.asked))
            self.answer(peer, 100)
        self.assertEqual(answered, 1700)
        self.assertEqual(self.bench.checks.waiting, 0)
        self.assertEqual(self.bench.open_keys(), [])
        self.assertEqual(sum(self.bench.delivered().values()), 1700)
        self.assertEqual(self.bench.log.figures.checks, 1700)

    def test_unknown_is_an_answer_too(self) -> None:
        peer = self.bench.connect()
        self.send_many(OUTSTANDING_MAX + 10)
        self.bench.advance(60)
        self.answer(peer, OUTSTANDING_MAX, UNKNOWN)
        self.assertEqual(len(peer.asked), 10)

    def test_whoever_waited_in_vain_is_first_in_the_next_round_and_not_counted(self) -> None:
        peer = self.bench.connect()
        self.send_many(OUTSTANDING_MAX + 50)
        self.bench.advance(60)
        waited = {f"{GROUP}-{number}" for number in range(OUTSTANDING_MAX, OUTSTANDING_MAX + 50)}
        self.assertEqual({each.unique_key for each in list(self.bench.log.table)[:50]}, waited)
        peer.asked.clear()
        self.bench.advance(SILENCE_S)  # all of that was lost
        asked = [header.msg_id for header, _ in peer.take()]
        self.assertEqual(set(asked), waited)
        self.assertEqual({each.newest.checks_done for each in self.bench.log.table}, {1})

    def test_two_producers_share_the_work(self) -> None:
        peers = [self.bench.connect() for _ in range(2)]
        self.send_many(OUTSTANDING_MAX + 300)
        self.bench.advance(60)
        self.assertEqual({len(peer.asked) for peer in peers}, {(OUTSTANDING_MAX + 300) // 2})

    def test_one_that_is_silent_does_not_keep_another_from_its_work(self) -> None:
        silent, busy = self.bench.connect(), self.bench.connect()
        self.send_many(2 * OUTSTANDING_MAX + 200)
        self.bench.advance(60)
        while busy.asked:
            self.answer(busy, 50)
        self.assertEqual(len(silent.asked), OUTSTANDING_MAX)
        self.assertEqual(self.bench.checks.waiting, 0)
        self.assertEqual(len(self.bench.open_keys()), OUTSTANDING_MAX)

    def test_groups_do_not_wait_for_each_other(self) -> None:
        self.bench.connect("slow")
        other = self.bench.connect("other")
        self.send_many(OUTSTANDING_MAX + 100, "slow")
        self.send_many(30, "other")
        self.bench.advance(60)
        self.assertEqual(len(other.asked), 30)

    def test_two_groups_of_a_connection_have_a_window_each(self) -> None:
        """A Java client has a queue of checks for each of its producers."""
        first = self.bench.connect("one")
        self.bench.register("two", first)
        for group in ("one", "two"):
            self.send_many(OUTSTANDING_MAX, group)
        self.bench.advance(60)
        self.assertEqual(len(first.asked), 2 * OUTSTANDING_MAX)

    def test_a_new_producer_is_asked_in_the_same_round(self) -> None:
        self.bench.connect()
        self.send_many(OUTSTANDING_MAX + 20)
        self.bench.advance(60)
        helper = self.bench.connect()
        self.bench.advance(1)
        self.assertEqual(len(helper.asked), 20)

    def test_what_ended_while_it_waited_is_not_asked_about(self) -> None:
        peer = self.bench.connect()
        self.send_many(OUTSTANDING_MAX)
        last = self.bench.send("last")
        self.bench.advance(60)
        self.bench.end(last, ROLLBACK)
        self.answer(peer, OUTSTANDING_MAX)
        self.assertEqual((peer.asked, self.bench.open_keys()), ([], []))

    def test_a_group_that_never_answers_comes_to_its_end_all_the_same(self) -> None:
        peer = self.bench.connect()
        self.send_many(OUTSTANDING_MAX + 100)
        minutes = 0
        while self.bench.open_keys():
            self.bench.advance(60)
            peer.asked.clear()
            minutes += 1
        self.assertLess(minutes, 30)
        self.assertEqual(len(self.bench.given_up()), OUTSTANDING_MAX + 100)
        self.assertEqual(self.bench.log.figures.checks, 3 * (OUTSTANDING_MAX + 100))

    def test_a_stop_ends_it(self) -> None:
        peer = self.bench.connect()
        self.send_many(OUTSTANDING_MAX + 100)
        self.bench.advance(60)
        self.bench.checks.stop()
        self.answer(peer, OUTSTANDING_MAX)
        self.assertEqual(peer.asked, [])

    def test_thousands_of_producers_that_come_and_go_leave_nothing_behind(self) -> None:
        for number in range(3000):
            group = f"G{number}"
            self.bench.send(f"K{number}", group=group, CHECK_IMMUNITY_TIME_IN_SECONDS="0")
            peer = self.bench.connect(group)
            if number % 100 == 99:
                self.bench.advance(60)
            self.bench.disconnect(peer)
        self.assertGreaterEqual(self.bench.log.figures.checks, 30)
        self.bench.advance(60)
        del peer
        choice = self.bench.choice
        left = [choice._windows, choice._asked, choice._lines, choice._turn_of, self.bench.checks._waiting]
        self.assertEqual([len(each) for each in left], [0] * 5)
        self.assertEqual(list(self.bench.producers.members), [])
