"""Group commit: one fdatasync serves everybody who waits, in a thread of its own.

Waiters are collected while a flush runs; a flush covers only what was appended before it began. Senders
who wait for their answers send again as soon as they have them: a flush that began with the first of those
messages would leave the others to the next one, each of them waiting for two. So as many messages are
awaited as were just answered: while each turn of the reactor brings some, and for a quarter of what a flush
takes at most (measured: `docs/performance.md`). A lonely sender waits for nobody.

Who comes later would wait for the rest of a running flush, so on a slow disk a second is started once the
first is older than `second_after_s` (measured: +35-45 % at 2 ms a flush, but -10 to -25 % on a disk that
takes 0.1 ms). Each of them hears by itself of a failed write (`store.flush`); still the store counts a flush
only when all begun before it have succeeded, and the watermark follows what the store says.

After a flush has failed, nothing is ever acknowledged again by this process: the kernel may have marked the
lost pages clean, and a later fdatasync would succeed without them (fault 10).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from rocketmq_tx.errors import StoreError
from rocketmq_tx.runtime.threads import Runner
from rocketmq_tx.runtime.watermark import Watermark

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime


TURNS_MAX_S = 0.001
"""Turns that bring messages may take so long, however fast the disk is: handling them takes longer then."""
TIMER_S = 0.001
"""The reactor's timers are no finer: what is less is not waited for."""
_SAME_TIME_S = 1e-6
"""Sums of seconds differ in their last digits, and a wait for less than those moves no clock."""


class Flush(Protocol):
    """What one flush has to do; `run` only calls the disk."""

    def run(self) -> object: ...


class Flushable(Protocol):
    """The part of the store that group commit needs."""

    @property
    def flushed_to(self) -> int: ...

    def begin_flush(self) -> Flush | None: ...

    def finish_flush(self, job: Any) -> object: ...


