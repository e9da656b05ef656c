"""Who else has this broker's name: its master and slaves, as NameServers know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.errors import RocketMQError
from rocketmq_tx.protocol.bodies import ClusterInfo
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame

if TYPE_CHECKING:
    from rocketmq_tx.broker.registration import Caller

ASK_TIMEOUT_S = 1.0


async def members_of_set(
    caller: Caller, name_servers: list[str], broker: BrokerConfig
) -> dict[str, int] | None:
    """brokerId by address, this broker's own included; None when no NameServer answers."""
    found: dict[str, int] | None = None
    for name_server in name_servers:
        request = Frame.request(RequestCode.GET_BROKER_CLUSTER_INFO)
        try:
            answer = await caller.call(name_server, request, ASK_TIMEOUT_S)
            if answer.code != ResponseCode.SUCCESS:
                continue
            brokers = ClusterInfo.from_bytes(answer.body).broker_addr_table.get(broker.broker_name)
        except RocketMQError:
            continue
        found = found or {}
        if brokers is not None and brokers.cluster == broker.broker_cluster_name:
            found.update({address: int(broker_id) for broker_id, address in brokers.broker_addrs.items()})
    return found
