"""Group commit against a disk that the test moves by hand; threads for real in one test."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from rocketmq_tx.errors import FlushTimeout, StoreError
from rocketmq_tx.runtime.group_commit import GroupCommit
from rocketmq_tx.runtime.threads import OwnThread, off_reactor
from rocketmq_tx.runtime.watermark import Watermark


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


class GroupCommitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.log = Log()
        self.mark = Watermark(self.clock)
        self.hands = [Hands(), Hands()]
        self.failures: list[StoreError] = []
        self.commit = GroupCommit(
            self.log, self.mark, list(self.hands), self.clock, on_failure=self.failures.append
        )

    def running(self) -> list[Deferred]:
        return [call for hands in self.hands for call in hands.calls if not call.called]

    def append(self, size: int, timeout_s: float = 5) -> Deferred:
        self.log.written_to += size
        return self.commit.durable(self.log.written_to, timeout_s)

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
        self.successResultOf(second)
        self.running()[0].callback(None)
        self.successResultOf(third)

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