class GroupCommit:
    """Turns "this offset must be on disk" into as few flushes as the disk allows.

    `runners` are the threads: as many as flushes may overlap. `on_failure` hears of the first failed flush,
    once, so that the owner can refuse writes and say so.
    """

    log = Logger()

    def __init__(
        self,
        store: Flushable,
        watermark: Watermark,
        runners: list[Runner],
        reactor: IReactorTime,
        *,
        second_after_s: float = 0.001,
        on_failure: Callable[[StoreError], object] = lambda error: None,
    ) -> None:
        self.failure: StoreError | None = None
        self.flushes = 0
        self.answer_together: Callable[[Callable[[], object]], object] = lambda answer: answer()
        """Calls what it is given; what that has to say to one peer leaves in one write, right after."""
        self._store = store
        self._watermark = watermark
        self._free = list(runners)
        self._runners = list(runners)
        self._reactor = reactor
        self._second_after_s = second_after_s
        self._on_failure = on_failure
        self._started_s: dict[int, float] = {}
        self._wanted = 0
        self._covered = watermark.value
        self._timer: IDelayedCall | None = None
        self._answering = False
        self._here = 0  # messages that wait and that no flush covers
        self._expected = 0  # those, and the ones that their senders will send now
        self._under_way: deque[tuple[int, int]] = deque()  # by flush: up to where, for how many messages
        self._usual_s = 0.0
        self._gathering_since_s: float | None = None
        self._seen = 0
        self._wait_for_idle: list[Deferred[None]] = []

    def durable(self, offset: int, timeout_s: float, messages: int = 1) -> Deferred[None]:
        """Fires when the log is on disk up to `offset`; fails with FlushTimeout, or the disk's StoreError.

        `messages` is how many are answered then.
        """
        if self.failure is not None:
            return self._watermark.refuse(self.failure)
        waiting = self._watermark.wait(offset, timeout_s)
        if not waiting.called:
            if offset > self._covered:
                self._here += messages
            self.flush(offset)
        return waiting

    def flush(self, offset: int) -> None:
        """Has the log flushed up to `offset` soon, without waiting (flushDiskType=ASYNC_FLUSH)."""
        self._wanted = max(self._wanted, offset)
        self._begin_or_delay()

    def others_flushed(self) -> None:
        """A checkpoint has flushed as well: who waits for no more than that is answered.

        A flush that ended before it, though begun after it, counts from now on only.
        """
        self._watermark.advance(self._store.flushed_to)

    def when_idle(self) -> Deferred[None]:
        """Fires when no flush is under way."""
        idle: Deferred[None] = Deferred()
        self._wait_for_idle.append(idle)
        self._tell_idle()
        return idle

    def log_was_cut(self) -> None:
        """The log ends earlier, where all of it is on disk: what comes there has to be flushed again.

        Not while a flush is under way.
        """
        self._watermark.fail_all(StoreError("the end of the log was cut off, and the message with it"))
        self._watermark.set_back(self._store.flushed_to)
        self._watermark.advance(self._store.flushed_to)  # as after a start, nobody has told it that far
        self._wanted = self._covered = self._store.flushed_to
        self._forget_expected()

    def _tell_idle(self) -> None:
        if not self._started_s:
            waiting, self._wait_for_idle = self._wait_for_idle, []
            for idle in waiting:
                idle.callback(None)

    def stop(self) -> None:
        """No further flush begins; threads that hang are abandoned, who still waits is refused."""
        self._stop_timer()
        if self.failure is None:
            self.failure = StoreError("the store is closing: the message may not have reached the disk")
        self._watermark.fail_all(self.failure)
        for runner in self._runners:
            runner.abandon()

    # -- when to begin ---------------------------------------------------------------------------------------

    def _begin_or_delay(self) -> None:
        if self._answering or self.failure is not None or self._wanted <= self._covered or not self._free:
            return
        if self._started_s:
            left_s = max(self._started_s.values()) + self._second_after_s - self._reactor.seconds()
            if left_s > _SAME_TIME_S:
                self._again_after(left_s)
                return
        if 0 < self._here < self._expected and self._gather():
            return
        self._begin()

    def _gather(self) -> bool:
        """Whether to wait for more messages; then it is looked at again, in the next turn or later."""
        if self._timer is not None:
            return True
        now_s = self._reactor.seconds()
        if self._gathering_since_s is None:
            self._gathering_since_s, self._seen = now_s, 0
            self._again_after(0)
            return True
        gathered_s = now_s - self._gathering_since_s
        left_s = self._usual_s / 4 - gathered_s
        if self._here > self._seen and (left_s > 0 or gathered_s < TURNS_MAX_S):
            self._seen = self._here
            self._again_after(0)
        elif left_s >= TIMER_S:
            self._again_after(left_s)
        else:
            return False
        return True

    def _again_after(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._reactor.callLater(seconds, self._delayed)

    def _delayed(self) -> None:
        self._timer = None
        self._begin_or_delay()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _forget_expected(self) -> None:
        self._here = self._expected = 0
        self._gathering_since_s = None

    # -- a flush ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._stop_timer()
        messages = self._here
        self._forget_expected()
        job = self._store.begin_flush()
        if job is None:  # all is on disk: somebody else flushed, a roll or a close
            self._covered = self._wanted
            self._watermark.advance(self._store.flushed_to)
            return
        self._covered = self._wanted
        self._under_way.append((self._covered, messages))
        self.flushes += 1
        number = self.flushes
        runner = self._free.pop()
        self._started_s[number] = self._reactor.seconds()
        running = runner.run(job.run)
        running.addBoth(self._ended, number, runner)
        running.addCallback(self._succeeded, job)
        running.addErrback(self._failed)
        running.addCallback(lambda _: self._tell_idle())

    def _ended(self, result: object, number: int, runner: Runner) -> object:
        took_s = self._reactor.seconds() - self._started_s.pop(number)
        self._usual_s = min(took_s, 2 * self._usual_s + TIMER_S)  # one that hangs is no rule
        self._free.append(runner)
        return result

    def _succeeded(self, _: object, job: Flush) -> None:
        if self.failure is not None:
            return  # an overlapping flush failed: nothing is acknowledged any more, whatever this one says
        self._store.finish_flush(job)  # raises StoreError when the job, or one before it, failed
        flushed_to, answered = self._store.flushed_to, 0
        while self._under_way and self._under_way[0][0] <= flushed_to:
            answered += self._under_way.popleft()[1]
        self._expected = max(self._expected, self._here) + answered
        self._answering = True  # who sends again at once is one of them
        try:
            self.answer_together(lambda: self._watermark.advance(flushed_to))
        finally:
            self._answering = False
        self._stop_timer()  # it may have been set for the age of the flush that has ended
        self._begin_or_delay()

    def _failed(self, failure: Failure) -> None:
        if self.failure is not None:
            return
        error = failure.value
        if not isinstance(error, StoreError):
            error = StoreError(f"flushing the commit log failed: {failure.getErrorMessage()}")
        self.failure = error
        self.log.critical("flush failed, nothing more is acknowledged: {error}", error=str(error))
        self._watermark.fail_all(error)
        self._on_failure(error)
