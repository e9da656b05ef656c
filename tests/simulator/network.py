"""A network in memory: hosts, ports, connections that are slow, stuck or cut off; in order within each.

Each direction of a connection is a pipe: what a process wrote waits in its transport, then is on its way for
a while, then is read, in pieces of any size. A partition stops both directions and loses nothing, as TCP
sends again, until somebody gives the connection up; a host without power answers nothing, and knows of no
connection when it is back.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.address import IPv4Address
from twisted.internet.error import (
    CannotListenError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TCPTimedOutError,
)
from twisted.internet.interfaces import IAddress, IConnector, IListeningPort, ITransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

PRODUCER_PAUSES_BYTES = 65536
"""Twisted's: a transport that holds more asks its producer to pause."""
ON_ITS_WAY_BYTES = 262_144
"""What the sockets of both sides and the wire hold together."""
READ_BYTES = 65536
CONNECT_AGAIN_S = 0.25


class Process(Protocol):
    """Whoever has connections: `process.SimulatedReactor`."""

    host: str

    @property
    def alive(self) -> bool: ...

    def do(self, call: Callable[..., object], *arguments: object) -> None:
        """Calls, unless the process has ended."""


class Network:
    """All hosts see each other unless `partition` says otherwise. Times in seconds of the clock."""

    def __init__(self, clock: Clock, dice: random.Random) -> None:
        self.clock = clock
        self.dice = dice
        self.latency_s = (0.0001, 0.002)
        self.bytes_per_s: dict[frozenset[str], float] = {}
        """Of slow links, by their two hosts."""
        self.ports: dict[tuple[str, int], Port] = {}
        self.powered: set[str] = set()
        """Hosts that answer at all."""
        self.ends: list[End] = []
        self._cut: set[frozenset[str]] = set()
        self._next_port = 40_000

    # -- faults --------------------------------------------------------------------------------------------

    def partition(self, one: str, *others: str) -> None:
        """Nothing passes between `one` and the others."""
        self._cut |= {frozenset((one, other)) for other in others}

    def heal(self) -> None:
        """Every link is whole and fast; what waited goes on."""
        self._cut.clear()
        self.bytes_per_s.clear()
        for end in list(self.ends):
            end.hurry()

    def slow_down(self, one: str, other: str, bytes_per_s: float) -> None:
        self.bytes_per_s[frozenset((one, other))] = bytes_per_s

    def passes(self, one: str, other: str) -> bool:
        return frozenset((one, other)) not in self._cut

    def cut_connections(self, one: str, other: str) -> None:
        """Every connection between two hosts is lost, at both ends; new ones can be made."""
        for end in [end for end in self.ends if {end.process.host, end.there.host} == {one, other}]:
            end.lose(ConnectionLost())

    # -- what processes do ---------------------------------------------------------------------------------

    def listen(self, process: Process, port: int, factory: Any) -> Port:
        number = port or self.free_port()
        if not process.alive:  # it ended in the middle of what it is doing
            return Port(self, process, number, factory)
        if (process.host, number) in self.ports:
            raise CannotListenError(process.host, number, OSError(98, "Address already in use"))
        factory.doStart()
        self.ports[process.host, number] = opened = Port(self, process, number, factory)
        return opened

    def connect(self, process: Process, host: str, port: int, factory: Any, timeout_s: float) -> Connector:
        return Connector(self, process, IPv4Address("TCP", host, port), factory, timeout_s)

    def free_port(self) -> int:
        self._next_port += 1
        return self._next_port

    def delay_s(self) -> float:
        return self.dice.uniform(*self.latency_s)

    def has_ended(self, process: Process, lost_power: bool) -> None:
        """A process is gone. The kernel closes its connections, unless that has gone as well."""
        for address in [key for key, port in self.ports.items() if port.process is process]:
            del self.ports[address]
        for end in [end for end in self.ends if end.process is process]:
            self.ends.remove(end)
            if not lost_power:
                end.peer.will_be_lost()


