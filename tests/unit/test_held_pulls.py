"""Held pulls: by queue, by connection, on a fake clock."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.held_pulls import HeldPulls
from rocketmq_tx.runtime.arrivals import Arrivals


class Consumer:
    """A consumer that waits, and writes down how it was answered."""

    def __init__(self, name: str = "c") -> None:
        self.name = name
        self.asked = 0
        self.finds = True
        self.outcome: str | None = None

    def answer_if_ready(self) -> bool:
        self.asked += 1
        if self.finds:
            self.outcome = "message"
        return self.finds

    def answer_anyhow(self) -> None:
        self.outcome = "nothing"


class HoldingPulls(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.arrivals = Arrivals(self.clock)
        self.held = HeldPulls(self.arrivals)
        self.peer: Any = object()

    def hold(self, consumer: Consumer, queue_id: int = 0, peer: Any = None, timeout_s: float = 15.0) -> None:
        self.held.hold(
            peer or self.peer, "t", queue_id, timeout_s, consumer.answer_if_ready, consumer.answer_anyhow
        )

    def test_a_message_answers_the_pull_in_the_turn_of_its_arrival(self) -> None:
        consumer = Consumer()
        self.hold(consumer)
        self.arrivals.notify("t", 0)
        self.assertEqual(consumer.outcome, "message")
        self.assertEqual(len(self.held), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_held_pull_is_answered_empty_when_its_time_is_up(self) -> None:
        consumer = Consumer()
        self.hold(consumer, timeout_s=15.0)
        self.clock.pump([5.0, 5.0, 4.9])
        self.assertIsNone(consumer.outcome)
        self.clock.advance(0.1)
        self.assertEqual(consumer.outcome, "nothing")
        self.assertEqual(len(self.held), 0)

    def test_a_message_that_does_not_match_leaves_the_pull_held_for_its_whole_time(self) -> None:
        consumer = Consumer()
        consumer.finds = False
        self.hold(consumer, timeout_s=10.0)
        self.clock.advance(9.0)
        self.arrivals.notify("t", 0)
        self.assertIsNone(consumer.outcome)
        self.clock.advance(1.0)
        self.assertEqual(consumer.outcome, "nothing")

    def test_a_message_of_another_queue_asks_nobody(self) -> None:
        consumer = Consumer()
        self.hold(consumer, queue_id=1)
        self.arrivals.notify("t", 0)
        self.arrivals.notify("u", 1)
        self.assertEqual(consumer.asked, 0)

    def test_every_group_that_waits_for_a_queue_gets_the_message(self) -> None:
        one, two = Consumer(), Consumer()
        self.hold(one)
        self.hold(two, peer=object())
        self.arrivals.notify("t", 0)
        self.assertEqual((one.outcome, two.outcome), ("message", "message"))

    def test_a_lost_connection_takes_its_pulls_along_and_no_others(self) -> None:
        gone, stays = Consumer(), Consumer()
        other: Any = object()
        self.hold(gone)
        self.hold(gone, queue_id=1)
        self.hold(stays, peer=other)
        self.held.connection_lost(self.peer, None)
        self.arrivals.notify("t", 0)
        self.clock.advance(60.0)
        self.assertEqual((gone.asked, gone.outcome, stays.outcome), (0, None, "message"))
        self.held.connection_lost(self.peer, None)

    def test_a_stop_answers_all_and_holds_no_more(self) -> None:
        one, two = Consumer(), Consumer()
        self.hold(one)
        self.arrivals.release_all()
        self.hold(two)
        self.assertEqual((one.outcome, two.outcome), ("nothing", "nothing"))
        self.assertEqual(len(self.held), 0)

    def test_however_a_pull_ends_nothing_of_it_waits_for_the_garbage_collector(self) -> None:
        ends = {
            "arrival": lambda: self.arrivals.notify("t", 0),
            "time-out": lambda: self.clock.advance(15.0),
            "lost connection": lambda: self.held.connection_lost(self.peer, None),
            "stop": self.arrivals.release_all,
            "held no more": lambda: None,
        }
        gc.disable()
        self.addCleanup(gc.enable)
        for name, end in ends.items():
            consumer = Consumer()
            is_left = weakref.ref(consumer)
            self.hold(consumer)
            del consumer
            end()
            self.assertIsNone(is_left(), name)

    def test_ten_thousand_idle_pulls_cost_one_timer_and_an_arrival_asks_only_its_own(self) -> None:
        consumers = [Consumer() for _ in range(10_000)]
        for number, consumer in enumerate(consumers):
            self.hold(consumer, queue_id=number % 1000)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([1.0] * 14)
        self.arrivals.notify("t", 7)
        self.assertEqual(sum(consumer.asked for consumer in consumers), 10)
        self.assertEqual(len(self.held), 9_990)
