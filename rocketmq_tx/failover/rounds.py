"""Rounds of automatic fail-over: one after the other, and soon again after one that has failed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rocketmq_tx.errors import CoordinationError, RocketMQError

AGAIN_S = 0.25
"""After a round that could not do what it wanted, whatever is heard meanwhile."""
LONG_AGAIN_S = 3.0
"""After one in which this broker could not take its role: a port that is taken, a disk that is full."""


class Rounds:
    """`work` does a round of automatic fail-over; False when it has to be repeated soon.

    What keeps it from succeeding is told once, until something else does or `all_is_well` is called.
    """

    _log = Logger()

    def __init__(self, work: Callable[[], Coroutine[Any, Any, bool]], reactor: Any) -> None:
        self._work = work
        self._reactor = reactor
        self._is_ended = False
        self._round: Deferred[Any] | None = None
        self._is_asked_again = False
        self._retry: Any = None
        self._pause_s = AGAIN_S
        self._last_problem: str | None = None

    def ask(self) -> None:
        """A round begins now, or when the one under way, or the pause after it, is over."""
        if self._is_ended:
            return
        if self._round is not None or self._retry is not None:
            self._is_asked_again = True
            return
        self._is_asked_again = False
        self._round = Deferred.fromCoroutine(self._work())
        self._round.addErrback(self._failed)
        self._round.addCallback(self._done)

    def end(self) -> None:
        """No further round begins; one may be under way."""
        self._is_ended = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def cancel(self) -> None:
        """Ends the round under way, too."""
        self.end()
        if self._round is not None:
            self._round.cancel()

    def say(self, sentence: str) -> None:
        """Why it does not get on."""
        if sentence != self._last_problem:
            self._log.warn("automatic fail-over: {sentence}", sentence=sentence)
        self._last_problem = sentence

    def all_is_well(self) -> None:
        """The next problem is a new one."""
        self._last_problem = None

    def _done(self, is_well: bool) -> None:
        self._round = None
        if self._is_ended:
            return
        if not is_well:
            self._retry = self._reactor.callLater(self._pause_s, self._try_again)
            self._pause_s = AGAIN_S
        elif self._is_asked_again:
            self._reactor.callLater(0, self.ask)

    def _try_again(self) -> None:
        self._retry = None
        self.ask()

    def _failed(self, failure: Any) -> bool:
        if self._is_ended:
            return True
        if not failure.check(CoordinationError):
            self._pause_s = LONG_AGAIN_S
        if failure.check(RocketMQError):
            self.say(str(failure.value))
        else:
            self._log.failure("automatic fail-over", failure)
        return False
