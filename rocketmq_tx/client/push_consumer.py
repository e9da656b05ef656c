"""A consumer that shares its topics with the others of its group and is called with each message.

    consumer = PushConsumer("group", "127.0.0.1:9876", listener, reactor)
    consumer.subscribe("orders", "TagA || TagB")
    await consumer.startService()

Delivery is at least once: a message counts as consumed when the listener has returned, and it comes again
when the listener fails, or when this process ends before the offset was committed.
"""

from __future__ import annotations

import random
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rocketmq_tx.client.allocation import Strategy, averagely
from rocketmq_tx.client.assignment import Assignment
from rocketmq_tx.client.deliveries import Deliveries, Listener
from rocketmq_tx.client.offset_store import OffsetStore
from rocketmq_tx.client.process_queue import FlowLimits
from rocketmq_tx.client.pulling import PullServices
from rocketmq_tx.client.queue_queries import QueueQueries
from rocketmq_tx.client.rebalancing import Shares
from rocketmq_tx.client.send_back import SendBack
from rocketmq_tx.client.session import Environment, Session
from rocketmq_tx.errors import BodyError, RemotingError
from rocketmq_tx.protocol.bodies import (
    EXPRESSION_TAG,
    ConsumeFromWhere,
    ConsumerData,
    ConsumeType,
    MessageModel,
    MessageQueue,
    ProducerData,
    SubscriptionData,
)
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import NotifyConsumerIdsChangedRequestHeader
from rocketmq_tx.protocol.names import retry_topic
from rocketmq_tx.protocol.subscription import SUBSCRIBE_ALL, build_subscription
from rocketmq_tx.remoting.peer import Peer
from rocketmq_tx.remoting.registry import serves
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.rarely import Rarely
from rocketmq_tx.runtime.services import within

REBALANCE_INTERVAL_S = 20.0
COMMIT_INTERVAL_S = 5.0
MISSING_TOPIC_INTERVAL_S = 1.0
"""How often a topic is looked for that does not exist yet (Apache's client: every 30 s)."""
LAST_CALLS_S = 5.0
"""How long stopping waits for listener calls in progress."""
HALF_HOUR_MS = 30 * 60 * 1000


@attrs.frozen
class ConsumerSettings:
    """Names and defaults of Apache's DefaultMQPushConsumer, in Python spelling."""

    consume_from: ConsumeFromWhere = ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET
    """Where a group without committed offsets begins."""
    consume_from_timestamp_ms: int | None = None
    """For CONSUME_FROM_TIMESTAMP; None = half an hour before the consumer was made."""
    allocation: Strategy = averagely
    concurrency: int = 20
    """Listener calls at the same time (each may wait for something)."""
    messages_a_call: int = 1
    pull_batch_size: int = 32
    flow_limits: FlowLimits = attrs.Factory(FlowLimits)
    max_reconsume_times: int = 16
    """After so many failed tries a message goes to the group's dead-letter topic."""


