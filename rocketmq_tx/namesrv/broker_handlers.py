"""What brokers ask of a NameServer: to be registered, to be forgotten, whether they are still known.

REGISTER_BROKER     at start, every 30 s, and when a topic changes
QUERY_DATA_VERSION  instead of a registration, when nothing may have changed
UNREGISTER_BROKER   at stop
(connection lost, or silent for 120 s: the same as unregistered)
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from twisted.logger import Logger

from rocketmq_tx.namesrv.kv_config import KVConfig
from rocketmq_tx.namesrv.route_table import Registered, Registration, RouteTable
from rocketmq_tx.protocol.bodies import (
    DataVersion,
    KVTable,
    RegisterBrokerBody,
    TopicConfigSerializeWrapper,
)
from rocketmq_tx.protocol.codes import REGISTER_BODY_VERSION, RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import (
    QueryDataVersionRequestHeader,
    QueryDataVersionResponseHeader,
    RegisterBrokerRequestHeader,
    RegisterBrokerResponseHeader,
    UnRegisterBrokerRequestHeader,
)
from rocketmq_tx.protocol.names import ORDER_TOPIC_NAMESPACE
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from collections.abc import Callable

    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.runtime.rarely import Rarely

EXPIRY_MS = 120_000
SCAN_S = 10.0
FIRST_SCAN_S = 5.0
_LATE_MS = 5_000
"""A scan that is so much late was held up itself, and with it the registrations it would look for."""

_CRC_MASK = 0x7FFFFFFF


class BrokerHandlers:
    """Serves brokers, and watches over them. `now_ms` need not be the time of day; it must not jump."""

    log = Logger()

    def __init__(
        self, routes: RouteTable, kv_config: KVConfig, now_ms: Callable[[], int], rarely: Rarely
    ) -> None:
        self._routes = routes
        self._kv_config = kv_config
        self._now_ms = now_ms
        self._rarely = rarely
        self._scan_due_ms: int | None = None

    @serves(RequestCode.REGISTER_BROKER)
    def register(self, peer: Peer, frame: Frame, header: RegisterBrokerRequestHeader) -> Reply:
        if header.body_crc32 and header.body_crc32 != zlib.crc32(frame.body) & _CRC_MASK:
            remark = "crc32 not match"
            return Reply(ResponseCode.SYSTEM_ERROR, remark, RegisterBrokerResponseHeader())
        wrapper = read_topics(frame, header.compressed)
        broker = Registration(
            header.cluster_name,
            header.broker_name,
            header.broker_id,
            header.broker_addr,
            header.ha_server_addr,
            DataVersion() if wrapper is None else wrapper.data_version,
            None if wrapper is None else wrapper.topic_config_table,
            header.epoch or 0,
        )
        is_new = self._routes.version_of(broker.address) is None
        registered = self._routes.register(broker, peer, self._now_ms())
        self._log_news(broker, registered, is_new, peer)
        order = self._kv_config.namespace(ORDER_TOPIC_NAMESPACE)
        return Reply(
            header=RegisterBrokerResponseHeader(
                ha_server_addr=registered.ha_address, master_addr=registered.master_address
            ),
            body=b"" if order is None else KVTable(dict(order)).to_bytes(),
        )

    def _log_news(self, broker: Registration, registered: Registered, is_new: bool, peer: Peer) -> None:
        name = f"{broker.broker_name}/{broker.broker_id}"
        if registered.outdated:
            self._warn_rarely(
                "a former master is not registered, there is one of a newer epoch: broker={broker}"
                " cluster={cluster} refused={refused} master={master} times_since_last_told={times}",
                broker=name,
                cluster=broker.cluster,
                refused=broker.address,
                master=registered.master_address,
            )
        elif registered.displaced is not None:
            self._warn_rarely(
                "two brokers claim one name, the later one has it: broker={broker} cluster={cluster}"
                " now={now} before={before} times_since_last_told={times}",
                broker=name,
                cluster=broker.cluster,
                now=broker.address,
                before=registered.displaced,
            )
        elif is_new:
            self.log.info(
                "broker registered: broker={broker} cluster={cluster} address={address} peer={peer}",
                broker=name,
                cluster=broker.cluster,
                address=broker.address,
                peer=peer.name,
            )

    def _warn_rarely(self, sentence: str, broker: str, cluster: str, **facts: object) -> None:
        """A few times a minute for each broker: it would come with each registration."""
        held_back = self._rarely.due((sentence, cluster, broker))
        if held_back is not None:
            self.log.warn(sentence, broker=broker, cluster=cluster, times=held_back, **facts)

    @serves(RequestCode.UNREGISTER_BROKER)
    def unregister(self, peer: Peer, frame: Frame, header: UnRegisterBrokerRequestHeader) -> Reply:
        if self._routes.version_of(header.broker_addr) is not None:
            self._log_removed(header.broker_addr, "it unregistered")
        self._routes.unregister(header.broker_name, header.broker_id, header.broker_addr)
        return Reply()

    @serves(RequestCode.QUERY_DATA_VERSION)
    def query_data_version(self, peer: Peer, frame: Frame, header: QueryDataVersionRequestHeader) -> Reply:
        """Tells a broker whether to register; if it need not, this was a sign of life."""
        known = self._routes.version_of(header.broker_addr)
        changed = known is None or known != DataVersion.from_bytes(frame.body)
        if not changed:
            self._routes.heard(header.broker_addr, self._now_ms())
        return Reply(
            header=QueryDataVersionResponseHeader(changed=changed),
            body=b"" if known is None else known.to_bytes(),
        )

    # -- those who say nothing any more --------------------------------------------------------------------

    def connection_made(self, peer: Peer) -> None:
        """Anybody may connect; who it is, a registration tells."""

    def connection_lost(self, peer: Peer, reason: str) -> None:
        for address in self._routes.addresses_of(peer):
            self._log_removed(address, f"connection lost: {reason}")
            self._routes.remove(address)

    def scan(self) -> None:
        """Removes brokers of which nothing was heard for two minutes. To be called every `SCAN_S`."""
        now_ms = self._now_ms()
        due_ms, self._scan_due_ms = self._scan_due_ms, now_ms + int(SCAN_S * 1000)
        if due_ms is not None and now_ms - due_ms > _LATE_MS:
            return  # this process stood still: first read what came in meanwhile
        for address, live in self._routes.silent_since(now_ms - EXPIRY_MS).items():
            self._log_removed(address, f"silent for {EXPIRY_MS // 1000} s")
            self._routes.remove(address)
            close = getattr(live.connection, "close", None)
            if close is not None:
                close(f"no registration for {EXPIRY_MS // 1000} s")

    def _log_removed(self, address: str, reason: str) -> None:
        self.log.info("broker removed: address={address} reason={reason!r}", address=address, reason=reason)


def read_topics(frame: Frame, compressed: bool) -> TopicConfigSerializeWrapper | None:
    """The topics of a registration in the form of its sender's version; None without a body."""
    if not frame.body:
        return None
    if frame.version < REGISTER_BODY_VERSION:
        return TopicConfigSerializeWrapper.from_bytes(frame.body)
    if compressed:
        return RegisterBrokerBody.from_compressed(frame.body).topic_config_serialize_wrapper
    return RegisterBrokerBody.from_bytes(frame.body).topic_config_serialize_wrapper
