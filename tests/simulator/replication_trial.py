"""A master, its slaves, a sender, and an adversary who breaks what can break; then what must hold is checked.

    python -m tests.simulator.replication_trial 1000 2000     # seeds from 1000 to 1999, for a long hunt

What may break depends on what was promised, so a trial has one of three kinds:

    DURABLE   all flush before they answer: kills and power cuts of everybody
    KILLS     nobody waits for a disk: processes are killed, machines keep their power
    LOSSY     nobody waits for a disk, the master loses its power: what was acknowledged is on the slave
"""

from __future__ import annotations

import enum
import sys
from typing import Any

from rocketmq_tx.errors import RocketMQError
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import SendMessageResponseHeader
from rocketmq_tx.replication.sending import PIECE_MAX_BYTES
from tests.simulator.network import PRODUCER_PAUSES_BYTES
from tests.simulator.process import SimulatedDisk
from tests.simulator.world import SMALL_FILES, BrokerNode, World

NAME_SERVER, MASTER, CLIENT = "192.0.2.9", "192.0.2.1", "192.0.2.8"
SLAVES = ("192.0.2.2", "192.0.2.3")
TROUBLE_S = 50.0
SEGMENT = SMALL_FILES["mappedFileSizeCommitLog"]
QUEUES = 4


class Kind(enum.Enum):
    DURABLE = "durable"
    KILLS = "kills"
    LOSSY = "lossy"


