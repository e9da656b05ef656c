"""Replication within a broker: a master's port for slaves, a slave's follower, and who hears of what."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred

from rocketmq_tx.broker.followed_deletions import FollowedDeletions
from rocketmq_tx.broker.offsets_return import OffsetsReturn
from rocketmq_tx.broker.on_demand import OnDemand
from rocketmq_tx.broker.slave_sync import DelayTable, SlaveSync
from rocketmq_tx.broker.table_news import TableNews
from rocketmq_tx.config.addresses import format_address
from rocketmq_tx.remoting.connections import ConnectionObserver
from rocketmq_tx.replication.follower import Comparison, Follower
from rocketmq_tx.replication.listener import SlaveListener
from rocketmq_tx.replication.log_comparison import LogComparison
from rocketmq_tx.replication.log_digest import LogDigests
from rocketmq_tx.replication.slave_end import Chunk

if TYPE_CHECKING:
    from rocketmq_tx.broker.cluster_side import ClusterSide
    from rocketmq_tx.broker.registration_frames import BrokerIdentity
    from rocketmq_tx.broker.storage_side import StorageSide
    from rocketmq_tx.broker.surroundings import Surroundings
    from rocketmq_tx.broker.tables import Tables
    from rocketmq_tx.remoting.peer import Peer


class ReplicationSide:
    """Its services, its handlers of requests, its observers of connections; `delays` are copied as well."""

    def __init__(
        self,
        surroundings: Surroundings,
        storage: StorageSide,
        tables: Tables,
        cluster: ClusterSide,
        delays: DelayTable,
    ) -> None:
        self._config = surroundings.settings.store
        self._slaves = storage.slaves
        self.master_address: str | None = None
        """Of whom a NameServer, or the master itself, has told that it is the master; for requests."""
        self._store = storage.store
        self._offsets = tables.offsets
        self._arrivals = storage.arrivals if storage.automatic is None else storage.automatic.arrivals
        self._appended = storage.service.appended
        self._now_ms = surroundings.now_ms
        self._news = TableNews(surroundings.reactor)
        tables.topics.observers.append(self._news.changed)
        tables.groups.observers.append(self._news.changed)
        storage.slaves.compares_logs = self._news.has_slave_at
        self._digests = LogDigests(storage.store, surroundings.off_reactor, self._news.is_slave)
        self._make_masters_end(surroundings, storage, cluster)
        self._make_slaves_end(surroundings, storage, tables, cluster, delays)

    def _make_masters_end(
        self, surroundings: Surroundings, storage: StorageSide, cluster: ClusterSide
    ) -> None:
        """Made by a slave as well, which may become one."""
        settings, reactor = surroundings.settings, surroundings.reactor
        listener = SlaveListener(
            storage.store,
            settings.store,
            storage.slaves,
            surroundings.off_reactor,
            reactor,
            settings.server.bind_address.strip("[]"),
            settings.server.listen_port,
            None if storage.automatic is None else storage.automatic.replicas,
        )
        listening = ListeningForSlaves(listener, cluster.identity, settings.broker.broker_ip2)
        self._return = OffsetsReturn(
            settings.broker, self._offsets, cluster.registration.addresses, cluster.caller, reactor
        )
        self._as_master = OnDemand("port for slaves", self._is_master, [listening])

    def _make_slaves_end(
        self,
        surroundings: Surroundings,
        storage: StorageSide,
        tables: Tables,
        cluster: ClusterSide,
        delays: DelayTable,
    ) -> None:
        """Made by a master as well, which may have to follow another one."""
        registration, caller, reactor = cluster.registration, cluster.caller, surroundings.reactor
        self._deletions = FollowedDeletions(self._config, storage.store, tables.offsets)
        self._sync = SlaveSync(
            tables.topics, tables.groups, tables.offsets, delays, self._deletions.learn, caller, reactor
        )
        self.comparison = LogComparison(
            storage.store, self._config, caller, surroundings.now_ms, storage.service.cut_tail
        )
        self._follower = Follower(
            storage.store,
            self._config,
            storage.flushes,
            self.comparison,
            self._append,
            registration.register_all,
            reactor,
            None if storage.automatic is None else storage.automatic.membership,
        )
        if storage.automatic is None:  # else it is agreed on, whatever a NameServer has heard
            registration.master_observers.append(self.master_is)
        caller.connections.registry.add(self._sync)
        self._as_slave = OnDemand("replication", lambda: not self._is_master(), [self._sync, self._follower])

    def _is_master(self) -> bool:
        return self._config.broker_role.is_master

    def before_clients(self) -> list[IService]:
        """Started before anybody can connect, stopped when nobody can any more."""
        return [self._as_master, OnDemand("offsets of slaves", self._is_master, [self._return])]

    def after_registration(self) -> list[IService]:
        """Started last, stopped first."""
        return [self._as_slave]

    # -- another role ----------------------------------------------------------------------------------------

    def listen(self) -> Deferred[None]:
        """Opens the port for slaves; StartError."""
        return self._as_master.begin()

    def stop_listening(self) -> Deferred[None]:
        """Closes it, and the connections of slaves."""
        return self._as_master.end().addCallback(lambda _: self._slaves.begin_anew())

    def follow(self) -> Deferred[None]:
        """Begins to take log and tables of the master."""
        return self._as_slave.begin()

    def stop_following(self) -> Deferred[None]:
        """Ends it: fires when nothing is taken and acknowledged any more."""
        return self._as_slave.end()

    @property
    def is_following(self) -> bool:
        """Whether there is a connection to the master."""
        return self._follower.is_following

    @property
    def knows_master(self) -> bool:
        """Whether it knows where the master replicates."""
        return self._follower.knows_master

    @property
    def slave_count(self) -> int:
        """How many slaves this master has, or is about to have."""
        return max(len(self._slaves), len(self._news))

    def on_news(self, observer: Callable[[], object]) -> None:
        """The observer is called when the master says that there is something new."""
        self._sync.news_observers.append(observer)

    def is_slave(self, peer: Peer) -> None:
        """This connection is a slave's, as it says."""
        self._news.is_slave(peer)

    def have_taken(self, timeout_s: float) -> Deferred[list[str]]:
        """Has the slaves take the topics; fires with a sentence for each that has not within that time."""
        return self._news.have_taken(timeout_s, {slave.host for slave in self._slaves})

    def take_tables(self) -> Deferred[None]:
        """Asks the master for its tables, now; fires when that was tried."""
        return self._sync.take_now()

    def before_following(self, wrap: Callable[[LogComparison], Comparison]) -> None:
        """Puts something before the comparison of logs."""
        self._follower.comparison = wrap(self.comparison)

    def handlers(self) -> list[object]:
        return [self._digests]

    def observers(self) -> list[ConnectionObserver]:
        return [self._news]

    def master_is(self, address: str, ha_address: str | None) -> None:
        """Where the master serves requests and where it replicates. A master has none."""
        if self._is_master():
            return
        self.master_address = address
        self._follower.master_is(address, ha_address)
        self._sync.master_is(address)

    def _append(self, chunk: Chunk, was_written: Callable[[], object]) -> None:
        """Bytes of the master: stored, and shown to consumers who wait here."""
        arrived = self._store.append_raw(chunk.data, chunk.offset, self._now_ms(), was_written)
        self._appended()
        self._deletions.log_grew()
        for topic, queue_id in arrived:
            self._arrivals.notify(topic, queue_id)


class ListeningForSlaves(Service):
    """Opens the port, and puts the address into what NameServers are told."""

    def __init__(self, listener: SlaveListener, identity: BrokerIdentity, host: str) -> None:
        self.setName("replication port")
        self._listener = listener
        self._identity = identity
        self._host = host

    def startService(self) -> Deferred[None]:
        super().startService()
        return self._listener.startService().addCallback(lambda _: self._publish())

    def _publish(self) -> None:
        self._identity.ha_server_address = format_address(self._host, self._listener.port)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self._listener.stopService()
