"""A broker, put together: what it is made of, in which order it starts and stops.

    store opened and recovered -> tables loaded -> address server asked -> listening -> registered -> banner

and back: nothing accepted any more, held requests answered, connections closed; unregistered; tables and
store written, checkpoint, closed. Each part gets what it needs here, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred

from rocketmq_tx.broker.admin_cleaning import CleaningRequests
from rocketmq_tx.broker.admin_config import ConfigRequests
from rocketmq_tx.broker.admin_topics import TopicRequests
from rocketmq_tx.broker.announcement import Announcement, Unregistration
from rocketmq_tx.broker.cluster_side import ClusterSide
from rocketmq_tx.broker.failover_side import FailoverSide
from rocketmq_tx.broker.missing_topics import make_missing_topics
from rocketmq_tx.broker.reading import ReadingSide
from rocketmq_tx.broker.redelivery import RedeliverySide
from rocketmq_tx.broker.replication_side import ReplicationSide
from rocketmq_tx.broker.reply_handler import ReplyHandler
from rocketmq_tx.broker.send_answers import SendAnswers
from rocketmq_tx.broker.sending_side import SendingSide
from rocketmq_tx.broker.storage_side import StorageSide
from rocketmq_tx.broker.surroundings import Surroundings
from rocketmq_tx.broker.tables import Tables
from rocketmq_tx.broker.timer_service import TimerService
from rocketmq_tx.broker.topic_deletions import TopicDeletions
from rocketmq_tx.broker.transactions import Transactions
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.protocol import names
from rocketmq_tx.remoting.connections import Connections
from rocketmq_tx.remoting.descriptors import DescriptorReserve
from rocketmq_tx.remoting.listener import Listener
from rocketmq_tx.remoting.registry import Registry
from rocketmq_tx.runtime.clocks import WallClock, wall_ms
from rocketmq_tx.runtime.services import OrderedServices
from rocketmq_tx.runtime.settings_file import PropertiesFile
from rocketmq_tx.runtime.threads import OwnThread, Runner
from rocketmq_tx.store.disk import Disk
from rocketmq_tx.store.os_disk import platform_disk

VIP_PORT_OFFSET = -2
STOP_TIMEOUT_S = 5.0


def make_broker(
    settings: BrokerSettings,
    reactor: Any,
    announce: Callable[[str], object] = print,
    *,
    now_ms: WallClock = wall_ms,
    disk: Disk | None = None,
) -> OrderedServices:
    """The service tree of one broker; `announce` gets the banner once it listens and has registered."""
    return BrokerParts(settings, reactor, now_ms, disk or platform_disk()).services(announce)


class BrokerParts:
    """Makes the parts, top down: what is below uses what is above. `thread` makes one, named."""

    def __init__(
        self,
        settings: BrokerSettings,
        reactor: Any,
        now_ms: WallClock,
        disk: Disk,
        thread: Callable[[Any, str], Runner] = OwnThread,
    ) -> None:
        self.settings = settings
        self.reactor = reactor
        self.now_ms = now_ms
        self.disk = disk
        self._surroundings = surroundings = Surroundings(settings, reactor, now_ms, disk, thread)
        self.answers = SendAnswers(settings)
        self.storage = storage = StorageSide(surroundings, self.answers.store_host)
        self.store, self.store_service = storage.store, storage.service
        self.flushes, self.arrivals, self.slaves = storage.flushes, storage.arrivals, storage.slaves
        self.appending, self.statistics = storage.appending, storage.statistics
        self.automatic = storage.automatic
        self.tables = tables = Tables(surroundings, storage.notice, self._fit_topics)
        self.topics, self.groups, self.offsets = tables.topics, tables.groups, tables.offsets
        self.sending = SendingSide(surroundings, storage, tables, self.answers)
        self.reading = ReadingSide(surroundings, storage, tables)
        self.redelivery = RedeliverySide(surroundings, storage, tables)
        self.reading.runtime_info.more.append(self.redelivery.schedule.figures)
        self.transactions = Transactions(surroundings, storage, tables, self.reading.producers)
        self.timers = TimerService(surroundings, storage, lambda: self.topics.ensure(names.TIMER_TOPIC, 2))
        self.store_service.retention.before_deletion = self._released_before
        self._make_cluster()
        self._make_listening()

    def _make_cluster(self) -> None:
        """What this broker is to NameServers and to the others of its name."""
        surroundings, storage, tables = self._surroundings, self.storage, self.tables
        cluster = ClusterSide(surroundings, tables.topics)
        self.caller, self.registration = cluster.caller, cluster.registration
        self.replication = ReplicationSide(surroundings, storage, tables, cluster, self.redelivery.progress)
        told_of_roles: list[Callable[[], object]] = [
            self.redelivery.schedule.role_changed,
            self.timers.role_changed,
            self.transactions.role_changed,
            self.sending.settings_changed,
            self.reading.role_changed,
        ]
        self.failover = FailoverSide(surroundings, storage, tables, cluster, self.replication, told_of_roles)
        if self.automatic is not None:
            self.automatic.use(self.failover.roles)

    def _registry(self) -> Registry:
        settings = self.settings
        config_file = PropertiesFile(self.disk, str(settings.update_file), self.store_service.notice)
        deletions = TopicDeletions(self.store, self.offsets, self.replication.have_taken)
        return Registry(
            *self.sending.handlers,
            TopicRequests(
                settings.store,
                self.topics,
                deletions,
                self._registered_soon,
                lambda: self.store.deleted_topics,
                self.replication.is_slave,
            ),
            ConfigRequests(settings, config_file, self._settings_changed, self.now_ms),
            CleaningRequests(
                settings.store,
                self.store,
                lambda topic: self.topics.get(topic) is not None,
                deletions,
                self.store_service.retention.ask,
            ),
            ReplyHandler(
                settings,
                self.topics,
                self.reading.producers,
                self.appending,
                self.answers,
                self.now_ms,
                self.sending.further_queues,
            ),
            *self.reading.handlers(),
            *self.transactions.handlers(),
            *self.redelivery.handlers,
            *self.replication.handlers(),
            *self.failover.handlers(),
        )

    def _make_listening(self) -> None:
        server, broker = self.settings.server, self.settings.broker
        self.connections = Connections(
            self.reactor,
            self._registry(),
            scanner=self.sending.scanner,
            observers=[*self.reading.observers(), *self.replication.observers()],
            send_patience_ms=lambda: broker.wait_time_mills_in_send_queue,
            reserve=DescriptorReserve(
                self.reactor, lambda: broker.reserved_file_descriptors, self.store.close_idle_files
            ),
        )
        self.connections.limits.take(server)
        self.slaves.turn_end = self.connections.turn_end
        self.flushes.answer_together = self.connections.turn_end.gather
        self.listener = Listener(
            self.reactor,
            self.connections,
            host=server.bind_address.strip("[]"),
            port=server.listen_port,
            alias_offsets=(VIP_PORT_OFFSET,),
            backlog=server.server_socket_backlog,
            release=(self.arrivals.release_all,),
        )

    # -- the tree ------------------------------------------------------------------------------------------

    def services(self, announce: Callable[[str], object]) -> OrderedServices:
        """Started top down, each when the one before is ready; stopped bottom up."""
        address_server: list[IService] = []
        if self.settings.broker.fetch_namesrv_addr_by_address_server:
            # Twisted's HTTP client costs more to import than the rest of the broker, and few want it
            from rocketmq_tx.broker.address_server import AddressServer  # noqa: PLC0415

            address_server.append(AddressServer(self.settings.broker, self.reactor))
        return OrderedServices(
            *self.failover.before_all(),
            self.store_service,  # recovery is over before anybody can connect; closed last
            self.tables.service,
            self.redelivery.schedule,
            self.timers,
            self.caller,
            *address_server,
            Unregistration(self.registration),  # does its work when it stops: after the listener
            *self.failover.before_clients(),
            *([] if self.automatic is None else self.automatic.before_clients()),
            *self.replication.before_clients(),  # senders wait for slaves as long as there are senders
            *self.transactions.services(),
            *self.reading.services(),
            self.listener,
            self.registration,  # a route is announced only when the port answers
            *self.replication.after_registration(),
            *([] if self.automatic is None else self.automatic.last()),
            Announcement(self.settings, self.registration, self.reactor, announce),
            reactor=self.reactor,
            stop_timeout_s=STOP_TIMEOUT_S,
        )

    # -- what one part has to know of another --------------------------------------------------------------

    def _released_before(self, commit_log_offset: int) -> Deferred[None]:
        waiting = self.timers.appended_again_before(commit_log_offset)
        return waiting.addCallback(lambda _: self.transactions.put_back_before(commit_log_offset))

    def _fit_topics(self) -> None:
        """A kill may have come before the file of topics was written, and after their first messages were."""
        if not self.store_service.was_clean and self.settings.store.broker_role is not BrokerRole.SLAVE:
            make_missing_topics(self.store, self.topics, self.settings.broker.default_topic_queue_nums)

    def _registered_soon(self) -> Any:
        return self.registration.registered_soon()

    def _settings_changed(self, changed: Mapping[str, str]) -> None:
        self.connections.limits.take(self.settings.server)
        self.sending.settings_changed()
        if "brokerPermission" in changed:
            self.topics.touch()
        if "namesrvAddr" in changed:
            self.registration.register_all()