class Trial:
    """All of it follows from the seed. `run` raises AssertionError when something does not hold."""

    def __init__(self, seed: int) -> None:
        self.world = world = World(seed)
        dice = world.dice
        self.kind = dice.choice(list(Kind))
        flush = "SYNC_FLUSH" if self.kind is Kind.DURABLE else "ASYNC_FLUSH"
        keys = {
            "flushDiskType": flush,
            "haTransferBatchSize": dice.choice((100, 4096, 32768)),
            "slaveTimeout": dice.choice((300, 3000)),
            "haSlaveFallbehindMax": dice.choice((20_000, 268435456)),
        }
        world.name_server(NAME_SERVER)
        self.master = world.broker(MASTER, brokerRole="SYNC_MASTER", **keys)
        count = 1 if self.kind is Kind.LOSSY else dice.choice((1, 2))
        self.slaves = [
            world.broker(host, brokerRole="SLAVE", brokerId=number, **keys)
            for number, host in enumerate(SLAVES[:count], 1)
        ]
        self.client = world.client(CLIENT)
        self.acknowledged: list[tuple[int, bytes]] = []
        """(commit log offset, record) of all that was answered SEND_OK."""
        self.codes: dict[int | str, int] = {}
        self.stops = 0
        self._sent = 0
        self._steps = 0
        self._verified: dict[str, tuple[object, int]] = {}
        self._kept: dict[str, bytes] = {}
        world.every_step.append(self._look)

    def __str__(self) -> str:
        return f"a trial of kind {self.kind.value}"

    def run(self) -> None:
        world, dice = self.world, self.world.dice
        world.run(3)
        until_s = world.clock.seconds() + TROUBLE_S
        while world.clock.seconds() < until_s:
            for _ in range(dice.choice((1, 1, 1, 10))):
                self._send()
            world.run(dice.expovariate(5))
            if dice.random() < 0.04:
                self._make_trouble()
        self._end_trouble()
        self._check_end()

    # -- load ----------------------------------------------------------------------------------------------

    def _send(self) -> None:
        self._sent += 1
        body = b"%d-" % self._sent + b"x" * self.world.dice.choice((10, 10, 300, 300, 3000))
        answer = self.client.send(self.master.address, body, queue_id=self._sent % QUEUES)
        answer.addCallbacks(self._answered, self._not_answered, callbackArgs=(body,))

    def _answered(self, answer: Frame, body: bytes) -> None:
        self.codes[answer.code] = self.codes.get(answer.code, 0) + 1
        if answer.code != ResponseCode.SUCCESS:
            return
        sent = SendMessageResponseHeader.from_ext_fields(answer.ext_fields)
        offset = int(sent.msg_id[-16:], 16)
        holders = [_record(node, offset, self._safe) for node in self.slaves]
        record = next((record for record in holders if body in record), None)
        assert record is not None, f"{offset} was acknowledged, and no slave has it"
        if self.kind is not Kind.LOSSY:
            assert _record(self.master, offset, self._safe) == record, f"{offset} is not the master's"
        self.acknowledged.append((offset, record))

    @property
    def _safe(self) -> bool:
        """Whether SEND_OK says that it is on disks."""
        return self.kind is Kind.DURABLE

    def _not_answered(self, failure: Any) -> None:
        failure.trap(RocketMQError)
        name = type(failure.value).__name__
        self.codes[name] = self.codes.get(name, 0) + 1

    # -- trouble -------------------------------------------------------------------------------------------

    def _make_trouble(self) -> None:
        dice, network = self.world.dice, self.world.network
        node = dice.choice([self.master, *self.slaves])
        others = [MASTER, *SLAVES, CLIENT, NAME_SERVER]
        others.remove(node.host)
        match dice.randrange(8):
            case 0 | 1:
                self._crash(node)
            case 2:
                loses_power = self._may_lose_power(node) and dice.random() < 0.5
                node.crash_in(dice.randrange(12), loses_power)
            case 3:
                network.partition(node.host, *dice.sample(others, dice.randint(1, len(others))))
            case 4:
                network.slow_down(MASTER, dice.choice(self.slaves).host, dice.choice((300.0, 20_000.0)))
            case 5:
                node.slow_disk(*dice.choice(((0.0, 0.001), (0.01, 0.1), (0.5, 4.0))))
            case 6:
                network.cut_connections(MASTER, dice.choice(self.slaves).host)
            case 7:
                network.heal()
        for down in [self.master, *self.slaves]:
            if not down.is_running and dice.random() < 0.7:
                down.start()

    def _crash(self, node: BrokerNode) -> None:
        if self._may_lose_power(node) and self.world.dice.random() < 0.5:
            node.cut_power()
        else:
            node.kill()

    def _may_lose_power(self, node: BrokerNode) -> bool:
        return self.kind is Kind.DURABLE or (self.kind is Kind.LOSSY and node is self.master)

    def _end_trouble(self) -> None:
        for node in [self.master, *self.slaves]:
            node.disk.crash_in = None
            node.slow_disk(0.0, 0.001)
            if not node.is_running:
                node.start()
        self.world.network.heal()

    # -- what must hold after each event -------------------------------------------------------------------

    def _look(self) -> None:
        self._steps += 1
        if self._steps % 3:
            return
        for end in self.world.network.ends:
            most = PRODUCER_PAUSES_BYTES + PIECE_MAX_BYTES
            assert end.most_unsent <= most, f"{end.most_unsent} bytes wait in memory for {end.there.host}"
        for slave in self.slaves:
            self._look_at(slave)

    def _look_at(self, slave: BrokerNode) -> None:
        """What came over the present connection is the master's, and is what is acknowledged."""
        if not (slave.is_running and self.master.is_running):
            return
        connection = slave.parts.replication._follower._connection
        end = None if connection is None else connection.transport
        if end is None or not end.connected or end.peer.process is not self.master.process:
            return
        known, verified = self._verified.get(slave.host, (None, 0))
        if known is not end:
            verified = 0
        written = slave.store.written_to
        assert written <= self.master.store.written_to, "a slave that follows is ahead of its master"
        reached = end.peer.protocol.acknowledged or 0
        assert reached <= (slave.store.flushed_to if self._safe else written), "acknowledged too early"
        assert slave.log(verified, written) == self.master.log(verified, written), "the logs differ"
        self._verified[slave.host] = (end, written)

    # -- what must hold in the end -------------------------------------------------------------------------

    def _check_end(self) -> None:
        for slave in self.slaves:
            if not self.world.run_until(lambda slave=slave: self._is_equal(slave), 120):
                self._check_stopped(slave)
                self._mend(slave)
                assert self.world.run_until(lambda slave=slave: self._is_equal(slave), 120), (
                    f"{slave.host} does not catch up: it has {slave.store.written_to} "
                    f"of {self.master.store.written_to}"
                )
        for node in [self.master, *self.slaves]:
            for offset, record in self.acknowledged:
                assert _record(node, offset, False) == record, f"{node.host} has lost {offset}"
        self.world.run(10)  # slow disks end what they had begun, the last acknowledgements come in
        code = None
        for _ in range(2):  # the first may go over a connection that died with the power of the master
            answer = self.client.send(self.master.address, b"the last one")
            answer.addErrback(lambda _: None)
            self.world.run(6)
            code = getattr(getattr(answer, "result", None), "code", code)
        assert code == ResponseCode.SUCCESS, f"no double write in the end: {code}"

    def _is_equal(self, slave: BrokerNode) -> bool:
        end = self.master.store.written_to
        return (
            slave.store.written_to == end
            and slave.parts.replication._follower.is_following
            and any(each.name.startswith(slave.host) for each in self.master.parts.slaves)
            and slave.log(0, end) == self.master.log(0, end)
        )

    def _check_stopped(self, slave: BrokerNode) -> None:
        """Only a master that lost what it had written is a reason, and the slave says so."""
        assert self.kind is not Kind.KILLS, f"{slave.host} does not follow, though nothing was ever lost"
        self.stops += 1
        said = slave.parts.replication._follower._last_problem or ""
        assert "replication is stopped" in said, f"{slave.host} does not follow, and says {said!r}"
        mine, theirs = slave.store.written_to, self.master.store.written_to
        same = min(mine, theirs)
        assert mine > theirs or slave.log(0, same) != self.master.log(0, same), said

    def _mend(self, slave: BrokerNode) -> None:
        """What `docs/cluster.md` says: one of the two logs has to go."""
        slave.stop()
        if self.kind is Kind.DURABLE:
            slave.disk = SimulatedDisk()
        else:
            self.master.stop()
            self.master.disk = SimulatedDisk(slave.disk.after_kill())
            self.master.start()
        slave.start()


def _record(node: BrokerNode, offset: int, durable: bool) -> bytes:
    """What the disk has there: written, or surely on the device; b"" for nothing."""
    file = node.disk.nodes.get(f"/store/commitlog/{offset - offset % SEGMENT:020d}")
    if file is None:
        return b""
    content = file.durable if durable else bytes(file.content)
    at = offset % SEGMENT
    size = int.from_bytes(content[at : at + 4], "big")
    return content[at : at + size]


def main(first: int, end: int) -> None:
    for seed in range(first, end):
        trial = Trial(seed)
        try:
            trial.run()
        except BaseException:
            print(f"seed {seed}, {trial.kind.value}, after {trial.world.clock.seconds():.3f} s")
            raise
        print(
            f"seed {seed}: {trial.kind.value}, {len(trial.slaves)} slaves, {trial._steps} steps, "
            f"{sum(node.crashes for node in trial.world.brokers.values())} crashes, {trial.stops} stops, "
            f"{len(trial.acknowledged)} acknowledged, answers {trial.codes}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
