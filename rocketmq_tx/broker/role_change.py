"""A running broker becomes master or slave: every part is told, in an order that loses nothing.

    promote   link closed -> log on disk -> slaves' port open -> epoch on disk -> role -> parts -> registered
    demote    role (no more messages) -> on disk -> slaves' port closed -> parts -> registered -> follows

Changes are done one after the other. A crash at any step leaves a broker that its epoch file describes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from rocketmq_tx.broker.own_role import OwnRole
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import RemotingError, RequestRefused, RocketMQError, StoreError
from rocketmq_tx.failover.epoch_file import Standing
from rocketmq_tx.failover.epochs import EpochHistory
from rocketmq_tx.failover.state import BrokerState, ask_state
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.names import MASTER_ID

if TYPE_CHECKING:
    from rocketmq_tx.broker.cluster_side import ClusterSide
    from rocketmq_tx.broker.storage_side import StorageSide

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


class RoleChange:
    """`own` is what this broker is. `observers` are called after each change of role or epoch.

    `told` are the parts that look at `broker_role` of the settings when they are told that it is another;
    `before_leading` is called when a slave has taken its last byte, and tables are to fit its log.
    """

    _log = Logger()

    def __init__(
        self,
        own: OwnRole,
        settings: BrokerSettings,
        storage: StorageSide,
        cluster: ClusterSide,
        link: Link,
        told: list[Callable[[], object]],
        before_leading: Callable[[], object],
    ) -> None:
        self._own = own
        self._settings = settings
        self._storage = storage
        self._store = storage.store
        self._cluster = cluster
        self._link = link
        self._told = told
        self._before_leading = before_leading
        self._one_at_a_time = DeferredLock()
        self.observers: list[Callable[[], object]] = []

    @property
    def standing(self) -> Standing:
        """What this broker is now."""
        return self._own.standing

    @property
    def is_used(self) -> bool:
        """Whether fail-over was ever used here."""
        return self._own.is_used

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
        self._own.stand(history=history, master_role=master_role)
        self._own.apply()
        self._tell_observers()

    def note_handing_over(self, address: str | None) -> None:
        """A master makes room for the slave at `host:port`, which a start does not forget; StoreError.

        None: that one has not taken over, or this broker is none any more.
        """
        if address != self.standing.handing_over_to:
            self._own.stand(handing_over_to=address)

    def note_master_role(self, master_role: BrokerRole) -> None:
        """A slave's master says which kind of master it is; in memory only."""
        self._own.assume(master_role=master_role)

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
            await self._storage.flushes.durable(end, FLUSH_TIMEOUT_S)
        self._own.stand(history=before.history.begun(epoch, end, MASTER_ID))
        self._log.info("master of a new epoch: epoch={epoch} from={offset}", epoch=epoch, offset=end)
        self._own.apply()
        self._tell_all()

    async def _promote(self, epoch: int) -> None:
        before = self.standing
        if self.is_master:
            raise _refused(f"this broker is the master already, of epoch {before.history.number}")
        if epoch <= before.history.number:
            raise _refused(f"epoch {epoch} is outdated, this broker knows of {before.history.number}")
        await self._link.stop_following()
        await self._storage.service.not_cutting()
        try:
            self._store.end_stream()
            end = self._store.written_to
            if end:
                await self._storage.flushes.durable(end, FLUSH_TIMEOUT_S)
            await self._link.listen()
            self._before_leading()
            self._own.stand(
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
        self._own.apply()
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
            self._own.stand(**slave)
        except StoreError as error:
            # A start before this can be written begins as a master, and finds the newer one again.
            self._log.error("that this broker is a slave cannot be written: {error}", error=error)
            self._own.assume(**slave)
        self._own.apply()

    async def _state_of(self, address: str) -> BrokerState | None:
        try:
            return await ask_state(self._cluster.caller, address)
        except RemotingError:
            return None

    def _in_turn(self, change: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> Deferred[None]:
        turn: Deferred[None] = self._one_at_a_time.run(lambda: Deferred.fromCoroutine(change(*arguments)))
        return turn

    def _tell_all(self) -> None:
        for tell in self._told:
            tell()
        self._cluster.registration.register_all()
        self._tell_observers()

    def _tell_observers(self) -> None:
        for observer in self.observers:
            observer()


def _refused(sentence: str) -> RequestRefused:
    return RequestRefused(ResponseCode.SYSTEM_ERROR, sentence)
