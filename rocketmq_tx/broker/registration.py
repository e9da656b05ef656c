"""Keeps this broker known to all its NameServers: at start, every 30 s, at once on a change, until it stops.

One that does not answer is tried again after 1, 2, 4, ... seconds: brokers may start before NameServers.
`namesrvAddr` is read on each use, so a changed list counts from the next registration on. Facts:
`spec/processors.yaml` (BrokerRegistration).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger

from rocketmq_tx.broker.name_server_link import NameServerLink
from rocketmq_tx.broker.registration_frames import (
    BrokerIdentity,
    query_version_frame,
    register_frame,
    unregister_frame,
)
from rocketmq_tx.broker.topics import TopicChange, TopicTable
from rocketmq_tx.config.addresses import split_addresses
from rocketmq_tx.protocol.bodies import KVTable
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import QueryDataVersionResponseHeader, RegisterBrokerResponseHeader
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.services import within

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

SOON_S = 0.5
FIRST_RETRY_S = 1.0
UNREGISTER_TIMEOUT_S = 1.0
"""Stopping must not wait for a NameServer that is gone; brokers that vanish expire there anyhow."""


class Caller(Protocol):
    """What is needed of `remoting.caller.RemotingClient`."""

    def call(self, address: str, frame: Frame, timeout_s: float) -> Deferred[Frame]: ...


def name_server_list(text: str | None) -> list[str]:
    """The addresses of a `namesrvAddr`: `host:port` separated by `;` or `,`, each once."""
    return list(dict.fromkeys(split_addresses(text)))


class Registration(Service):
    """Registers the topic table at every NameServer of `namesrvAddr`, in parallel."""

    _log = Logger()

    def __init__(
        self, identity: BrokerIdentity, topics: TopicTable, caller: Caller, reactor: IReactorTime
    ) -> None:
        self._identity = identity
        self._broker = identity.broker
        self._topics = topics
        self._caller = caller
        self._reactor = reactor
        self._links: dict[str, NameServerLink] = {}
        self._retries: dict[str, IDelayedCall] = {}
        self._leading_knows_master = False
        self._periodic = Periodic(
            reactor, lambda: self._broker.registration_period_s, self._register_in_time, "registration"
        )
        self.master_observers: list[Callable[[str, str | None], object]] = []
        """Told by each answer that names this slave's master: its address, and that of its HA port."""
        topics.observers.append(self._topics_changed)

    # -- life ----------------------------------------------------------------------------------------------

    def startService(self) -> None:
        """From now on changes are registered; the first registration is the caller's (`register_all`)."""
        super().startService()
        self._periodic.startService()

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        while self._retries:
            self._retries.popitem()[1].cancel()
        return self._periodic.stopService()

    def addresses(self) -> list[str]:
        """The NameServers of this moment."""
        return name_server_list(self._broker.namesrv_addr)

    # -- registering ---------------------------------------------------------------------------------------

    def register_all(self, topics: Iterable[str] | None = None) -> Deferred[list[bool]]:
        """Registers everything, or these topics. Fires when every NameServer answered or failed."""
        names = None if topics is None else tuple(topics)
        return _all(link.register(names) for link in self._current_links())

    def registered_soon(self) -> Deferred[bool]:
        """Fires when what changed before this call was registered, or after a moment in any case.

        So a tool that creates a topic can ask for its route at once, and a NameServer that is down delays
        it by no more than that moment.
        """
        links = self._current_links()
        return within(self._reactor, _all(link.up_to_date() for link in links), SOON_S)

    def unregister_all(self) -> Deferred[list[bool]]:
        """Takes this broker out of every NameServer; bounded in time, never fails."""
        frame = unregister_frame(self._identity)
        return _all(
            self._caller.call(address, frame, UNREGISTER_TIMEOUT_S).addCallbacks(
                lambda _: True, lambda _: False
            )
            for address in self.addresses()
        )

    def _topics_changed(self, change: TopicChange) -> None:
        if self.running:
            changed = [topic.topic_name for topic in change.changed]
            self.register_all(changed or None)

    def _register_in_time(self) -> Deferred[object] | None:
        if self._broker.force_register:
            self.register_all()
            return None
        return self._version_known_everywhere().addCallback(
            lambda known: None if known else self.register_all()
        )

    def _current_links(self) -> list[NameServerLink]:
        addresses = self.addresses()
        self._links = {address: self._links.get(address) or self._link(address) for address in addresses}
        return list(self._links.values())

    def _link(self, address: str) -> NameServerLink:
        return NameServerLink(
            address,
            lambda to, frame: self._caller.call(to, frame, self._timeout_s()),
            lambda names: register_frame(self._identity, self._topics, names),
            self._answered,
            self._try_again,
        )

    def _try_again(self, link: NameServerLink) -> None:
        """At that NameServer only, and sooner than the others are told again."""
        address = link.address
        wait_s = min(FIRST_RETRY_S * 2 ** min(link.failures - 1, 10), self._broker.registration_period_s)
        if self.running and self._links.get(address) is link and address not in self._retries:
            self._retries[address] = self._reactor.callLater(wait_s, self._retry, link)

    def _retry(self, link: NameServerLink) -> None:
        del self._retries[link.address]
        if link.address in self.addresses() and not link.is_up:
            link.register()

    def _timeout_s(self) -> float:
        return self._broker.register_broker_timeout_mills / 1000

    def _answered(self, link: NameServerLink, answer: Frame) -> None:
        """ORDER_TOPIC_CONFIG decides which topics are ordered: that of the first NameServer which is up.

        Taking it from all of them would change the flags to and fro where they differ.
        """
        leading = next((each for each in self._links.values() if each.is_up), None)
        self._tell_of_master(answer, link is leading)
        if answer.body and link is leading:
            self._topics.set_order_topics(KVTable.from_bytes(answer.body).table.keys())

    def _tell_of_master(self, answer: Frame, is_leading: bool) -> None:
        """The leading NameServer is right where they differ; others count while it knows of no master."""
        if not self.master_observers:
            return
        told = RegisterBrokerResponseHeader.from_ext_fields(answer.ext_fields)
        if is_leading:
            self._leading_knows_master = bool(told.master_addr)
        if told.master_addr and (is_leading or not self._leading_knows_master):
            for observer in self.master_observers:
                observer(told.master_addr, told.ha_server_addr or None)

    # -- forceRegister=false -------------------------------------------------------------------------------

    def _version_known_everywhere(self) -> Deferred[bool]:
        """Asks every NameServer whether it knows the topics of this moment; no answer counts as no."""
        frame = query_version_frame(self._identity, self._topics.data_version)
        asked = [
            self._caller.call(address, frame, self._timeout_s()).addCallbacks(_is_known, lambda _: False)
            for address in self.addresses()
        ]
        return _all(asked).addCallback(all)


def _is_known(answer: Frame) -> bool:
    if answer.code != ResponseCode.SUCCESS:
        return False
    return not QueryDataVersionResponseHeader.from_ext_fields(answer.ext_fields).changed


def _all(deferreds: Iterable[Deferred[bool]]) -> Deferred[list[bool]]:
    """The results of all, each of which ends with a bool."""
    waiting = list(deferreds)
    if not waiting:
        return succeed([])
    return DeferredList(waiting).addCallback(lambda pairs: [bool(result) for _, result in pairs])
