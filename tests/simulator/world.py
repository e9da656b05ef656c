"""A whole simulated cluster: NameServers, brokers and clients on hosts of one network, driven by one seed."""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from rocketmq_tx.broker.service import BrokerParts
from rocketmq_tx.config.settings import load_namesrv
from rocketmq_tx.namesrv.service import make_namesrv
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.remoting.caller import RemotingClient
from rocketmq_tx.runtime.services import OrderedServices
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import MemoryDisk
from tests.send_headers import send_header
from tests.simulator.network import Network
from tests.simulator.process import SimulatedDisk, SimulatedReactor, SimulatedThread
from tests.unit.broker_parts import broker_settings

BEGAN_MS = 1_795_239_814_400
BROKER_PORT = 10911
NAMESRV_PORT = 9876
STEPS_OF_AN_INSTANT = 20_000
"""More calls that are all due at the same time: somebody calls himself without end."""
SMALL_FILES = {
    "mappedFileSizeCommitLog": 65536,
    "mappedFileSizeConsumeQueue": 6000,
    "maxHashSlotNum": 50,
    "maxIndexNum": 200,
    "maxMessageSize": 20_000,
}


class EventClock(Clock):
    """Puts a call where it belongs instead of sorting all of them: there are many."""

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        when = self.seconds() + delay
        call = DelayedCall(when, callable, args, kw, self.calls.remove, lambda _: None, self.seconds)
        insort(self.calls, call, key=_time_of)
        return call


_time_of = attrgetter("time")


class World:
    """`dice` is where all chance comes from. Hosts are IPv4 addresses; a broker listens on `host:10911`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.clock = EventClock()
        self.network = Network(self.clock, self.dice)
        self.name_servers: list[str] = []
        self.brokers: dict[str, BrokerNode] = {}
        self.every_step: list[Callable[[], object]] = []
        """Called after each event: for what must always hold."""

    # -- time ----------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Simulated time passes, event by event."""
        self.run_until(lambda: False, seconds)

    def run_until(self, condition: Callable[[], object], most_s: float) -> bool:
        """Whether the condition came true within so many seconds."""
        clock = self.clock
        until_s = clock.seconds() + most_s
        here_s, steps = clock.seconds(), 0
        while not condition():
            steps += 1
            if clock.seconds() > here_s:
                here_s, steps = clock.seconds(), 0
            assert steps < STEPS_OF_AN_INSTANT, f"time stands still at {here_s} for {clock.calls[0]}"
            if not clock.calls or clock.calls[0].getTime() > until_s:
                clock.advance(until_s - clock.seconds())
                return bool(condition())
            # the clock's own calls are made one by one, so that each is an instant to look at
            call = clock.calls.pop(0)
            clock.rightNow = max(clock.rightNow, call.getTime())
            call.called = 1
            call.func(*call.args, **call.kw)
            for look in self.every_step:
                look()
        return True

    def now_ms(self) -> int:
        return BEGAN_MS + round(self.clock.seconds() * 1000)

    # -- who is there --------------------------------------------------------------------------------------

    def name_server(self, host: str) -> NameServerNode:
        """A NameServer that runs; brokers made from now on know it."""
        self.name_servers.append(f"{host}:{NAMESRV_PORT}")
        return NameServerNode(self, host)

    def broker(self, host: str, **keys: Any) -> BrokerNode:
        """A broker that was started."""
        node = self.brokers[host] = BrokerNode(self, host, keys)
        node.start()
        return node

    def client(self, host: str) -> Client:
        return Client(self, host)


