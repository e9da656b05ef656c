"""Ordered start and stop, and periodic work that survives its errors."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StartError, StoreError
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.services import OrderedServices, Phase


class Part(Service):
    """Notes its start and stop; `starting`, `stopping` are what those return, or raise."""

    def __init__(self, name: str, notes: list[str], starting: object = None, stopping: object = None) -> None:
        self.name = name
        self.notes = notes
        self.outcomes = (starting, stopping)

    def startService(self) -> object:
        self.notes.append(f"start {self.name}")
        return self._come_out(0)

    def stopService(self) -> object:
        self.notes.append(f"stop {self.name}")
        return self._come_out(1)

    def _come_out(self, which: int) -> object:
        if isinstance(self.outcomes[which], Exception):
            raise self.outcomes[which]
        return self.outcomes[which]


class OrderedServicesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.notes: list[str] = []

    def tree(self, *parts: Part) -> OrderedServices:
        return OrderedServices(*parts, reactor=self.clock, stop_timeout_s=5)

    def test_a_part_starts_when_the_one_before_is_ready_and_they_stop_in_reverse(self) -> None:
        ready: Deferred[None] = Deferred()
        stopped: Deferred[None] = Deferred()
        tree = self.tree(Part("store", self.notes, ready), Part("port", self.notes, None, stopped))
        started = tree.startService()
        self.assertEqual(self.notes, ["start store"])
        self.assertNoResult(started)
        ready.callback(None)
        self.successResultOf(started)
        self.assertEqual((self.notes, tree.phase), (["start store", "start port"], Phase.RUNNING))
        over = tree.stopService()
        self.assertEqual(self.notes[2:], ["stop port"])
        stopped.callback(None)
        self.successResultOf(over)
        self.assertEqual((self.notes[3:], tree.phase), (["stop store"], Phase.STOPPED))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_failing_start_stops_what_was_begun_in_reverse_and_says_why(self) -> None:
        tree = self.tree(
            Part("store", self.notes), Part("port", self.notes, StartError("busy")), Part("x", self.notes)
        )
        failure = self.failureResultOf(tree.startService(), StartError)
        self.assertEqual(str(failure.value), "busy")
        self.assertEqual(self.notes, ["start store", "start port", "stop port", "stop store"])
        self.assertEqual((tree.phase, bool(tree.running)), (Phase.FAILED, False))
        self.successResultOf(tree.stopService())

    def test_stopping_while_starting_gives_up_the_start(self) -> None:
        never: Deferred[None] = Deferred()
        tree = self.tree(Part("store", self.notes), Part("port", self.notes, never), Part("x", self.notes))
        started = tree.startService()
        started.addErrback(lambda failure: None)
        self.successResultOf(tree.stopService())
        self.assertEqual(self.notes, ["start store", "start port", "stop port", "stop store"])
        self.assertEqual(tree.phase, Phase.STOPPED)

    def test_a_part_that_hangs_or_fails_while_stopping_does_not_keep_the_others_from_stopping(self) -> None:
        tree = self.tree(
            Part("store", self.notes),
            Part("bad", self.notes, None, ValueError("no")),
            Part("stuck", self.notes, None, Deferred()),
        )
        self.successResultOf(tree.startService())
        over, again = tree.stopService(), tree.stopService()
        self.clock.advance(4.9)
        self.assertNoResult(over)
        self.clock.advance(0.1)
        self.successResultOf(over)
        self.successResultOf(again)
        self.assertEqual(self.notes[3:], ["stop stuck", "stop bad", "stop store"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_part_that_cannot_stop_in_order_says_why_in_a_sentence(self) -> None:
        tree = self.tree(Part("store", self.notes, None, StoreError("no room to write the checkpoint")))
        self.successResultOf(tree.startService())
        with capturedLogs() as events:
            self.successResultOf(tree.stopService())
        (event,) = events
        self.assertEqual(event["reason"], "no room to write the checkpoint")
        self.assertNotIn("log_failure", event)

    def test_it_can_be_started_again_but_not_twice(self) -> None:
        tree = self.tree(Part("a", self.notes))
        self.successResultOf(tree.startService())
        self.failureResultOf(tree.startService(), RuntimeError)
        self.successResultOf(tree.stopService())
        self.successResultOf(tree.startService())

    def test_what_never_started_has_nothing_to_stop(self) -> None:
        self.successResultOf(self.tree(Part("a", self.notes)).stopService())
        self.assertEqual(self.notes, [])


class PeriodicTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.rounds = 0
        self.outcome: object = None

    def work(self) -> object:
        self.rounds += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def periodic(self, **more: object) -> Periodic:
        made = Periodic(self.clock, 10, self.work, "scan", **more)
        made.startService()
        return made

    def test_rounds_come_at_their_interval_and_end_with_the_service(self) -> None:
        periodic = self.periodic(first_after_s=5)
        self.clock.pump([5] * 5)
        self.assertEqual(self.rounds, 3)
        periodic.stopService()
        self.clock.pump([5] * 5)
        self.assertEqual((self.rounds, self.clock.getDelayedCalls()), (3, []))

    def test_a_failing_round_is_logged_once_and_the_work_goes_on(self) -> None:
        periodic = self.periodic()
        self.outcome = ValueError("no route")
        self.clock.pump([10] * 3)
        self.assertEqual((self.rounds, len(self.flushLoggedErrors(ValueError))), (3, 1))
        self.outcome = None
        self.clock.advance(10)
        self.outcome = ValueError("no route")
        self.clock.advance(10)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        periodic.stopService()

    def test_rounds_never_overlap_and_stopping_waits_for_the_one_in_progress(self) -> None:
        periodic = self.periodic()
        self.outcome = slow = Deferred()
        self.clock.pump([10] * 3)
        self.assertEqual(self.rounds, 1)
        over = periodic.stopService()
        self.assertNoResult(over)
        slow.callback(None)
        self.successResultOf(over)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_round_can_be_had_at_once_or_right_after_the_one_in_progress(self) -> None:
        periodic = self.periodic()
        periodic.run_now()
        self.assertEqual(self.rounds, 1)
        self.clock.advance(9.9)
        self.outcome = slow = Deferred()
        self.clock.advance(0.1)
        periodic.run_now()
        self.assertEqual(self.rounds, 2)
        self.outcome = succeed(None)
        slow.callback(None)
        self.clock.advance(0)
        self.assertEqual(self.rounds, 3)
        periodic.stopService()
        periodic.run_now()
        self.assertEqual(self.rounds, 3)

    def test_the_interval_may_change_while_running(self) -> None:
        intervals = iter([10, 1, 1, 1])
        periodic = Periodic(self.clock, lambda: next(intervals), self.work, "scan")
        periodic.startService()
        self.clock.pump([10, 1])
        self.assertEqual(self.rounds, 2)
        periodic.stopService()
