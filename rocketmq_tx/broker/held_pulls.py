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


class HeldPulls:
    """Held pulls by queue (in `Arrivals`) and by connection."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._by_peer: dict[Peer, dict[Held, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_peer.values()))

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
        if len(self._by_peer.get(peer, ())) >= HELD_BY_ONE_MAX:
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
            self._by_peer.setdefault(peer, {})[held] = None

    def connection_made(self, peer: Peer) -> None:
        """Nothing is held for a new connection (a listener's observer is told of both events)."""

    def connection_lost(self, peer: Peer, reason: object) -> None:
        for held in self._by_peer.pop(peer, ()):
            self._arrivals.drop(held)

    def _forget(self, peer: Peer, held: Held | None) -> None:
        pulls = self._by_peer.get(peer)
        if pulls is None or held is None:
            return
        pulls.pop(held, None)
        if not pulls:
            del self._by_peer[peer]
