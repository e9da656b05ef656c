"""Waiting for a condition of another process: polls with a deadline; a failure says what was wanted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

#: Short enough not to be felt, long enough to leave the processor to those who are waited for.
POLL_INTERVAL_S = 0.05


class WaitedInVain(AssertionError):
    """The condition did not become true before its deadline."""


def wait_until(condition: Callable[[], Value], wanted: str, timeout_s: float = 30.0) -> Value:
    """The first true value of `condition`; `wanted` completes the sentence "waited in vain until ...".

    For tests that block (servers and foreign clients in processes of their own), never on a reactor thread
    that something else needs.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise WaitedInVain(f"waited {timeout_s:g} s in vain until {wanted}; last answer: {value!r}")
        time.sleep(POLL_INTERVAL_S)
