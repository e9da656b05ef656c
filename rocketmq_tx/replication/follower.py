"""Keeps a slave at its master's heels: finds the master, compares the logs, connects, and begins again.

no master known ---> compare ---> connect ---> follow ---> (connection lost) ---> compare ...
                        |
                        +--- log differs: says so, and looks again from time to time
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.config.values import FlushDiskType
from rocketmq_tx.errors import (
    ConnectFailed,
    RemotingError,
    ReplicationStopped,
    RocketMQError,
    StoreUnavailable,
)
from rocketmq_tx.remoting.addresses import parse_address
from rocketmq_tx.replication.following import FLUSH_TIMEOUT_S, Append, Flushes, MasterConnection
from rocketmq_tx.replication.listener import look_interval_s
from rocketmq_tx.replication.log_comparison import SlaveLog
from rocketmq_tx.runtime.periodic import Periodic

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
STOPPED_PAUSE_S = 30.0
"""How often a slave whose log differs looks whether somebody has mended that."""
CONNECT_TIMEOUT_S = 3.0
_FIGURES = re.compile("[0-9]+")


class Comparison(Protocol):
    """What is needed of `log_comparison.LogComparison`."""

    async def begin(self, master: str) -> int: ...


class NoMaster(RemotingError):
    """No NameServer has told yet who the master is."""


@attrs.frozen
class Membership:
    """With `autoFailover`: what a slave says when it connects, and who hears what its master acknowledges."""

    greeting: Callable[[], bytes] = lambda: b""
    told: Callable[[int], object] = lambda watermark: None


class Follower(Service):
    """Follows the master that `master_is` names. `look_for_master` is asked to find it again."""

    log = Logger()

    def __init__(
        self,
        store: SlaveLog,
        config: MessageStoreConfig,
        flushes: Flushes,
        comparison: Comparison,
        append: Append,
        look_for_master: Callable[[], object],
        reactor: Any,
        membership: Membership | None = None,
    ) -> None:
        self.setName("follower")
        self._store = store
        self._config = config
        self._flushes = flushes
        self.comparison = comparison
        self._append = append
        self._look_for_master = look_for_master
        self._membership = membership or Membership()
        self._reactor = reactor
        self._master_address: str | None = None
        self._ha_address: str | None = config.ha_master_address
        self._running: Deferred[Any] | None = None
        self._sleeping: Deferred[Any] | None = None
        self._connection: MasterConnection | None = None
        self._last_problem: str | None = None
        self._said: set[str] = set()
        self._care = Periodic(
            reactor, lambda: look_interval_s(config), self._look_after, "care for the master's connection"
        )

    @property
    def is_following(self) -> bool:
        """Whether there is a connection to the master."""
        return self._connection is not None

    @property
    def knows_master(self) -> bool:
        """Whether it knows where the master replicates."""
        return self._ha_address is not None

    def master_is(self, address: str, ha_address: str | None) -> None:
        """What a NameServer says of the master: where it serves requests, and where it replicates.

        A connection to another one is kept: it ends by itself when that master has gone.
        """
        changed = (address, ha_address) != (self._master_address, self._ha_address)
        self._master_address = address
        self._ha_address = self._config.ha_master_address or ha_address
        if changed and self._sleeping is not None:
            self._sleeping.cancel()

    # -- the service -----------------------------------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        self._care.startService()
        self._running = Deferred.fromCoroutine(self._follow_for_ever())
        self._running.addErrback(self._ended_wrongly)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._care.stopService()
        if self._connection is not None:
            self._connection.close("this slave is stopping")
        running = self._running
        if running is None:
            return succeed(None)
        running.cancel()
        return running.addBoth(lambda _: None)

    def _ended_wrongly(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self.log.failure("following the master has ended", failure)

    def _look_after(self) -> None:
        if self._connection is not None:
            self._connection.look_after()

    # -- following -------------------------------------------------------------------------------------------

    async def _follow_for_ever(self) -> None:
        pause_s = FIRST_PAUSE_S
        while self.running:
            try:
                lasted_s = await self._follow()
                pause_s = FIRST_PAUSE_S if lasted_s > LONGEST_PAUSE_S else pause_s
            except ReplicationStopped as stopped:
                self._say(f"replication is stopped: {stopped}", error=True)
                await self._sleep(STOPPED_PAUSE_S)
                continue
            except NoMaster as problem:
                if pause_s > FIRST_PAUSE_S:  # this broker has had the time to register
                    self._say(f"not following a master: {problem}")
            except RocketMQError as problem:
                self._say(f"not following a master: {problem}")
            if not self.running:
                return
            self._look_for_master()
            await self._sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _follow(self) -> float:
        """One connection, from its beginning to its end; returns for how long it lasted."""
        ha_address = self._ha_address
        if not ha_address:
            raise NoMaster("no NameServer knows one for this brokerName yet")
        self._store.drop_unfinished()
        if self._store.refusal:  # a master must not wait for who can store nothing
            raise StoreUnavailable(self._store.refusal)
        begin = await self._compare()
        if self._config.flush_disk_type is FlushDiskType.SYNC_FLUSH and self._store.written_to:
            await self._flushes.durable(self._store.written_to, FLUSH_TIMEOUT_S)
        connection = self._connection = await self._connect(ha_address, begin)
        started_s = self._reactor.seconds()
        self._last_problem = None
        self._said.clear()
        self.log.info("following the master: address={address} from={begin}", address=ha_address, begin=begin)
        try:
            reason = await connection.ended
        finally:
            self._connection = None
        if self.running:
            self.log.warn(
                "the connection to the master has ended: address={address} reason={reason} log_end={end}",
                address=ha_address, reason=reason, end=self._store.written_to,
            )  # fmt: skip
        return float(self._reactor.seconds() - started_s)

    async def _compare(self) -> int:
        master = self._master_address
        if master is None:
            self.log.warn(
                "no NameServer names the master, so the logs are not compared: haMasterAddress={address}",
                address=self._ha_address,
            )
            return self._store.written_to
        return await self.comparison.begin(master)

    async def _connect(self, ha_address: str, begin: int) -> MasterConnection:
        host, port = parse_address(ha_address)
        connection = MasterConnection(
            self._store,
            self._config,
            self._flushes,
            self._append,
            begin,
            self._reactor,
            self._membership.greeting(),
            self._membership.told,
        )
        endpoint = HostnameEndpoint(self._reactor, host, port, timeout=CONNECT_TIMEOUT_S)
        try:
            connected: Any = endpoint.connect(_MasterFactory(connection))
            await connected
        except (ConnectError, OSError) as error:
            raise ConnectFailed(f"no connection to {ha_address}: {error}".rstrip(".")) from error
        return connection

    async def _sleep(self, seconds: float) -> None:
        """Until the time is over, or until there is news of the master."""
        sleeping = self._sleeping = deferLater(self._reactor, seconds, lambda: None)
        try:
            await sleeping
        except CancelledError:
            if not self.running:
                raise
        finally:
            self._sleeping = None

    def _say(self, sentence: str, error: bool = False) -> None:
        """Once, whatever figures are in it, until it follows again: problems may take turns."""
        alike = _FIGURES.sub("", sentence)
        if alike not in self._said:
            self._said.add(alike)
            (self.log.error if error else self.log.warn)("{sentence}", sentence=sentence)
        self._last_problem = sentence


class _MasterFactory(ClientFactory):
    noisy = False

    def __init__(self, connection: MasterConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> MasterConnection:
        return self._connection
