"""A running broker becomes master or slave: every part is told, in an order that loses nothing.

    promote   link closed -> log on disk -> slaves' port open -> epoch on disk -> role -> parts -> registered
    demote    role (no more messages) -> on disk -> slaves' port closed -> parts -> registered -> follows

Changes are done one after the other. A crash at any step leaves a broker that its epoch file describes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import RemotingError, RequestRefused, RocketMQError, StoreError
from rocketmq_tx.failover.epoch_file import EpochFile, Standing
from rocketmq_tx.failover.epochs import EpochHistory
from rocketmq_tx.failover.state import BrokerState
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.names import MASTER_ID

if TYPE_CHECKING:
    from rocketmq_tx.broker.registration_frames import BrokerIdentity
    from rocketmq_tx.store.message_store import MessageStore

FLUSH_TIMEOUT_S = 30.0


class Link(Protocol):
    """What is needed of `broker.replication_side.ReplicationSide`."""

    def stop_following(self) -> Deferred[None]: ...

    def follow(self) -> Deferred[None]: ...

    def listen(self) -> Deferred[None]: ...

    def stop_listening(self) -> Deferred[None]: ...

    def master_is(self, address: str, ha_address: str | None) -> None: ...

    @property
    def knows_master(self) -> bool: ...


class Flushes(Protocol):
    """What is needed of `runtime.group_commit.GroupCommit`."""

    def durable(self, offset: int, timeout_s: float) -> Deferred[None]: ...


class RoleChange:
    """`standing` is what this broker is now. `observers` are called after each change of role or epoch.

    `told` are the parts that look at `broker_role` of the settings when they are told that it is another;
    `register` registers at all NameServers; `ask` asks another broker for its state;
    `log_at_rest` fires when no cutting of the log's end is under way; `before_leading` is called when a slave
    has taken its last byte, and tables are to fit its log.
    """

    _log = Logger()

    def __init__(
        self,
        settings: BrokerSettings,
        store: MessageStore,
        flushes: Flushes,
        file: EpochFile,
        link: Link,
        identity: BrokerIdentity,
        told: list[Callable[[], object]],
        register: Callable[[], object],
        ask: Callable[[str], Coroutine[Any, Any, BrokerState | None]],
        log_at_rest: Callable[[], Deferred[None]],
        before_leading: Callable[[], object],
    ) -> None:
        self._settings = settings
        self._store = store
        self._flushes = flushes
        self._file = file
        self._link = link
        self._identity = identity
        self._told = told
        self._register = register
        self._ask = ask
        self._log_at_rest = log_at_rest
        self._before_leading = before_leading
        self._one_at_a_time = DeferredLock()
        self.standing = self._configured()
        self.is_used = False
        """Whether fail-over was ever used here: then there is a file."""
        self.observers: list[Callable[[], object]] = []

    @property
    def is_master(self) -> bool:
        return self.standing.broker_role.is_master

    @property
    def history(self) -> EpochHistory:
        return self.standing.history

    @property
    def knows_master(self) -> bool:
        """Whether a slave has been told by its master where that one replicates."""
        return self._link.knows_master

    # -- the start ------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Before anything else starts: what the file says wins over the configuration. StoreDamaged."""
        configured = self.standing = self._configured()
        kept = self._file.load()
        if kept is None:
            return
        if configured.broker_role.is_master:
            kept = attrs.evolve(kept, master_role=configured.master_role)
        role = kept.master_role if kept.broker_role.is_master else BrokerRole.SLAVE
        self.standing = attrs.evolve(kept, broker_role=role)
        self.is_used = True
        if (role, kept.broker_id) != (configured.broker_role, configured.broker_id):
            self._log.info(
                "this broker is what its last promotion has made it, not what is configured:"
                " brokerRole={role} brokerId={broker_id} epoch={epoch}"
                " configured={configured}/{configured_id}",
                role=role.value,
                broker_id=kept.broker_id,
                epoch=kept.history.number,
                configured=configured.broker_role.value,
                configured_id=configured.broker_id,
            )
        self._take_role()

    def _configured(self) -> Standing:
        role = self._settings.store.broker_role
        master_role = role if role.is_master else BrokerRole.ASYNC_MASTER
        return Standing(role, self._settings.broker.broker_id, master_role)

    # -- the link -------------------------------------------------------------------------------------------

    def close_link(self) -> Deferred[None]:
        """A slave takes nothing from its master any more, and acknowledges nothing, until `open_link`.

        Fires when that is certain. Harmless on a master.
        """
        return self._link.stop_following()

    def open_link(self) -> Deferred[None]:
        """A slave follows its master again; nothing on a master."""
        return Deferred.fromCoroutine(self._open_link())

    async def _open_link(self) -> None:
        if not self.is_master:
            await self._link.follow()

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

        It takes no message from the beginning of this change on. `broker_id` is its new one; None: the one
        that the master's history has for it. On a slave only its link is moved to that master. Fires when it
        looks for the master; comparing and cutting the log comes after that, before it follows. Fails with
        RequestRefused for an epoch that is not newer.
        """
        return self._in_turn(self._demote, master_address, epoch, broker_id)

    def adopt(self, history: EpochHistory, master_role: BrokerRole) -> None:
        """A slave takes over its master's epochs, before it takes bytes of the newest. StoreError."""
        self._stand(history=history, master_role=master_role)
        self._take_role()
        self._tell_observers()

    def note_handing_over(self, address: str | None) -> None:
        """A master makes room for the slave at `host:port`, which a start does not forget; StoreError.

        None: that one has not taken over, or this broker is none any more.
        """
        if address != self.standing.handing_over_to:
            self._stand(handing_over_to=address)

    def note_master_role(self, master_role: BrokerRole) -> None:
        """A slave's master says which kind of master it is; in memory only."""
        self.standing = attrs.evolve(self.standing, master_role=master_role)

    def begin_epoch(self, epoch: int) -> Deferred[None]:
        """Has this master be the master of a newer epoch. Fails with RequestRefused or StoreError."""
        return self._in_turn(self._begin_epoch, epoch)

    async def _begin_epoch(self, epoch: int) -> None:
        before = self.standing
        if not self.is_master or epoch <= before.history.number:
            raise _refused(
                f"epoch {epoch} cannot be begun by a {before.broker_role.value} of {before.history.number}"
            )
        end = self._store.written_to
        if end:
            await self._flushes.durable(end, FLUSH_TIMEOUT_S)
        self._stand(history=before.history.begun(epoch, end, MASTER_ID))
        self._log.info("master of a new epoch: epoch={epoch} from={offset}", epoch=epoch, offset=end)
        self._take_role()
        self._tell_all()

    async def _promote(self, epoch: int) -> None:
        before = self.standing
        if self.is_master:
            raise _refused(f"this broker is the master already, of epoch {before.history.number}")
        if epoch <= before.history.number:
            raise _refused(f"epoch {epoch} is outdated, this broker knows of {before.history.number}")
        await self._link.stop_following()
        await self._log_at_rest()
        try:
            self._store.end_stream()
            end = self._store.written_to
            if end:
                await self._flushes.durable(end, FLUSH_TIMEOUT_S)
            await self._link.listen()
            self._before_leading()
            self._stand(
                broker_role=before.master_role,
                broker_id=MASTER_ID,
                history=before.history.begun(epoch, end, before.broker_id),
            )
        except RocketMQError:
            await self._link.stop_listening()
            await self._link.follow()
            raise
        self._log.info(
            "promoted: this broker is the master now: brokerRole={role} epoch={epoch} from={offset}"
            " former_broker_id={broker_id}",
            role=before.master_role.value,
            epoch=epoch,
            offset=end,
            broker_id=before.broker_id,
        )
        self._take_role()
        self._tell_all()

    async def _demote(self, master_address: str, epoch: int, broker_id: int | None) -> None:
        before = self.standing
        if self.is_master:
            if epoch <= before.history.number:
                raise _refused(f"epoch {epoch} is not newer than {before.history.number}, of this master")
            self._settings.store.broker_role = BrokerRole.SLAVE  # from here on no message is taken
            await self._link.stop_listening()
        else:
            await self._link.stop_following()
        state = await self._state_of(master_address)
        if broker_id is None and state is not None:
            broker_id = state.history.id_for_master_of(before.history.number)
        if before.broker_role.is_master:
            self._step_down(broker_id or before.history.newest.freed_broker_id or 1)
            self._log.warn(
                "this broker is a slave now: master={master} epoch={epoch} own_epoch={own}"
                " brokerId={broker_id}",
                master=master_address,
                epoch=epoch,
                own=before.history.number,
                broker_id=self.standing.broker_id,
            )
            self._tell_all()
        self._link.master_is(master_address, state.ha_address if state is not None else None)
        await self._link.follow()

    def _step_down(self, broker_id: int) -> None:
        slave: dict[str, Any] = {
            "broker_role": BrokerRole.SLAVE,
            "broker_id": broker_id,
            "handing_over_to": None,
        }
        try:
            self._stand(**slave)
        except StoreError as error:
            # A start before this can be written begins as a master, and finds the newer one again.
            self._log.error("that this broker is a slave cannot be written: {error}", error=error)
            self.standing = attrs.evolve(self.standing, **slave)
        self._take_role()

    async def _state_of(self, address: str) -> BrokerState | None:
        try:
            return await self._ask(address)
        except RemotingError:
            return None

    def _in_turn(self, change: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> Deferred[None]:
        turn: Deferred[None] = self._one_at_a_time.run(lambda: Deferred.fromCoroutine(change(*arguments)))
        return turn

    def _stand(self, **changes: Any) -> None:
        """On the device, then in memory."""
        standing = attrs.evolve(self.standing, **changes)
        self._file.save(standing)
        self.standing = standing
        self.is_used = True

    def _take_role(self) -> None:
        standing = self.standing
        self._settings.store.broker_role = standing.broker_role
        self._settings.broker.broker_id = standing.broker_id
        self._identity.epoch = standing.history.number

    def _tell_all(self) -> None:
        for tell in self._told:
            tell()
        self._register()
        self._tell_observers()

    def _tell_observers(self) -> None:
        for observer in self.observers:
            observer()


def _refused(sentence: str) -> RequestRefused:
    return RequestRefused(ResponseCode.SYSTEM_ERROR, sentence)
