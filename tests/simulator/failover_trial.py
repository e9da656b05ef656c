"""Two or three whole brokers that take over from each other, a sender, and an adversary; then what must hold.

    python -m tests.simulator.failover_trial 1000 1100     # seeds from 1000 to 1099, for a long hunt

Brokers, network, disks and clocks are those of the simulated cluster; the coordination service is a double
whose sessions can be cut off and expire. Half of the trials flush before they answer and lose power as well,
the others only processes. What must hold:

    one broker leads in each epoch; what was answered SEND_OK, or shown to consumers, is in every master's log
    after it; when all is well again there is one master, and all logs are equal
"""

from __future__ import annotations

import sys
from typing import Any
from unittest import mock

from rocketmq_tx.errors import RocketMQError
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import SendMessageResponseHeader
from tests.memory_coordinator import MemoryCoordinator, MemoryService
from tests.simulator.process import SimulatedReactor
from tests.simulator.world import BrokerNode, World
from tests.unit.failover_parts import ProcessCoordinator

NAME_SERVER, CLIENT = "192.0.2.9", "192.0.2.8"
HOSTS = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
TROUBLE_S = 60.0
QUEUES = 2
MAKER = "rocketmq_tx.broker.automatic_side.make_coordinator"


class Member(BrokerNode):
    """A broker with a session of its own for each process."""

    session: MemoryCoordinator | None = None

    def __init__(self, world: World, host: str, keys: dict[str, Any], service: MemoryService) -> None:
        super().__init__(world, host, keys)
        self._service = service

    def make_parts(self, process: SimulatedReactor) -> Any:
        made = self.session = self._service.client()
        with mock.patch(MAKER, lambda settings, reactor: ProcessCoordinator(made, process)):
            return super().make_parts(process)

    def _end(self, image: Any, lost_power: bool) -> None:
        super()._end(image, lost_power)
        if self.session is not None:
            self._service.forget(self.session)
            self.session = None

    @property
    def replicas(self) -> Any:
        assert self.parts.automatic is not None
        return self.parts.automatic.replicas


