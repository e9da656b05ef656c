"""Deadlines, watermarks, held pulls, rate-limited lines: waits on a fake clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import FlushTimeout, StoreError
from rocketmq_tx.runtime.arrivals import Arrivals
from rocketmq_tx.runtime.clocks import use_steady_clock, wall_ms
from rocketmq_tx.runtime.deadlines import Deadlines
from rocketmq_tx.runtime.rarely import Rarely
from rocketmq_tx.runtime.watermark import Watermark


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.fired: list[str] = []

    def after(self, seconds: float, name: str):
        return self.deadlines.after(seconds, lambda: self.fired.append(name))

    def test_each_fires_at_its_own_time_whatever_the_order_of_asking(self) -> None:
        self.after(3, "c")
        self.after(1, "a")
        self.after(2, "b")
        self.clock.advance(1)
        self.assertEqual(self.fired, ["a"])
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(self.fired, ["a", "b", "c"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_cancelled_one_never_fires_and_the_last_cancel_leaves_no_timer(self) -> None:
        first, second = self.after(1, "a"), self.after(2, "b")
        first.cancel()
        first.cancel()
        self.assertEqual(len(self.deadlines), 1)
        second.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(5)
        self.assertEqual(self.fired, [])

    def test_a_thousand_waits_need_one_reactor_timer_and_ended_ones_no_memory(self) -> None:
        keep = self.after(1, "kept")
        waits = [self.after(100 + n, str(n)) for n in range(1000)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for wait in waits:
            wait.cancel()
        self.assertLess(len(self.deadlines._heap), 200)
        self.assertEqual(len(self.deadlines), 1)
        self.clock.advance(1)
        self.assertEqual(self.fired, ["kept"])
        keep.cancel()

    def test_one_that_fails_is_logged_and_does_not_keep_the_others_from_firing(self) -> None:
        self.deadlines.after(1, lambda: 1 / 0)
        self.after(1, "b")
        self.clock.advance(1)
        self.assertEqual(self.fired, ["b"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_acts_may_set_and_cancel_others(self) -> None:
        late = self.after(10, "late")

        def act() -> None:
            late.cancel()
            self.after(0.5, "soon")

        self.deadlines.after(1, act)
        self.clock.pump([1, 0.5, 20])
        self.assertEqual(self.fired, ["soon"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=200))
    def test_exactly_the_uncancelled_fire_in_order_of_time(self, plan: list[tuple[int, bool]]) -> None:
        clock, fired = Clock(), []
        deadlines = Deadlines(clock)
        made = [(s, stay, deadlines.after(s, lambda s=s: fired.append(s))) for s, stay in plan]
        for _, stay, deadline in made:
            if not stay:
                deadline.cancel()
        clock.pump([1] * 22)
        self.assertEqual(fired, sorted(s for s, stay, _ in made if stay))
        self.assertEqual((len(deadlines), clock.getDelayedCalls()), (0, []))


class WatermarkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.mark = Watermark(self.clock, 100)

    def test_what_is_reached_already_does_not_wait(self) -> None:
        self.assertIsNone(self.successResultOf(self.mark.wait(100, 5)))

    def test_waiters_are_called_as_the_mark_passes_them_in_order_of_their_values(self) -> None:
        order: list[int] = []
        for value in (300, 200, 250):
            self.mark.wait(value, 5).addCallback(lambda _, value=value: order.append(value))
        self.mark.advance(250)
        self.assertEqual(order, [200, 250])
        self.assertEqual(self.mark.waiting, 1)
        self.mark.advance(1000)
        self.assertEqual(order, [200, 250, 300])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_mark_never_goes_back(self) -> None:
        self.mark.advance(50)
        self.assertEqual(self.mark.value, 100)

    def test_a_wait_fails_at_its_own_deadline_with_a_sentence_that_says_where_the_mark_stands(self) -> None:
        short, long = self.mark.wait(200, 1), self.mark.wait(200, 2)
        self.clock.advance(1)
        self.assertIn("flushed stands at 100", str(self.failureResultOf(short, FlushTimeout).value))
        self.assertNoResult(long)
        self.mark.advance(200)
        self.successResultOf(long)

    def test_a_mark_that_stands_still_does_not_collect_waits_that_ended(self) -> None:
        for _ in range(100):
            self.mark.wait(200, 1).addErrback(lambda failure: failure.trap(FlushTimeout))
        self.clock.advance(1)
        self.assertEqual((self.mark.waiting, len(self.mark._waits)), (0, 0))

    def test_a_cancelled_wait_is_forgotten(self) -> None:
        wait = self.mark.wait(200, 1)
        wait.addErrback(lambda failure: None)
        wait.cancel()
        self.assertEqual(self.mark.waiting, 0)
        self.mark.advance(300)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_its_owner_says_what_waits_fire_with(self) -> None:
        mark = Watermark(self.clock, 100, reached="there", late=lambda sentence: f"late: {sentence}")
        self.assertEqual(self.successResultOf(mark.wait(100, 1)), "there")
        short, long = mark.wait(200, 1), mark.wait(150, 2)
        self.clock.advance(1)
        self.assertIn("late: flushed stands at 100, 200 was", self.successResultOf(short))
        mark.advance(150)
        self.assertEqual(self.successResultOf(long), "there")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waits_that_come_and_end_leave_nothing_behind_while_one_goes_on(self) -> None:
        self.mark.wait(10_000, 100).addErrback(lambda failure: failure.trap(FlushTimeout))
        for value in range(101, 1101):
            self.mark.wait(value, 50)
            self.mark.advance(value)
        self.assertEqual((self.mark.waiting, len(self.mark._waits)), (1, 1))
        self.assertLess(len(self.mark._deadlines), 5)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(100)
        self.assertEqual(
            (self.mark.waiting, len(self.mark._deadlines), self.clock.getDelayedCalls()), (0, 0, [])
        )

    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("wait"), st.integers(1, 20), st.integers(0, 8)),
                st.tuples(st.just("advance"), st.integers(1, 20), st.just(0)),
                st.tuples(st.just("time"), st.integers(1, 5), st.just(0)),
                st.tuples(st.just("cancel"), st.integers(0, 10), st.just(0)),
                st.tuples(st.just("fail"), st.just(0), st.just(0)),
            ),
            max_size=40,
        )
    )
    def test_each_wait_ends_once_as_the_first_that_happens_to_it(self, steps: list) -> None:
        clock, now, value = Clock(), 0, 0
        mark = Watermark(clock, reached="reached", late=lambda sentence: "late")
        ended: dict[int, object] = {}
        open_waits: dict[int, tuple[int, int]] = {}
        deferreds = []

        def note(end: object, number: int) -> None:
            ended[number] = "no" if isinstance(end, Failure) else end

        for name, first, second in steps:
            expected: dict[int, object] = {}
            if name == "wait":
                number = len(deferreds)
                deferreds.append(mark.wait(first, second))
                deferreds[-1].addBoth(note, number)
                open_waits[number] = (first, now + second)
            elif name == "advance":
                value = max(value, first)
                mark.advance(first)
            elif name == "time":
                now += first
                clock.advance(first)
                expected = {n: "late" for n, (_, due) in open_waits.items() if due <= now}
            elif name == "cancel" and first < len(deferreds):
                deferreds[first].cancel()
                expected = {first: "no"} if first in open_waits else {}
            elif name == "fail":
                mark.fail_all(StoreError("the disk said EIO"))
                expected = dict.fromkeys(open_waits, "no")
            expected |= {n: "reached" for n, (wanted, _) in open_waits.items() if wanted <= value}
            self.assertEqual(ended, expected)
            ended.clear()
            open_waits = {n: wait for n, wait in open_waits.items() if n not in expected}
            self.assertEqual(mark.waiting, len(open_waits))
            self.assertEqual(bool(clock.getDelayedCalls()), bool(open_waits))

    def test_failing_all_leaves_the_mark_where_it_is(self) -> None:
        waits = [self.mark.wait(value, 5) for value in (200, 300)]
        self.mark.fail_all(StoreError("the disk said EIO"))
        for wait in waits:
            self.failureResultOf(wait, StoreError)
        self.assertEqual((self.mark.value, self.mark.waiting), (100, 0))
        self.failureResultOf(self.mark.refuse(StoreError("again")), StoreError)


class ArrivalsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.arrivals = Arrivals(self.clock)
        self.calls: list[str] = []

    def hold(self, name: str, answers: bool = True, queue_id: int = 0, timeout_s: float = 15):
        def try_again() -> bool:
            self.calls.append(f"{name} tried")
            return answers

        return self.arrivals.hold(
            "orders", queue_id, timeout_s, try_again, lambda: self.calls.append(f"{name} given up")
        )

    def test_an_arrival_wakes_those_of_its_queue_in_the_same_turn(self) -> None:
        held, other = self.hold("a"), self.hold("b", queue_id=1)
        self.arrivals.notify("orders", 0)
        self.assertEqual(self.calls, ["a tried"])
        self.assertFalse(held.is_held)
        self.assertTrue(other.is_held)
        self.arrivals.notify("orders", 0)
        self.assertEqual(self.calls, ["a tried"])
        self.assertEqual(len(self.arrivals), 1)

    def test_an_arrival_that_does_not_match_keeps_the_pull_held_with_its_old_time(self) -> None:
        held = self.hold("a", answers=False)
        self.clock.advance(10)
        self.arrivals.notify("orders", 0)
        self.assertTrue(held.is_held)
        self.clock.advance(5)
        self.assertEqual(self.calls, ["a tried", "a given up"])

    def test_a_held_pull_is_given_up_at_its_own_time_and_nothing_is_left_over(self) -> None:
        self.hold("a", timeout_s=1)
        self.hold("b", timeout_s=2)
        self.clock.advance(1)
        self.assertEqual(self.calls, ["a given up"])
        self.clock.advance(1)
        self.assertEqual((len(self.arrivals), self.arrivals._held, self.clock.getDelayedCalls()), (0, {}, []))

    def test_a_dropped_one_is_never_called(self) -> None:
        held = self.hold("a")
        self.arrivals.drop(held)
        self.arrivals.drop(held)
        self.arrivals.notify("orders", 0)
        self.clock.advance(20)
        self.assertEqual(self.calls, [])

    def test_answering_one_may_drop_another_of_the_same_queue(self) -> None:
        later: list = []
        self.arrivals.hold("orders", 0, 9, lambda: self.arrivals.drop(later[0]) or True, lambda: None)
        later.append(self.hold("b"))
        self.arrivals.notify("orders", 0)
        self.assertEqual(self.calls, [])

    def test_one_that_fails_is_logged_given_up_and_disturbs_nobody(self) -> None:
        self.arrivals.hold("orders", 0, 9, lambda: 1 / 0, lambda: self.calls.append("given up"))
        self.hold("b")
        self.arrivals.notify("orders", 0)
        self.assertEqual(self.calls, ["given up", "b tried"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_after_release_nothing_is_held_any_more(self) -> None:
        self.hold("a")
        self.hold("b", queue_id=3)
        self.arrivals.release_all()
        self.assertEqual(sorted(self.calls), ["a given up", "b given up"])
        self.assertFalse(self.hold("c").is_held)
        self.assertEqual(self.calls[-1], "c given up")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_watcher_hears_of_every_arrival_until_it_stops(self) -> None:
        heard: list[str] = []
        self.arrivals.watch("orders", 1, lambda: heard.append("1"))
        self.arrivals.notify("orders", 0)
        self.arrivals.notify("orders", 1)
        self.arrivals.notify("orders", 1)
        self.arrivals.unwatch("orders", 1)
        self.arrivals.notify("orders", 1)
        self.assertEqual(heard, ["1", "1"])

    def test_of_several_queues_with_arrivals_each_that_is_waited_for_hears_of_it(self) -> None:
        self.arrivals.notify_all(["orders"], [0])
        self.hold("a")
        self.hold("b", queue_id=3)
        self.arrivals.notify_all(["orders"] * 2, [1, 0])
        self.assertEqual(self.calls, ["a tried"])
        self.arrivals.watch("orders", 1, lambda: self.calls.append("heard"))
        self.arrivals.notify_all(["orders"] * 3, range(3))
        self.assertEqual(self.calls, ["a tried", "heard"])
        for held in self.arrivals._held[("orders", 3)].copy():
            self.arrivals.drop(held)
        self.arrivals.notify_all(["orders", "others"], [1, 1])
        self.arrivals.unwatch("orders", 1)
        self.arrivals.notify_all(["orders"], [1])
        self.assertEqual(self.calls, ["a tried", "heard", "heard"])

    def test_a_watcher_that_fails_is_no_business_of_who_appends(self) -> None:
        self.arrivals.watch("orders", 1, lambda: 1 // 0)
        self.arrivals.notify("orders", 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.arrivals.unwatch("orders", 7)


class RarelyTests(SynchronousTestCase):
    def test_a_line_is_due_once_an_interval_and_says_how_many_were_held_back(self) -> None:
        clock = Clock()
        rarely = Rarely(clock, 60)
        self.assertEqual([rarely.due("x"), rarely.due("x"), rarely.due("x")], [0, None, None])
        self.assertEqual(rarely.due("y"), 0)
        clock.advance(60)
        self.assertEqual(rarely.due("x"), 2)

    def test_keys_that_peers_invent_cannot_fill_the_memory(self) -> None:
        rarely = Rarely(Clock(), 60)
        for n in range(5000):
            rarely.due(n)
        self.assertLessEqual(len(rarely._seen), 1000)


class ClockTests(SynchronousTestCase):
    def test_the_steady_clock_replaces_the_reactors_seconds(self) -> None:
        clock = Clock()
        use_steady_clock(clock)
        self.assertIs(clock.seconds, __import__("time").monotonic)

    def test_the_wall_clock_counts_milliseconds_since_1970(self) -> None:
        self.assertGreater(wall_ms(), 1_600_000_000_000)
