"""Held pulls, by topic and queue: answered when a message arrives, or when their time is up.

Long polling without a sweep: `notify` runs in the same reactor turn as the append, so no arrival can slip
between a pull that found nothing and its being held, and each pull's own time-out is exact. (Apache's
PullRequestHoldService looks at all held pulls every five seconds.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from twisted.logger import Logger

from rocketmq_tx.runtime.deadlines import Deadline, Deadlines

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


def _nothing() -> bool:
    """What is left to be called of a request that is not held any more."""
    return False


class Held:
    """One held request; `is_held` until it is answered, given up or dropped."""

    __slots__ = ("deadline", "give_up", "key", "try_again")

    def __init__(
        self, key: tuple[str, int], try_again: Callable[[], bool], give_up: Callable[[], object]
    ) -> None:
        self.key = key
        self.try_again = try_again
        self.give_up = give_up
        self.deadline: Deadline | None = None

    @property
    def is_held(self) -> bool:
        return self.deadline is not None


class Arrivals:
    """Who waits for messages of which queue."""

    log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._deadlines = Deadlines(reactor)
        self._held: dict[tuple[str, int], dict[Held, None]] = {}
        self._watchers: dict[tuple[str, int], Callable[[], object]] = {}
        self._watched_topics: set[str] = set()
        self._closed = False

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    def hold(
        self,
        topic: str,
        queue_id: int,
        timeout_s: float,
        try_again: Callable[[], bool],
        give_up: Callable[[], object],
    ) -> Held:
        """Keeps a request until one of three things happens.

        - a message arrives: `try_again()` says True when it answered, False to stay held (no match);
        - `timeout_s` seconds are over, or everything is released: `give_up()` answers with what there is;
        - `drop(held)`: nobody is called, the asker has gone.

        After `release_all` nothing is held any more: `give_up()` is called at once.
        """
        if self._closed:
            give_up()
            return Held((topic, queue_id), _nothing, _nothing)
        held = Held((topic, queue_id), try_again, give_up)
        held.deadline = self._deadlines.after(timeout_s, lambda: self._give_up(held))
        self._held.setdefault(held.key, {})[held] = None
        return held

    def watch(self, topic: str, queue_id: int, arrived: Callable[[], object]) -> None:
        """Calls `arrived()` at each arrival in a queue, for as long as it is watched; one watcher a queue."""
        self._watchers[topic, queue_id] = arrived
        self._watched_topics.add(topic)

    def unwatch(self, topic: str, queue_id: int) -> None:
        """Nobody watches the queue any more."""
        self._watchers.pop((topic, queue_id), None)
        self._watched_topics = {watched for watched, _ in self._watchers}

    def notify(self, topic: str, queue_id: int) -> None:
        """Messages have arrived in a queue; call it once per batch, after the append."""
        key = topic, queue_id
        if key in self._watchers:
            with self.log.failuresHandled("a watcher of {topic} failed", topic=topic):
                self._watchers[key]()
        waiting = self._held.get(key)
        if waiting is None:
            return
        for held in list(waiting):  # answering may drop, or hold, others of the same queue
            if held.deadline is not None and self._answered(held):
                self.drop(held)

    def notify_all(self, topics: Sequence[str], queue_ids: Iterable[int]) -> None:
        """The same for several queues, of which hardly any may be waited for."""
        held, watchers = self._held, self._watchers
        if not held and self._watched_topics.isdisjoint(topics):
            return  # as where nobody consumes at the moment: watched are few topics, which nobody sends to
        queues = zip(topics, queue_ids, strict=True)
        for key in [key for key in queues if key in held or key in watchers]:
            self.notify(*key)

    def drop(self, held: Held) -> None:
        """Forgets a held request without a call; harmless when it is gone already."""
        if held.deadline is None:
            return
        held.deadline.cancel()
        held.deadline = None
        # They know `held` themselves, and a circle stays until the garbage collector stops everything for it.
        held.try_again = held.give_up = _nothing
        waiting = self._held.get(held.key)
        if waiting is not None:
            waiting.pop(held, None)
            if not waiting:
                del self._held[held.key]

    def release_all(self) -> None:
        """Gives up every held request, and from now on holds none: the process is about to stop."""
        self._closed = True
        for waiting in list(self._held.values()):
            for held in list(waiting):
                self._give_up(held)

    def _answered(self, held: Held) -> bool:
        """An error while answering one consumer must reach neither the producer nor the other consumers."""
        try:
            return held.try_again()
        except Exception:  # noqa: BLE001  the held request belongs to others; its failure ends here, logged
            self.log.failure("a held request of {topic} failed", topic=held.key[0])
            self._give_up(held)
            return True

    def _give_up(self, held: Held) -> None:
        if held.deadline is None:
            return
        give_up = held.give_up
        self.drop(held)
        with self.log.failuresHandled("giving up a held request of {topic} failed", topic=held.key[0]):
            give_up()
