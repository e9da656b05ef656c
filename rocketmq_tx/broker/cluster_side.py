"""What a broker is to NameServers and to the others of its name: how it calls them, as whom it is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocketmq_tx.broker.registration import Registration
from rocketmq_tx.broker.registration_frames import BrokerIdentity
from rocketmq_tx.config.addresses import format_address
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.protocol.codes import SerializeType
from rocketmq_tx.remoting.caller import RemotingClient
from rocketmq_tx.replication.listener import usual_port

if TYPE_CHECKING:
    from rocketmq_tx.broker.surroundings import Surroundings
    from rocketmq_tx.broker.topics import TopicTable


class ClusterSide:
    """`caller` makes its calls, `identity` is what they are told, `registration` keeps it known."""

    def __init__(self, surroundings: Surroundings, topics: TopicTable) -> None:
        settings, reactor = surroundings.settings, surroundings.reactor
        self.caller = RemotingClient(reactor, connect_timeout_s=settings.client.connect_timeout_millis / 1000)
        self.identity = broker_identity(settings)
        self.registration = Registration(self.identity, topics, self.caller, reactor)


def broker_identity(settings: BrokerSettings) -> BrokerIdentity:
    """How NameServers get to know this broker."""
    ha_port = settings.store.ha_listen_port or usual_port(settings.server.listen_port)
    return BrokerIdentity(
        settings.broker,
        settings.broker_address,
        format_address(settings.broker.broker_ip2, ha_port),
        SerializeType[settings.client.serialize_type.name],
    )
