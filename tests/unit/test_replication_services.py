"""The services at both ends of replication: when they try again, give signs of life, give up."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config.values import FlushDiskType
from rocketmq_tx.errors import ConnectFailed, ReplicationStopped, StartError
from rocketmq_tx.protocol.ha_frames import encode_piece_head, encode_report
from rocketmq_tx.replication.follower import Follower
from rocketmq_tx.replication.listener import HA_PORT_OFFSET, SlaveListener
from rocketmq_tx.replication.slaves import Slaves
from tests.memory_disk import MemoryDisk
from tests.simulator.process import SimulatedReactor
from tests.simulator.world import World
from tests.store_cases import NOW, message, open_store
from tests.unit.replication_parts import HeldFlushes, at_once

MASTER, SLAVE = "192.0.2.1", "192.0.2.2"
REQUESTS, PORT = f"{MASTER}:10911", 20911


class Recorder(Protocol):
    """A peer that writes down what it hears, and when; `greets` with some bytes."""

    def __init__(self, clock: Clock, greets: bytes) -> None:
        self._clock = clock
        self._greets = greets
        self.heard: list[tuple[float, bytes]] = []
        self.lost_s: float | None = None

    def connectionMade(self) -> None:
        self.transport.write(self._greets)

    def dataReceived(self, data: bytes) -> None:
        self.heard.append((round(self._clock.seconds(), 1), data))

    def connectionLost(self, reason: Any = None) -> None:
        self.lost_s = self._clock.seconds()


class RecorderFactory(Factory):
    def __init__(self, clock: Clock, greets: bytes = b"") -> None:
        self.clock = clock
        self.greets = greets
        self.made: list[Recorder] = []

    def buildProtocol(self, addr: Any) -> Recorder:
        self.made.append(Recorder(self.clock, self.greets))
        return self.made[-1]

    def startedConnecting(self, connector: Any) -> None: ...

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None: ...


class ServiceCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(seed=1)
        self.clock, self.network = self.world.clock, self.world.network
        self.network.latency_s = (0.0, 0.0)
        self.master = SimulatedReactor(self.network, MASTER, self.network.dice)
        self.slave = SimulatedReactor(self.network, SLAVE, self.network.dice)
        self.said: list[tuple[float, str]] = []
        globalLogPublisher.addObserver(self.look)
        self.addCleanup(globalLogPublisher.removeObserver, self.look)

    def look(self, event: dict[str, Any]) -> None:
        if "replication" in event.get("log_namespace", ""):
            text = event["log_format"].format(**event)
            self.said.append((round(self.clock.seconds(), 1), text))

    def saying(self, part: str) -> list[float]:
        """When something with this in it was said."""
        return [when for when, text in self.said if part in text]

    def pass_time(self, seconds: float) -> None:
        self.world.run(seconds)


class FollowerTests(ServiceCase):
    def setUp(self) -> None:
        super().setUp()
        self.store = open_store(MemoryDisk())
        self.flushes = HeldFlushes()
        self.compared: list[float] = []
        self.verdict: Callable[[], Deferred[int]] = lambda: succeed(self.store.written_to)
        self.looked: list[float] = []
        self.follower = Follower(
            self.store,
            self.store.config,
            self.flushes,
            self,
            lambda chunk, was_written: self.store.append_raw(chunk.data, chunk.offset, NOW, was_written),
            lambda: self.looked.append(round(self.clock.seconds(), 1)),
            self.slave,
        )
        self.addCleanup(self.follower.stopService)

    async def begin(self, master: str) -> int:
        """Stands for the comparison of logs."""
        self.compared.append(round(self.clock.seconds(), 1))
        return await self.verdict()

    def listen(self, greets: bytes = b"") -> RecorderFactory:
        factory = RecorderFactory(self.clock, greets)
        self.master.listenTCP(PORT, factory)
        return factory

    def follow(self) -> None:
        self.follower.startService()
        self.follower.master_is(REQUESTS, f"{MASTER}:{PORT}")
        self.pass_time(0.1)

    def test_without_a_master_it_asks_for_one_and_says_so_once_it_had_the_time_to_be_told(self) -> None:
        self.follower.startService()
        self.pass_time(30)
        self.assertEqual(self.looked[:5], [0.0, 0.5, 1.5, 3.5, 7.5])
        self.assertEqual(len(self.saying("no NameServer knows one")), 1)

    def test_news_of_a_master_end_the_wait(self) -> None:
        master = self.listen()
        self.follower.startService()
        self.pass_time(9.05)
        self.follower.master_is(REQUESTS, f"{MASTER}:{PORT}")
        self.pass_time(0.1)
        self.assertEqual(master.made[0].heard, [(9.1, encode_report(0))])
        self.assertTrue(self.follower.is_following)

    def test_a_master_that_refuses_is_tried_every_five_seconds_in_the_end(self) -> None:
        self.follow()
        self.pass_time(60)
        pauses = [after - before for before, after in itertools.pairwise(self.compared)]
        self.assertLess(pauses[0], 1.5)
        self.assertLess(pauses[0], pauses[1])
        for pause in pauses[4:]:
            self.assertTrue(5 <= pause <= 5.5, pauses)
        self.assertEqual(len(self.saying("not following a master: no connection")), 1)

    def test_problems_that_take_turns_do_not_fill_the_log(self) -> None:
        reasons = [ConnectFailed("one reason"), ConnectFailed("another")]
        self.verdict = lambda: fail(reasons[len(self.compared) % 2])
        self.follow()
        self.pass_time(300)
        self.assertGreater(len(self.compared), 50)
        self.assertLess(len(self.said), 15)

    def test_it_reports_every_haSendHeartbeatInterval(self) -> None:
        master = self.listen()
        self.follow()
        self.pass_time(16)
        times = [when for when, _ in master.made[0].heard]
        self.assertEqual(len(times), 4)
        for before, after in itertools.pairwise(times):
            self.assertTrue(5 <= after - before <= 6.1, times)

    def test_a_master_that_is_silent_for_haHousekeepingInterval_is_left_and_tried_again(self) -> None:
        master = self.listen()
        self.follow()
        self.pass_time(19.5)
        self.assertEqual(len(master.made), 1)
        self.pass_time(3)
        self.assertEqual(len(self.saying("nothing was heard of the master")), 1)
        self.assertEqual(len(master.made), 2)

    def test_a_heartbeat_keeps_the_connection(self) -> None:
        master = self.listen()
        self.follow()
        for _ in range(6):
            self.pass_time(10)
            master.made[0].transport.write(encode_piece_head(0, 0))
        self.assertEqual(len(master.made), 1)

    def test_what_is_no_stream_of_a_master_ends_the_connection_and_is_tried_again(self) -> None:
        for noise in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 12, encode_piece_head(77, 4) + b"body"):
            master = self.listen(noise)
            before = len(self.saying("the connection to the master has ended"))
            self.follow()
            self.pass_time(2)
            self.assertGreaterEqual(len(master.made), 2, noise)
            self.assertGreater(len(self.saying("the connection to the master has ended")), before)
            self.assertEqual(self.store.written_to, 0)
            self.follower.stopService()
            self.network.ports.clear()

    def test_one_that_must_not_follow_says_so_once_as_an_error_and_looks_every_30_seconds(self) -> None:
        master = self.listen()
        self.verdict = lambda: fail(ReplicationStopped("the logs differ at 88"))
        self.follow()
        self.pass_time(95)
        self.assertEqual(self.compared, [0.0, 30.0, 60.0, 90.0])
        self.assertEqual(self.saying("the logs differ at 88"), [0.0])
        self.assertEqual(master.made, [])
        self.verdict = lambda: succeed(0)
        self.pass_time(30)
        self.assertEqual(len(master.made), 1)

    def test_with_SYNC_FLUSH_it_reports_nothing_that_is_not_on_disk(self) -> None:
        master = self.listen()
        self.store.append_all([message()], NOW)
        self.store.config.flush_disk_type = FlushDiskType.SYNC_FLUSH
        self.flushes.held = True
        self.follow()
        self.assertEqual(master.made, [])
        [(offset, flushed)] = self.flushes.waiting
        self.assertEqual(offset, self.store.written_to)
        flushed.callback(None)
        self.pass_time(0.1)
        self.assertEqual([data for _, data in master.made[0].heard], [encode_report(offset)])

    def test_one_that_can_store_nothing_stays_away_and_says_why(self) -> None:
        master = self.listen()
        self.store.refuse("disk full", "the disk of /store is 97% full")
        self.follow()
        self.pass_time(20)
        self.assertEqual(master.made, [])
        self.assertEqual(len(self.saying("not following a master: the disk of /store is 97% full")), 1)
        self.store.accept("disk full")
        self.pass_time(6)
        self.assertEqual(len(master.made), 1)

    def test_stopping_closes_the_connection_and_ends_the_tries(self) -> None:
        master = self.listen()
        self.follow()
        self.successResultOf(self.follower.stopService())
        self.pass_time(60)
        self.assertIsNotNone(master.made[0].lost_s)
        self.assertEqual(len(master.made), 1)


class SlaveListenerTests(ServiceCase):
    def setUp(self) -> None:
        super().setUp()
        self.store = open_store(MemoryDisk())
        self.config = self.store.config
        self.slaves = Slaves(self.config, self.clock)
        self.listener = self.make()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        self.listener.stopService()

    def make(self) -> SlaveListener:
        return SlaveListener(
            self.store, self.config, self.slaves, at_once, self.master, "0.0.0.0", PORT - HA_PORT_OFFSET
        )

    def connect(self, greets: bytes = b"") -> Recorder:
        factory = RecorderFactory(self.clock, greets)
        self.slave.connectTCP(MASTER, self.listener.port, factory)
        self.pass_time(0.1)
        return factory.made[0]

    def start(self) -> None:
        self.successResultOf(self.listener.startService())

    def test_the_usual_port_else_a_free_one(self) -> None:
        self.start()
        self.assertEqual(self.listener.port, PORT)
        other = self.make()
        self.successResultOf(other.startService())
        self.assertNotIn(other.port, (0, PORT))
        self.successResultOf(other.stopService())

    def test_a_given_port_that_is_taken_fails_with_the_key(self) -> None:
        self.master.listenTCP(777, RecorderFactory(self.clock))
        self.config.ha_listen_port = 777
        self.listener = self.make()
        error = self.failureResultOf(self.listener.startService(), StartError).value
        self.assertIn("haListenPort", str(error))

    def test_a_silent_slave_is_given_up_after_haHousekeepingInterval(self) -> None:
        self.start()
        silent, alive = self.connect(encode_report(0)), self.connect(encode_report(0))
        for _ in range(5):
            self.pass_time(5)
            alive.transport.write(encode_report(0))
        self.assertIsNotNone(silent.lost_s)
        self.assertTrue(20 <= silent.lost_s <= 21.5, silent.lost_s)
        self.assertIsNone(alive.lost_s)
        self.assertEqual(len(self.slaves), 1)

    def test_heartbeats_go_out_every_haSendHeartbeatInterval_when_there_is_nothing_else(self) -> None:
        self.config.ha_send_heartbeat_interval = 1000
        self.start()
        slave = self.connect(encode_report(0))
        self.pass_time(5)
        self.assertTrue(4 <= len(slave.heard) <= 5, slave.heard)
        self.assertEqual({data for _, data in slave.heard}, {encode_piece_head(0, 0)})

    def test_one_that_has_not_reported_gets_nothing(self) -> None:
        self.store.append_all([message()], NOW)
        self.start()
        slave = self.connect()
        self.pass_time(10)
        self.assertEqual(slave.heard, [])

    def test_what_is_no_slave_is_thrown_out(self) -> None:
        self.start()
        for noise in (b"GET / HTTP/1.1\r\n\r\n", encode_report(-1), encode_report(1 << 40)):
            self.assertIsNotNone(self.connect(noise).lost_s, noise)
        self.assertEqual(len(self.slaves), 0)

    def grow(self) -> int:
        """The log's end after one more message."""
        self.store.append_all([message()], NOW)
        self.slaves.log_grew()
        return self.store.written_to

    def test_a_slave_that_has_more_than_anybody_was_sent_has_another_log_and_gets_nothing(self) -> None:
        """The log may have outgrown the slave's by now, which does not make it the same."""
        began = self.grow()
        self.start()
        follows = self.connect(encode_report(began))
        sent = self.grow()
        follows.transport.write(encode_report(sent))
        follows.transport.loseConnection()
        self.pass_time(0.1)
        ahead = self.grow()
        refused = self.connect(encode_report(ahead))
        self.assertEqual((refused.heard, refused.lost_s is None), ([], False))
        self.assertEqual(len(self.saying("needs an empty store")), 1)
        self.assertIsNone(self.connect(encode_report(sent)).lost_s)
        self.assertIsNone(self.connect(encode_report(ahead)).lost_s, "this one was sent by now")

    def test_a_slave_that_compares_logs_for_itself_may_have_what_nobody_was_sent(self) -> None:
        self.start()
        asked: list[str] = []
        self.slaves.compares_logs = lambda host: not asked.append(host)
        self.assertIsNone(self.connect(encode_report(self.grow())).lost_s)
        self.assertEqual(asked, [SLAVE])

    def test_how_far_slaves_are_behind_is_said_once_a_minute(self) -> None:
        self.config.ha_housekeeping_interval = 1_000_000
        self.start()
        slave = self.connect(encode_report(0))
        self.store.append_all([message()], NOW)
        self.slaves.log_grew()
        self.pass_time(125)
        self.assertEqual(len(self.saying("slave is behind")), 2)
        slave.transport.write(encode_report(self.store.written_to))
        self.pass_time(120)
        self.assertEqual(len(self.saying("slave is behind")), 2)

    def test_one_that_is_far_behind_does_not_keep_the_reactor(self) -> None:
        """Though it takes whatever it is sent: others have their turn in between."""
        for number in range(400):
            self.store.append_all([message("T", 0, b"%d" % number + b"x" * 3000)], NOW)
        self.start()
        turns = [0]
        self.world.every_step.append(
            lambda: turns.append(max((slave._end.sent_to or 0 for slave in self.slaves), default=0))
        )
        self.slave.connectTCP(MASTER, self.listener.port, RecorderFactory(self.clock, encode_report(0)))
        self.pass_time(1)
        self.assertEqual(turns[-1], self.store.written_to)
        steps = [after - before for before, after in itertools.pairwise(turns)]
        self.assertLessEqual(max(steps), 512 << 10)

    def test_stopping_closes_the_port_and_the_connections(self) -> None:
        self.start()
        slave = self.connect(encode_report(0))
        self.successResultOf(self.listener.stopService())
        self.pass_time(0.1)
        self.assertIsNotNone(slave.lost_s)
        self.assertEqual(self.network.ports, {})
