"""Requests to other processes: one connection per address, made when it is needed, kept while it is used.

All calls to an address share its connection and, while there is none, the attempt to make it. A peer that is
gone, slow or frozen delays its own callers only: every call has its own time-out, which includes connecting.
A connection on which nothing was heard during the whole time of a call is closed, so that the next call makes
a new one (the far host may have lost its power: the socket would not tell for a quarter of an hour).
"""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from rocketmq_tx.errors import ConnectFailed, ConnectionLost, RequestTimeout
from rocketmq_tx.protocol.commands import command_name
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.remoting.addresses import is_ip, is_ipv6, parse_address
from rocketmq_tx.remoting.connections import Connections
from rocketmq_tx.remoting.peer import Peer
from rocketmq_tx.remoting.protocol import FrameProtocol
from rocketmq_tx.remoting.registry import Registry
from rocketmq_tx.runtime.deadlines import Deadline
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.services import within

_CLOSED = "this client is closed"


class _FrameClientFactory(ClientFactory):
    noisy = False

    def __init__(self, connections: Connections) -> None:
        self.connections = connections

    def buildProtocol(self, addr: IAddress | None) -> FrameProtocol:
        return FrameProtocol(self.connections)


class _Line:
    """What is known of one address: its connection, or the attempt to make one and who waits for it."""

    __slots__ = ("attempt", "peer", "waiting")

    def __init__(self) -> None:
        self.peer: Peer | None = None
        self.attempt: Deferred[Any] | None = None
        self.waiting: dict[Deferred[Peer], None] = {}


class RemotingClient(Service):
    """Calls other processes. As a service, stopping it closes its connections and fails its calls.

    `registry` serves requests that come over these connections from the other side. It works before
    `startService`, which only begins the sweep for idle connections.
    """

    def __init__(
        self,
        reactor: Any,
        registry: Registry | None = None,
        *,
        connect_timeout_s: float = 3.0,
        connections: Connections | None = None,
        name: str = "remoting client",
    ) -> None:
        self.setName(name)
        self._reactor = reactor
        self._connect_timeout_s = connect_timeout_s
        self.connections = connections or Connections(
            reactor, registry if registry is not None else Registry(), closes_silent_peers=True
        )
        self._factory = _FrameClientFactory(self.connections)
        self._lines: dict[str, _Line] = {}
        self._closed = False
        self._sweep = Periodic(
            reactor, lambda: self.connections.sweep_interval_s, self.connections.sweep, "connection sweep"
        )

    def call(self, address: str, frame: Frame, timeout_s: float) -> Deferred[Frame]:
        """Sends a request to `host:port`; fires with the answer, whatever its code.

        Fails with ConnectFailed, ConnectionLost or RequestTimeout, each naming address and command.
        """
        peer = self.peer(address)
        if peer is not None:
            return peer.call(frame, timeout_s)
        return Deferred.fromCoroutine(self._connect_and_call(address, frame, timeout_s))

    def oneway(self, address: str, frame: Frame, timeout_s: float = 3.0) -> Deferred[None]:
        """Sends a request that is not answered; fires when it was handed to a connection."""
        return self.connect(address, timeout_s, frame.code).addCallback(lambda peer: peer.push(frame))

    def peer(self, address: str) -> Peer | None:
        """The open connection to an address, if there is one."""
        line = self._lines.get(address)
        if line is None or line.peer is None or not line.peer.is_open:
            return None
        return line.peer

    def connect(self, address: str, timeout_s: float, code: int | None = None) -> Deferred[Peer]:
        """The connection to an address, made if there is none; `code` is the command for error texts."""
        what = "connecting" if code is None else command_name(code)
        if self._closed:
            return fail(ConnectionLost(f"{what} to {address}: {_CLOSED}"))
        line = self._lines.get(address)
        if line is None:
            line = self._lines[address] = _Line()
        peer = self.peer(address)
        connected: Deferred[Peer] = Deferred(lambda waiter: line.waiting.pop(waiter, None))
        if peer is not None:
            connected.callback(peer)
            return connected
        line.waiting[connected] = None
        timer = self.connections.deadlines.after(
            timeout_s, lambda: self._give_up(line, connected, f"{what} to {address}")
        )
        connected.addBoth(_cancelling, timer)
        if line.attempt is None:
            self._begin(line, address)
        return connected.addErrback(_named, what)

    async def _connect_and_call(self, address: str, frame: Frame, timeout_s: float) -> Frame:
        now_s = self.connections.now_s
        until_s = now_s() + timeout_s
        peer = await self.connect(address, timeout_s, frame.code)
        return await peer.call(frame, max(until_s - now_s(), 0.0))

    # -- connecting ----------------------------------------------------------------------------------------

    def _begin(self, line: _Line, address: str) -> None:
        try:
            endpoint = self._endpoint(*parse_address(address))
        except ConnectFailed as error:
            self._ended(Failure(error), line, address)
            return
        attempt: Deferred[Any] = endpoint.connect(self._factory)
        line.attempt = attempt
        attempt.addBoth(self._ended, line, address)

    def _endpoint(self, host: str, port: int) -> IStreamClientEndpoint:
        if not is_ip(host):
            return HostnameEndpoint(self._reactor, host, port, timeout=self._connect_timeout_s)
        make = TCP6ClientEndpoint if is_ipv6(host) else TCP4ClientEndpoint
        return make(self._reactor, host, port, timeout=self._connect_timeout_s)

    def _ended(self, result: FrameProtocol | Failure, line: _Line, address: str) -> None:
        line.attempt = None
        waiting, line.waiting = line.waiting, {}
        if isinstance(result, Failure):
            reason = result.getErrorMessage().rstrip(".")
            line.peer = None
            if self._lines.get(address) is line:
                del self._lines[address]
            for waiter in waiting:
                if not waiter.called:  # one that was told before may have cancelled this one
                    waiter.errback(ConnectFailed(f"no connection to {address}: {reason}"))
            return
        line.peer = result.peer
        if self._closed:
            result.close(_CLOSED)
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(result.peer)

    def _give_up(self, line: _Line, waiter: Deferred[Peer], what: str) -> None:
        if waiter in line.waiting:
            del line.waiting[waiter]
            waiter.errback(RequestTimeout(f"{what}: no connection in time"))

    # -- the service ---------------------------------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        self._closed = False
        self._sweep.startService()

    def stopService(self) -> Deferred[None]:
        if self.running:
            super().stopService()
            self._sweep.stopService()
        return self.close()

    def close(self) -> Deferred[None]:
        """Closes every connection and gives up every attempt; fires when all are gone, or after a second."""
        self._closed = True
        for line in list(self._lines.values()):
            if line.attempt is not None:
                line.attempt.cancel()
        self._lines.clear()
        for protocol in list(self.connections.open):
            protocol.close(_CLOSED)
        closed = within(self._reactor, self.connections.when_all_closed(), 1.0)
        return closed.addCallback(self._abort_the_rest)

    def _abort_the_rest(self, all_closed: bool) -> None:
        if not all_closed:
            for protocol in list(self.connections.open):
                protocol.abort(_CLOSED)


def _cancelling(result: Peer | Failure, timer: Deadline) -> Peer | Failure:
    timer.cancel()
    return result


def _named(failure: Failure, what: str) -> Failure:
    """Adds the command to the text of a failed connection, which its callers share."""
    if failure.check(ConnectFailed):
        raise ConnectFailed(f"{what}: {failure.getErrorMessage()}") from failure.value
    return failure
