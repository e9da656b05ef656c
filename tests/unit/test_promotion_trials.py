"""Promotions by hand while everything breaks: some trials of `tests.simulator.promotion_trial`, by seed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.simulator.promotion_trial import PromotionTrial

SEEDS = (3, 13, 29)
"""With promotions to and fro among two and three brokers, and masters that lose what was not flushed."""


class PromotionTrialTests(SynchronousTestCase):
    def test_what_was_acknowledged_survives_each_promotion_and_logs_become_equal(self) -> None:
        promotions = 0
        for seed in SEEDS:
            trial = PromotionTrial(seed)
            try:
                trial.run()
            except AssertionError as failure:
                raise AssertionError(f"seed {seed}: {failure}") from failure
            self.assertGreater(len(trial.acknowledged), 100)
            promotions += trial.promotions
        self.assertGreater(promotions, 10)
