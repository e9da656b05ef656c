"""Who serves what: clusters, brokers, their addresses, and how many queues of which topic they have.

A plain table with verbs; time comes in as milliseconds, a connection as any object that can be compared.
What is registered stays until it is unregistered, its connection goes, or nothing was heard of it for too
long. Facts: `spec/processors.yaml`, section namesrv (Apache's RouteInfoManager); where this differs on
purpose, the reason stands beside it.

    clusters   cluster -> broker names
    brokers    broker name -> cluster, and id -> address (id 0 is the master)
    topics     topic -> broker name -> queues; only masters register them
    live       address -> when it was heard, the version of its topics, its connection
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from rocketmq_tx.protocol.bodies import BrokerData, ClusterInfo, DataVersion, QueueData, TopicConfig
from rocketmq_tx.protocol.flags import Perm
from rocketmq_tx.protocol.names import MASTER_ID


@attrs.frozen
class Registration:
    """What a broker says of itself. `topics` is None when it says nothing of its topics."""

    cluster: str
    broker_name: str
    broker_id: int
    address: str
    ha_address: str
    version: DataVersion
    topics: Mapping[str, TopicConfig] | None
    epoch: int = 0
    """Ours: how often a slave of its name was promoted, as far as it knows."""


@attrs.frozen
class Registered:
    """What came of it: a slave is told its master; `displaced` is another live address that held the id.

    An `outdated` master is not registered, and told who is the master now.
    """

    master_address: str | None = None
    ha_address: str | None = None
    displaced: str | None = None
    outdated: bool = False


@attrs.define
class LiveBroker:
    """One address that registers again and again."""

    broker_name: str
    heard_ms: int
    version: DataVersion
    connection: object
    ha_address: str
    epoch: int = 0


class RouteTable:
    """All that one NameServer knows of brokers."""

    def __init__(self) -> None:
        self._clusters: dict[str, dict[str, None]] = {}
        self._brokers: dict[str, BrokerData] = {}
        self._topics: dict[str, dict[str, QueueData]] = {}
        self._live: dict[str, LiveBroker] = {}

    # -- registering ---------------------------------------------------------------------------------------

    def register(self, broker: Registration, connection: object, now_ms: int) -> Registered:
        """Takes in a broker, or its next sign of life. The later of two that claim one id wins.

        But of two masters the one of the newer epoch, as long as that is alive.
        """
        newer = self._master_of_newer_epoch(broker)
        if newer is not None:
            return Registered(newer, self._live[newer].ha_address, outdated=True)
        known = self._live.get(broker.address)
        before = self._take_address(broker)
        displaced = None
        if before is not None and before != broker.address and self._live.pop(before, None) is not None:
            displaced = before  # its next registration is its first again, and brings its topics along
        if broker.broker_id == MASTER_ID and broker.topics is not None:
            if known is None or before != broker.address or known.version != broker.version:
                self._add_topics(broker.broker_name, broker.topics.values())
            else:
                self._keep_topics(broker.broker_name, broker.topics)
        self._live[broker.address] = LiveBroker(
            broker.broker_name, now_ms, broker.version, connection, broker.ha_address, broker.epoch
        )
        if broker.broker_id == MASTER_ID:
            return Registered(displaced=displaced)
        master_address = self._brokers[broker.broker_name].master_address
        master = None if master_address is None else self._live.get(master_address)
        if master is None:
            return Registered(displaced=displaced)
        return Registered(master_address, master.ha_address, displaced)

    def _master_of_newer_epoch(self, broker: Registration) -> str | None:
        """The address of a live master of the same name, if this one claims its place and is outdated."""
        data = self._brokers.get(broker.broker_name)
        address = None if data is None or broker.broker_id != MASTER_ID else data.master_address
        if address is None or address == broker.address or address not in self._live:
            return None
        return address if self._live[address].epoch > broker.epoch else None

    def _take_address(self, broker: Registration) -> str | None:
        """Enters the address under its id; returns the address that had the id before."""
        data = self._brokers.get(broker.broker_name)
        if data is None:
            data = self._brokers[broker.broker_name] = BrokerData(broker.cluster, broker.broker_name)
        elif data.cluster != broker.cluster:
            self._leave_cluster(data)
            data.cluster = broker.cluster
        self._clusters.setdefault(broker.cluster, {})[broker.broker_name] = None
        for other_id in [i for i, address in data.broker_addrs.items() if address == broker.address]:
            if other_id != broker.broker_id:  # a slave that became the master, or the other way round
                del data.broker_addrs[other_id]
        before = data.broker_addrs.get(broker.broker_id)
        data.broker_addrs[broker.broker_id] = broker.address
        data.broker_addrs = dict(sorted(data.broker_addrs.items()))
        return before

    def _add_topics(self, broker_name: str, configs: Iterable[TopicConfig]) -> None:
        """A changed table adds and replaces only: Apache's brokers send a single new topic that way."""
        for config in configs:
            self._topics.setdefault(config.topic_name, {})[broker_name] = QueueData(
                broker_name,
                config.read_queue_nums,
                config.write_queue_nums,
                config.perm,
                config.topic_sys_flag,
            )

    def _keep_topics(self, broker_name: str, complete: Mapping[str, TopicConfig]) -> None:
        """A table that repeats its version is complete: what it lacks is gone.

        Better than Apache, whose NameServer shows deleted topics until it is restarted. What an operator
        changed here meanwhile (write permission, a deleted route) stays, as there.
        """
        gone = [
            topic for topic, queues in self._topics.items() if broker_name in queues and topic not in complete
        ]
        for topic in gone:
            self._remove_queues(topic, broker_name)

    # -- signs of life -------------------------------------------------------------------------------------

    def version_of(self, address: str) -> DataVersion | None:
        """The version of the topics that a broker registered."""
        live = self._live.get(address)
        return None if live is None else live.version

    def heard(self, address: str, now_ms: int) -> None:
        """A broker asked whether it has to register again, which it has not."""
        live = self._live.get(address)
        if live is not None:
            live.heard_ms = now_ms

    def silent_since(self, before_ms: int) -> dict[str, LiveBroker]:
        """Addresses of which nothing was heard after `before_ms`."""
        return {address: live for address, live in self._live.items() if live.heard_ms < before_ms}

    def addresses_of(self, connection: object) -> list[str]:
        """Addresses whose last registration came over a connection."""
        return [address for address, live in self._live.items() if live.connection is connection]

    # -- removing ------------------------------------------------------------------------------------------

    def unregister(self, broker_name: str, broker_id: int, address: str) -> None:
        """A broker takes its leave. The id is only given up if it is still this address's: another broker
        may have taken it over meanwhile (Apache's NameServer would remove that one)."""
        self._live.pop(address, None)
        data = self._brokers.get(broker_name)
        if data is not None and data.broker_addrs.get(broker_id) == address:
            del data.broker_addrs[broker_id]
            self._drop_if_empty(data)

    def remove(self, address: str) -> None:
        """An address is silent or its connection gone: every id that it holds is given up."""
        self._live.pop(address, None)
        for data in list(self._brokers.values()):
            held = [broker_id for broker_id, held in data.broker_addrs.items() if held == address]
            for broker_id in held:
                del data.broker_addrs[broker_id]
            if held:
                self._drop_if_empty(data)

    def _drop_if_empty(self, data: BrokerData) -> None:
        """With its last address a broker name goes, and with it its queues. While a slave is left, routes
        stay: consumers can read there, producers see that there is no master."""
        if data.broker_addrs:
            return
        del self._brokers[data.broker_name]
        self._leave_cluster(data)
        for topic in list(self._topics):
            self._remove_queues(topic, data.broker_name)

    def _leave_cluster(self, data: BrokerData) -> None:
        names = self._clusters.get(data.cluster, {})
        names.pop(data.broker_name, None)
        if not names:
            self._clusters.pop(data.cluster, None)

    def _remove_queues(self, topic: str, broker_name: str) -> None:
        queues = self._topics.get(topic, {})
        queues.pop(broker_name, None)
        if not queues:
            self._topics.pop(topic, None)

    # -- routes --------------------------------------------------------------------------------------------

    def route(self, topic: str) -> tuple[list[BrokerData], list[QueueData]] | None:
        """Brokers and queues of a topic; None when it has no queues, or none on a broker that is there."""
        queues = self._topics.get(topic)
        if not queues:
            return None
        brokers = [self._brokers[name] for name in queues if name in self._brokers]
        return (brokers, list(queues.values())) if brokers else None

    def cluster_info(self) -> ClusterInfo:
        return ClusterInfo(
            dict(self._brokers), {cluster: list(names) for cluster, names in self._clusters.items()}
        )

    def delete_topic(self, topic: str, cluster: str | None = None) -> None:
        """Forgets a topic's route, everywhere or on the brokers of one cluster."""
        if cluster is None:
            self._topics.pop(topic, None)
            return
        for broker_name in self._clusters.get(cluster, {}):
            self._remove_queues(topic, broker_name)

    def wipe_write_permission(self, broker_name: str) -> int:
        """Takes W from all topics of a broker until its topics change; returns their number."""
        queues = self._queues_of(broker_name)
        for queue in queues:
            queue.perm &= ~Perm.WRITE
        return len(queues)

    def add_write_permission(self, broker_name: str) -> int:
        """Gives R and W, and only those, to all topics of a broker; returns their number."""
        queues = self._queues_of(broker_name)
        for queue in queues:
            queue.perm = int(Perm.READ | Perm.WRITE)
        return len(queues)

    def _queues_of(self, broker_name: str) -> list[QueueData]:
        return [queues[broker_name] for queues in self._topics.values() if broker_name in queues]

    # -- lists of topics -----------------------------------------------------------------------------------

    def topics(self) -> list[str]:
        return list(self._topics)

    def topics_of_cluster(self, cluster: str) -> list[str]:
        """Topics with queues on a broker of the cluster; none for an unknown one."""
        names = self._clusters.get(cluster, {})
        return [topic for topic, queues in self._topics.items() if not names.keys().isdisjoint(queues)]

    def system_topics(self) -> tuple[list[str], str | None]:
        """Names of clusters and brokers, which are topics, too, and the address of some broker."""
        names: dict[str, None] = {}
        for cluster, broker_names in self._clusters.items():
            names[cluster] = None
            names.update(broker_names)
        addresses = (next(iter(data.broker_addrs.values()), None) for data in self._brokers.values())
        return list(names), next(addresses, None)

    def topics_flagged(self, wanted: int, unwanted: int = 0) -> list[str]:
        """Topics by the system flags of their first broker's queues, as in Apache."""
        found = []
        for topic, queues in self._topics.items():
            flags = next(iter(queues.values())).topic_sys_flag
            if flags & wanted and not flags & unwanted:
                found.append(topic)
        return found