class Node:
    """A host with one process, its disk, and how both end."""

    def __init__(self, world: World, host: str) -> None:
        self.world = world
        self.host = host
        self.disk = SimulatedDisk()
        self.process: SimulatedReactor | None = None
        self.tree: OrderedServices | None = None
        self.crashes = 0

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.alive

    def start(self) -> Deferred[None]:
        """A new process; fires when it has started."""
        assert not self.is_running
        self.process = SimulatedReactor(self.world.network, self.host, self.world.dice)
        self.disk.crash = self.kill
        self.tree = self.make(self.process)
        return self.tree.startService()

    def make(self, process: SimulatedReactor) -> OrderedServices:
        raise NotImplementedError

    def kill(self) -> None:
        """The process is gone, the machine is not: what was written is there."""
        self._end(self.disk.after_kill(), lost_power=False)

    def cut_power(self) -> None:
        """What was not synced is gone, or not, or in part."""
        self._end(self.disk.after_power_cut(self.world.dice), lost_power=True)

    def crash_in(self, changes: int, lost_power: bool) -> None:
        """Kills, or cuts the power, in the middle of something: after so many changes to the disk."""
        self.disk.crash = self.cut_power if lost_power else self.kill
        self.disk.crash_in = changes

    def _end(self, image: MemoryDisk, lost_power: bool) -> None:
        if self.process is not None and self.process.alive:
            self.process.die(lost_power)
            self.crashes += 1
            self.disk = SimulatedDisk(image)

    def stop(self) -> None:
        """In order, as by SIGTERM; takes simulated time."""
        if self.is_running:
            assert self.tree is not None and self.process is not None
            stopped = self.tree.stopService()
            assert self.world.run_until(lambda: stopped.called, 30)
            self.process.die(lost_power=False)


class NameServerNode(Node):
    def __init__(self, world: World, host: str) -> None:
        super().__init__(world, host)
        self.start()

    def make(self, process: SimulatedReactor) -> OrderedServices:
        settings = load_namesrv(overrides={"kvConfigPath": "/namesrv/kvConfig.json"})
        return make_namesrv(settings, process, lambda _: None, disk=self.disk)


class BrokerNode(Node):
    """`parts` is the broker of the present process, or of the last one. `keys` count from the next start."""

    parts: BrokerParts

    def __init__(self, world: World, host: str, keys: dict[str, Any]) -> None:
        super().__init__(world, host)
        self.keys = keys
        self.thread_s = (0.0, 0.001)

    @property
    def address(self) -> str:
        return f"{self.host}:{BROKER_PORT}"

    @property
    def store(self) -> MessageStore:
        return self.parts.store

    def make(self, process: SimulatedReactor) -> OrderedServices:
        process.thread_s = self.thread_s
        self.parts = self.make_parts(process)
        return self.parts.services(lambda _: None)

    def make_parts(self, process: SimulatedReactor) -> BrokerParts:
        """The broker; all that it does is done on `process`."""
        settings = broker_settings(
            **{
                "brokerIP1": self.host,
                "brokerIP2": self.host,
                "listenPort": BROKER_PORT,
                "namesrvAddr": ";".join(self.world.name_servers),
                "storePathRootDir": "/store",
                **SMALL_FILES,
                **self.keys,
            }
        )
        return BrokerParts(settings, process, self.world.now_ms, self.disk, SimulatedThread)

    def slow_disk(self, least_s: float, most_s: float) -> None:
        """How long a call in a thread takes from now on: a flush, a checkpoint, a cold read."""
        self.thread_s = (least_s, most_s)
        if self.process is not None:
            self.process.thread_s = self.thread_s

    def log(self, start: int, end: int) -> bytes:
        """Bytes of the commit log; the broker must be running."""
        parts = []
        while start < end:
            parts.append(self.store.log_bytes(start, end - start))
            start += len(parts[-1])
        return b"".join(parts)


class Client:
    """A process that sends requests."""

    def __init__(self, world: World, host: str) -> None:
        self.world = world
        self.host = host
        self.process = SimulatedReactor(world.network, host, world.dice)
        self.caller = RemotingClient(self.process)

    def ask(self, address: str, frame: Frame, timeout_s: float = 5.0) -> Deferred[Frame]:
        return self.caller.call(address, frame, timeout_s)

    def send(
        self, address: str, body: bytes, topic: str = "TopicTest", queue_id: int = 0, timeout_s: float = 5.0
    ) -> Deferred[Frame]:
        header = send_header(topic, queue_id, born_timestamp=self.world.now_ms())
        return self.ask(address, Frame.request(RequestCode.SEND_MESSAGE_V2, header, body), timeout_s)
