"""Pulls that found nothing yet: held until a message matches, their time is up, or their connection goes.

    hold(pull)  --arrival-->  nothing matched: stays held, its tested offset moves on
                --arrival-->  anything else: answered in the same reactor turn
                --time-out, shutdown-->  answered with what there is
                --connection lost-->  forgotten

What an answer is, the pull handler knows (`answer_if_ready`, `answer_anyhow`); which arrival concerns whom,
`runtime.arrivals`. An idle held pull costs memory only: nothing looks at it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.runtime.arrivals import Arrivals, Held

HELD_BY_ONE_MAX = 10_000
"""Pulls of one connection that are held at once: a client has one for each queue that it consumes. Of those
beyond, each is answered at once, as if its time were up; holding them would fill our memory."""
HELD_OF_QUEUE_MAX = 1000
"""The same for one queue: each message that arrives there has to be offered to all of them."""


class HeldByOne:
    """What is held for one connection, and how much of it for each queue."""

    __slots__ = ("of_queue", "pulls")

    def __init__(self) -> None:
        self.pulls: dict[Held, None] = {}
        self.of_queue: dict[tuple[str, int], int] = {}

    def add(self, held: Held) -> None:
        self.pulls[held] = None
        self.of_queue[held.key] = self.of_queue.get(held.key, 0) + 1

    def remove(self, held: Held) -> None:
        if held in self.pulls:
            del self.pulls[held]
            left = self.of_queue[held.key] - 1
            if left:
                self.of_queue[held.key] = left
            else:
                del self.of_queue[held.key]

    def is_full(self, key: tuple[str, int]) -> bool:
        return len(self.pulls) >= HELD_BY_ONE_MAX or self.of_queue.get(key, 0) >= HELD_OF_QUEUE_MAX


class HeldPulls:
    """Held pulls by queue (in `Arrivals`) and by connection."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._by_peer: dict[Peer, HeldByOne] = {}

    def __len__(self) -> int:
        return sum(len(of_one.pulls) for of_one in self._by_peer.values())

    def hold(
        self,
        peer: Peer,
        topic: str,
        queue_id: int,
        timeout_s: float,
        answer_if_ready: Callable[[], bool],
        answer_anyhow: Callable[[], object],
    ) -> None:
        """Holds one pull; exactly one of the two callables answers it, unless its connection goes first.

        `answer_if_ready` is asked at each arrival and says whether it answered.
        """
        of_one = self._by_peer.get(peer)
        if of_one is not None and of_one.is_full((topic, queue_id)):
            answer_anyhow()
            return
        held: Held | None = None

        def try_again() -> bool:
            answered = answer_if_ready()
            if answered:
                self._forget(peer, held)
            return answered

        def give_up() -> None:
            self._forget(peer, held)
            answer_anyhow()

        held = self._arrivals.hold(topic, queue_id, timeout_s, try_again, give_up)
        if held.is_held:
            if of_one is None:
                of_one = self._by_peer[peer] = HeldByOne()
            of_one.add(held)

    def connection_made(self, peer: Peer) -> None:
        """Nothing is held for a new connection (a listener's observer is told of both events)."""

    def connection_lost(self, peer: Peer, reason: object) -> None:
        of_one = self._by_peer.pop(peer, None)
        for held in of_one.pulls if of_one is not None else ():
            self._arrivals.drop(held)

    def _forget(self, peer: Peer, held: Held | None) -> None:
        of_one = self._by_peer.get(peer)
        if of_one is None or held is None:
            return
        of_one.remove(held)
        if not of_one.pulls:
            del self._by_peer[peer]
