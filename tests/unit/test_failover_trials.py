"""Whole brokers on a simulated network that take over from each other (tests/simulator/failover_trial.py)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.simulator.failover_trial import Trial
from tests.simulator.seeds import fixed_seeds, fresh_seeds, is_one_wanted, run_trial

FIXED_SEEDS = range(15)
FRESH_SEEDS = 5


class FailoverTrialTests(SynchronousTestCase):
    def run_trial(self, seed: int) -> Trial:
        return run_trial(self, Trial(seed), seed)

    def test_nothing_acknowledged_or_shown_is_lost_whoever_takes_over(self) -> None:
        trials = [self.run_trial(seed) for seed in fixed_seeds(FIXED_SEEDS)]
        if not is_one_wanted():
            self.assertGreater(sum(trial.elections for trial in trials), 20)
            self.assertGreater(sum(len(trial.acknowledged) for trial in trials), 1000)

    def test_the_same_with_seeds_that_nobody_has_tried(self) -> None:
        for seed in fresh_seeds(FRESH_SEEDS):
            self.run_trial(seed)
