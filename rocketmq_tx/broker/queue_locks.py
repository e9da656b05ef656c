"""Leases of queues for orderly consumers: one client of a group at a time may consume a queue in order."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

import attrs

LOCK_EXPIRED_S = 60.0
"""Apache's rocketmq.broker.rebalance.lockMaxLiveTime; clients renew every 20 s."""

Queue = TypeVar("Queue", bound=Hashable)


@attrs.define
class Lease:
    client_id: str
    renewed_at_s: float

    def is_expired(self, now_s: float) -> bool:
        return now_s - self.renewed_at_s > LOCK_EXPIRED_S


class QueueLocks:
    """Locks by group and queue; in memory only, so that a restarted broker starts with none.

    A queue is any hashable value (the wire's MessageQueue). Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._groups: dict[str, dict[Hashable, Lease]] = {}

    def lock(self, group: str, client_id: str, queues: Iterable[Queue], now_s: float) -> list[Queue]:
        """Takes what is free or expired, renews the client's own; returns the queues that it now holds."""
        leases = self._groups.get(group, {})
        taken = [queue for queue in queues if self._take(leases, queue, client_id, now_s)]
        if leases:
            self._groups[group] = leases
        return taken

    def unlock(self, group: str, client_id: str, queues: Iterable[Hashable]) -> None:
        """Gives up the client's own locks; those of others stay."""
        leases = self._groups.get(group)
        if leases is None:
            return
        for queue in queues:
            lease = leases.get(queue)
            if lease is not None and lease.client_id == client_id:
                del leases[queue]
        if not leases:
            del self._groups[group]

    def drop_expired(self, now_s: float) -> None:
        """Frees the memory of leases that nobody renewed; they counted as free already."""
        for group, leases in list(self._groups.items()):
            for queue in [queue for queue, lease in leases.items() if lease.is_expired(now_s)]:
                del leases[queue]
            if not leases:
                del self._groups[group]

    def clear(self) -> None:
        """All queues are free."""
        self._groups.clear()

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    @staticmethod
    def _take(leases: dict[Hashable, Lease], queue: Hashable, client_id: str, now_s: float) -> bool:
        lease = leases.get(queue)
        if lease is not None and lease.client_id != client_id and not lease.is_expired(now_s):
            return False
        leases[queue] = Lease(client_id, now_s)
        return True
