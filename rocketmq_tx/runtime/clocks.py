"""The two clocks of a process: a steady one for waiting, and the calendar for time stamps.

Waits, time-outs and periods run on the reactor's clock, which must never jump. Twisted's `reactor.seconds`
is `time.time`, so a corrected wall clock would fire or stall every timer; `use_steady_clock` swaps it.
Time stamps that are stored or sent (store time, heartbeats, route expiry) come from a `WallClock`, a plain
callable that parts are given when they are made, so that a test can hand in numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

WallClock = Callable[[], int]
"""Milliseconds since 1970, as RocketMQ's time stamps count."""


def wall_ms() -> int:
    """The wall clock of this machine in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def use_steady_clock(reactor: IReactorTime) -> None:
    """Makes the reactor time its calls by the monotonic clock.

    Call it before anything is scheduled: calls already waiting hold times of the old clock.
    """
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
