"""Keeping this client known to its brokers: heartbeats, to new ones at once, and the farewell."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from rocketmq_tx.client.calls import Caller, ask
from rocketmq_tx.client.routes import Routes
from rocketmq_tx.errors import RemotingError
from rocketmq_tx.protocol.bodies import HeartbeatData
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import UnregisterClientRequestHeader
from rocketmq_tx.runtime.rarely import Rarely

INTERVAL_S = 30.0
TIMEOUT_S = 3.0


class Membership:
    """Tells the brokers of the routes what `describe` says of this client.

    `masters_only` is for pure producers: consumers also pull from slaves, so these must know them.
    """

    _log = Logger()

    def __init__(
        self,
        routes: Routes,
        caller: Caller,
        reactor: IReactorTime,
        describe: Callable[[], HeartbeatData],
        masters_only: bool,
    ) -> None:
        self._routes = routes
        self._caller = caller
        self._describe = describe
        self._masters_only = masters_only
        self._known_to: set[str] = set()
        self._rarely = Rarely(reactor)

    def tell_all(self) -> Deferred[None]:
        """A heartbeat to every broker; fires when all have answered or failed, and never fails itself."""
        return self._tell(self._addresses())

    def tell_new(self) -> Deferred[None]:
        """A heartbeat to those that have not answered one yet."""
        return self._tell(self._addresses() - self._known_to)

    def tell(self, address: str) -> Deferred[None]:
        """A heartbeat to a broker that seems to have forgotten us, as it does when it was restarted."""
        return self._tell([address])

    def leave(self, farewell: UnregisterClientRequestHeader) -> Deferred[None]:
        """Leaves the group at every broker that knows us: the other members take over at once."""
        known, self._known_to = sorted(self._known_to), set()
        return self._all(known, RequestCode.UNREGISTER_CLIENT, farewell)

    def _addresses(self) -> set[str]:
        return self._routes.addresses(self._masters_only)

    def _tell(self, addresses: Iterable[str]) -> Deferred[None]:
        return self._all(sorted(addresses), RequestCode.HEART_BEAT, None)

    def _all(
        self, addresses: Iterable[str], code: RequestCode, farewell: UnregisterClientRequestHeader | None
    ) -> Deferred[None]:
        sent = [Deferred.fromCoroutine(self._send(one, code, farewell)) for one in addresses]
        return DeferredList(sent).addCallback(lambda _: None)

    async def _send(
        self, address: str, code: RequestCode, farewell: UnregisterClientRequestHeader | None
    ) -> None:
        body = b"" if farewell is not None else self._describe().to_bytes()
        try:
            await ask(self._caller, address, Frame.request(code, farewell, body), TIMEOUT_S)
        except RemotingError as error:
            self._known_to.discard(address)
            if self._rarely.due(address) is not None:
                self._log.warn("not known to a broker: {error}", error=error)
            return
        if farewell is None:
            self._known_to.add(address)
