"""Which producer of a group is asked about a transaction, and how many each is asked at a time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from rocketmq_tx.broker.check_window import OUTSTANDING_MAX, CheckWindow

if TYPE_CHECKING:
    from rocketmq_tx.broker.clients import Producers
    from rocketmq_tx.remoting.peer import Peer

_ENOUGH = OUTSTANDING_MAX // 2
"""It pays to go on when so many may be asked."""


class ProducerChoice:
    """The open connections of a group in turn, those first who have not been asked longest.

    A client has a queue of checks for each of its groups: so each group of a connection has its window.
    """

    def __init__(self, producers: Producers, now_s: Callable[[], float]) -> None:
        self._producers = producers
        self._now_s = now_s
        self._turn_of: WeakKeyDictionary[Peer, int] = WeakKeyDictionary()
        self._turn = 0
        self._lines: dict[str, deque[Peer]] = {}
        self._windows: dict[tuple[Peer, str], CheckWindow] = {}
        self._asked: dict[int, tuple[Peer, str]] = {}
        self._given: Counter[tuple[Peer, str]] = Counter()

    def refresh(self) -> None:
        """Who came since is seen from now on, who has gone is forgotten; that they go is noticed at once."""
        self._lines.clear()
        self._given.clear()
        now_s = self._now_s()
        for key, window in list(self._windows.items()):
            is_there = self._is_there(*key)
            for lost in window.lost_in_silence(now_s) if is_there else window.outstanding:
                self._asked.pop(lost, None)
            if not is_there or window.is_as_new:
                del self._windows[key]

    def is_anybody(self, group: str) -> bool:
        """Whether a producer of the group is connected."""
        return any(peer.is_open for peer in self._producers.members.of(group))

    # -- asking --------------------------------------------------------------------------------------------

    def begin_slice(self) -> None:
        """What `next` gave away before has been used by now, or was not needed."""
        self._given.clear()

    def next(self, group: str) -> Peer | None:
        """The next to ask; None when nobody of the group is connected, or all have enough to do."""
        line = self._lines.get(group)
        if line is None:
            turn_of = self._turn_of
            members = sorted(self._producers.members.of(group), key=lambda peer: turn_of.get(peer, 0))
            line = self._lines[group] = deque(members)
        for _ in range(len(line)):
            peer = line.popleft()
            if not self._is_there(peer, group):
                continue
            line.append(peer)
            if self._room(peer, group) > 0:
                self._given[peer, group] += 1
                self._turn += 1
                self._turn_of[peer] = self._turn
                return peer
        return None

    def asked(self, peer: Peer, group: str, half_queue_offset: int) -> None:
        """The check was pushed."""
        window = self._windows.get((peer, group))
        if window is None:
            window = self._windows[peer, group] = CheckWindow()
        window.asked(half_queue_offset, self._now_s())
        self._asked[half_queue_offset] = (peer, group)

    def answered(self, half_queue_offset: int) -> str | None:
        """An end came, perhaps the answer to a check; the group, if it has room for many more now."""
        key = self._asked.get(half_queue_offset)
        if key is None:
            return None
        window = self._windows[key]
        for known in window.answered(half_queue_offset, self._now_s()):
            self._asked.pop(known, None)
        return key[1] if self._room(*key) >= min(window.limit, _ENOUGH) else None

    def _room(self, peer: Peer, group: str) -> int:
        window = self._windows.get((peer, group))
        room = OUTSTANDING_MAX if window is None else window.room
        return room - self._given[peer, group]

    def _is_there(self, peer: Peer, group: str) -> bool:
        return peer.is_open and peer in self._producers.members.of(group)
