"""Keeps the timer index safe: saves it in a thread, and says in the log now and then what is done with.

A state of the index is saved once the log is flushed as far as it was written then: the index never tells of
deliveries that a power cut may undo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rocketmq_tx.broker.timer_messages import mark_message
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.runtime.rarely import Rarely

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from rocketmq_tx.broker.storage_side import StorageSide
    from rocketmq_tx.runtime.threads import Runner
    from rocketmq_tx.store.timer_index import TimerIndex
    from rocketmq_tx.store.timer_manifest import Claim
    from rocketmq_tx.store.timer_saving import SaveJob

SAVE_S = 1.0
MARK_S = 5.0
FLUSH_TIMEOUT_S = 2.0
NOTHING_TO_DO_S = 3600.0
LOOK_AGAIN_S = 0.05
"""While a state waits for the log's flush, or for the device."""


class TimerKeeping:
    """`delivered` counts the messages delivered so far."""

    _log = Logger()

    def __init__(
        self,
        storage: StorageSide,
        index: TimerIndex,
        thread: Runner,
        reactor: IReactorTime,
        now_ms: Callable[[], int],
        delivered: Callable[[], int],
    ) -> None:
        self._store = storage.store
        self._appending = storage.appending
        self._flushes = storage.flushes
        self._store_host = storage.store_host
        self._index = index
        self._thread = thread
        self._reactor = reactor
        self._now_ms = now_ms
        self._delivered = delivered
        self._rarely = Rarely(reactor)
        self.saved_void_below = 0
        """Below this log offset no record is needed, and that is on the device."""
        self._saving: Deferred[None] | None = None
        self.begin()

    def begin(self) -> None:
        """The index has been loaded."""
        self._changed = True
        self._save_at_s = self._mark_at_s = self._reactor.seconds()
        self._marked = (self._delivered(), self._index.void_below)
        self._safe: tuple[Claim, tuple[int, int]] | None = None
        """What is done with and on the device, and is not marked yet."""
        self.saved_void_below = 0

    def changed(self) -> None:
        """The index is not what was saved."""
        self._changed = True

    def keep(self) -> float:
        """Saves and marks what is due to be; returns the seconds until it is to be called again."""
        now_s = self._reactor.seconds()
        if now_s >= self._mark_at_s and self._mark():
            self._mark_at_s = now_s + MARK_S
        if self._saving is None and self._changed and (now_s >= self._save_at_s or not self._index.has_room):
            self._save_at_s = now_s + SAVE_S
            self._changed = False
            saved = self._begin_save()
            if saved is not None:
                saved.addErrback(self._not_saved)
        wait_s = NOTHING_TO_DO_S
        if self._saving is not None:
            wait_s = LOOK_AGAIN_S
        elif self._changed:
            wait_s = self._save_at_s - now_s
        if self._safe is not None:
            wait_s = min(wait_s, max(self._mark_at_s - now_s, LOOK_AGAIN_S))
        return wait_s

    def _begin_save(self, everything: bool = False) -> Deferred[None] | None:
        """Fires when the state is on the device, and the log that it tells of."""
        job = self._index.begin_save(self._store.written_to, everything)
        if job is None:
            return None
        claim = self._index.position() if self._index.is_caught_up else None
        saving = self._saving = Deferred()
        durable = self._flushes.durable(job.log_end, FLUSH_TIMEOUT_S)
        saved = durable.addCallback(lambda _: self._thread.run(job.run))
        return saved.addCallbacks(
            self._saved,
            self._failed,
            callbackArgs=(job, saving, claim, self._delivered()),
            errbackArgs=(job, saving),
        )

    def _saved(
        self, _: object, job: SaveJob, saving: Deferred[None], claim: Claim | None, delivered: int
    ) -> None:
        self._index.finish_save(job)
        self.saved_void_below = job.manifest.void_below
        state = (delivered, job.manifest.void_below)
        if claim is not None and state != self._marked:
            self._safe = (claim, state)
        self._saving = None
        saving.callback(None)

    def _failed(self, failure: Failure, job: SaveJob, saving: Deferred[None]) -> Failure:
        self._index.take_back(job)
        self._changed = True
        self._saving = None
        saving.callback(None)
        return failure

    def _not_saved(self, failure: Failure) -> None:
        if self._rarely.due("save") is not None:
            self._log.warn("the timer index is not saved: {error}", error=failure.value)

    def _mark(self) -> bool:
        """Writes a mark if there is something to say; whether it did.

        It says what is on the device already: a power cut may keep a mark and lose what stood before it.
        """
        if self._safe is None:
            return False
        claim, state = self._safe
        mark = mark_message(claim, state[1], self._now_ms(), self._store_host)
        try:
            self._appending.append([mark], self._now_ms())
        except RequestRefused:
            return False  # the next one says it all
        self._marked, self._safe = state, None
        return True

    async def at_rest(self) -> None:
        """Waits for the save that is under way."""
        if self._saving is not None:
            await self._saving

    async def close(self) -> None:
        """Saves all of it; StoreError when that fails: the next start delivers some messages again."""
        await self.at_rest()
        saved = self._begin_save(everything=True)
        if saved is not None:
            await saved
        self._mark()
