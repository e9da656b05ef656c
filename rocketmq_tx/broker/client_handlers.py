"""Serves what clients say about themselves: HEART_BEAT, UNREGISTER_CLIENT, CHECK_CLIENT_CONFIG, and the
list of a group's members; follows their connections.

Facts: spec/processors.yaml (ClientManageProcessor, ConsumerManageProcessor).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from rocketmq_tx.broker.clients import ClientConnection, Consumers, ExpiryScan, Producers
from rocketmq_tx.errors import BodyError, RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.bodies import (
    CheckClientRequestBody,
    ConsumerData,
    GetConsumerListByGroupResponseBody,
    HeartbeatData,
)
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.flags import TopicSysFlag
from rocketmq_tx.protocol.headers import (
    GetConsumerListByGroupRequestHeader,
    GetConsumerListByGroupResponseHeader,
    UnregisterClientRequestHeader,
    UnregisterClientResponseHeader,
)
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.broker.filter_table import GroupFilters
    from rocketmq_tx.broker.groups import SubscriptionGroupTable
    from rocketmq_tx.broker.notices import ConsumerNotices
    from rocketmq_tx.broker.property_filters import PropertyFilters
    from rocketmq_tx.broker.topics import TopicTable
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer


class ClientRequests:
    """Keeps the tables of clients as their heartbeats and connections say, and tells groups of changes.

    `now_s` is the monotonic clock in seconds, `now_ms` the wall clock.
    """

    def __init__(
        self,
        producers: Producers,
        consumers: Consumers,
        groups: SubscriptionGroupTable,
        topics: TopicTable,
        notices: ConsumerNotices,
        group_filters: GroupFilters,
        property_filters: PropertyFilters,
        now_s: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        self._group_filters = group_filters
        self._property_filters = property_filters
        self._producers = producers
        self._consumers = consumers
        self._groups = groups
        self._topics = topics
        self._notices = notices
        self._now_s = now_s
        self._now_ms = now_ms
        self._expiry = ExpiryScan(producers, consumers, now_s())

    # -- requests --------------------------------------------------------------------------------------------

    @serves(RequestCode.HEART_BEAT)
    def heart_beat(self, peer: Peer, frame: Frame, header: None) -> Reply:
        heartbeat = HeartbeatData.from_bytes(_required_body(frame, "HeartbeatData"))
        client = ClientConnection(
            peer, heartbeat.client_id or "", frame.language, frame.version, self._now_s(), self._now_ms()
        )
        for consumer in heartbeat.consumer_data_set:
            self._register_consumer(client, consumer)
        for producer in heartbeat.producer_data_set:
            self._producers.register(producer.group_name, client)
        return Reply()

    def _register_consumer(self, client: ClientConnection, consumer: ConsumerData) -> None:
        """A group whose settings may not be created is registered all the same, without a retry topic."""
        settings = self._groups.find(consumer.group_name)
        if settings is not None:
            with suppress(RequestRefused):  # the group's name makes no topic name: it has no retries
                self._topics.ensure(
                    names.retry_topic(consumer.group_name),
                    settings.retry_queue_nums,
                    sys_flag=int(TopicSysFlag.UNIT_SUB) if consumer.unit_mode else 0,
                )
        changed = self._consumers.register(client, consumer)
        self._group_filters.register(consumer.group_name, consumer.subscription_data_set)
        if changed and (settings is None or settings.notify_consumer_ids_changed_enable):
            self._notices.group_changed(consumer.group_name)

    @serves(RequestCode.UNREGISTER_CLIENT)
    def unregister(self, peer: Peer, frame: Frame, header: UnregisterClientRequestHeader) -> Reply:
        if header.producer_group is not None:
            self._producers.unregister(header.producer_group, peer)
        group = header.consumer_group
        if group is not None and self._consumers.unregister(group, peer):
            settings = self._groups.get(group)
            if settings is None or settings.notify_consumer_ids_changed_enable:
                self._notices.group_changed(group)
        return Reply(header=UnregisterClientResponseHeader())

    @serves(RequestCode.CHECK_CLIENT_CONFIG)
    def check_client_config(self, peer: Peer, frame: Frame, header: None) -> Reply:
        """Tells a client at its start whether its filter will work, rather than at each pull."""
        request = CheckClientRequestBody.from_bytes(_required_body(frame, "CheckClientRequestBody"))
        if request.subscription_data is not None:
            self._property_filters.check(request.subscription_data)
        return Reply()

    @serves(RequestCode.GET_CONSUMER_LIST_BY_GROUP)
    def list_members(self, peer: Peer, frame: Frame, header: GetConsumerListByGroupRequestHeader) -> Reply:
        answer = GetConsumerListByGroupResponseHeader()
        client_ids = self._consumers.client_ids(header.consumer_group)
        if not client_ids:
            remark = f"no consumer for this group, {header.consumer_group}"
            return Reply(ResponseCode.SYSTEM_ERROR, remark, answer)
        body = GetConsumerListByGroupResponseBody(consumer_id_list=client_ids)
        return Reply(header=answer, body=body.to_bytes())

    # -- connections -----------------------------------------------------------------------------------------

    def connection_made(self, peer: Peer) -> None:
        """Nothing is known of a client before its first heartbeat."""

    def connection_lost(self, peer: Peer, reason: object) -> None:
        """The rest of each group is told at once, whatever the group's settings say, as in Apache."""
        self._producers.forget(peer)
        for group in self._consumers.forget(peer):
            self._notices.group_changed(group)

    def expire(self) -> None:
        """Drops clients that have been silent for 120 s; periodic work, every EXPIRY_SCAN_INTERVAL_S."""
        departures = self._expiry.scan(self._now_s())
        for group in departures.changed_groups:
            self._notices.group_changed(group)
        for peer in departures.silent_peers:
            peer.close("no heartbeat for 120 s")


def _required_body(frame: Frame, kind: str) -> bytes:
    if not frame.body:
        raise BodyError(f"the request has no body, a {kind} is needed")
    return frame.body