class Trial:
    """All of it follows from the seed. `run` raises AssertionError when something does not hold."""

    def __init__(self, seed: int) -> None:
        self.world = world = World(seed)
        dice = world.dice
        self.service = MemoryService(world.clock)
        self.loses_power = dice.random() < 0.5
        world.name_server(NAME_SERVER)
        self.members: list[Member] = []
        keys = {
            "autoFailover": "zookeeper://192.0.2.7:2181/x",
            "flushDiskType": "SYNC_FLUSH" if self.loses_power else "ASYNC_FLUSH",
            "slaveTimeout": dice.choice((300, 3000)),
        }
        for number, host in enumerate(HOSTS[: dice.choice((2, 3))]):
            role = "SLAVE" if number else dice.choice(("SYNC_MASTER", "ASYNC_MASTER"))
            member = Member(world, host, {"brokerId": number, "brokerRole": role, **keys}, self.service)
            world.brokers[host] = member
            member.start()
            self.members.append(member)
        self.client = world.client(CLIENT)
        self.acknowledged: dict[int, bytes] = {}
        """By commit log offset: bodies that were answered SEND_OK."""
        self.leaders: dict[int, str] = {}
        self._shown = bytearray()
        self._seen: dict[str, tuple[object, int]] = {}
        self._sent = 0
        world.every_step.append(self._look)

    def __str__(self) -> str:
        return "a trial of fail-over"

    @property
    def elections(self) -> int:
        return len(self.leaders)

    def run(self) -> None:
        world, dice = self.world, self.world.dice
        world.run(5)
        until_s = world.clock.seconds() + TROUBLE_S
        while world.clock.seconds() < until_s:
            for _ in range(dice.choice((1, 1, 10))):
                self._send()
            world.run(dice.expovariate(5))
            if dice.random() < 0.03:
                self._make_trouble()
        self._end_trouble()
        self._check_end()

    # -- load ----------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """To any of them: whoever is no master refuses."""
        self._sent += 1
        body = b"%d-" % self._sent + b"x" * self.world.dice.choice((10, 300))
        for member in self.members:
            if member.is_running and member.parts.failover.roles.is_master:
                answer = self.client.send(member.address, body, queue_id=self._sent % QUEUES)
                answer.addCallbacks(self._answered, self._not_answered, callbackArgs=(body,))

    def _answered(self, answer: Frame, body: bytes) -> None:
        if answer.code == ResponseCode.SUCCESS:
            sent = SendMessageResponseHeader.from_ext_fields(answer.ext_fields)
            offset = int(sent.msg_id[-16:], 16)
            assert self.acknowledged.setdefault(offset, body) == body, f"two messages at {offset}"

    def _not_answered(self, failure: Any) -> None:
        failure.trap(RocketMQError)

    # -- trouble -------------------------------------------------------------------------------------------

    def _make_trouble(self) -> None:
        dice, network, service = self.world.dice, self.world.network, self.service
        node = dice.choice(self.members)
        others = [host for host in (*HOSTS, CLIENT, NAME_SERVER) if host != node.host]
        brokers = [member.host for member in self.members if member is not node]
        match dice.randrange(11):
            case 0 | 1:
                self._crash(node)
            case 2:
                node.crash_in(dice.randrange(12), self.loses_power and dice.random() < 0.5)
            case 3:
                network.partition(node.host, *dice.sample(others, dice.randint(1, len(others))))
            case 4:
                if node.session is not None:
                    service.cut(node.session)
            case 5 | 9:  # clients still reach it
                if node.session is not None:
                    service.cut(node.session)
                network.partition(node.host, *brokers)
            case 10:
                network.slow_down(node.host, dice.choice(brokers), dice.choice((300.0, 5000.0)))
            case 6:
                service.stop() if service.is_up else service.start()
            case 7 | 8:
                self._heal()
        for down in self.members:
            if not down.is_running and dice.random() < 0.5:
                down.start()

    def _crash(self, node: Member) -> None:
        if self.loses_power and self.world.dice.random() < 0.5:
            node.cut_power()
        else:
            node.kill()

    def _heal(self) -> None:
        self.world.network.heal()
        self.service.start()
        for member in self.members:
            if member.session is not None:
                self.service.heal(member.session)

    def _end_trouble(self) -> None:
        for member in self.members:
            member.disk.crash_in = None
            if not member.is_running:
                member.start()
        self._heal()

    # -- what must hold after each event -------------------------------------------------------------------

    def _look(self) -> None:
        for member in self.members:
            if not member.is_running:
                continue
            replicas = member.replicas
            if replicas.epoch is not None:
                leader = self.leaders.setdefault(replicas.epoch, member.host)
                assert leader == member.host, f"{leader} and {member.host} lead in epoch {replicas.epoch}"
            self._look_at_shown(member, min(replicas.visible_to, member.store.written_to))

    def _look_at_shown(self, member: Member, visible_to: int) -> None:
        """What consumers may see of a log is what they may have seen of any."""
        known, start = self._seen.get(member.host, (None, 0))
        if known is not member.process:
            start = 0
        if visible_to <= start:
            return
        data = member.log(start, visible_to)
        known_part = bytes(self._shown[start:visible_to])
        assert data[: len(known_part)] == known_part, f"{member.host} shows another log from {start} on"
        if visible_to > len(self._shown):
            self._shown[start:] = data
        self._seen[member.host] = (member.process, visible_to)

    # -- what must hold in the end -------------------------------------------------------------------------

    def _check_end(self) -> None:
        assert self.world.run_until(self._is_healed, 240), f"it does not heal: {self._standings()}"
        master = next(member for member in self.members if member.replicas.epoch is not None)
        for offset, body in self.acknowledged.items():
            assert body in master.store.record_at(offset), f"{body[:10]!r} at {offset} was lost"
        assert bytes(self._shown) == master.log(0, len(self._shown)), "what was shown is not there"

    def _is_healed(self) -> bool:
        leading = [member for member in self.members if member.replicas.epoch is not None]
        if len(leading) != 1 or len(leading[0].replicas.in_sync) != len(self.members):
            return False
        ends = {member.store.written_to for member in self.members}
        logs = {member.log(0, member.store.written_to) for member in self.members} if len(ends) == 1 else ()
        return len(logs) == 1

    def _standings(self) -> list[object]:
        return [
            (
                member.host,
                member.replicas.epoch,
                member.parts.failover.roles.standing.broker_role.value,
                member.parts.failover.roles.history.to_text(),
                member.store.written_to,
                member.store.refusal,
            )
            for member in self.members
        ]


def main() -> None:
    for seed in range(int(sys.argv[1]), int(sys.argv[2])):
        trial = Trial(seed)
        try:
            trial.run()
        except Exception as error:  # noqa: BLE001  the hunt goes on; each failure is a seed
            print(f"seed {seed}: {error!r}")
        else:
            print(f"seed {seed}: {len(trial.acknowledged)} acknowledged, {trial.elections} elections")


if __name__ == "__main__":
    main()
