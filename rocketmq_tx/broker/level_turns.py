"""Delay levels take turns: one pass over one level, then everything else that the reactor has to do.

    idle --message comes--> ready --pass--> idle: nothing waits
                              ^  +--------> waiting: until the first is due (timer)
                              |  +--------> reading: what is not in memory (thread)
                              |  +--------> resting: after a failure (timer)
                              +---- each of them, when it is over

A level of which nothing waits costs nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
from twisted.logger import Logger

from rocketmq_tx.broker.delay_rules import ClockSteps
from rocketmq_tx.runtime.rarely import Rarely

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

REST_S = 0.25
"""After a refused append, a failed read or a mistake of ours."""
LONGEST_WAIT_S = 3600.0


@attrs.define(eq=False)
class Level:
    """One delay level on its way through the states above."""

    number: int
    queue_id: int
    steps: ClockSteps = attrs.Factory(ClockSteps)
    seen_to: int = 0
    """Entries before this offset are known to `steps`."""
    timer: IDelayedCall | None = None
    busy: bool = False
    """Ready or reading; with a timer it waits or rests, with neither it is idle."""
    cold_reads: int = 0
    failures: int = 0


class LevelTurns:
    """`do_pass` does one pass over a level that is ready, and says what becomes of it then."""

    _log = Logger()

    def __init__(self, do_pass: Callable[[Level], None], reactor: IReactorTime, rarely: Rarely) -> None:
        self._do_pass = do_pass
        self._reactor = reactor
        self._rarely = rarely
        self._ready: deque[Level] = deque()
        self._turn: IDelayedCall | None = None

    def wake(self, level: Level) -> None:
        """A message has come: an idle level is ready."""
        if level.timer is None and not level.busy:
            self.make_ready(level)

    def make_ready(self, level: Level) -> None:
        """It has its turn after all that are ready already."""
        level.timer = None
        level.busy = True
        self._ready.append(level)
        if self._turn is None:
            self._turn = self._reactor.callLater(0, self._take_turn)

    def wait(self, level: Level, seconds: float) -> None:
        """It is ready again then."""
        level.busy = False
        level.timer = self._reactor.callLater(min(seconds, LONGEST_WAIT_S), self.make_ready, level)

    def rest(self, level: Level) -> None:
        """It tries again soon."""
        self.wait(level, REST_S)

    def end(self) -> None:
        """No further pass; whoever has the levels forgets those that wait or read."""
        self._ready.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _take_turn(self) -> None:
        self._turn = None
        level = self._ready.popleft()
        try:
            self._do_pass(level)
        except Exception:  # noqa: BLE001  a mistake in one level must stop neither it for good nor the others
            if self._rarely.due(("mistake", level.number)) is not None:
                self._log.failure("delivering delayed messages of level {number} failed", number=level.number)
            if level.timer is None:
                self.rest(level)
        if self._ready and self._turn is None:
            self._turn = self._reactor.callLater(0, self._take_turn)
