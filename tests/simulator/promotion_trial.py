"""Promotions by hand while everything breaks: what was acknowledged survives each that needed no force.

    python -m tests.simulator.promotion_trial 1000 2000     # seeds from 1000 to 1999, for a long hunt

All brokers flush before they answer, and begin as a SYNC_MASTER with its slaves. An operator promotes some
slave now and then, without --force: that happens only where nothing can be missing.
"""

from __future__ import annotations

import sys
from typing import Any

from rocketmq_tx.errors import RocketMQError
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import PromoteRequestHeader, SendMessageResponseHeader
from tests.simulator.process import SimulatedDisk
from tests.simulator.world import BrokerNode, World

NAME_SERVER, CLIENT, OPERATOR = "192.0.2.9", "192.0.2.8", "192.0.2.7"
HOSTS = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
TROUBLE_S = 200.0
HEAL_S = 300.0
QUEUES = 4


class PromotionTrial:
    """All of it follows from the seed. `run` raises AssertionError when something does not hold."""

    def __init__(self, seed: int) -> None:
        self.world = world = World(seed)
        dice = world.dice
        keys = {
            "flushDiskType": "SYNC_FLUSH",
            "slaveTimeout": dice.choice((300, 3000)),
            "haTransferBatchSize": dice.choice((100, 4096, 32768)),
        }
        world.name_server(NAME_SERVER)
        self.client, self.operator = world.client(CLIENT), world.client(OPERATOR)
        self.nodes = [
            world.broker(host, brokerRole="SLAVE" if number else "SYNC_MASTER", brokerId=number, **keys)
            for number, host in enumerate(HOSTS[: dice.choice((2, 2, 3))])
        ]
        self.acknowledged: dict[bytes, tuple[str, int]] = {}
        """Body of each message that was answered SEND_OK: by whom, and where its log has it."""
        self.promotions = self.mended = 0
        self.refusals: dict[str, int] = {}
        self._sent = 0

    def run(self) -> None:
        world, dice = self.world, self.world.dice
        world.run(8)
        until_s = world.clock.seconds() + TROUBLE_S
        while world.clock.seconds() < until_s:
            for _ in range(dice.choice((1, 1, 5))):
                self._send()
            world.run(dice.expovariate(4))
            chance = dice.random()
            if chance < 0.03:
                for node in dice.sample(self.nodes, dice.choice((1, 1, 1, 2))):
                    self._promote(node)
            elif chance < 0.06:
                self._make_trouble()
        self._heal()
        self._check_end()

    # -- load and promotions ---------------------------------------------------------------------------------

    def _send(self) -> None:
        """To whoever says that it is the master; an outdated one may be among them."""
        masters = [node for node in self.nodes if node.is_running and _role(node).is_master]
        if not masters:
            return
        self._sent += 1
        body = b"%d-" % self._sent + b"x" * self.world.dice.choice((10, 300, 3000))
        node = self.world.dice.choice(masters)
        answer = self.client.send(node.address, body, queue_id=self._sent % QUEUES)
        answer.addCallbacks(self._answered, _not_answered, callbackArgs=(node.host, body))

    def _answered(self, answer: Frame, host: str, body: bytes) -> None:
        if answer.code == ResponseCode.SUCCESS:
            sent = SendMessageResponseHeader.from_ext_fields(answer.ext_fields)
            self.acknowledged[body] = host, int(sent.msg_id[-16:], 16)

    def _promote(self, node: BrokerNode) -> None:
        frame = Frame.request(RequestCode.PROMOTE, PromoteRequestHeader())
        answer = self.operator.ask(node.address, frame, 120)
        answer.addCallbacks(self._promoted, _not_answered)

    def _promoted(self, answer: Frame) -> None:
        if answer.code == ResponseCode.SUCCESS:
            self.promotions += 1
        else:
            reason = " ".join((answer.remark or "").split()[:6])
            self.refusals[reason] = self.refusals.get(reason, 0) + 1

    # -- trouble -------------------------------------------------------------------------------------------

    def _make_trouble(self) -> None:
        dice, network = self.world.dice, self.world.network
        node = dice.choice(self.nodes)
        match dice.randrange(7):
            case 0 | 1:
                node.cut_power() if dice.random() < 0.5 else node.kill()
            case 2:
                node.crash_in(dice.randrange(30), dice.random() < 0.5)
            case 3:
                others = [each.host for each in self.nodes if each is not node]
                network.partition(node.host, dice.choice([NAME_SERVER, CLIENT, OPERATOR, *others]))
            case 4:
                node.slow_disk(*dice.choice(((0.0, 0.001), (0.01, 0.1), (0.5, 4.0))))
            case 5:
                network.cut_connections(node.host, dice.choice(HOSTS))
            case 6:
                network.heal()
        for down in self.nodes:
            if not down.is_running and dice.random() < 0.7:
                down.start().addErrback(lambda _: None)

    def _heal(self) -> None:
        for node in self.nodes:
            node.disk.crash_in = None
            node.slow_disk(0.0, 0.001)
            if not node.is_running:
                node.start()
        self.world.network.heal()

    # -- what must hold in the end -------------------------------------------------------------------------

    def _check_end(self) -> None:
        if not self.world.run_until(self._is_whole, HEAL_S):
            self._mend()
        if not self.world.run_until(self._is_whole, HEAL_S):
            raise AssertionError(f"they do not come together: {[self._said(node) for node in self.nodes]}")
        log = self._log(self.nodes[0])
        lost = [(body[:12], *where) for body, where in self.acknowledged.items() if body not in log]
        assert not lost, (
            f"{len(lost)} of {len(self.acknowledged)} acknowledged are lost: {lost[:5]}; "
            f"{self._said(self.nodes[0])}"
        )

    def _mend(self) -> None:
        """After a master has lost what it had not flushed, within its epoch: as `docs/cluster.md` says.

        A slave that still has it becomes the master; one whose log differs since then copies it anew.
        """
        for node in self.nodes:
            said = node.parts.replication._follower._last_problem or ""
            if "replication is stopped" in said and not _role(node).is_master:
                self.mended += 1
                if "beyond the end of that" in said:
                    self._promote(node)
                else:
                    node.stop()
                    node.disk = SimulatedDisk()
                    node.start()

    def _is_whole(self) -> bool:
        if not all(node.is_running and node.parts.store.refusal is None for node in self.nodes):
            return False
        if sum(_role(node).is_master for node in self.nodes) != 1:
            return False
        if len({(node.store.written_to, node.parts.failover.roles.history) for node in self.nodes}) > 1:
            return False
        return len({self._log(node) for node in self.nodes}) == 1

    def _log(self, node: BrokerNode) -> bytes:
        return node.log(0, node.store.written_to)

    def _said(self, node: BrokerNode) -> str:
        last = node.parts.replication._follower._last_problem
        epochs = node.parts.failover.roles.history.to_text()
        return f"{node.host} {_role(node).value} {epochs} ends at {node.store.written_to}: {last}"


def _role(node: BrokerNode) -> Any:
    return node.parts.settings.store.broker_role


def _not_answered(failure: Any) -> None:
    failure.trap(RocketMQError)


def main(first: int, end: int) -> None:
    for seed in range(first, end):
        trial = PromotionTrial(seed)
        try:
            trial.run()
        except BaseException:
            print(f"seed {seed}, after {trial.world.clock.seconds():.3f} s")
            raise
        crashes = sum(node.crashes for node in trial.nodes)
        print(
            f"seed {seed}: {len(trial.nodes)} brokers, {trial.promotions} promotions, {crashes} crashes, "
            f"{trial.mended} mended, {len(trial.acknowledged)} acknowledged, refused {trial.refusals}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
