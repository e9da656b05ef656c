"""Group commit against a disk that the test moves by hand; threads for real in one test."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from benchmarks.frames import encode_send
from rocketmq_tx.errors import FlushTimeout, StoreError
from rocketmq_tx.remoting.protocol import FrameProtocol
from rocketmq_tx.runtime.group_commit import GroupCommit
from rocketmq_tx.runtime.threads import OwnThread, off_reactor
from rocketmq_tx.runtime.watermark import Watermark
from tests.memory_broker import MemoryBroker


class Job:
    def __init__(self, flush_to: int) -> None:
        self.flush_to = flush_to

    def run(self) -> None: ...


class Log:
    """A log that counts bytes; `finish_flush` fails when the test says so."""

    def __init__(self) -> None:
        self.written_to = 0
        self.handed_out_to = 0
        self.flushed_to = 0
        self.broken: StoreError | None = None

    def begin_flush(self) -> Job | None:
        if self.written_to <= self.handed_out_to:
            return None
        self.handed_out_to = self.written_to
        return Job(self.written_to)

    def finish_flush(self, job: Job) -> None:
        if self.broken:
            raise self.broken
        self.flushed_to = max(self.flushed_to, job.flush_to)


class Hands:
    """A thread whose calls end when the test says so."""

    def __init__(self) -> None:
        self.calls: list[Deferred] = []
        self.abandoned = False

    def run(self, call, *arguments) -> Deferred:
        self.calls.append(Deferred())
        return self.calls[-1]

    def abandon(self) -> None:
        self.abandoned = True


class Turns(Clock):
    """A clock that can do what a reactor does in one turn: calls that are asked for meanwhile come later."""

    def turn(self, seconds: float) -> None:
        self.rightNow += seconds
        for call in [call for call in self.calls if call.getTime() <= self.rightNow]:
            self.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)


class _Parts(SynchronousTestCase):
    """Group commit over a log, threads and a clock that the test moves."""

    def setUp(self) -> None:
        self.clock = Turns()
        self.log = Log()
        self.mark = Watermark(self.clock)
        self.hands = [Hands(), Hands()]
        self.failures: list[StoreError] = []
        self.commit = GroupCommit(
            self.log, self.mark, list(self.hands), self.clock, on_failure=self.failures.append
        )

    def running(self) -> list[Deferred]:
        return [call for hands in self.hands for call in hands.calls if not call.called]

    def append(self, size: int, timeout_s: float = 5, messages: int = 1) -> Deferred:
        self.log.written_to += size
        return self.commit.durable(self.log.written_to, timeout_s, messages)

    def flush_of(self, messages: int, took_s: float = 0.0) -> None:
        """A flush that answers so many messages has just ended."""
        wait = self.append(10, 1000, messages)
        while not self.running():
            self.clock.advance(0.001)
        self.clock.advance(took_s)
        self.running()[0].callback(None)
        self.successResultOf(wait)


class GroupCommitTests(_Parts):
    def test_what_a_cut_has_left_is_on_disk_though_nobody_has_flushed_since_the_start(self) -> None:
        self.log.written_to = self.log.handed_out_to = self.log.flushed_to = 70  # of 100 before the cut
        self.commit.log_was_cut()
        self.successResultOf(self.commit.durable(70, 5))
        self.assertNoResult(self.append(10))

    def test_a_lonely_message_is_flushed_at_once(self) -> None:
        wait = self.append(100)
        self.assertNoResult(wait)
        self.running()[0].callback(None)
        self.successResultOf(wait)
        self.assertEqual((self.mark.value, self.commit.flushes), (100, 1))

    def test_those_who_come_during_a_flush_share_the_next_one(self) -> None:
        first = self.append(100)
        others = [self.append(10) for _ in range(50)]
        self.running()[0].callback(None)
        self.clock.advance(0)
        self.successResultOf(first)
        for other in others:
            self.assertNoResult(other)
        self.running()[0].callback(None)
        for other in others:
            self.successResultOf(other)
        self.assertEqual(self.commit.flushes, 2)

    def test_a_second_flush_starts_beside_one_that_is_older_than_a_millisecond(self) -> None:
        self.append(100)
        second = self.append(100)
        self.assertEqual(len(self.running()), 1)
        self.clock.advance(0.001)
        self.assertEqual(len(self.running()), 2)
        third = self.append(100)
        self.clock.advance(1)
        self.assertEqual(len(self.running()), 2)
        for call in self.running():
            call.callback(None)
        self.clock.advance(0)
        self.successResultOf(second)
        self.running()[0].callback(None)
        self.successResultOf(third)

    @given(st.floats(0, 2e9))
    def test_a_second_flush_starts_however_the_sums_of_the_clock_are_rounded(self, now) -> None:
        self.setUp()
        self.clock.turn(now)
        self.append(100)
        self.append(100)
        self.clock.turn(0.001)
        self.assertEqual(len(self.running()), 2)

    def test_all_whom_a_flush_serves_are_answered_together(self) -> None:
        answered: list[int] = []

        def together(answer: Callable[[], object]) -> None:
            answer()
            answered.append(sum(wait.called for wait in waits))

        self.commit.answer_together = together
        waits = [self.append(10) for _ in range(3)]
        for _ in range(2):
            self.running()[0].callback(None)
            self.clock.advance(0)
        self.assertEqual(answered, [1, 3])

    def test_a_failed_flush_fails_the_waiters_the_mark_stands_and_no_later_success_hides_it(self) -> None:
        first = self.append(100)
        self.clock.advance(0.002)
        second = self.append(100)
        failing, later = self.running()
        failing.errback(StoreError("EIO"))
        self.failureResultOf(first, StoreError)
        self.failureResultOf(second, StoreError)
        later.callback(None)
        self.assertEqual((self.mark.value, [str(e) for e in self.failures]), (0, ["EIO"]))
        self.failureResultOf(self.append(100), StoreError)
        self.assertEqual(self.running(), [])

    def test_a_failure_that_the_store_tells_when_the_flush_ends_counts_as_one(self) -> None:
        wait = self.append(100)
        self.log.broken = StoreError("EIO")
        self.running()[0].callback(None)
        self.failureResultOf(wait, StoreError)
        self.assertEqual((self.mark.value, len(self.failures)), (0, 1))

    def test_a_failure_that_is_no_store_error_becomes_one(self) -> None:
        wait = self.append(100)
        self.running()[0].errback(OSError(5, "Input/output error"))
        self.assertIn("Input/output error", str(self.failureResultOf(wait, StoreError).value))

    def test_a_slow_flush_lets_each_waiter_go_at_its_own_deadline_and_recovers(self) -> None:
        first, second = self.append(100, 1), self.append(100, 10)
        self.clock.pump([0.5, 0.5])
        self.failureResultOf(first, FlushTimeout)
        self.assertNoResult(second)
        while self.running():
            self.running()[0].callback(None)
        self.successResultOf(second)
        third = self.append(1)
        self.clock.advance(0)
        self.running()[0].callback(None)
        self.successResultOf(third)

    def test_what_is_on_disk_already_needs_no_flush(self) -> None:
        self.log.written_to = self.log.handed_out_to = self.log.flushed_to = 70
        self.successResultOf(self.commit.durable(70, 5))
        self.assertEqual(self.commit.flushes, 0)

    def test_flushing_without_a_waiter_moves_the_mark_as_well(self) -> None:
        self.log.written_to = 40
        self.commit.flush(40)
        self.running()[0].callback(None)
        self.assertEqual(self.mark.value, 40)

    def test_stopping_refuses_who_waits_and_abandons_the_threads(self) -> None:
        wait, late = self.append(100), self.append(100)
        self.commit.stop()
        self.failureResultOf(wait, StoreError)
        self.failureResultOf(late, StoreError)
        self.assertTrue(all(hands.abandoned for hands in self.hands))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.running()[0].callback(None)
        self.assertEqual(self.mark.value, 0)


class GatheringTests(_Parts):
    """Senders who wait for their answers send again at once: the next flush is for all of them."""

    def test_a_flush_begins_with_the_last_of_those_who_were_answered_together(self) -> None:
        self.flush_of(4)
        for _ in range(3):
            self.append(10)
            self.assertEqual(self.running(), [])
        self.append(10)
        self.assertEqual(len(self.running()), 1)
        self.assertEqual(self.log.handed_out_to, self.log.written_to)

    def test_a_lonely_sender_never_waits_for_others(self) -> None:
        for _ in range(3):
            self.flush_of(1, took_s=0.02)
            wait = self.append(10)
            self.assertEqual(len(self.running()), 1)
            self.running()[0].callback(None)
            self.successResultOf(wait)

    def test_messages_are_counted_and_not_the_runs_in_which_they_came(self) -> None:
        wait = self.append(640, messages=64)
        self.running()[0].callback(None)
        self.successResultOf(wait)
        self.append(630, messages=63)
        self.assertEqual(self.running(), [])
        self.append(10)
        self.assertEqual(len(self.running()), 1)

    def test_on_a_fast_disk_the_first_turn_that_brings_nobody_ends_the_wait_for_others(self) -> None:
        self.flush_of(3, took_s=0.0001)
        self.append(10)
        self.clock.advance(0)
        self.assertEqual(len(self.running()), 1)

    def test_on_a_slow_disk_others_are_awaited_for_a_quarter_of_a_flush_and_no_longer(self) -> None:
        for _ in range(5):
            self.flush_of(3, took_s=0.02)
        self.append(10)
        self.clock.advance(0)
        self.clock.advance(0.0049)
        self.assertEqual(self.running(), [])
        self.append(10)
        self.assertEqual(self.running(), [])
        self.clock.advance(0.0002)
        self.assertEqual(len(self.running()), 1)
        self.assertEqual(self.log.handed_out_to, self.log.written_to)

    def test_one_flush_that_hangs_makes_nobody_wait_for_long(self) -> None:
        self.flush_of(3, took_s=0.0001)
        self.flush_of(3, took_s=60)
        self.append(10)
        self.clock.advance(0.001)
        self.assertEqual(len(self.running()), 1)

    def test_turns_that_bring_messages_put_a_flush_off_for_a_millisecond(self) -> None:
        self.flush_of(100)
        turns = 0
        while not self.running():
            turns += 1
            self.append(10)
            self.clock.turn(0.0001)
        self.assertIn(turns, range(9, 13))

    def test_a_flush_that_nobody_waits_for_is_not_put_off(self) -> None:
        self.flush_of(3)
        self.log.written_to += 10
        self.commit.flush(self.log.written_to)
        self.assertEqual(len(self.running()), 1)

    def test_who_is_left_over_is_awaited_no_more(self) -> None:
        self.flush_of(3)
        self.append(10)
        self.clock.advance(0)
        self.running()[0].callback(None)
        wait = self.append(10)
        self.assertEqual(len(self.running()), 1)
        self.running()[0].callback(None)
        self.successResultOf(wait)

    def test_those_who_send_again_while_they_are_answered_share_a_flush(self) -> None:
        again: list[Deferred] = []
        for _ in range(3):
            self.append(10).addCallback(lambda _: again.append(self.append(10)))
        self.running()[0].callback(None)
        self.clock.advance(0)
        self.running()[0].callback(None)  # of the two who came while the first was flushed, and the first
        for _ in range(3):
            self.clock.advance(0)
            for call in self.running():
                call.callback(None)
        self.assertEqual(len(again), 3)
        for wait in again:
            self.successResultOf(wait)

    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("append"), st.integers(1, 5)),
                st.tuples(st.just("end"), st.integers(0, 1)),
                st.tuples(st.just("time"), st.sampled_from([0, 0.0001, 0.001, 0.003, 0.02])),
            ),
            max_size=60,
        )
    )
    def test_only_what_a_flush_found_is_acknowledged_and_nobody_is_forgotten(self, steps) -> None:
        self.setUp()
        waits: list[tuple[int, Deferred]] = []

        def acknowledged(_: object, offset: int) -> None:
            self.assertLessEqual(offset, self.log.flushed_to)

        for step, value in steps:
            if step == "append":
                wait = self.append(value, 1000, value)
                waits.append((self.log.written_to, wait.addCallback(acknowledged, self.log.written_to)))
            elif step == "time":
                self.clock.advance(value)
            elif self.running():
                self.running()[value % len(self.running())].callback(None)
        for _ in range(100):
            self.clock.advance(0.01)
            for call in self.running():
                call.callback(None)
        for _, wait in waits:
            self.successResultOf(wait)
        self.assertEqual(self.running(), [])


class WorkingHands(Hands):
    """Its calls are done when the test says so."""

    def run(self, call, *arguments) -> Deferred:
        return super().run(call, *arguments).addCallback(lambda _: call(*arguments))


class CountingTransport(StringTransport):
    writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)


class WholeBrokerTests(SynchronousTestCase):
    def test_each_connection_gets_its_answers_by_one_write_in_the_turn_in_which_a_flush_ends(self) -> None:
        broker = MemoryBroker(flushDiskType="SYNC_FLUSH")
        hands = [WorkingHands(), WorkingHands()]
        broker.parts.flushes._free[:] = hands
        transports = []
        for queue_id in range(3):
            connection, transport = FrameProtocol(broker.parts.connections), CountingTransport()
            transports.append(transport)
            connection.makeConnection(transport)
            for opaque in range(4):
                connection.dataReceived(encode_send("BenchmarkTest", queue_id, opaque, b"x"))
        for _ in range(2):  # the first message was alone
            broker.clock.advance(0)
            (call,) = [call for each in hands for call in each.calls if not call.called]
            call.callback(None)
        self.assertEqual([transport.writes for transport in transports], [2, 1, 1])
        for transport in transports:
            answers = transport.value()
            self.assertEqual(answers.count(b'{"code":0,'), 4)


class ThreadTests(TestCase):
    @inlineCallbacks
    def test_an_own_thread_brings_results_and_errors_to_the_reactor(self):
        thread = OwnThread(reactor, "test-thread")
        self.addCleanup(thread.abandon)
        self.assertEqual((yield thread.run(divmod, 7, 2)), (3, 1))
        yield self.assertFailure(thread.run(divmod, 7, 0), ZeroDivisionError)
        forgotten = thread.run(divmod, 1, 1)
        forgotten.addErrback(lambda failure: None)
        forgotten.cancel()
        self.assertEqual((yield thread.run(divmod, 9, 2)), (4, 1))

    @inlineCallbacks
    def test_the_pool_runs_calls_too(self):
        self.assertEqual((yield off_reactor(reactor)(divmod, 7, 2)), (3, 1))
