"""Which queues of a topic each consumer of a group works on.

Every consumer computes its own share from the same sorted lists, without talking to the others; so these
are pure functions, equal to Apache's to the last queue (`spec/client_algorithms.yaml`, allocation).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence

from rocketmq_tx.errors import InvariantBroken
from rocketmq_tx.protocol.bodies import MessageQueue

Strategy = Callable[[str, Sequence[MessageQueue], Sequence[str]], "list[MessageQueue]"]
"""(own client id, all queues sorted, all client ids sorted) -> own queues."""

VIRTUAL_NODES = 10
ROOM_SEPARATOR = "@"


def averagely(
    client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
) -> list[MessageQueue]:
    """AVG: neighbouring queues; the first consumers get one more when it does not come out even."""
    index = _index(client_id, queues, client_ids)
    if index is None:
        return []
    share, rest = divmod(len(queues), len(client_ids))
    start = index * share + min(index, rest)
    return list(queues[start : start + share + (index < rest)])


def averagely_by_circle(
    client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
) -> list[MessageQueue]:
    """AVG_BY_CIRCLE: dealt out one by one, like cards."""
    index = _index(client_id, queues, client_ids)
    return [] if index is None else list(queues[index :: len(client_ids)])


def consistent_hash(virtual_nodes: int = VIRTUAL_NODES) -> Strategy:
    """CONSISTENT_HASH: a ring of `virtual_nodes` places per consumer, so that few queues move on a change."""

    def allocate(
        client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
    ) -> list[MessageQueue]:
        if _index(client_id, queues, client_ids) is None:
            return []
        owners = {_ring_place(f"{one}-{node}"): one for one in client_ids for node in range(virtual_nodes)}
        ring = sorted(owners)

        def owner(queue: MessageQueue) -> str:
            return owners[ring[bisect_left(ring, _ring_place(str(queue))) % len(ring)]]

        return [queue for queue in queues if owner(queue) == client_id]

    return allocate


def machine_room(rooms: Collection[str]) -> Strategy:
    """MACHINE_ROOM: only queues of brokers named `room@name` with one of these rooms."""

    def allocate(
        client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
    ) -> list[MessageQueue]:
        index = _index(client_id, queues, client_ids)
        if index is None:
            return []
        near = [queue for queue in queues if _room(queue) in rooms]
        share, rest = divmod(len(near), len(client_ids))
        mine = near[share * index : share * (index + 1)]
        if index < rest:
            mine.append(near[index + share * len(client_ids)])
        return mine

    return allocate


def machine_room_nearby(
    inner: Strategy, room_of_queue: Callable[[MessageQueue], str], room_of_client: Callable[[str], str]
) -> Strategy:
    """MACHINE_ROOM_NEARBY: each room's queues among its own consumers; where a room has none, among all."""

    def allocate(
        client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
    ) -> list[MessageQueue]:
        if _index(client_id, queues, client_ids) is None:
            return []
        by_room: dict[str, list[MessageQueue]] = {}
        for queue in queues:
            by_room.setdefault(room_of_queue(queue), []).append(queue)
        neighbours: dict[str, list[str]] = {}
        for one in client_ids:
            neighbours.setdefault(room_of_client(one), []).append(one)
        own_room = room_of_client(client_id)
        mine: list[MessageQueue] = []
        if own_room in by_room:
            mine += inner(client_id, by_room[own_room], neighbours[own_room])
        for room, orphans in by_room.items():
            if room not in neighbours:
                mine += inner(client_id, orphans, client_ids)
        return mine

    return allocate


def configured(queues: Sequence[MessageQueue]) -> Strategy:
    """CONFIG: what the user says, whoever else there is."""
    return lambda client_id, all_queues, client_ids: list(queues)


def _index(client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]) -> int | None:
    """Place of this consumer among all; None when the broker does not list it (yet)."""
    if not client_id or not queues or not client_ids:
        raise InvariantBroken(
            f"nothing to allocate: client id {client_id!r}, {len(queues)} queues, {len(client_ids)} consumers"
        )
    return client_ids.index(client_id) if client_id in client_ids else None


def _ring_place(text: str) -> int:
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[:4], "big")


def _room(queue: MessageQueue) -> str | None:
    """None for a broker name that does not have exactly two parts: such queues belong to no room."""
    parts = queue.broker_name.split(ROOM_SEPARATOR)
    return parts[0] if len(parts) == 2 else None
