"""Group commit: one fdatasync serves everybody who waits, in a thread of its own.

Waiters are collected while a flush runs; a flush covers only what was appended before it began. One flush
at a time makes a message wait for the rest of the running one, so on a slow disk a second is started once
the first is older than `second_after_s` (measured: +35-45 % at 2 ms a flush, but -10 to -25 % on a disk
that takes 0.1 ms). Each of them hears by itself of a failed write (`store.flush`); still the store counts a
flush only when all begun before it have succeeded, and the watermark follows what the store says.

After a flush has failed, nothing is ever acknowledged again by this process: the kernel may have marked the
lost pages clean, and a later fdatasync would succeed without them (fault 10).
"""

from __future__ import annotations

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
        self._wait_for_idle: list[Deferred[None]] = []

    def durable(self, offset: int, timeout_s: float) -> Deferred[None]:
        """Fires when the log is on disk up to `offset`; fails with FlushTimeout, or the disk's StoreError."""
        if self.failure is not None:
            return self._watermark.refuse(self.failure)
        waiting = self._watermark.wait(offset, timeout_s)
        if not waiting.called:
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

    def _tell_idle(self) -> None:
        if not self._started_s:
            waiting, self._wait_for_idle = self._wait_for_idle, []
            for idle in waiting:
                idle.callback(None)

    def stop(self) -> None:
        """No further flush begins; threads that hang are abandoned, who still waits is refused."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.failure is None:
            self.failure = StoreError("the store is closing: the message may not have reached the disk")
        self._watermark.fail_all(self.failure)
        for runner in self._runners:
            runner.abandon()

    def _begin_or_delay(self) -> None:
        if self.failure is not None or self._wanted <= self._covered or not self._free:
            return
        if self._started_s:
            age_s = self._reactor.seconds() - max(self._started_s.values())
            if age_s < self._second_after_s:
                if self._timer is None:
                    self._timer = self._reactor.callLater(self._second_after_s - age_s, self._delayed)
                return
        self._begin()

    def _delayed(self) -> None:
        self._timer = None
        self._begin_or_delay()

    def _begin(self) -> None:
        job = self._store.begin_flush()
        if job is None:  # all is on disk: somebody else flushed, a roll or a close
            self._covered = self._wanted
            self._watermark.advance(self._store.flushed_to)
            return
        self._covered = self._wanted
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
        del self._started_s[number]
        self._free.append(runner)
        return result

    def _succeeded(self, _: object, job: Flush) -> None:
        if self.failure is not None:
            return  # an overlapping flush failed: nothing is acknowledged any more, whatever this one says
        self._store.finish_flush(job)  # raises StoreError when the job, or one before it, failed
        # the next flush first: the disk works while the waiters' answers are written
        self._begin_or_delay()
        self._watermark.advance(self._store.flushed_to)

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
