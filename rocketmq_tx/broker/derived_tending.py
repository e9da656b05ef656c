"""Writes what is derived from the log beside the messages: keys soon, queue entries and checkpoints in turns.

Keys enter the index soon after their messages, queue entries are written once a second where many wait,
checkpoints are made once a minute or when much has come, off the reactor. Nobody waits for any of it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.errors import IndexNotReady, StoreError
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.threads import Runner
from rocketmq_tx.store.derived_files import DerivedFiles
from rocketmq_tx.store.early_checkpoints import LOOK_S, EarlyCheckpoints

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from rocketmq_tx.store.consume_queue import ConsumeQueue

_Work = Callable[[], Coroutine[Any, Any, None]]

INDEX_BITE_S = 0.002
"""Measured: bites this small keep the throughput of larger ones, at a fraction of their p99 latency. A double
write has the bites of two brokers in its way: with 8 ms it lost a tenth of its throughput."""
INDEX_BITE_LONGEST_S = 0.064
KEYS_A_BITE = 32
"""Fewer keys wait longer: a key costs 5.6 us in a bite of four and 2.0 in one of sixteen, and messages wait
for the whole bite. Half of the long turns of the reactor under a light load had one in them. Nobody looks for
a key before those that wait are entered (`StoredMessages`)."""
INDEX_LATER_S = 0.05
"""After the start: the first messages do not wait for the keys of older ones."""
INDEX_PAUSES = 2
"""What a start has left takes a third of the time at most: twice as long as a bite the others have theirs."""
INDEX_RETRY_S = 1.0
INDEX_PATIENCE_S = 10.0
"""So long a query waits for what a start has left: Java's clients wait 18 s for an answer."""
QUEUES_A_TURN = 10
"""Measured: 0.1 ms for files that are there, 2.5 ms for new ones: sends get half of the time at least."""


def next_bite_s(last_s: float, keys: int) -> float:
    """How long new keys are to wait, when so many came while the last ones waited for `last_s` seconds."""
    return min(max(INDEX_BITE_S, last_s * KEYS_A_BITE / max(keys, 1)), INDEX_BITE_LONGEST_S)


