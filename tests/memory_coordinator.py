"""A coordination service in memory, with sessions that a test can suspend, expire and heal.

    service = MemoryService(clock)
    one, two = service.client(), service.client()
    service.cut(one)            # its session expires `timeout_s` later
    service.heal(one)

A call of a client that is cut off fails; whether it was carried out, `lose_answers` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from rocketmq_tx.errors import CoordinationError, StateChanged
from rocketmq_tx.failover.coordinator import Changed, ICoordinator
from rocketmq_tx.failover.election import Session


class MemoryService:
    """One value with versions, and the sessions of its clients."""

    def __init__(self, clock: Clock, timeout_s: float = 4.0) -> None:
        self.clock = clock
        self.timeout_s = timeout_s
        self.value: tuple[bytes, int] | None = None
        self.alive: dict[int, tuple[MemoryCoordinator, str]] = {}
        self.clients: list[MemoryCoordinator] = []
        self.is_up = True
        self.writes = 0
        self.before: tuple[bytes, int] | None = None
        """What the state was before its last change."""

    def client(self) -> MemoryCoordinator:
        made = MemoryCoordinator(self)
        self.clients.append(made)
        return made

    def cut(self, client: MemoryCoordinator) -> None:
        """The client cannot be reached, nor reach the service."""
        client.is_cut = True
        client.connection_changed()

    def heal(self, client: MemoryCoordinator) -> None:
        client.is_cut = False
        client.connection_changed()

    def stop(self) -> None:
        """No session expires while nobody is there to say so."""
        self.is_up = False
        for client in self.clients:
            client.connection_changed()

    def start(self) -> None:
        self.is_up = True
        for client in self.clients:
            client.connection_changed()

    def forget(self, client: MemoryCoordinator) -> None:
        """The client's process has gone; the service finds that out by its session's end."""
        self.clients.remove(client)
        client.changed = lambda: None
        client.is_cut = True
        client.connection_changed()

    def news(self) -> None:
        """Everybody who can hear of it is told."""
        for client in self.clients:
            if client.session is Session.CONNECTED:
                self.clock.callLater(0, client.tell)


@implementer(ICoordinator)
class MemoryCoordinator:
    """One broker's end."""

    def __init__(self, service: MemoryService) -> None:
        self.service = service
        self.session = Session.LOST
        self.is_cut = False
        self.lose_answers = False
        """Its writes are carried out, and their answers never come."""
        self.reads_late = False
        """Its reads are answered by a server that has not heard of the last change."""
        self.started = False
        self.changed: Changed = lambda: None
        self._joined: tuple[int, str] | None = None
        self._expiry: Any = None

    # -- the session -----------------------------------------------------------------------------------------

    def start(self, changed: Changed) -> None:
        self.changed = changed
        self.started = True
        self.connection_changed()

    @property
    def reaches(self) -> bool:
        return self.started and not self.is_cut and self.service.is_up

    def connection_changed(self) -> None:
        if self.reaches:
            self._stop_expiry()
            if self.session is not Session.CONNECTED:
                self.session = Session.CONNECTED
                self.service.clock.callLater(0, self.tell)
            return
        if self.session is Session.CONNECTED:
            self.session = Session.SUSPENDED
            self.service.clock.callLater(0, self.tell)
        if self.service.is_up and self._expiry is None:
            self._expiry = self.service.clock.callLater(self.service.timeout_s, self._expire)
        elif not self.service.is_up:
            self._stop_expiry()

    def _stop_expiry(self) -> None:
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()
        self._expiry = None

    def _expire(self) -> None:
        """The service's side; the client hears of it when it is back, which it then is with a new session."""
        self._expiry = None
        for member, (client, _) in list(self.service.alive.items()):
            if client is self:
                del self.service.alive[member]
        self.service.news()

    def tell(self) -> None:
        self.changed()

    # -- calls -----------------------------------------------------------------------------------------------

    def _called(self, call: Callable[[], Any]) -> Deferred[Any]:
        """Answered in the next turn, as everything that goes over a network."""
        answer: Deferred[Any] = Deferred()

        def carried_out() -> None:
            if not self.reaches:
                answer.errback(CoordinationError("no connection"))
                return
            try:
                result = call()
            except CoordinationError as error:
                answer.errback(error)
                return
            if self.lose_answers and call.__name__ == "written":
                answer.errback(CoordinationError("the connection went away before the answer came"))
            else:
                self.service.clock.callLater(0, answer.callback, result)

        self.service.clock.callLater(0, carried_out)
        return answer

    def join(self, member: int, address: str) -> Deferred[None]:
        def joined() -> None:
            before = self.service.alive.get(member)
            self.service.alive[member] = (self, address)
            if before != (self, address):
                self.service.news()

        return self._called(joined)

    def members(self) -> Deferred[dict[int, str]]:
        return self._called(lambda: {member: address for member, (_, address) in self.service.alive.items()})

    def read(self) -> Deferred[tuple[bytes, int] | None]:
        return self._called(lambda: self.service.before if self.reads_late else self.service.value)

    def write(self, value: bytes, version: int | None) -> Deferred[int]:
        def written() -> int:
            now = self.service.value
            if (None if now is None else now[1]) != version:
                raise StateChanged(f"the state has another version than {version}")
            following = 0 if version is None else version + 1
            self.service.before = now
            self.service.value = (value, following)
            self.service.writes += 1
            self.service.news()
            return following

        return self._called(written)

    def close(self) -> Deferred[None]:
        self.started = False
        self._stop_expiry()
        self.session = Session.LOST
        for member, (client, _) in list(self.service.alive.items()):
            if client is self:
                del self.service.alive[member]
        self.service.news()
        return succeed(None)