@implementer(IListeningPort)
class Port:
    """A listening port."""

    def __init__(self, network: Network, process: Process, number: int, factory: Any) -> None:
        self.network = network
        self.process = process
        self.number = number
        self.factory = factory

    def getHost(self) -> IAddress:
        return IPv4Address("TCP", self.process.host, self.number)

    def startListening(self) -> None:
        """It does from the beginning."""

    def stopListening(self) -> None:
        if self.network.ports.pop((self.process.host, self.number), None) is self:
            self.factory.doStop()


@implementer(IConnector)
class Connector:
    """An attempt to connect."""

    def __init__(
        self, network: Network, process: Process, to: IPv4Address, factory: Any, timeout_s: float
    ) -> None:
        self._network = network
        self._process = process
        self._to = to
        self._factory = factory
        self._until_s = network.clock.seconds() + timeout_s
        self._end: End | None = None
        factory.doStart()
        factory.startedConnecting(self)
        self._call = network.clock.callLater(2 * network.delay_s(), process.do, self._try)

    def getDestination(self) -> IAddress:
        return self._to

    def connect(self) -> None:
        raise NotImplementedError

    def stopConnecting(self) -> None:
        if self._call.active():
            self._call.cancel()
            self._factory.clientConnectionFailed(self, Failure(ConnectionLost("given up")))
            self._factory.doStop()

    def disconnect(self) -> None:
        if self._end is None:
            self.stopConnecting()
        else:
            self._end.loseConnection()

    def _try(self) -> None:
        network, host = self._network, self._to.host
        if not network.passes(self._process.host, host) or host not in network.powered:
            if network.clock.seconds() >= self._until_s:
                self._fail(TCPTimedOutError())
            else:
                self._call = network.clock.callLater(CONNECT_AGAIN_S, self._process.do, self._try)
            return
        port = network.ports.get((host, self._to.port))
        if port is None:
            self._fail(ConnectionRefusedError())
            return
        here = IPv4Address("TCP", self._process.host, network.free_port())
        theirs = port.factory.buildProtocol(here)
        ours = self._factory.buildProtocol(self._to)
        self._end = End(network, self._process, ours, here, self._to)
        other = End(network, port.process, theirs, self._to, here)
        self._end.peer, other.peer = other, self._end
        network.ends += [self._end, other]
        if theirs is None:
            other.abortConnection()
        else:
            port.process.do(theirs.makeConnection, other)
        if ours is None:
            self._end.abortConnection()
        else:
            ours.makeConnection(self._end)

    def _fail(self, error: Exception) -> None:
        self._factory.clientConnectionFailed(self, Failure(error))
        self._factory.doStop()


