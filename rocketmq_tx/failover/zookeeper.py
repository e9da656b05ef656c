"""The coordinator on Apache ZooKeeper, by kazoo. Imported only where `autoFailover` asks for it.

    <path>/<cluster>/<brokerName>/state       what the brokers agree on
    <path>/<cluster>/<brokerName>/alive/<id>  ephemeral: a member and its address

kazoo has threads of its own; whatever they say enters by `callFromThread`. Waiting for an answer never
blocks: it fails when kazoo says that the connection is gone, which a frozen server brings about as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    KazooException,
    NodeExistsError,
    NoNodeError,
)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from rocketmq_tx.errors import CoordinationError, StateChanged
from rocketmq_tx.failover.coordinator import Changed, ICoordinator
from rocketmq_tx.failover.election import Session
from rocketmq_tx.runtime.services import within
from rocketmq_tx.runtime.threads import OwnThread

_SESSIONS = {
    KazooState.CONNECTED: Session.CONNECTED,
    KazooState.SUSPENDED: Session.SUSPENDED,
    KazooState.LOST: Session.LOST,
}
LONGEST_PAUSE_S = 1.0
"""Between attempts to connect: a slave must not take over late because it was away from ZooKeeper."""
FIRST_WAIT_S = 3.0
CLOSE_S = 1.5
NO_CONNECTION = "no connection to ZooKeeper: hosts={hosts}"

# kazoo's own lines would go to stderr, one for each attempt, without time or address: ours say what matters.
logging.getLogger("kazoo").addHandler(logging.NullHandler())


@implementer(ICoordinator)
class ZooKeeperCoordinator:
    """`hosts` as `host:port,host:port`; `path` is of this broker name. `make_client` is for tests."""

    log = Logger()

    def __init__(
        self,
        hosts: str,
        path: str,
        session_timeout_s: float,
        reactor: Any,
        make_client: Callable[..., Any] = KazooClient,
    ) -> None:
        self.session = Session.LOST
        self._hosts = hosts
        self._path = path.rstrip("/")
        self._reactor = reactor
        self._changed: Changed = lambda: None
        self._closed = False
        self._waiting: Any = None
        retry = KazooRetry(max_tries=-1, delay=0.1, backoff=2, max_jitter=0.2, max_delay=LONGEST_PAUSE_S)
        self._client = make_client(hosts=hosts, timeout=session_timeout_s, connection_retry=retry)
        self._client.add_listener(self._state_in_thread)

    @property
    def _state_path(self) -> str:
        return f"{self._path}/state"

    @property
    def _alive_path(self) -> str:
        return f"{self._path}/alive"

    # -- the session -----------------------------------------------------------------------------------------

    def start(self, changed: Changed) -> None:
        self._changed = changed
        self._client.start_async()
        self._waiting = self._reactor.callLater(FIRST_WAIT_S, self._say_that_there_is_none)

    def _say_that_there_is_none(self) -> None:
        self._waiting = None
        if self.session is Session.LOST:
            self.log.warn(NO_CONNECTION, hosts=self._hosts)

    def _state_in_thread(self, state: KazooState) -> None:
        self._reactor.callFromThread(self._session_is, _SESSIONS[state])

    def _session_is(self, session: Session) -> None:
        if session is self.session or self._closed:
            return
        self.session = session
        says = {
            Session.CONNECTED: "session with ZooKeeper: hosts={hosts}",
            Session.SUSPENDED: NO_CONNECTION,
            Session.LOST: "the session with ZooKeeper has expired: hosts={hosts}",
        }
        (self.log.info if session is Session.CONNECTED else self.log.warn)(says[session], hosts=self._hosts)
        self._changed()

    def _watched(self, _: object) -> None:
        """A watch has fired, in a thread of kazoo's."""
        self._reactor.callFromThread(self._something_changed)

    def _something_changed(self) -> None:
        if not self._closed:
            self._changed()

    # -- calls -----------------------------------------------------------------------------------------------

    async def _answer(self, call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        """What an `..._async` method of kazoo's is answered, in the reactor's thread."""
        answered: Deferred[Any] = Deferred()

        def in_thread(result: Any) -> None:
            self._reactor.callFromThread(in_reactor, result)

        def in_reactor(result: Any) -> None:
            if result.successful():
                answered.callback(result.value)
            else:
                answered.errback(result.exception)

        try:
            call(*arguments, **more).rawlink(in_thread)
            return await answered
        except (NoNodeError, NodeExistsError, BadVersionError):
            raise
        except (KazooException, KazooTimeoutError) as error:
            what = str(error) or type(error).__name__
            raise CoordinationError(f"ZooKeeper at {self._hosts} did not answer: {what}") from error

    def join(self, member: int, address: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._join(f"{self._alive_path}/{member}", address.encode()))

    async def _join(self, path: str, data: bytes) -> None:
        """A node of an earlier session, perhaps of an earlier process, is replaced by one of this session."""
        client = self._client
        try:
            there, stat = await self._answer(client.get_async, path)
            if stat.ephemeralOwner == client.client_id[0]:
                if there != data:
                    await self._answer(client.set_async, path, data)
                return
            await self._answer(client.delete_async, path, version=stat.version)
        except (NoNodeError, BadVersionError):
            pass
        except TypeError as error:  # client_id is None: the session went away meanwhile
            raise CoordinationError("there is no session with ZooKeeper") from error
        try:
            await self._answer(client.create_async, path, data, ephemeral=True, makepath=True)
        except (NodeExistsError, NoNodeError) as error:
            raise CoordinationError(f"{path} was made by another session") from error

    def members(self) -> Deferred[dict[int, str]]:
        return Deferred.fromCoroutine(self._members())

    async def _members(self) -> dict[int, str]:
        client = self._client
        try:
            names = await self._answer(client.get_children_async, self._alive_path, watch=self._watched)
        except NoNodeError:
            return {}
        found = {}
        for name in names:
            try:
                data, _ = await self._answer(client.get_async, f"{self._alive_path}/{name}")
            except NoNodeError:
                continue
            if name.isdecimal():
                found[int(name)] = data.decode("utf-8", "replace")
        return found

    def read(self) -> Deferred[tuple[bytes, int] | None]:
        return Deferred.fromCoroutine(self._read())

    async def _read(self) -> tuple[bytes, int] | None:
        client = self._client
        try:
            data, stat = await self._answer(client.get_async, self._state_path, watch=self._watched)
        except NoNodeError:
            await self._answer(client.exists_async, self._state_path, watch=self._watched)
            return None
        return data, stat.version

    def write(self, value: bytes, version: int | None) -> Deferred[int]:
        return Deferred.fromCoroutine(self._write(value, version))

    async def _write(self, value: bytes, version: int | None) -> int:
        client = self._client
        try:
            if version is None:
                await self._answer(client.create_async, self._state_path, value, makepath=True)
                return 0
            stat = await self._answer(client.set_async, self._state_path, value, version=version)
        except (BadVersionError, NodeExistsError, NoNodeError) as error:
            raise StateChanged(f"{self._state_path} has another version than {version}") from error
        return int(stat.version)

    def close(self) -> Deferred[Any]:
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self.session = Session.LOST
        # stop() joins kazoo's threads, and with a frozen server that takes long: then it is left to itself
        return within(self._reactor, OwnThread(self._reactor, "zookeeper").run(self._stop), CLOSE_S)

    def _stop(self) -> None:
        self._client.stop()
        self._client.close()
