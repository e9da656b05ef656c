"""Which clients are connected: producers and consumers by group, by connection, by client id.

    heartbeat -> Producers.register / Consumers.register -> did the group change? -> notices
    connection lost, unregister, silence -> forget / unregister / expire -> groups to tell

Tables only: they hold `Peer` objects as opaque keys and never write to them. Time comes in twice with each
heartbeat: monotonic seconds decide expiry, wall milliseconds are only shown to operators.
Rules: spec/processors.yaml, ClientManageProcessor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from rocketmq_tx.protocol.bodies import (
        ConsumeFromWhere,
        ConsumerData,
        ConsumeType,
        MessageModel,
        SubscriptionData,
    )
    from rocketmq_tx.protocol.codes import LanguageCode
    from rocketmq_tx.remoting.peer import Peer

CLIENT_EXPIRED_S = 120.0
"""Apache's limit of ClientHousekeepingService: a client beats every 30 s, so three may be lost."""

EXPIRY_SCAN_INTERVAL_S = 10.0


@attrs.define(eq=False)
class ClientConnection:
    """One client instance as a member of one group, over one connection."""

    peer: Peer
    client_id: str
    language: LanguageCode | int
    version: int
    seen_at_s: float
    """Monotonic seconds of the last heartbeat."""
    seen_at_ms: int
    """The same by the wall clock, for GET_ALL_PRODUCER_INFO."""


class GroupMembers:
    """Clients by group and groups by connection; both views always agree, an empty group does not exist."""

    def __init__(self) -> None:
        self._by_group: dict[str, dict[Peer, ClientConnection]] = {}
        self._groups_of: dict[Peer, dict[str, None]] = {}

    def add(self, group: str, client: ClientConnection) -> bool:
        """Remembers the newest heartbeat; True when this connection was not yet in the group."""
        members = self._by_group.setdefault(group, {})
        is_new = client.peer not in members
        members[client.peer] = client
        if is_new:
            self._groups_of.setdefault(client.peer, {})[group] = None
        return is_new

    def remove(self, group: str, peer: Peer) -> ClientConnection | None:
        members = self._by_group.get(group)
        if members is None or peer not in members:
            return None
        client = members.pop(peer)
        if not members:
            del self._by_group[group]
        groups = self._groups_of[peer]
        del groups[group]
        if not groups:
            del self._groups_of[peer]
        return client

    def groups_of(self, peer: Peer) -> list[str]:
        return list(self._groups_of.get(peer, ()))

    def of(self, group: str) -> Mapping[Peer, ClientConnection]:
        return self._by_group.get(group, {})

    def silent_since(self, limit_s: float) -> list[tuple[str, ClientConnection]]:
        """Memberships whose last heartbeat is older than `limit_s` on the monotonic clock."""
        return [
            (group, client)
            for group, members in self._by_group.items()
            for client in members.values()
            if client.seen_at_s < limit_s
        ]

    def __contains__(self, group: str) -> bool:
        return group in self._by_group

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_group)

    def knows(self, peer: Peer) -> bool:
        return peer in self._groups_of


class Producers:
    """Producer groups: who can be asked for the state of a transaction, or handed a reply."""

    def __init__(self) -> None:
        self.members = GroupMembers()
        self._by_client_id: dict[str, Peer] = {}

    def register(self, group: str, client: ClientConnection) -> bool:
        """True when the connection is new in the group; only then does its client id move to it."""
        is_new = self.members.add(group, client)
        if is_new:
            self._by_client_id[client.client_id] = client.peer
        return is_new

    def unregister(self, group: str, peer: Peer) -> None:
        client = self.members.remove(group, peer)
        if client is not None:
            self._forget_id(client)

    def forget(self, peer: Peer) -> None:
        """The connection is gone, with all its memberships."""
        for group in self.members.groups_of(peer):
            self.unregister(group, peer)

    def peer_of(self, client_id: str) -> Peer | None:
        """The connection on which a reply to this client can be pushed."""
        return self._by_client_id.get(client_id)

    def _forget_id(self, client: ClientConnection) -> None:
        """Not while the client has another group: its requests still wait for replies on that connection."""
        if self._by_client_id.get(client.client_id) is client.peer and not self.members.knows(client.peer):
            del self._by_client_id[client.client_id]


