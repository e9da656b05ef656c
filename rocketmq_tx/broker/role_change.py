"""A running broker becomes master or slave: every part is told, in an order that loses nothing.

    promote   link closed -> log on disk -> slaves' port open -> epoch on disk -> role -> parts -> registered
    demote    role (no more writes) -> on disk -> slaves' port closed -> parts -> registered -> follows

Changes are done one after the other. A crash at any step leaves a broker that its epoch file describes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred
from twisted.logger import Logger

from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.failover.epoch_file import EpochFile, Standing
from rocketmq_tx.failover.epochs import EpochHistory

if TYPE_CHECKING:
    from rocketmq_tx.store.message_store import MessageStore

FLUSH_TIMEOUT_S = 30.0


class Link(Protocol):
    """What is needed of `broker.replication_side.ReplicationSide`."""

    def stop_following(self) -> Deferred[None]: ...

    def follow(self) -> Deferred[None]: ...

    def listen(self) -> Deferred[None]: ...

    def stop_listening(self) -> Deferred[None]: ...

    def master_is(self, address: str, ha_address: str | None) -> None: ...


class Flushes(Protocol):
    """What is needed of `runtime.group_commit.GroupCommit`."""

    def durable(self, offset: int, timeout_s: float) -> Deferred[None]: ...


class RoleChange:
    """`standing` is what this broker is now. `observers` are called after each change of role or epoch.

    `told` are the parts that look at `broker_role` of the settings when they are told that it is another;
    `register` registers at all NameServers.
    """

    _log = Logger()

    def __init__(
        self,
        settings: BrokerSettings,
        store: MessageStore,
        flushes: Flushes,
        file: EpochFile,
        link: Link,
        told: list[Callable[[], object]],
        register: Callable[[], object],
    ) -> None:
        self._settings = settings
        self._store = store
        self._flushes = flushes
        self._file = file
        self._link = link
        self._told = told
        self._register = register
        self._one_at_a_time = DeferredLock()
        self.standing = Standing(settings.store.broker_role, settings.broker.broker_id)
        self.is_used = False
        """Whether fail-over was ever used here: then there is a file."""
        self.observers: list[Callable[[], object]] = []

    @property
    def is_master(self) -> bool:
        return self.standing.broker_role.is_master

    @property
    def history(self) -> EpochHistory:
        return self.standing.history

    # -- the link -------------------------------------------------------------------------------------------

    def close_link(self) -> Deferred[None]:
        """A slave takes nothing from its master any more, and acknowledges nothing, until `open_link`.

        Fires when that is certain. Harmless on a master.
        """
        return self._link.stop_following()

    def open_link(self) -> Deferred[None]:
        """A slave follows its master again; nothing on a master."""
        return self._link.follow()

    # -- changes --------------------------------------------------------------------------------------------

    def promote(self, epoch: int) -> Deferred[None]:
        """Makes this slave the master of that epoch, which must be newer than any it has heard of.

        Fires when it takes messages. Fails with RequestRefused (outdated epoch, already a master), StoreError
        (the epoch cannot be written: it stays a slave) or StartError (no port for slaves); then it is a slave
        whose link is open again.
        """
        return self._in_turn(self._promote, epoch)

    def demote(self, master_address: str, epoch: int, broker_id: int | None = None) -> Deferred[None]:
        """Makes this master a slave of the master at `host:port`, whose epoch is newer than its own.

        It takes no message from the moment of the call on. `broker_id` is its new one; None: the one that
        the master's history has for it, or that it last had. Nothing happens when it is a slave already, but
        that it hears of the master. Fires when it looks for that master; comparing and cutting the log comes
        after that, before it follows.
        """
        return self._in_turn(self._demote, master_address, epoch, broker_id)

    def adopt(self, history: EpochHistory, master_role: BrokerRole) -> None:
        """A slave takes over its master's epochs, before it takes bytes of the newest. StoreError."""
        raise NotImplementedError

    async def _promote(self, epoch: int) -> None:
        raise NotImplementedError

    async def _demote(self, master_address: str, epoch: int, broker_id: int | None) -> None:
        raise NotImplementedError

    def _in_turn(self, change: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> Deferred[None]:
        turn: Deferred[None] = self._one_at_a_time.run(lambda: ensureDeferred(change(*arguments)))
        return turn

    def _stand(self, **changes: Any) -> None:
        """On the device, then in memory."""
        standing = attrs.evolve(self.standing, **changes)
        self._file.save(standing)
        self.standing = standing
        self.is_used = True
