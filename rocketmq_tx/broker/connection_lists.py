"""Serves who is connected: consumers of a group (203), producers of a group (204) and all of them (328).

Facts: spec/bodies.yaml (ConsumerConnection, ProducerConnection, ProducerTableInfo).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol.bodies import (
    Connection,
    ConsumerConnection,
    ProducerConnection,
    ProducerInfo,
    ProducerTableInfo,
)
from rocketmq_tx.protocol.codes import LanguageCode, RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import (
    GetConsumerConnectionListRequestHeader,
    GetProducerConnectionListRequestHeader,
)
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.broker.clients import ClientConnection, Consumers, Producers
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer


class ConnectionLists:
    """Shows the tables of clients."""

    def __init__(self, producers: Producers, consumers: Consumers) -> None:
        self._producers = producers
        self._consumers = consumers

    @serves(RequestCode.GET_CONSUMER_CONNECTION_LIST)
    def consumers_of(self, peer: Peer, frame: Frame, header: GetConsumerConnectionListRequestHeader) -> Reply:
        group = self._consumers.find(header.consumer_group)
        if group is None:
            raise RequestRefused(
                ResponseCode.CONSUMER_NOT_ONLINE, f"the consumer group[{header.consumer_group}] not online"
            )
        body = ConsumerConnection(
            connection_set=_connections(self._consumers.members.of(group.name).values()),
            subscription_table=group.subscriptions,
            consume_type=group.consume_type,
            message_model=group.message_model,
            consume_from_where=group.consume_from_where,
        )
        return Reply(body=body.to_bytes())

    @serves(RequestCode.GET_PRODUCER_CONNECTION_LIST)
    def producers_of(self, peer: Peer, frame: Frame, header: GetProducerConnectionListRequestHeader) -> Reply:
        members = self._producers.members.of(header.producer_group)
        if not members:
            raise RequestRefused(
                ResponseCode.SYSTEM_ERROR, f"the producer group[{header.producer_group}] not exist"
            )
        return Reply(body=ProducerConnection(connection_set=_connections(members.values())).to_bytes())

    @serves(RequestCode.GET_ALL_PRODUCER_INFO)
    def all_producers(self, peer: Peer, frame: Frame, header: object) -> Reply:
        members = self._producers.members
        table = {group: [_producer(client) for client in members.of(group).values()] for group in members}
        return Reply(body=ProducerTableInfo(data=table).to_bytes())


def _connections(clients: Iterable[ClientConnection]) -> list[Connection]:
    return [
        Connection(
            client_id=client.client_id,
            client_addr=_address(client),
            language=_language(client),
            version=client.version,
        )
        for client in clients
    ]


def _producer(client: ClientConnection) -> ProducerInfo:
    return ProducerInfo(
        client_id=client.client_id,
        remote_ip=f"/{_address(client)}",
        language=_language(client),
        version=client.version,
        last_update_timestamp=client.seen_at_ms,
    )


def _address(client: ClientConnection) -> str:
    host, port = client.peer.address
    return f"{host}:{port}"


def _language(client: ClientConnection) -> LanguageCode | None:
    """None, which is left out, for a language whose number we do not know."""
    return client.language if isinstance(client.language, LanguageCode) else None
