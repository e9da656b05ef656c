"""The store's life within the broker: opened before anybody can connect, closed when all is answered.

In between this looks after what the store leaves to its owner: what waits under ASYNC_FLUSH goes to the
device, what is derived from the log is written (`derived_tending`), what is old is deleted (`retention`), and
a disk that fills up is noticed before it is full.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger

from rocketmq_tx.broker.derived_tending import QUEUES_A_TURN, DerivedTending
from rocketmq_tx.broker.retention import Retention
from rocketmq_tx.broker.room_keeping import RoomKeeping
from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.config.values import FlushDiskType
from rocketmq_tx.errors import StoreError
from rocketmq_tx.runtime.group_commit import GroupCommit
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.rarely import Rarely
from rocketmq_tx.runtime.threads import Runner
from rocketmq_tx.store.flush import is_flush_due
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.retention import disk_full_sentence, full_log_directories
from rocketmq_tx.store.tail_cut import KeptTail

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

STOP_WRITES_S = 2.5
"""A stop writes queue entries for so long: beyond, a start that reads them from the log is no worse."""
DISK_WATCH_S = 10.0
DISK_FULL = "disk full"
_FIGURES = re.compile(r"[0-9]+")


class StoreService(Service):
    """Opens, tends and closes a message store. `appended` is to be called after each append.

    Without `room` nobody sees to that of the log.
    """

    _log = Logger()

    def __init__(
        self,
        store: MessageStore,
        config: MessageStoreConfig,
        flushes: GroupCommit,
        checkpoint_thread: Runner,
        reactor: IReactorTime,
        now_ms: Callable[[], int],
        room: RoomKeeping | None = None,
    ) -> None:
        self.setName("message store")
        self._store = store
        self._config = config
        self._flushes = flushes
        self._checkpoint_thread = checkpoint_thread
        self._reactor = reactor
        self._now_ms = now_ms
        self._is_open = False
        self._disk_is_full = False
        self._rarely = Rarely(reactor)
        self._all_flushed_s = reactor.seconds()
        self._cutting: Deferred[Any] | None = None
        self.was_clean = False
        """Whether the store had been closed in order before it was opened."""
        self.retention = Retention(store, config, checkpoint_thread, reactor, now_ms)
        self._tending = DerivedTending(
            store.derived, config, checkpoint_thread, flushes.others_flushed, reactor, now_ms
        )
        self._room = room
        self.index_ready = self._tending.index_ready
        self._jobs: list[Periodic | Retention] = [
            Periodic(
                reactor, lambda: config.flush_interval_commit_log / 1000, self._flush_log, "commit log flush"
            ),
            *self._tending.jobs,
            Periodic(reactor, DISK_WATCH_S, self._watch_disk, "disk watch", first_after_s=1.0),
            self.retention,
        ]

    def appended(self) -> None:
        """Messages came in."""
        self._tending.appended()
        if self._room is not None:
            self._room.appended()

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
        self._tending.begin()
        for job in self._jobs:
            job.startService()

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        if not self._is_open:
            return None
        self._tending.end()
        stopping = [job.stopService() for job in self._jobs if job.running]
        waiting = DeferredList([each for each in stopping if each is not None])
        return waiting.addCallback(lambda _: Deferred.fromCoroutine(self._close()))

    async def _close(self) -> None:
        """Off the reactor: a disk that hangs must not hold up the end, and then the next start recovers."""
        self._is_open = False
        self._flushes.stop()
        left = await self._write_at_stop()
        if left:
            self._log.warn("store closed in a hurry: the next start {left}", left=left)
        job = self._store.begin_close(self._now_ms()) if not left else None
        if job is not None:
            await self._checkpoint_thread.run(job.run)
        self._checkpoint_thread.abandon()
        if self._room is not None:
            self._room.stop()
        self._store.finish_close(job)
        self._log.info("store closed: directory={directory}", directory=self._config.store_path_root_dir)

    async def _write_at_stop(self) -> str:
        """A few queues a turn, then the index, while there is time; returns what that leaves for a start."""
        until_s = self._reactor.seconds() + STOP_WRITES_S
        derived = self._store.derived
        self._store.end_writing()
        try:
            while left := derived.write_some_queues(QUEUES_A_TURN):
                if self._reactor.seconds() >= until_s:
                    return f"takes what {left} queues lack from the log"
                await deferLater(self._reactor, 0)
            while derived.is_index_behind:
                if self._reactor.seconds() >= until_s:
                    return f"goes on with the index: {derived.index_sentence}"
                derived.write_index_bite(self._now_ms())
                await deferLater(self._reactor, 0)
        except StoreError:
            pass  # closing tries again, says so and lets the store go
        return ""

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
        await self.index_ready(None)  # else all that is left of it would be done in one turn
        stopping = [job.stopService() for job in self._jobs if job.running]
        await DeferredList([each for each in stopping if each is not None])
        self._tending.end()
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
            self._tending.begin()
            for job in self._jobs:
                job.startService()

    def notice(self, sentence: str) -> None:
        """What the store has to say to an operator: once a minute what differs in figures only."""
        held_back = self._rarely.due(_FIGURES.sub("", sentence))
        if held_back is not None or not self._is_open:  # while it recovers, lines tell how far it is
            self._log.warn("store: {sentence}", sentence=sentence, held_back=held_back)

    # -- tending -------------------------------------------------------------------------------------------

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
