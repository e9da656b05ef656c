"""Replication under an adversary: partitions, slow links and disks, kills and power cuts at any step.

What must hold stands in `tests/simulator/replication_trial.py`; each trial follows from its seed alone.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from tests.simulator.replication_trial import Kind, Trial
from tests.simulator.seeds import fixed_seeds, fresh_seeds, is_one_wanted, run_trial
from tests.simulator.world import World

FIXED_SEEDS = range(24)
FRESH_SEEDS = 6


class TrialTests(SynchronousTestCase):
    def run_trial(self, seed: int) -> Trial:
        return run_trial(self, Trial(seed), seed)

    def test_what_was_acknowledged_is_kept_and_logs_stay_equal_whatever_breaks(self) -> None:
        trials = [self.run_trial(seed) for seed in fixed_seeds(FIXED_SEEDS)]
        if not is_one_wanted():
            self.assertEqual({trial.kind for trial in trials}, set(Kind))
            self.assertGreater(sum(trial.stops for trial in trials), 0)
            self.assertGreater(sum(node.crashes for t in trials for node in t.world.brokers.values()), 50)
            for code in (0, 11, 12):
                self.assertGreater(sum(trial.codes.get(code, 0) for trial in trials), 100)

    def test_the_same_with_seeds_that_nobody_has_tried(self) -> None:
        for seed in fresh_seeds(FRESH_SEEDS):
            self.run_trial(seed)


MASTER, FIRST, SECOND, CLIENT = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.8"


class StuckSlaveTests(SynchronousTestCase):
    """A slave that is slow or stuck delays nobody else, and costs no memory."""

    def setUp(self) -> None:
        self.world = world = World(seed=3)
        world.name_server("192.0.2.9")
        self.master = world.broker(MASTER, brokerRole="SYNC_MASTER")
        self.slaves = [
            world.broker(host, brokerRole="SLAVE", brokerId=number)
            for number, host in enumerate((FIRST, SECOND), 1)
        ]
        self.client = world.client(CLIENT)
        world.run(5)
        self.answer_within(1, self.client.send(self.master.address, b"the first"))

    def answer_within(self, seconds: float, answer: Any) -> Frame:
        self.world.run_until(lambda: answer.called, seconds)
        return self.successResultOf(answer)

    def check_that_all_goes_on(self) -> None:
        """For a minute: sends are SEND_OK by the other slave, reads are answered, memory is bounded."""
        body = b"x" * 10_000
        for number in range(600):
            sent = self.client.send(self.master.address, body, queue_id=number % 4)
            read = self.client.ask(self.master.address, Frame.request(RequestCode.GET_BROKER_RUNTIME_INFO))
            self.assertEqual(self.answer_within(0.05, sent).code, 0)
            self.assertEqual(self.answer_within(0.05, read).code, 0)
            self.world.run(0.1)
        self.assertGreater(self.master.store.written_to, 6_000_000)
        self.assertEqual(self.slaves[1].store.written_to, self.master.store.written_to)
        for end in self.world.network.ends:
            self.assertLess(end.most_unsent, 200_000)

    def check_that_it_catches_up(self) -> None:
        end = self.master.store.written_to
        self.world.run_until(lambda: self.slaves[0].store.written_to >= end, 60)
        self.assertEqual(self.slaves[0].log(0, end), self.master.log(0, end))

    def test_a_slave_that_is_cut_off_holds_nobody_up_and_catches_up(self) -> None:
        self.world.network.partition(MASTER, FIRST)
        self.check_that_all_goes_on()
        self.world.network.heal()
        self.check_that_it_catches_up()

    def test_a_slave_behind_a_slow_link_holds_nobody_up_and_catches_up(self) -> None:
        self.world.network.slow_down(MASTER, FIRST, 2000)
        self.check_that_all_goes_on()
        self.assertLess(self.slaves[0].store.written_to, self.master.store.written_to / 2)
        self.world.network.heal()
        self.check_that_it_catches_up()

    def test_a_slave_whose_disk_hangs_holds_nobody_up_and_catches_up(self) -> None:
        self.slaves[0].slow_disk(20.0, 30.0)
        self.check_that_all_goes_on()
        self.slaves[0].slow_disk(0.0, 0.001)
        self.check_that_it_catches_up()

    def test_a_slave_that_comes_back_far_behind_catches_up_while_all_goes_on(self) -> None:
        self.slaves[0].kill()
        self.check_that_all_goes_on()
        self.slaves[0].start()
        self.check_that_all_goes_on()
        self.check_that_it_catches_up()
