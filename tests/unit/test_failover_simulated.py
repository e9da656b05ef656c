"""Partitions, crashes, frozen processes and lost sessions at any step: two masters never both acknowledge.

A seed is a whole history; a failing one is a reproduction. Faults 37 and 38.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.failover.epochs import EpochHistory
from tests.unit.failover_parts import Model

SEEDS = int(os.environ.get("ROCKETMQ_TX_FAILOVER_SEEDS", "25"))
"""More of them find more: these take some seconds."""
STEPS = 25


def disturb(model: Model, dice: random.Random) -> None:
    """One fault, or the end of one."""
    member = dice.choice(list(model.disks))
    other = dice.choice([each for each in model.disks if each != member])
    broker = model.brokers.get(member)
    if broker is None:
        model.start(member)
        return
    coordinator, service = broker.coordinator, model.service
    faults: list[Callable[[], object]] = [
        lambda: model.crash(member),
        lambda: model.crash(member),
        lambda: (model.crash(member), model.start(member)),  # while its old session still counts
        lambda: service.cut(coordinator),
        lambda: service.cut(coordinator),
        lambda: service.heal(coordinator),
        lambda: model.part(member, other),
        lambda: model.parted.discard(frozenset((member, other))),
        lambda: broker.reactor.thaw() if broker.reactor.frozen else broker.reactor.freeze(),
        lambda: setattr(coordinator, "lose_answers", not coordinator.lose_answers),
        lambda: setattr(coordinator, "reads_late", not coordinator.reads_late),
        lambda: cut_off(model, member),
        lambda: cut_off(model, member),
        lambda: service.stop() if service.is_up else service.start(),
    ]
    dice.choice(faults)()


def cut_off(model: Model, member: int) -> None:
    """From everybody, while its calls are on their way."""
    coordinator = model.brokers[member].coordinator
    coordinator.lose_answers = True
    model.run(0.05)
    for other in model.disks:
        if other != member:
            model.part(member, other)
    model.service.cut(coordinator)


def lived_through(seed: int, members: int) -> Model:
    """A history of faults, and healing at its end."""
    model = Model(seed, members)
    dice = random.Random(seed)
    model.run(1.0)
    for _ in range(STEPS):
        disturb(model, dice)
        model.run(dice.choice((0.02, 0.1, 0.5, 1.5)))
    model.heal_everything()
    model.run(6.0)
    model.run(2.0, sends_each_s=0)
    model.check_healed()
    return model


class FailoverHistoryTests(SynchronousTestCase):
    def lived_through(self, members: int, first: int) -> list[Model]:
        models = []
        for seed in range(first, first + SEEDS):
            model = lived_through(seed, members)
            self.assertEqual(model.broken, [], f"seed {seed} with {members} members")
            models.append(model)
        return models

    def test_with_two_brokers_nothing_acknowledged_is_lost_and_one_leads_in_each_epoch(self) -> None:
        models = self.lived_through(2, 0)
        self.assertGreater(sum(model.elections for model in models), 2 * SEEDS)
        self.assertGreater(sum(len(model.acknowledged) for model in models), 100 * SEEDS)

    def test_with_three_brokers_nothing_acknowledged_is_lost_and_one_leads_in_each_epoch(self) -> None:
        models = self.lived_through(3, 10_000)
        self.assertGreater(sum(model.elections for model in models), 2 * SEEDS)
        self.assertGreater(sum(len(model.acknowledged) for model in models), 100 * SEEDS)


class ScriptedHistoryTests(SynchronousTestCase):
    """What chance meets too seldom."""

    def test_a_member_that_has_not_caught_up_is_never_elected(self) -> None:
        for hundredths in range(0, 60, 4):
            model = Model(1, 2)
            model.link_delays_s = (0.4,)
            model.run(2)
            model.crash(1)
            model.run(2.5)
            self.assertEqual(model.brokers[0].replicas.in_sync, {0})
            model.start(1)
            model.run(hundredths / 100)
            in_sync = model.brokers[0].replicas.in_sync
            model.crash(0)
            model.run(4)
            self.assertEqual(model.brokers[1].failover.leads, in_sync == {0, 1}, hundredths)
            self.assertEqual(model.broken, [])

    def test_a_member_that_may_have_been_agreed_on_is_waited_for(self) -> None:
        """The answer to the write that lets it in is lost, and then the master is cut off from everything."""
        model = Model(2, 2)
        model.run(2)
        model.crash(1)
        model.run(3)
        model.brokers[0].coordinator.lose_answers = True
        model.start(1)
        writes = model.service.writes
        for _ in range(300):
            model.run(0.01)
            if model.service.writes > writes:
                break
        model.part(0, 1)
        model.service.cut(model.brokers[0].coordinator)
        model.run(6)
        self.assertTrue(model.brokers[1].failover.leads)
        self.assertTrue(model.brokers[0].refusals)
        self.assertEqual(model.broken, [])

    def test_a_master_that_was_frozen_acknowledges_nothing_when_it_moves_again(self) -> None:
        model = Model(3, 2)
        model.run(2)
        model.brokers[0].reactor.freeze()
        model.service.cut(model.brokers[0].coordinator)
        model.run(5)
        self.assertTrue(model.brokers[1].failover.leads)
        self.assertTrue(model.brokers[0].is_master)
        model.service.heal(model.brokers[0].coordinator)
        model.brokers[0].reactor.thaw()
        model.run(6)
        model.run(1, 0)
        model.check_healed()
        self.assertEqual(model.broken, [])

    def test_a_master_without_a_session_is_served_by_its_slave_and_refuses_when_that_goes(self) -> None:
        model = Model(4, 2)
        model.run(2)
        model.service.stop()
        acknowledged = len(model.acknowledged)
        model.run(3)
        self.assertGreater(len(model.acknowledged), acknowledged + 50)
        model.part(0, 1)
        model.run(0.5)
        acknowledged = len(model.acknowledged)
        model.run(3)
        self.assertEqual(len(model.acknowledged), acknowledged)
        self.assertIn("no session", model.brokers[0].refusals["failover"])
        self.assertFalse(model.brokers[1].failover.leads, "no fail-over without the coordination service")
        model.heal_everything()
        model.run(3)
        self.assertGreater(len(model.acknowledged), acknowledged + 50)
        self.assertEqual(model.broken, [])

    def test_a_member_that_lost_its_disk_is_not_elected_though_the_state_names_it(self) -> None:
        model = Model(5, 2)
        model.run(2)
        self.assertEqual(model.brokers[0].replicas.in_sync, {0, 1})
        model.service.cut(model.brokers[0].coordinator)  # so that it cannot take member 1 out
        model.crash(1)
        model.crash(0)
        model.disks[1].log, model.disks[1].history = [], EpochHistory()
        model.start(1)
        model.run(5)
        self.assertFalse(model.brokers[1].failover.leads)
        model.start(0)
        model.run(5)
        model.run(1, 0)
        model.check_healed()
        self.assertEqual(model.broken, [])
