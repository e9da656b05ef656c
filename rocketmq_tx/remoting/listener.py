"""A listening port: accepts connections, serves them from a registry, and closes them in order."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from rocketmq_tx.errors import StartError
from rocketmq_tx.remoting.addresses import format_address, is_ipv6
from rocketmq_tx.remoting.connections import Connections
from rocketmq_tx.remoting.descriptors import descriptor_limit
from rocketmq_tx.remoting.protocol import FrameProtocol
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.services import within


class FrameServerFactory(ServerFactory):
    """Makes the protocol of each accepted connection."""

    noisy = False

    def __init__(self, connections: Connections) -> None:
        self.connections = connections

    def buildProtocol(self, addr: IAddress | None) -> FrameProtocol | None:
        """None, which closes the new connection, when there are as many as may be."""
        connections = self.connections
        limit = connections.limits.connections_max
        if limit and len(connections.open) >= limit:
            connections.say_refused(f"limit={limit}")
            return None
        if connections.reserve is not None and connections.reserve.is_reached(len(connections.open)):
            connections.say_refused("the file descriptors left are for the store: raise ulimit -n")
            return None
        protocol = FrameProtocol(connections)
        protocol.factory = self
        return protocol


class Listener(Service):
    """Listens on `host:port` and its aliases; what the connections share is in `connections`.

    `alias_offsets` are added to the port (the VIP port is listenPort - 2): a taken alias is a log line, no
    failure. `release` are called at stop, to have held requests answered; `port_key` is the configuration
    key that the error names when the port is taken. Port 0 takes a free one; `port` tells which.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        connections: Connections,
        *,
        host: str = "0.0.0.0",
        port: int,
        alias_offsets: Sequence[int] = (),
        backlog: int = 1024,
        release: Sequence[Callable[[], object]] = (),
        drain_timeout_s: float = 2.0,
        port_key: str = "listenPort",
        name: str = "listener",
    ) -> None:
        self.setName(name)
        self.connections = connections
        self.host = host
        self.port = port
        self.alias_ports: list[int] = []
        self._reactor = reactor
        self._alias_offsets = tuple(alias_offsets)
        self._backlog = backlog
        self._release = list(release)
        self._drain_timeout_s = drain_timeout_s
        self._port_key = port_key
        self._factory = FrameServerFactory(connections)
        self._listening: list[IListeningPort] = []
        self._sweep = Periodic(
            reactor, lambda: connections.sweep_interval_s, connections.sweep, "connection sweep"
        )

    @property
    def address(self) -> str:
        """`host:port` as it is bound."""
        return format_address(self.host, self.port)

    def startService(self) -> Deferred[None]:
        super().startService()
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        try:
            self.port = await self._listen(self.port)
        except (CannotListenError, OSError) as error:
            self.running = 0
            raise StartError(self._cannot_listen(error)) from error
        self._sweep.startService()
        limit = descriptor_limit() or "unlimited"
        self.log.info(
            "listening: address={address} descriptors={limit}",
            address=self.address,
            limit=limit,
        )
        for offset in self._alias_offsets:
            await self._listen_on_alias(self.port + offset)

    async def _listen(self, port: int) -> int:
        make = TCP6ServerEndpoint if is_ipv6(self.host) else TCP4ServerEndpoint
        endpoint = make(self._reactor, port, self._backlog, self.host)
        listening = await endpoint.listen(self._factory)
        self._listening.append(listening)
        return int(listening.getHost().port)

    async def _listen_on_alias(self, port: int) -> None:
        try:
            if port < 1:
                raise OSError(errno.EINVAL, "there is no such port")
            self.alias_ports.append(await self._listen(port))
        except (CannotListenError, OSError) as error:
            self.log.warn(
                "alias port not available, going on without: address={address} reason={reason}",
                address=format_address(self.host, port),
                reason=_reason(error),
            )
        else:
            self.log.info("listening: address={address} alias=true", address=format_address(self.host, port))

    def _cannot_listen(self, error: Exception) -> str:
        number = getattr(getattr(error, "socketError", error), "errno", None)
        key = self._port_key
        advice = {
            errno.EADDRINUSE: f"another process has the port; stop it, or set {key} to a free port",
            errno.EACCES: f"ports below 1024 need root; set {key} to a higher one",
            errno.EADDRNOTAVAIL: "this machine has no such address; set bindAddress to one that it has",
        }.get(number or 0, f"check bindAddress and {key}")
        return f"cannot listen on {format_address(self.host, self.port)}: {_reason(error)}; {advice}"

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        """Accept nothing, read nothing, answer what was read, close."""
        listening, self._listening = self._listening, []
        for port in listening:
            stopped: Deferred[None] | None = port.stopListening()
            if stopped is not None:
                await stopped
        self._sweep.stopService()
        connections = self.connections
        for protocol in list(connections.open):
            protocol.stop_reading()
        for release in self._release:
            with self.log.failuresHandled("releasing held requests failed"):
                release()
        if not await within(self._reactor, connections.when_quiet(), self._drain_timeout_s):
            self.log.warn("stopping with requests unanswered: requests={count}", count=connections.awaited)
        for protocol in list(connections.open):
            protocol.close("this server is stopping")
        if not await within(self._reactor, connections.when_all_closed(), self._drain_timeout_s / 2):
            for protocol in list(connections.open):
                protocol.abort("this server is stopping, and the peer does not read")
            await within(self._reactor, connections.when_all_closed(), 0.5)


def _reason(error: Exception) -> str:
    cause = getattr(error, "socketError", error)
    return str(getattr(cause, "strerror", None) or cause)