class DerivedTending:
    """`jobs` are to run while the store is open, and the keys are tended between `begin` and `end`.

    `thread` makes checkpoints; each of them flushes the log, too, and then `others_flushed` is called.
    """

    _log = Logger()

    def __init__(
        self,
        derived: DerivedFiles,
        config: MessageStoreConfig,
        thread: Runner,
        others_flushed: Callable[[], object],
        reactor: IReactorTime,
        now_ms: Callable[[], int],
    ) -> None:
        self._derived = derived
        self._thread = thread
        self._others_flushed = others_flushed
        self._reactor = reactor
        self._now_ms = now_ms
        self._bite: IDelayedCall | None = None
        self._bite_s = INDEX_BITE_S
        self._index_problem: str | None = None
        self._for_index: dict[Deferred[None], None] = {}
        """Who waits for what a start has left of the index."""
        self._checkpointing = False
        self._early_checkpoints = EarlyCheckpoints()

        def every(name: str, interval_s: Callable[[], float] | float, work: _Work) -> Periodic:
            return Periodic(reactor, interval_s, lambda: Deferred.fromCoroutine(work()), name)

        self.jobs = [
            every("queue flush", lambda: config.flush_interval_consume_queue / 1000, self._write_due_queues),
            every(
                "checkpoint", lambda: config.flush_consume_queue_thorough_interval / 1000, self._checkpoint
            ),
            every("early checkpoint", LOOK_S, self._checkpoint_early),
        ]

    # -- keys ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The store is open: what the start has left is entered, some at a time."""
        if self._derived.is_index_behind and self._bite is None:
            self._bite = self._reactor.callLater(INDEX_LATER_S, self._write_index)

    def end(self) -> None:
        """Keys that wait are written by whoever closes the store, or by the next `appended`."""
        if self._bite is not None:
            self._bite.cancel()
            self._bite = None
        self._end_waiting(Failure(IndexNotReady("the message store is being closed")))

    def appended(self) -> None:
        """Messages came in: their keys enter the index soon."""
        if self._bite is None:
            self._bite = self._reactor.callLater(self._bite_s, self._write_index)

    def index_ready(self, patience_s: float | None = INDEX_PATIENCE_S) -> Deferred[None]:
        """Fires when nothing is left of what a start has left of the index; bites of it go on meanwhile.

        IndexNotReady when it takes longer than that, or the store closes; StoreError when a bite failed.
        """
        ready: Deferred[None] = Deferred()
        if not self._derived.is_index_behind:
            ready.callback(None)
            return ready
        if self._bite is None:
            self._bite = self._reactor.callLater(INDEX_BITE_S, self._write_index)
        self._for_index[ready] = None
        if patience_s is not None:
            ready.addTimeout(patience_s, self._reactor, lambda _, __: self._not_ready(ready))
        return ready

    def _not_ready(self, ready: Deferred[None]) -> Failure:
        del self._for_index[ready]
        return Failure(IndexNotReady(self._derived.index_sentence))

    def _end_waiting(self, result: Failure | None) -> None:
        waiting, self._for_index = self._for_index, {}
        for ready in waiting:
            ready.callback(result)  # a Failure takes the errback chain

    def _write_index(self) -> None:
        """Keys of new messages come behind all that a start has left."""
        self._bite = None
        if self._derived.is_index_behind:
            self._write_index_bite()
            return
        self._bite_s = next_bite_s(self._bite_s, self._derived.keys_waiting)
        try:
            self._derived.write_index(self._now_ms())
        except StoreError as error:
            self._tell(error)  # the keys wait in memory; the store refuses messages before they are many
        else:
            self._index_problem = None

    def _write_index_bite(self) -> None:
        began_s = self._reactor.seconds()
        try:
            self._derived.write_index_bite(self._now_ms())
        except StoreError as error:
            self._tell(error)
            self._bite = self._reactor.callLater(INDEX_RETRY_S, self._write_index)
            self._end_waiting(Failure(error))
            return
        self._index_problem = None
        pause_s = max(INDEX_BITE_S, (self._reactor.seconds() - began_s) * INDEX_PAUSES)
        self._bite = self._reactor.callLater(pause_s, self._write_index)
        if not self._derived.is_index_behind:
            self._end_waiting(None)

    def _tell(self, error: StoreError) -> None:
        if self._index_problem is None:
            self._log.error("the message index cannot be written: {problem}", problem=str(error))
        self._index_problem = str(error)

    # -- queue entries and checkpoints -----------------------------------------------------------------------

    async def _write_due_queues(self) -> None:
        """Those that are worth it."""
        await self._write_queues(self._derived.queues_due())

    async def _checkpoint_early(self) -> None:
        """Before its time, when much has come or a load has ended."""
        if self._early_checkpoints.is_due(self._derived.unclaimed_bytes, self._reactor.seconds()):
            await self._checkpoint()

    async def _write_queues(self, queues: list[ConsumeQueue]) -> None:
        """A few queues a turn: there may be tens of thousands, and others wait for the reactor, too."""
        for start in range(0, len(queues), QUEUES_A_TURN):
            if start:
                await deferLater(self._reactor, 0)
            self._derived.write_queues(queues[start : start + QUEUES_A_TURN])

    async def _checkpoint(self) -> None:
        if self._checkpointing:
            return
        self._checkpointing = True
        now_s, early = self._reactor.seconds, self._early_checkpoints
        try:
            try:
                await self.index_ready(None)
            except IndexNotReady:
                return  # the store closes
            claimed = self._derived.claim_checkpoint(self._now_ms())
            waiting = self._derived.queues_waiting()
            try:
                await self._write_queues(waiting)
            except BaseException:
                self._derived.give_up_claimed(claimed)
                raise
            began_s = now_s()
            job = self._derived.begin_claimed(claimed)
            await self._thread.run(job.run)
            self._derived.finish_checkpoint(job)
            early.made(began_s, now_s(), len(waiting))
        except BaseException:
            early.failed(now_s())
            raise
        finally:
            self._checkpointing = False
        self._others_flushed()
