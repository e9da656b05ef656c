"""File descriptors that are kept for files: connections must not take those that the store needs.

What is kept is what the store may hold open, and some: so files, connections and the rest fit together. Where
the store holds more, since the limit was lowered or less is to be kept, numbers tell: the system gives out
the lowest that is free. So as long as no connection gets one of the highest, that many can be had for files.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from rocketmq_tx.store.segments import BESIDE_FILES, open_files_max

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

ROOM_EVERY_S = 1.0


def kept_of(limit: int, wanted: int) -> int:
    """How many of those that the process may have; `wanted` 0: what the store may take. Never most."""
    return min(wanted or open_files_max(limit) + BESIDE_FILES, limit // 2)


def descriptor_limit() -> int | None:
    """How many descriptors this process may have; None where nobody says so."""
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def next_descriptor() -> int | None:
    """The number that the next descriptor would have; None when there is none left."""
    with contextlib.suppress(OSError), socket.socket() as probe:
        return probe.fileno()
    return None


class DescriptorReserve:
    """`kept` says how many, see `kept_of`; `make_room` closes files that nobody needs just now."""

    def __init__(
        self,
        reactor: IReactorTime,
        kept: Callable[[], int],
        make_room: Callable[[], object],
        limit: Callable[[], int | None] = descriptor_limit,
        following: Callable[[], int | None] = next_descriptor,
    ) -> None:
        self._now_s = reactor.seconds
        self._kept = kept
        self._make_room = make_room
        self._limit = limit
        self._following = following
        self._made_room_s = -ROOM_EVERY_S

    def is_reached(self, connections: int) -> bool:
        """Whether another connection, beside so many, would take what is kept."""
        limit = self._limit()
        if limit is None:
            return False
        first_kept = limit - kept_of(limit, self._kept())
        if self._has_room(connections, first_kept):
            return False
        if self._now_s() - self._made_room_s < ROOM_EVERY_S:
            return True
        self._made_room_s = self._now_s()
        self._make_room()
        return not self._has_room(connections, first_kept)

    def _has_room(self, connections: int, first_kept: int) -> bool:
        number = self._following()
        return number is not None and (number < first_kept or connections + BESIDE_FILES < first_kept)
