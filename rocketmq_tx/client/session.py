"""What producers and consumers have in common: connections, routes kept fresh, and being known to brokers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rocketmq_tx.client.identity import Identity, new_identity
from rocketmq_tx.client.membership import INTERVAL_S as HEARTBEAT_INTERVAL_S
from rocketmq_tx.client.membership import Membership
from rocketmq_tx.client.name_servers import NameServers
from rocketmq_tx.client.routes import Routes
from rocketmq_tx.errors import BodyError, OperatorError, RemotingError
from rocketmq_tx.protocol.bodies import ConsumerData, HeartbeatData, ProducerData
from rocketmq_tx.protocol.headers import UnregisterClientRequestHeader
from rocketmq_tx.protocol.names import group_problem
from rocketmq_tx.remoting.caller import RemotingClient
from rocketmq_tx.remoting.registry import Registry
from rocketmq_tx.runtime.clocks import WallClock, wall_ms
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.services import within

ROUTE_REFRESH_INTERVAL_S = 30.0
FAREWELL_S = 3.0


class Environment:
    """What a client takes from its process; tests put in their own.

    `make_remoting` makes a `RemotingClient`, or what behaves like one: a service that is a `calls.Caller`.
    """

    def __init__(
        self,
        make_remoting: Callable[[Any, Registry], Any] = RemotingClient,
        now_ms: WallClock = wall_ms,
        make_identity: Callable[[], Identity] = new_identity,
    ) -> None:
        self.make_remoting = make_remoting
        self.now_ms = now_ms
        self.make_identity = make_identity


class Session(Service):
    """The network side of one client, for the one group that it names.

    `describe` says at each heartbeat what the group produces and consumes; `routes_refreshed` is called after
    each look at the NameServers. OperatorError for a group that cannot be one.
    """

    _log = Logger()

    def __init__(
        self,
        namesrv_addresses: str,
        reactor: Any,
        *,
        handlers: tuple[object, ...] = (),
        describe: Callable[[], tuple[list[ProducerData], list[ConsumerData]]],
        producer_group: str | None = None,
        consumer_group: str | None = None,
        new_topic_queue_count: int = 4,
        routes_refreshed: Callable[[], object] = lambda: None,
        environment: Environment | None = None,
    ) -> None:
        problem = group_problem(producer_group if consumer_group is None else consumer_group)
        if problem is not None:
            raise OperatorError(problem)
        environment = environment or Environment()
        self.identity = environment.make_identity()
        self.now_ms = environment.now_ms
        self.reactor = reactor
        self.remoting = environment.make_remoting(reactor, Registry(*handlers))
        self.routes = Routes(
            NameServers(namesrv_addresses, self.remoting), new_topic_queue_count=new_topic_queue_count
        )
        self._describe = describe
        self._farewell = UnregisterClientRequestHeader(
            client_id=self.identity.client_id, producer_group=producer_group, consumer_group=consumer_group
        )
        self._routes_refreshed = routes_refreshed
        self.membership = Membership(
            self.routes, self.remoting, reactor, self._heartbeat, masters_only=consumer_group is None
        )
        self._periodic = (
            Periodic(reactor, ROUTE_REFRESH_INTERVAL_S, self._refresh_routes, "route refresh"),
            Periodic(reactor, HEARTBEAT_INTERVAL_S, self.membership.tell_all, "heartbeats"),
        )

    def startService(self) -> None:
        super().startService()
        self.remoting.startService()
        for periodic in self._periodic:
            periodic.startService()

    def stopService(self) -> Deferred[None]:
        """Says farewell to the brokers and closes the connections."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for periodic in self._periodic:
            periodic.stopService()
        await within(self.reactor, self.membership.leave(self._farewell), FAREWELL_S)
        await self.remoting.stopService()

    def _heartbeat(self) -> HeartbeatData:
        producers, consumers = self._describe()
        return HeartbeatData(self.identity.client_id, producers, consumers)

    def _refresh_routes(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._refreshed())

    async def _refreshed(self) -> None:
        try:
            await self.routes.refresh()
        except (RemotingError, BodyError) as error:  # what is known serves until a NameServer answers again
            self._log.warn("routes not refreshed: {error}", error=error)
            return
        await self.membership.tell_new()
        self._routes_refreshed()
