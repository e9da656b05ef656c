"""Fail-over within a broker: its role and epochs, who asks about them, and what stands before following."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rocketmq_tx.broker.missing_topics import make_missing_topics
from rocketmq_tx.broker.own_role import OwnRole
from rocketmq_tx.broker.role_change import RoleChange
from rocketmq_tx.broker.stepping_aside import SteppingAside
from rocketmq_tx.broker.takeover import Takeover
from rocketmq_tx.errors import RemotingError
from rocketmq_tx.failover.epoch_file import EpochFile
from rocketmq_tx.failover.reconciling import Reconciliation
from rocketmq_tx.failover.state import BrokerState, ask_state
from rocketmq_tx.replication.log_comparison import LogComparison
from rocketmq_tx.runtime.periodic import Periodic

if TYPE_CHECKING:
    from rocketmq_tx.broker.cluster_side import ClusterSide
    from rocketmq_tx.broker.replication_side import ReplicationSide
    from rocketmq_tx.broker.storage_side import StorageSide
    from rocketmq_tx.broker.store_service import StoreService
    from rocketmq_tx.broker.surroundings import Surroundings
    from rocketmq_tx.broker.tables import Tables

WORD_S = 5.0
"""How often a slave asks its master how far it is, should it have to answer for that some day."""


class FailoverSide:
    """`told_of_roles` are parts that look at their settings when they are told of another role."""

    _log = Logger()

    def __init__(
        self,
        surroundings: Surroundings,
        storage: StorageSide,
        tables: Tables,
        cluster: ClusterSide,
        replication: ReplicationSide,
        told_of_roles: list[Callable[[], object]],
    ) -> None:
        settings = surroundings.settings
        self._settings = settings
        self._disk = surroundings.disk
        self._store = storage.store
        self._tables = tables
        self._replication = replication
        self._identity = cluster.identity
        self._caller = cluster.caller
        self._word: BrokerState | None = None
        self._own_role = OwnRole(settings, EpochFile(tables.file("epochs.json")), cluster.identity)
        self.roles = RoleChange(
            self._own_role, settings, storage, cluster, replication, told_of_roles, self._fit_tables
        )
        self._stepping_aside = SteppingAside(surroundings, storage.store, self.roles, self.own_state, cluster)
        self._takeover = Takeover(
            surroundings,
            storage.store,
            self.roles,
            self.own_state,
            cluster,
            replication,
            lambda: self._word,
            self._stepping_aside.still,
        )
        self._asking = Periodic(
            surroundings.reactor,
            WORD_S,
            lambda: Deferred.fromCoroutine(self._ask_master()),
            "word of the master",
        )
        cluster.registration.master_observers.append(self._stepping_aside.heard_of_master)
        replication.on_news(self._asking.run_now)  # else a new slave could acknowledge without our knowing
        replication.before_following(self._reconciliation(storage.service))

    def _reconciliation(self, store_service: StoreService) -> Callable[[LogComparison], Reconciliation]:
        return lambda comparison: Reconciliation(
            comparison,
            self._caller,
            self._store,
            self.roles,
            store_service.cut_tail,
            self._forget_what_was_cut,
            self._heard,
        )

    # -- the tree --------------------------------------------------------------------------------------------

    def before_all(self) -> list[IService]:
        """Started first: from then on the settings say what this broker is."""
        return [RoleAtStart(self._own_role)]

    def before_clients(self) -> list[IService]:
        """Started before anybody can connect, when calls can be made."""
        return [self._stepping_aside, self._asking]

    def handlers(self) -> list[object]:
        return [self._stepping_aside, self._takeover]

    # -- what is known ---------------------------------------------------------------------------------------

    def own_state(self) -> BrokerState:
        """What this broker says of itself."""
        store, broker, standing = self._store, self._settings.broker, self.roles.standing
        return BrokerState(
            broker.broker_cluster_name,
            broker.broker_name,
            self._settings.broker_address,
            standing.broker_id,
            standing.broker_role,
            standing.master_role,
            standing.history,
            store.min_offset,
            store.written_to,
            store.flushed_to,
            self._replication.slave_count,
            self._identity.ha_server_address,
            self._stepping_aside.still.is_promoting,
            standing.handing_over_to or "",
        )

    async def _ask_master(self) -> None:
        address = self._replication.master_address
        if self.roles.is_master or address is None or not self._replication.is_following:
            return
        try:
            self._heard(await ask_state(self._caller, address))
        except RemotingError:
            return  # what it said last counts

    def _heard(self, state: BrokerState | None) -> None:
        if state is not None and state.role.is_master and not self.roles.is_master:
            self._word = state
            self.roles.note_master_role(state.role)

    # -- where the log ends ----------------------------------------------------------------------------------

    def _fit_tables(self) -> None:
        """What a slave has taken over late, or too early, is made to fit its log, which is the log now."""
        usual_queues = self._settings.broker.default_topic_queue_nums
        make_missing_topics(self._store, self._tables.topics, usual_queues)
        self._lower_offsets()

    def _lower_offsets(self) -> None:
        """Consumers cannot have come further than the queues reach, or what comes there next is skipped."""
        self._tables.offsets.lower_to(lambda topic, queue_id: self._store.queue_offsets(topic, queue_id)[1])
        self._tables.service.save_offsets()

    def _forget_what_was_cut(self) -> None:
        """The timer looks at the log again."""
        self._lower_offsets()
        self._disk.remove_tree(self._settings.store.below_root("timers"))


class RoleAtStart(Service):
    """The first part of a broker that starts."""

    def __init__(self, own: OwnRole) -> None:
        self.setName("role")
        self._own = own

    def startService(self) -> None:
        super().startService()
        self._own.load()
