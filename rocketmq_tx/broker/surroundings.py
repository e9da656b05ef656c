"""What comes to a broker from outside: settings, time, disk and threads, the same for all of its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.runtime.clocks import WallClock
from rocketmq_tx.runtime.threads import OffReactor, OwnThread, Runner, off_reactor
from rocketmq_tx.store.disk import Disk


@attrs.frozen(eq=False)
class Surroundings:
    """Handed to each side of a broker as a whole; what lies within a side gets of it what it needs."""

    settings: BrokerSettings
    reactor: Any
    """Its timers run by a clock that never goes back, `reactor.seconds`."""
    now_ms: WallClock
    """The wall clock, for what is stored and compared between machines; it may jump."""
    disk: Disk
    thread: Callable[[Any, str], Runner] = OwnThread
    """Makes a thread that runs one call after another: of a reactor and a name."""
    off_reactor: OffReactor = attrs.field(init=False)
    """Runs a call that may wait for a disk in any thread."""

    @off_reactor.default
    def _of_the_reactor(self) -> OffReactor:
        return off_reactor(self.reactor)
