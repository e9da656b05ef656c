"""Automatic fail-over within a broker: what senders wait for, what consumers see, who decides on its role.

Made only with `autoFailover`, and imported only then: kazoo costs memory and time to start.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred

from rocketmq_tx.broker.replicated_reads import ReplicatedArrivals, ReplicatedReads
from rocketmq_tx.broker.role_change import RoleChange
from rocketmq_tx.config.coordination import parse_coordination
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.failover.automatic import AutomaticFailover
from rocketmq_tx.failover.replicas import InSyncReplicas
from rocketmq_tx.failover.zookeeper import ZooKeeperCoordinator
from rocketmq_tx.protocol.ha_frames import Greeting, encode_greeting
from rocketmq_tx.replication.follower import Membership
from rocketmq_tx.replication.slaves import Slaves
from rocketmq_tx.runtime.arrivals import Arrivals
from rocketmq_tx.store.message_store import MessageStore


def make_coordinator(settings: BrokerSettings, reactor: Any) -> Any:
    """As `autoFailover` says; a broker name has a folder of its own."""
    broker = settings.broker
    hosts, path = parse_coordination(broker.auto_failover or "")
    path = f"{path}/{broker.broker_cluster_name}/{broker.broker_name}"
    return ZooKeeperCoordinator(hosts, path, broker.auto_failover_session_timeout / 1000, reactor)


class AutomaticSide:
    """`replicas`, `arrivals` and `reads` stand where the slaves, the arrivals and the store stand without it.

    The configured `brokerId` is the member's name for good; which one it registers with changes.
    """

    def __init__(
        self, settings: BrokerSettings, store: MessageStore, slaves: Slaves, arrivals: Arrivals, reactor: Any
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._member = settings.broker.broker_id
        self._roles: RoleChange | None = None
        self._store = store
        self.replicas = InSyncReplicas(self._member, settings.store, slaves, store, reactor)
        shown = ReplicatedArrivals(arrivals, store, self.replicas)
        self.replicas.observers.append(shown.shown_to)
        self.arrivals = cast("Arrivals", shown)
        self.reads = cast("MessageStore", ReplicatedReads(store, self.replicas))
        self.membership = Membership(self._greeting, self.replicas.shown_to)

    def _greeting(self) -> bytes:
        epoch = 0 if self._roles is None else self._roles.history.number
        return encode_greeting(Greeting(self._member, epoch))

    def use(self, roles: RoleChange) -> None:
        """Whom it tells to become master or slave."""
        self._roles = roles
        self._failover = AutomaticFailover(
            make_coordinator(self._settings, self._reactor),
            self._member,
            self._settings.broker_address,
            roles,
            self.replicas,
            self._store,
            self._reactor,
        )
        roles.observers.append(self._failover.role_changed)

    def before_clients(self) -> list[IService]:
        """Started before anybody can connect."""
        return [ClosedGate(self._failover, self.replicas, self._roles)]

    def last(self) -> list[IService]:
        """Started when everything else runs, stopped first."""
        return [self._failover]


class ClosedGate(Service):
    """A master that starts takes no message before it is confirmed. What it shows begins with its epoch."""

    def __init__(self, failover: AutomaticFailover, replicas: InSyncReplicas, roles: Any) -> None:
        self.setName("confirmation of the master")
        self._failover = failover
        self._replicas = replicas
        self._roles = roles

    def startService(self) -> Deferred[None] | None:
        super().startService()
        self._replicas.shown_to(self._roles.history.newest.start_offset)
        self._failover.set_gate()
        return None