@attrs.define
class ConsumerGroup:
    """What the newest heartbeat of any member says: members of a group must be configured alike."""

    name: str
    consume_type: ConsumeType | None
    message_model: MessageModel | None
    consume_from_where: ConsumeFromWhere | None
    subscriptions: dict[str, SubscriptionData] = attrs.Factory(dict)

    def take(self, data: ConsumerData) -> bool:
        """Follows a heartbeat; True when a topic was added or dropped.

        A newer version of a known topic's subscription replaces the old one without counting as a change:
        it moves no queue. An older one, from a member not yet updated, is ignored.
        """
        self.consume_type = data.consume_type
        self.message_model = data.message_model
        self.consume_from_where = data.consume_from_where
        offered = {subscription.topic: subscription for subscription in data.subscription_data_set}
        changed = offered.keys() != self.subscriptions.keys()
        for topic in self.subscriptions.keys() - offered.keys():
            del self.subscriptions[topic]
        for topic, subscription in offered.items():
            known = self.subscriptions.get(topic)
            if known is None or subscription.sub_version > known.sub_version:
                self.subscriptions[topic] = subscription
        return changed


class Consumers:
    """Consumer groups: who shares the queues of which topics, under which filters."""

    def __init__(self, emptied: Callable[[str], object] = lambda group: None) -> None:
        """`emptied` is told the name of a group that has lost its last member."""
        self.members = GroupMembers()
        self._groups: dict[str, ConsumerGroup] = {}
        self._emptied = emptied

    def register(self, client: ClientConnection, data: ConsumerData) -> bool:
        """True when the group's members or topics changed, so that queues must be shared out anew."""
        is_new = self.members.add(data.group_name, client)
        group = self._groups.get(data.group_name)
        if group is None:
            group = ConsumerGroup(
                data.group_name, data.consume_type, data.message_model, data.consume_from_where
            )
            self._groups[data.group_name] = group
        return group.take(data) or is_new

    def unregister(self, group: str, peer: Peer) -> bool:
        """True when members of the group remain, whether or not this connection was one of them."""
        self.members.remove(group, peer)
        remains = group in self.members
        if not remains and self._groups.pop(group, None) is not None:
            self._emptied(group)
        return remains

    def forget(self, peer: Peer) -> list[str]:
        """The connection is gone; returns its groups that have members left."""
        return [group for group in self.members.groups_of(peer) if self.unregister(group, peer)]

    def find(self, group: str) -> ConsumerGroup | None:
        return self._groups.get(group)

    def client_ids(self, group: str) -> list[str]:
        """Ids of the group's members in the order in which they joined, each once."""
        return list(dict.fromkeys(client.client_id for client in self.members.of(group).values()))

    def connection_of(self, group: str, client_id: str) -> ClientConnection | None:
        for client in self.members.of(group).values():
            if client.client_id == client_id:
                return client
        return None

    def groups_subscribed_to(self, topic: str) -> list[str]:
        return [name for name, group in self._groups.items() if topic in group.subscriptions]


@attrs.define
class Departures:
    """What an expiry scan found: connections with no living membership, groups that lost a member."""

    silent_peers: list[Peer]
    changed_groups: list[str]


class ExpiryScan:
    """Finds clients that have been silent for 120 s, but none that only we did not listen to.

    After a stop of the whole process (SIGSTOP, a stalled disk) heartbeats wait unread in the sockets: a scan
    that comes much later than planned therefore lets them in first and judges in the next round
    (faults.md, row 7).
    """

    def __init__(self, producers: Producers, consumers: Consumers, started_at_s: float) -> None:
        self._producers = producers
        self._consumers = consumers
        self._scanned_at_s = started_at_s

    def scan(self, now_s: float) -> Departures:
        """Takes the silent out of both tables; closing connections and telling groups is the caller's."""
        late = now_s - self._scanned_at_s > 2 * EXPIRY_SCAN_INTERVAL_S
        self._scanned_at_s = now_s
        if late:
            return Departures([], [])
        limit_s = now_s - CLIENT_EXPIRED_S
        peers: dict[Peer, None] = {}
        changed: dict[str, None] = {}
        for group, client in self._producers.members.silent_since(limit_s):
            self._producers.unregister(group, client.peer)
            peers[client.peer] = None
        for group, client in self._consumers.members.silent_since(limit_s):
            if self._consumers.unregister(group, client.peer):
                changed[group] = None
            peers[client.peer] = None
        silent = [peer for peer in peers if not self._is_member(peer)]
        return Departures(silent, list(changed))

    def _is_member(self, peer: Peer) -> bool:
        return self._producers.members.knows(peer) or self._consumers.members.knows(peer)