@implementer(ITransport)
class End:
    """One end of a connection, as its process' transport. `peer` is the other end."""

    peer: End
    TLS = False

    def __init__(
        self, network: Network, process: Process, protocol: Any, here: IPv4Address, there: IPv4Address
    ) -> None:
        self.network = network
        self.process = process
        self.protocol = protocol
        self.here = here
        self.there = there
        self.connected = True
        self.out = bytearray()
        self.most_unsent = 0
        """The most that ever waited in this transport."""
        self._on_its_way: deque[tuple[float, bytes | None]] = deque()
        self._on_its_way_bytes = 0
        self._last_arrival_s = 0.0
        self._arrival: Any = None
        self._producer: Any = None
        self._producer_paused = False
        self._reads = True
        self._closing = False

    # -- as a transport ------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if not self.connected or self._closing or not self.process.alive:
            return
        self.out += data
        self._depart()
        self.most_unsent = max(self.most_unsent, len(self.out))
        if self._producer is not None and not self._producer_paused and len(self.out) > PRODUCER_PAUSES_BYTES:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def loseConnection(self) -> None:
        self._closing = True
        self._depart()

    def abortConnection(self) -> None:
        if self.connected and self.process.alive:
            self.out.clear()
            self.peer.will_be_lost()
            self.network.clock.callLater(0, self.lose, ConnectionLost())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self._reads = False

    def resumeProducing(self) -> None:
        self._reads = True
        self.peer.go_on()

    def stopProducing(self) -> None:
        self.loseConnection()

    def getHost(self) -> IPv4Address:
        return self.here

    def getPeer(self) -> IPv4Address:
        return self.there

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is delayed for company here."""

    # -- the way to the other end --------------------------------------------------------------------------

    def _depart(self) -> None:
        """As much of what waits as there is room for goes on its way."""
        network, now_s = self.network, self.network.clock.seconds()
        speed = network.bytes_per_s.get(frozenset((self.here.host, self.there.host)))
        while self.out and self._on_its_way_bytes < ON_ITS_WAY_BYTES:
            most = READ_BYTES if speed is None else max(1, int(speed * 0.1))
            piece = bytes(self.out[: network.dice.randint(1, most)])
            del self.out[: len(piece)]
            arrival_s = max(self._last_arrival_s, now_s + network.delay_s())
            self._send(arrival_s + (0 if speed is None else len(piece) / speed), piece)
        if not self.out and self._closing:
            self._send(max(self._last_arrival_s, now_s + network.delay_s()), None)
            network.clock.callLater(0, self.lose, ConnectionDone())
        if not self.out and self._producer_paused:
            self._producer_paused = False
            network.clock.callLater(0, self.process.do, self._resume_producer)
        self.go_on()

    def _send(self, arrival_s: float, piece: bytes | None) -> None:
        self._last_arrival_s = arrival_s
        self._on_its_way.append((arrival_s, piece))
        self._on_its_way_bytes += len(piece or b"")

    def _resume_producer(self) -> None:
        if self._producer is not None and not self._producer_paused:
            self._producer.resumeProducing()

    def hurry(self) -> None:
        """The link is fast again, for what is on its way as well."""
        soon_s = self.network.clock.seconds() + self.network.delay_s()
        self._on_its_way = deque((min(arrival_s, soon_s), piece) for arrival_s, piece in self._on_its_way)
        self._last_arrival_s = min(self._last_arrival_s, soon_s)
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
        self.go_on()

    def go_on(self) -> None:
        """Something may have come in the way, or got out of it."""
        if self._arrival is None and self._on_its_way:
            wait_s = max(0.0, self._on_its_way[0][0] - self.network.clock.seconds())
            self._arrival = self.network.clock.callLater(wait_s, self._arrive)

    def _arrive(self) -> None:
        self._arrival = None
        network, there = self.network, self.peer
        if not self._on_its_way or not network.passes(self.here.host, self.there.host):
            return
        if there.process.host not in network.powered:
            return  # sent again and again, until its time is up
        if not there.process.alive or not there.connected:
            self._on_its_way.clear()
            self._on_its_way_bytes = 0
            self.will_be_lost()
            return
        if not there._reads:
            return
        _, piece = self._on_its_way.popleft()
        if piece is None:
            there.lose(ConnectionDone())
        else:
            self._on_its_way_bytes -= len(piece)
            there.process.do(there.protocol.dataReceived, piece)
            if self.process.alive and self.connected:
                self._depart()
        self.go_on()

    # -- its end -------------------------------------------------------------------------------------------

    def will_be_lost(self) -> None:
        """The other end is gone, and the news is on its way: behind what it had sent before."""
        self.network.clock.callLater(self.network.delay_s(), self._hear_of_end)

    def _hear_of_end(self) -> None:
        if not self.network.passes(self.here.host, self.there.host):
            if self.connected:
                self.network.clock.callLater(CONNECT_AGAIN_S, self._hear_of_end)
        else:
            self.lose(ConnectionLost())

    def lose(self, reason: Exception) -> None:
        if not self.connected:
            return
        self.connected = False
        if self in self.network.ends:
            self.network.ends.remove(self)
        self.out.clear()
        producer, self._producer = self._producer, None
        if self.protocol is not None:
            if producer is not None:
                self.process.do(producer.stopProducing)
            self.process.do(self.protocol.connectionLost, Failure(reason))
