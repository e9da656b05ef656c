"""Whole brokers on a simulated network that take over from each other (tests/simulator/failover_trial.py)."""

from __future__ import annotations

import os
import random

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import FlushTimeout
from tests.simulator.failover_trial import Trial

FIXED_SEEDS = range(15)
FRESH_SEEDS = 5
SEED_VARIABLE = "ROCKETMQ_TX_SEED"
"""Set it to the number that a failure names, and that trial alone is run."""


class FailoverTrialTests(SynchronousTestCase):
    def run_trial(self, seed: int) -> Trial:
        trial = Trial(seed)
        try:
            trial.run()
        except BaseException as error:
            raise AssertionError(
                f"{SEED_VARIABLE}={seed} failed after {trial.world.clock.seconds():.3f} simulated seconds: "
                f"{error!r}"
            ) from error
        finally:
            self.flushLoggedErrors(FlushTimeout)
        return trial

    def test_nothing_acknowledged_or_shown_is_lost_whoever_takes_over(self) -> None:
        wanted = os.environ.get(SEED_VARIABLE)
        trials = [self.run_trial(seed) for seed in ([int(wanted)] if wanted else FIXED_SEEDS)]
        if wanted is None:
            self.assertGreater(sum(trial.elections for trial in trials), 20)
            self.assertGreater(sum(len(trial.acknowledged) for trial in trials), 1000)

    def test_the_same_with_seeds_that_nobody_has_tried(self) -> None:
        for _ in range(FRESH_SEEDS):
            self.run_trial(random.SystemRandom().randrange(1 << 32))
