"""Deletes old messages at the hours set for it, when a disk runs short, or when an administrator asks.

What is to go is decided in `store.retention`; here files are deleted one after the other, with a pause,
off the reactor. Facts: `spec/store.yaml`, disk_clean.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.errors import StoreError
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.threads import Runner
from rocketmq_tx.store.old_segments import OldSegment
from rocketmq_tx.store.retention import (
    FILES_A_RUN,
    Cleaning,
    RetentionRules,
    cleaning_due,
    is_expired,
)

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from rocketmq_tx.store.message_store import MessageStore

FIRST_AFTER_S = 60.0
ROUNDS_WHEN_ASKED = 20
"""So many rounds an administrator's request holds: each deletes ten files at most."""
RELEASE_WAIT_S = 60.0
"""Longer waits for those who need a segment begin anew in the next round."""
HOUR_MS = 3_600_000


def hour_of_day(now_ms: int) -> int:
    """Of local time, which is what deleteWhen means."""
    return datetime.fromtimestamp(now_ms / 1000).hour


class Retention(Service):
    """A round every cleanResourceInterval; none overlaps another, and stopping ends one between two files."""

    _log = Logger()

    def __init__(
        self,
        store: MessageStore,
        config: MessageStoreConfig,
        thread: Runner,
        reactor: IReactorTime,
        now_ms: Callable[[], int],
        hour_of: Callable[[int], int] = hour_of_day,
    ) -> None:
        self.setName("retention")
        self._store = store
        self._config = config
        self._thread = thread
        self._reactor = reactor
        self._now_ms = now_ms
        self._hour_of = hour_of
        self._rounds_asked = 0
        self._dated: tuple[int, int | None] = (-1, None)
        self.before_deletion: Callable[[int], Deferred[None]] = lambda commit_log_offset: succeed(None)
        """Is given the end of each segment that is to go, and fires when nobody needs it any more."""
        self._periodic = Periodic(
            reactor,
            lambda: config.clean_resource_interval / 1000,
            lambda: Deferred.fromCoroutine(self._round()),
            "retention",
            first_after_s=FIRST_AFTER_S,
        )

    def startService(self) -> None:
        super().startService()
        self._periodic.startService()

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        return self._periodic.stopService()

    def ask(self) -> None:
        """Old files go now and in the next rounds, whatever the hour."""
        self._rounds_asked = ROUNDS_WHEN_ASKED
        self._periodic.run_now()

    async def _round(self) -> None:
        store, config = self._store, self._config
        rules = RetentionRules(
            config.delete_hours,
            config.file_reserved_time * HOUR_MS,
            config.disk_max_used_space_percent,
            config.clean_file_forcibly_enable,
        )
        cleaning = cleaning_due(
            rules, self._hour_of(self._now_ms()), store.disk_use(), self._rounds_asked > 0
        )
        self._rounds_asked = max(0, self._rounds_asked - 1)
        if cleaning is not None:
            await self._clean(rules, cleaning)
        store.expiry.condemn_derived()

    async def _clean(self, rules: RetentionRules, cleaning: Cleaning) -> None:
        expiry = self._store.expiry
        await self._remove()  # what an earlier round could not
        deleted = 0
        while deleted < FILES_A_RUN and self.running:
            oldest = expiry.oldest()
            if oldest is None or not await self._is_expired(oldest, rules, cleaning):
                break
            if not await self._is_released(oldest, cleaning):
                break
            expiry.drop(oldest)
            await self._remove()
            deleted += 1
            self._log.info("deleted: file={file} because={why}", file=oldest.path, why=cleaning.reason)
            if deleted < FILES_A_RUN:
                pause_s = self._config.delete_commit_log_files_interval / 1000
                await deferLater(self._reactor, pause_s)

    async def _is_expired(self, oldest: OldSegment, rules: RetentionRules, cleaning: Cleaning) -> bool:
        if cleaning.at_once:
            return True
        if self._dated[0] != oldest.start:
            self._dated = (oldest.start, await self._thread.run(oldest.last_store_timestamp))
        last_message_ms = self._dated[1]
        return last_message_ms is not None and is_expired(rules, cleaning, last_message_ms, self._now_ms())

    async def _is_released(self, oldest: OldSegment, cleaning: Cleaning) -> bool:
        """Whether nobody needs the segment any more. A disk that runs full cannot wait for that for ever."""
        released = self.before_deletion(oldest.end).addTimeout(RELEASE_WAIT_S, self._reactor)
        try:
            await released
        except (TimeoutError, StoreError) as problem:
            self._log.warn("still needed: file={file} problem={problem!r}", file=oldest.path, problem=problem)
            return cleaning.at_once and bool(self.running)
        return True

    async def _remove(self) -> None:
        job = self._store.expiry.begin_removal()
        await self._thread.run(job.run)
        self._store.expiry.finish_removal(job)
