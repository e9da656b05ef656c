"""The simulated cluster itself: that its network, disks and crashes are as hard as real ones."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import RocketMQError
from rocketmq_tx.protocol.frame import Frame
from tests.simulator.world import World

NAME_SERVER, MASTER, SLAVE, CLIENT = "192.0.2.9", "192.0.2.1", "192.0.2.2", "192.0.2.3"


class SimulatedClusterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = world = World(seed=1)
        world.name_server(NAME_SERVER)
        self.master = world.broker(MASTER, brokerRole="SYNC_MASTER")
        self.slave = world.broker(SLAVE, brokerRole="SLAVE", brokerId=1)
        self.client = world.client(CLIENT)
        world.run(5)

    def send(self, body: bytes = b"hello") -> Frame:
        answer = self.client.send(self.master.address, body)
        self.world.run(6)
        return self.successResultOf(answer)

    def test_a_master_and_its_slave_find_each_other_by_the_name_server(self) -> None:
        self.assertEqual(self.send().code, 0)
        end = self.master.store.written_to
        self.assertGreater(end, 0)
        self.assertEqual(self.slave.log(0, end), self.master.log(0, end))

    def test_a_partition_holds_everything_back_and_loses_nothing(self) -> None:
        self.send()
        self.world.network.partition(MASTER, SLAVE)
        self.assertEqual(self.send().code, 12)
        self.assertLess(self.slave.store.written_to, self.master.store.written_to)
        self.world.network.heal()
        self.world.run(1)
        self.assertEqual(self.slave.store.written_to, self.master.store.written_to)

    def test_who_is_cut_off_gets_no_answer(self) -> None:
        self.world.network.partition(CLIENT, MASTER)
        answer = self.client.send(self.master.address, b"x")
        self.world.run(6)
        self.failureResultOf(answer, RocketMQError)

    def test_a_kill_keeps_what_was_written_and_a_power_cut_what_was_synced(self) -> None:
        self.send(b"a")
        written = self.master.store.written_to
        self.master.kill()
        self.master.start()
        self.world.run(1)
        self.assertEqual(self.master.store.written_to, written)
        self.slave.kill()
        losses = set()
        for number in range(8):
            written = self.master.store.written_to
            self.client.send(self.master.address, b"b%d" % number).addErrback(lambda _: None)
            store = self.master.store
            self.world.run_until(lambda before=written, store=store: store.written_to > before, 10)
            self.master.cut_power()
            self.master.start()
            self.world.run(6)
            losses.add(self.master.store.written_to <= written)
        self.assertEqual(losses, {True, False})

    def test_a_process_ends_in_the_middle_of_what_it_does(self) -> None:
        self.master.crash_in(0, lost_power=False)
        answer = self.client.send(self.master.address, b"x")
        self.world.run(6)
        self.failureResultOf(answer, RocketMQError)
        self.assertFalse(self.master.is_running)
        self.master.start()
        self.world.run(5)
        self.assertEqual(self.send().code, 0)

    def test_a_slow_link_takes_its_time(self) -> None:
        self.world.network.slow_down(MASTER, SLAVE, 1000)
        answer = self.client.send(self.master.address, b"x" * 2000)
        self.world.run(1)
        self.assertNoResult(answer)
        self.world.run(2)
        self.assertEqual(self.successResultOf(answer).code, 0)

    def test_the_same_seed_gives_the_same_run(self) -> None:
        def run() -> tuple[float, int, int]:
            world = World(seed=5)
            world.name_server(NAME_SERVER)
            master = world.broker(MASTER, brokerRole="SYNC_MASTER")
            slave = world.broker(SLAVE, brokerRole="SLAVE", brokerId=1)
            client = world.client(CLIENT)
            times: list[float] = []
            for number in range(50):
                answer = client.send(master.address, b"%d" % number)
                answer.addBoth(lambda _: times.append(world.clock.seconds()))
                world.run(world.dice.random())
            return sum(times), master.disk.changes, slave.disk.changes

        self.assertEqual(run(), run())
