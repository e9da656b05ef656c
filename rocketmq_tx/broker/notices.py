"""Tells the members of a consumer group that the group changed, so that they share out the queues anew.

NOTIFY_CONSUMER_IDS_CHANGED (40) is pushed one-way, in JSON, to every connection of the group at once; a
client that misses it finds out at its next rebalance, 20 s later. A peer that lists its fellows right after
the notice must find the new state, so tables change first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import NotifyConsumerIdsChangedRequestHeader

if TYPE_CHECKING:
    from rocketmq_tx.broker.clients import Consumers
    from rocketmq_tx.config.broker import BrokerConfig


class ConsumerNotices:
    """Pushes to whoever is in the group when it is told; `notifyConsumerIdsChangedEnable` silences it."""

    def __init__(self, config: BrokerConfig, consumers: Consumers) -> None:
        self._config = config
        self._consumers = consumers

    def group_changed(self, group: str) -> None:
        if not self._config.notify_consumer_ids_changed_enable:
            return
        header = NotifyConsumerIdsChangedRequestHeader(consumer_group=group)
        for peer in list(self._consumers.members.of(group)):
            peer.push(Frame.request(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, header, oneway=True))
