"""An imaginary wire: two protocols joined in memory, bytes moved only when the test says so.

    wire = Wire(clock)
    server = FrameProtocol(Connections(clock, Registry(MyHandlers())))
    client = FrameProtocol(Connections(clock, Registry()))
    wire.join(client, server)
    answer = client.peer.call(Frame.request(RequestCode.GET_MAX_OFFSET, header), timeout_s=3)
    wire.pump()
    self.successResultOf(answer)

What one side writes waits until the next pump, so that a test sees each state in between.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionLost as TransportLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.remoting.connections import Connections
from rocketmq_tx.remoting.protocol import FrameProtocol
from rocketmq_tx.remoting.registry import Registry


class Address:
    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port


class End:
    """One end's transport. `reads = False` makes it a peer that takes nothing off the wire."""

    BUFFER_BYTES = 65536  # Twisted's: more than this unsent asks the producer to pause

    def __init__(self, protocol: Protocol, here: Address, there: Address) -> None:
        self.protocol = protocol
        self.here = here
        self.there = there
        self.out = bytearray()
        self.producer = None
        self.producer_paused = False
        self.paused = False
        self.closing = False
        self.open = True
        self.reads = True

    def write(self, data: bytes) -> None:
        if self.open:
            self.out += data
            if self.producer is not None and len(self.out) > self.BUFFER_BYTES:
                self.producer_paused = True
                self.producer.pauseProducing()

    def writeSequence(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def take(self, most: int | None) -> bytes:
        """Up to `most` bytes off the wire, telling the producer when all is gone."""
        most = len(self.out) if most is None else most
        data = bytes(self.out[:most])
        del self.out[:most]
        if not self.out and self.producer is not None and self.producer_paused:
            self.producer_paused = False
            self.producer.resumeProducing()
        return data

    def registerProducer(self, producer, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def loseConnection(self) -> None:
        self.closing = True

    def abortConnection(self) -> None:
        self.closing = True
        self.out.clear()

    def getPeer(self) -> Address:
        return self.there

    def getHost(self) -> Address:
        return self.here


class Wire:
    """Joins two protocols. `chunk` is the most that one read brings."""

    def __init__(self, clock: Clock, chunk: int | None = None) -> None:
        self.clock = clock
        self.chunk = chunk

    def join(
        self, client: Protocol, server: Protocol, client_host: str = "127.0.0.1", client_port: int = 40001
    ) -> Wire:
        here, there = Address(client_host, client_port), Address("127.0.0.1", 10911)
        self.client = End(client, here, there)
        self.server = End(server, there, here)
        server.makeConnection(self.server)
        client.makeConnection(self.client)
        return self

    def pump(self, rounds: int = 1000) -> None:
        """Moves bytes both ways, and lets calls due now happen, until nothing more moves."""
        for _ in range(rounds):
            moved = self.step()
            self.clock.advance(0)
            if not moved and not self._sendable():
                return
        raise AssertionError("the wire never falls silent")

    def step(self) -> bool:
        """One read of each side; whether anything moved."""
        moved = self._move(self.client, self.server) | self._move(self.server, self.client)
        for end in (self.client, self.server):
            if end.open and end.closing and not end.out:
                self.cut(ConnectionDone())
                moved = True
        return moved

    def _sendable(self) -> bool:
        return any(
            source.open and source.out and not sink.paused and sink.reads
            for source, sink in ((self.client, self.server), (self.server, self.client))
        )

    def _move(self, source: End, sink: End) -> bool:
        if not (source.open and sink.open and source.out) or sink.paused or not sink.reads:
            return False
        sink.protocol.dataReceived(source.take(self.chunk))
        return True

    def cut(self, reason: Exception | None = None) -> None:
        """Both ends lose the connection; what was on its way is gone."""
        for end in (self.client, self.server):
            if end.open:
                end.open = False
                end.out.clear()
                end.protocol.connectionLost(Failure(reason or TransportLost()))


def joined(
    clock: Clock, server: Registry, client: Registry | None = None, chunk: int | None = None
) -> tuple[Wire, FrameProtocol, FrameProtocol]:
    """(wire, client protocol, server protocol) for the common case."""
    asking = FrameProtocol(Connections(clock, client or Registry(), closes_silent_peers=True))
    serving = FrameProtocol(Connections(clock, server))
    return Wire(clock, chunk).join(asking, serving), asking, serving


def answer_to(wire: Wire, client: FrameProtocol, frame: Frame, timeout_s: float = 3.0) -> Frame:
    """Sends one request over a joined wire and returns its answer, which must come without time passing."""
    answers: list[Frame] = []
    client.peer.call(frame, timeout_s).addCallback(answers.append)
    wire.pump()
    [answer] = answers
    return answer
