"""The store's life within the broker: opened before anybody can connect, closed when all is answered.

In between this looks after what the store leaves to its owner: keys enter the index soon after their
messages, queue entries are written once a second where many wait, checkpoints are made once a minute or when
much has come, off the reactor, and a disk that fills up is noticed before it is full.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger

from rocketmq_tx.broker.retention import Retention
from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.config.values import FlushDiskType
from rocketmq_tx.errors import StoreError
from rocketmq_tx.runtime.group_commit import GroupCommit
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.rarely import Rarely
from rocketmq_tx.runtime.threads import Runner
from rocketmq_tx.store.early_checkpoints import LOOK_S, EarlyCheckpoints
from rocketmq_tx.store.flush import is_flush_due
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.retention import disk_full_sentence, full_log_directories
from rocketmq_tx.store.tail_cut import KeptTail

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

INDEX_BITE_S = 0.002
"""Measured: bites this small keep the throughput of larger ones, at a fraction of their p99 latency. A double
write has the bites of two brokers in its way: with 8 ms it lost a tenth of its throughput."""
INDEX_LATER_S = 0.05
"""After the start: the first messages do not wait for the keys of older ones."""
QUEUES_A_TURN = 10
"""Measured: 0.1 ms for files that are there, 2.5 ms for new ones: sends get half of the time at least."""
STOP_WRITES_S = 2.5
"""A stop writes queue entries for so long: beyond, a start that reads them from the log is no worse."""
DISK_WATCH_S = 10.0
DISK_FULL = "disk full"
_FIGURES = re.compile(r"[0-9]+")


class StoreService(Service):
    """Opens, tends and closes a message store. `appended` is to be called after each append."""

    _log = Logger()

    def __init__(
        self,
        store: MessageStore,
        config: MessageStoreConfig,
        flushes: GroupCommit,
        checkpoint_thread: Runner,
        reactor: IReactorTime,
        now_ms: Callable[[], int],
    ) -> None:
        self.setName("message store")
        self._store = store
        self._derived = store.derived
        self._config = config
        self._flushes = flushes
        self._checkpoint_thread = checkpoint_thread
        self._reactor = reactor
        self._now_ms = now_ms
        self._bite: IDelayedCall | None = None
        self._is_open = False
        self._disk_is_full = False
        self._index_problem: str | None = None
        self._rarely = Rarely(reactor)
        self._all_flushed_s = reactor.seconds()
        self._cutting: Deferred[Any] | None = None
        self._checkpointing = False
        self._early_checkpoints = EarlyCheckpoints()
        self.was_clean = False
        """Whether the store had been closed in order before it was opened."""

        self.retention = Retention(store, config, checkpoint_thread, reactor, now_ms)

        def every(name: str, interval_ms: Callable[[], int], work: Callable[[], object]) -> Periodic:
            return Periodic(reactor, lambda: interval_ms() / 1000, work, name)

        def turns(work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], object]:
            return lambda: Deferred.fromCoroutine(work())

        self._jobs: list[Periodic | Retention] = [
            every("commit log flush", lambda: config.flush_interval_commit_log, self._flush_log),
            every("queue flush", lambda: config.flush_interval_consume_queue, turns(self._write_due_queues)),
            every(
                "checkpoint", lambda: config.flush_consume_queue_thorough_interval, turns(self._checkpoint)
            ),
            Periodic(reactor, LOOK_S, turns(self._checkpoint_early), "early checkpoint"),
            Periodic(reactor, DISK_WATCH_S, self._watch_disk, "disk watch", first_after_s=1.0),
            self.retention,
        ]

    # -- life ----------------------------------------------------------------------------------------------

    def startService(self) -> None:
        """Recovers; raises OperatorError or StoreError, with a sentence for the operator."""
        super().startService()
        started_s = self._reactor.seconds()
        report = self._store.open(self._now_ms())
        self._is_open = True
        self.was_clean = report.clean
        messages = sum(end - begin for begin, end in map(self._range_of, self._store.queues()))
        self._log.info(
            "store opened: directory={directory} clean={clean} messages={messages} queues={queues}"
            " log_bytes={bytes} records_walked={walked} took_ms={took_ms}",
            directory=self._config.store_path_root_dir,
            clean=report.clean,
            messages=messages,
            queues=report.queue_count,
            bytes=report.log_end_offset - report.log_min_offset,
            walked=report.records_walked,
            took_ms=round((self._reactor.seconds() - started_s) * 1000),
        )
        self._watch_disk()
        if self._store.flushed_to < self._store.written_to:
            self._flushes.flush(self._store.written_to)  # what a killed process has left
        if self._derived.is_index_behind:
            self._bite = self._reactor.callLater(INDEX_LATER_S, self._write_index_bite)
        for job in self._jobs:
            job.startService()

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        if not self._is_open:
            return None
        if self._bite is not None:
            self._bite.cancel()
            self._bite = None
        stopping = [job.stopService() for job in self._jobs if job.running]
        waiting = DeferredList([each for each in stopping if each is not None])
        return waiting.addCallback(lambda _: Deferred.fromCoroutine(self._close()))

    async def _close(self) -> None:
        """Off the reactor: a disk that hangs must not hold up the end, and then the next start recovers."""
        self._is_open = False
        self._flushes.stop()
        left = await self._write_queues_at_stop()
        if left:
            self._log.warn(
                "store closed in a hurry: the next start takes what {left} queues lack from the log",
                left=left,
            )
        job = self._store.begin_close(self._now_ms()) if not left else None
        if job is not None:
            await self._checkpoint_thread.run(job.run)
        self._checkpoint_thread.abandon()
        self._store.finish_close(job)
        self._log.info("store closed: directory={directory}", directory=self._config.store_path_root_dir)

    async def _write_queues_at_stop(self) -> int:
        """A few queues a turn, while there is time; returns how many still have entries in memory."""
        until_s = self._reactor.seconds() + STOP_WRITES_S
        self._store.end_writing()
        try:
            while left := self._derived.write_some_queues(QUEUES_A_TURN):
                if self._reactor.seconds() >= until_s:
                    break
                await deferLater(self._reactor, 0)
        except StoreError:
            return 0  # closing tries again, says so and lets the store go
        return left

    def _range_of(self, queue: tuple[str, int]) -> tuple[int, int]:
        return self._store.queue_offsets(*queue)

    def cut_tail(self, name: str, offset: int) -> Deferred[KeptTail]:
        """Keeps the log from a boundary on in a file of that name, in the folder `cut`, then drops it.

        Nothing is appended meanwhile; who calls has seen to that. StoreError: the broker has to start again.
        Goes on when nobody waits for it any more.
        """
        cutting = self._cutting = Deferred.fromCoroutine(self._cut_tail(name, offset))
        told: Deferred[KeptTail] = Deferred()

        def tell(result: Any) -> None:
            self._cutting = None
            if not told.called:
                told.callback(result)  # a Failure takes the errback chain

        cutting.addBoth(tell)
        return told

    def not_cutting(self) -> Deferred[None]:
        """Fires when no end of the log is being cut."""
        over: Deferred[None] = Deferred()
        if self._cutting is None:
            over.callback(None)
        else:
            self._cutting.addBoth(lambda _: over.callback(None))
        return over

    async def _cut_tail(self, name: str, offset: int) -> KeptTail:
        stopping = [job.stopService() for job in self._jobs if job.running]
        await DeferredList([each for each in stopping if each is not None])
        if self._bite is not None:
            self._bite.cancel()
            self._bite = None
        await self._flushes.when_idle()
        try:
            kept = self._store.keep_tail(self._config.below_root("cut", name), offset)
        except StoreError:
            self._begin_jobs()  # nothing is cut, and retention may make the room that was missing
            raise
        self._store.cut_tail(offset, self._now_ms())
        self._flushes.log_was_cut()
        self._begin_jobs()
        return kept

    def _begin_jobs(self) -> None:
        if self.running:
            for job in self._jobs:
                job.startService()

    def notice(self, sentence: str) -> None:
        """What the store has to say to an operator: once a minute what differs in figures only."""
        held_back = self._rarely.due(_FIGURES.sub("", sentence))
        if held_back is not None or not self._is_open:  # while it recovers, lines tell how far it is
            self._log.warn("store: {sentence}", sentence=sentence, held_back=held_back)

    # -- tending -------------------------------------------------------------------------------------------

    def appended(self) -> None:
        """Messages came in: their keys enter the index soon."""
        if self._bite is None:
            self._bite = self._reactor.callLater(INDEX_BITE_S, self._write_index)

    def _write_index(self) -> None:
        self._bite = None
        problem = None
        try:
            self._derived.write_index(self._now_ms())
        except StoreError as error:
            problem = str(error)  # the keys wait in memory; the store refuses messages before they are many
            if self._index_problem is None:
                self._log.error("the message index cannot be written: {problem}", problem=problem)
        self._index_problem = problem

    def _write_index_bite(self) -> None:
        """A bite of what the start has left; keys of new messages wait until all of it is entered."""
        self._bite = None
        try:
            if self._derived.write_index_bite(self._now_ms()):
                self._bite = self._reactor.callLater(INDEX_BITE_S, self._write_index_bite)
        except StoreError:
            self.appended()  # tries it again, and tells

    def _flush_log(self) -> None:
        """What waits goes to the device when it is much, or else within the thorough interval."""
        store, config, now_s = self._store, self._config, self._reactor.seconds()
        if config.flush_disk_type is not FlushDiskType.ASYNC_FLUSH:
            return
        pages = config.flush_commit_log_least_pages
        if store.flushed_to < store.written_to:
            next_turn_s = now_s + config.flush_interval_commit_log / 1000
            is_late = next_turn_s > self._all_flushed_s + config.flush_commit_log_thorough_interval / 1000
            if not is_late and not is_flush_due(
                store.flushed_to, store.written_to, store.segment_size, pages
            ):
                return
            self._flushes.flush(store.written_to)
        self._all_flushed_s = now_s

    async def _write_due_queues(self) -> None:
        """As `_write_queues`, for those that are worth it."""
        due = self._derived.queues_due()
        for start in range(0, len(due), QUEUES_A_TURN):
            if start:
                await deferLater(self._reactor, 0)
            self._derived.write_queues(due[start : start + QUEUES_A_TURN])

    async def _checkpoint_early(self) -> None:
        """Before its time, when much has come or a load has ended."""
        if self._early_checkpoints.is_due(self._derived.unclaimed_bytes, self._reactor.seconds()):
            await self._checkpoint()

    async def _write_queues(self) -> None:
        """A few queues a turn: there may be tens of thousands, and others wait for the reactor, too."""
        left = self._derived.write_some_queues(QUEUES_A_TURN)
        for _ in range(0, left, QUEUES_A_TURN):
            await deferLater(self._reactor, 0)
            self._derived.write_some_queues(QUEUES_A_TURN)

    async def _checkpoint(self) -> None:
        if self._checkpointing:
            return
        self._checkpointing = True
        now_s, early = self._reactor.seconds, self._early_checkpoints
        began_s = now_s()
        try:
            await self._write_queues()
            while self._derived.is_index_behind:
                self._derived.write_index_bite(self._now_ms())
                await deferLater(self._reactor, 0)
            job = self._derived.begin_checkpoint(self._now_ms())
            await self._checkpoint_thread.run(job.run)
            self._derived.finish_checkpoint(job)
            early.made(began_s, now_s())
        except BaseException:
            early.failed(now_s())
            raise
        finally:
            self._checkpointing = False
        self._flushes.others_flushed()

    def _watch_disk(self) -> None:
        self._store.check_files()
        uses = self._store.disk_use()
        self._store.avoid_directories(full_log_directories(uses))
        sentence = disk_full_sentence(uses)
        if sentence is not None:
            self._store.refuse(DISK_FULL, sentence)
            if not self._disk_is_full:
                self._log.warn("no message is taken: {sentence}", sentence=sentence)
        else:
            self._store.accept(DISK_FULL)
            if self._disk_is_full:
                self._log.info("messages are taken again: the disk has room")
        self._disk_is_full = sentence is not None