class PushConsumer(Service):
    """One member of a consumer group in clustering mode. Its parts meet here and do the work themselves."""

    _log = Logger()

    def __init__(
        self,
        group: str,
        namesrv_addresses: str,
        listener: Listener,
        reactor: Any,
        settings: ConsumerSettings | None = None,
        environment: Environment | None = None,
    ) -> None:
        settings = settings or ConsumerSettings()
        self.group = group
        self._settings = settings
        self._reactor = reactor
        self._subscriptions: dict[str, SubscriptionData] = {}
        self._session = session = Session(
            namesrv_addresses,
            reactor,
            handlers=(_Notices(group, self.rebalance_soon),),
            describe=self._describe,
            consumer_group=group,
            routes_refreshed=self.rebalance_soon,
            environment=environment,
        )
        queries = QueueQueries(group, session.routes, session.remoting)
        self._offsets = OffsetStore(queries)
        send_back = SendBack(group, session.routes, session.remoting, settings.max_reconsume_times)
        self._deliveries = Deliveries(
            listener, self._offsets, send_back, reactor, settings.concurrency, settings.messages_a_call
        )
        self._assignment = self._make_assignment(queries)
        self._shares = Shares(
            group,
            self.client_id,
            session.routes,
            session.remoting,
            settings.allocation,
            random.Random(self.client_id),
        )
        self._rebalances = Periodic(reactor, REBALANCE_INTERVAL_S, self._rebalance, "rebalance", 0)
        self._periodic = (
            self._rebalances,
            Periodic(reactor, COMMIT_INTERVAL_S, self._offsets.persist, "offset commit"),
            Periodic(reactor, MISSING_TOPIC_INTERVAL_S, self._look_for_missing, "look for missing topics"),
        )

    def _make_assignment(self, queries: QueueQueries) -> Assignment:
        session, settings = self._session, self._settings
        pulling = PullServices(
            self.group,
            session.remoting,
            session.routes,
            session.membership,
            self._offsets,
            self._reactor,
            settings.flow_limits,
            settings.pull_batch_size,
            Rarely(self._reactor),
        )
        timestamp_ms = settings.consume_from_timestamp_ms
        return Assignment(
            pulling,
            queries,
            self._subscriptions,
            self._deliveries.add,
            settings.consume_from,
            session.now_ms() - HALF_HOUR_MS if timestamp_ms is None else timestamp_ms,
        )

    @property
    def client_id(self) -> str:
        """By which brokers and the other members know this one."""
        return self._session.identity.client_id

    @property
    def queues(self) -> set[MessageQueue]:
        """What this member works on now."""
        return self._assignment.queues

    def subscribe(
        self, topic: str, expression: str = SUBSCRIBE_ALL, expression_type: str = EXPRESSION_TAG
    ) -> None:
        """Before the start: tags separated by `||`, `*` for all. All members must subscribe to the same."""
        self._subscriptions[topic] = build_subscription(
            topic, expression, expression_type, self._session.now_ms()
        )

    def startService(self) -> Deferred[None]:
        """Fires when the brokers know this consumer; pulling begins right after.

        Fails with a RemotingError when no NameServer answers. A topic without a route is found later.
        """
        super().startService()
        retry = retry_topic(self.group)
        self._subscriptions[retry] = build_subscription(retry, SUBSCRIBE_ALL, version=self._session.now_ms())
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        self._session.startService()
        for topic in self._subscriptions:
            await self._session.routes.subscribe_queues(topic)
        await self._session.membership.tell_all()
        for periodic in self._periodic:
            periodic.startService()

    def stopService(self) -> Deferred[None]:
        """Lets the calls in progress end, commits, leaves the group."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._assignment.stop_pulling()
        for periodic in self._periodic:
            round_in_progress = periodic.stopService()
            if round_in_progress is not None:
                await round_in_progress
        await within(self._reactor, self._deliveries.stop(), LAST_CALLS_S)
        await self._offsets.persist()
        await self._session.stopService()

    def rebalance_soon(self) -> None:
        """Looks at once which queues are ours, or right after the look in progress."""
        self._rebalances.run_now()

    def _rebalance(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._rebalance_all())

    async def _rebalance_all(self) -> None:
        for topic in self._subscriptions:
            try:
                own = await self._shares.own_queues(topic)
            except (RemotingError, BodyError) as error:
                self._log.warn("queues stay as they are: topic={topic} {error}", topic=topic, error=error)
                continue
            if own is not None:
                await self._assignment.apply(topic, own)

    def _look_for_missing(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._find_missing())

    async def _find_missing(self) -> None:
        """Begins with topics that have been created since the start, the group's retry topic among them."""
        routes = self._session.routes
        missing = [topic for topic in self._subscriptions if not routes.is_known(topic)]
        try:
            for topic in missing:
                await routes.subscribe_queues(topic)
        except (RemotingError, BodyError):  # the refresh of routes says so; here it would be every second
            return
        if any(routes.is_known(topic) for topic in missing):
            await self._session.membership.tell_new()
            self.rebalance_soon()

    def _describe(self) -> tuple[list[ProducerData], list[ConsumerData]]:
        consumer = ConsumerData(
            self.group,
            ConsumeType.CONSUME_PASSIVELY,
            MessageModel.CLUSTERING,
            self._settings.consume_from,
            list(self._subscriptions.values()),
        )
        return [], [consumer]


class _Notices:
    """What brokers tell consumers."""

    def __init__(self, group: str, changed: Any) -> None:
        self._group = group
        self._changed = changed

    @serves(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED)
    def consumer_ids_changed(
        self, peer: Peer, frame: Frame, header: NotifyConsumerIdsChangedRequestHeader
    ) -> None:
        """Somebody joined or left the group."""
        if header.consumer_group == self._group:
            self._changed()
