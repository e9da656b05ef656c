"""Trials by their seeds: always the same ones, some that nobody has tried, or the one that has failed."""

from __future__ import annotations

import os
import random
from typing import Any, TypeVar

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import FlushTimeout

SEED_VARIABLE = "ROCKETMQ_TX_SEED"
"""Set it to the number that a failure names, and that trial alone is run."""
TRIAL = TypeVar("TRIAL", bound=Any)


def run_trial(case: SynchronousTestCase, trial: TRIAL, seed: int) -> TRIAL:
    """Runs a trial of `tests/simulator`; a failure names what brings it back."""
    try:
        trial.run()
    except BaseException as error:
        raise AssertionError(
            f"{SEED_VARIABLE}={seed}, {trial}, failed after {trial.world.clock.seconds():.3f} simulated"
            f" seconds: {error!r}"
        ) from error
    finally:
        case.flushLoggedErrors(FlushTimeout)  # of periodic work, on slow disks
    return trial


def is_one_wanted() -> bool:
    """Whether somebody looks at one trial."""
    return SEED_VARIABLE in os.environ


def fixed_seeds(seeds: range) -> list[int]:
    """These, or the one that is wanted."""
    return [int(os.environ[SEED_VARIABLE])] if is_one_wanted() else list(seeds)


def fresh_seeds(count: int) -> list[int]:
    """Some that nobody has tried; none when one is wanted."""
    return [random.SystemRandom().randrange(1 << 32) for _ in range(0 if is_one_wanted() else count)]
