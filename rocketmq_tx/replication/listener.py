"""The port to which slaves connect, and the care for their connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.errors import StartError
from rocketmq_tx.remoting.addresses import format_address, is_ipv6
from rocketmq_tx.replication.sending import Log, SlaveConnection
from rocketmq_tx.replication.slaves import Admission, Slaves
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.threads import OffReactor

HA_PORT_OFFSET = 10_000
"""Apache's listenPort + 1 is where the next broker of the same machine listens."""
LAG_LOG_S = 60.0


class SlaveListener(Service):
    """Listens for slaves on `haListenPort`; `port` tells which one it has become."""

    log = Logger()

    def __init__(
        self,
        store: Log,
        config: MessageStoreConfig,
        slaves: Slaves,
        off_reactor: OffReactor,
        reactor: Any,
        host: str,
        listen_port: int,
        admission: Admission | None = None,
    ) -> None:
        self.setName("replication listener")
        self._store = store
        self._config = config
        self._slaves = slaves
        self._off_reactor = off_reactor
        self._reactor = reactor
        self._host = host
        self._listen_port = listen_port
        self._admission = admission
        self._listening: IListeningPort | None = None
        self.port = config.ha_listen_port or usual_port(listen_port)
        self._care = [
            Periodic(reactor, lambda: look_interval_s(config), self._look_after, "care for slaves"),
            Periodic(reactor, LAG_LOG_S, self._log_lag, "lag of slaves"),
        ]

    def startService(self) -> Deferred[None]:
        super().startService()
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        """On the port that was asked for, or else the usual one, or else any."""
        self._slaves.leads_from(self._store.written_to)
        given = self._config.ha_listen_port
        wanted = [given] if given else [port for port in (usual_port(self._listen_port), 0) if port <= 65535]
        for port in wanted:
            try:
                listening: Any = await self._endpoint(port).listen(_SlaveFactory(self._connection))
            except (CannotListenError, OSError) as error:
                if port == wanted[-1]:
                    self.running = 0
                    raise StartError(self._cannot_listen(port, error)) from error
                continue
            self._listening = listening
            self.port = listening.getHost().port
            break
        for periodic in self._care:
            periodic.startService()
        self.log.info(
            "listening for slaves: address={address}", address=format_address(self._host, self.port)
        )

    def _endpoint(self, port: int) -> Any:
        make = TCP6ServerEndpoint if is_ipv6(self._host) else TCP4ServerEndpoint
        return make(self._reactor, port, 50, self._host)

    def _cannot_listen(self, port: int, error: Exception) -> str:
        cause = getattr(error, "socketError", error)
        reason = getattr(cause, "strerror", None) or str(cause)
        return (
            f"cannot listen for slaves on {format_address(self._host, port)}: {reason}; set haListenPort to "
            "a free port, or remove the key to have one chosen"
        )

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for periodic in self._care:
            periodic.stopService()
        if self._listening is not None:
            stopped: Deferred[None] | None = self._listening.stopListening()
            self._listening = None
            if stopped is not None:
                await stopped
        for slave in self._slaves:
            slave.close("this master is stopping")

    def _connection(self) -> SlaveConnection:
        return SlaveConnection(
            self._store, self._config, self._slaves, self._off_reactor, self._reactor, self._admission
        )

    def _look_after(self) -> None:
        for slave in self._slaves:
            slave.look_after()

    def _log_lag(self) -> None:
        for slave in self._slaves:
            behind = self._store.written_to - (slave.acknowledged or 0)
            if behind:
                self.log.info(
                    "slave is behind: slave={slave} bytes={behind}", slave=slave.name, behind=behind
                )


class _SlaveFactory(ServerFactory):
    noisy = False

    def __init__(self, make: Callable[[], SlaveConnection]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> SlaveConnection:
        return self._make()


def usual_port(listen_port: int) -> int:
    """Where slaves connect unless `haListenPort` says otherwise, and unless it is taken."""
    return listen_port + HA_PORT_OFFSET


def look_interval_s(config: MessageStoreConfig) -> float:
    """How often to look whether a heartbeat is due, or a peer has been silent for too long."""
    shortest_ms = min(config.ha_send_heartbeat_interval, config.ha_housekeeping_interval)
    return min(max(shortest_ms / 5000, 0.01), 1.0)
