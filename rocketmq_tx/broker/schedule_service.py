"""Delivers delayed messages when their time has come: from the queues of the schedule topic to their own.

Each level is a queue, and its messages become due in the order in which they wait. So of each level only
the first is watched, by one timer; whoever appends to an idle level wakes it. A pass over a level delivers a
bounded batch by one append, and levels take turns (`level_turns`, which draws their states).

A message counts as delivered when it is in the log again; a flush or a slave that is late is no reason to
deliver it twice. Facts: `spec/schedule.yaml` (delay).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from rocketmq_tx.broker import delay_rules
from rocketmq_tx.broker.delay_delivery import ColdRecords, DelayDelivery
from rocketmq_tx.broker.level_turns import Level, LevelTurns
from rocketmq_tx.broker.warm_reads import COLD_READS_MAX
from rocketmq_tx.errors import FlushTimeout, RequestRefused, StoreError, WouldBlock
from rocketmq_tx.protocol.names import SCHEDULE_TOPIC
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.rarely import Rarely

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from rocketmq_tx.broker.appending import Appending
    from rocketmq_tx.broker.delay_progress import DelayProgressFile
    from rocketmq_tx.broker.warm_reads import WarmReads
    from rocketmq_tx.config.store import MessageStoreConfig
    from rocketmq_tx.runtime.arrivals import Arrivals
    from rocketmq_tx.store.consume_queue import Entry
    from rocketmq_tx.store.stored_messages import StoredMessages

PASS_MESSAGES = 128
"""A pass takes 2 ms with so many small messages: nobody else waits longer for that."""
PAUSE_S = 0.005
"""Between two passes of a level that is up to date: messages due one by one are delivered in batches."""
READ_ATTEMPTS = 4
"""A record that cannot be read so often is passed over, or it would hold up all those behind it."""
SAME_LINE_S = 60.0
_ROUNDING_MS = 0.01
"""Sums of seconds differ in their last digits."""


class ScheduleService(Service):
    """Runs on masters; `role_changed` tells it that this broker became one, or is none any more.

    `now_ms` is the wall clock: only its steps count here, waiting goes by the reactor's clock.
    """

    _log = Logger()

    def __init__(
        self,
        config: MessageStoreConfig,
        store: StoredMessages,
        appending: Appending,
        arrivals: Arrivals,
        progress_file: DelayProgressFile,
        reads: WarmReads,
        reactor: IReactorTime,
        now_ms: Callable[[], int],
    ) -> None:
        self.setName("delayed messages")
        self._config = config
        self._store = store
        self._progress = progress_file.progress
        self._delivery = DelayDelivery(store, appending, self._progress, now_ms)
        self._arrivals = arrivals
        self._progress_file = progress_file
        self._reads = reads
        self._reactor = reactor
        self._now_ms = now_ms
        self._levels: list[Level] = []
        self._base_ms = 0.0
        self._rarely = Rarely(reactor, SAME_LINE_S)
        self._turns = LevelTurns(self._pass, reactor, self._rarely)
        self._saving = Periodic(
            reactor,
            lambda: config.flush_delay_offset_interval / 1000,
            self._save,
            "progress of delayed messages",
        )

    # -- life ----------------------------------------------------------------------------------------------

    def startService(self) -> None:
        """Raises StoreDamaged when the progress cannot be read: beginning anew would deliver all again."""
        self._progress_file.load()
        super().startService()
        self._saving.startService()
        self.role_changed()

    def stopService(self) -> Deferred[None]:
        """Delivers nothing more and writes the progress down, so that nothing is delivered twice."""
        if not self.running:
            return succeed(None)
        super().stopService()
        self._end()
        stopped = self._saving.stopService() or succeed(None)
        stopped.addCallback(lambda _: self._progress_file.save_changed())
        return stopped.addErrback(self._not_saved)

    def role_changed(self) -> None:
        """Begins or ends delivering, as the role in the settings says."""
        delivers = bool(self.running) and self._config.broker_role.is_master
        if delivers and not self._levels:
            self._begin()
        elif not delivers:
            self._end()

    def _save(self) -> Deferred[None] | None:
        saving = self._progress_file.save_changed()
        return None if saving is None else saving.addErrback(self._late)

    def _late(self, failure: Failure) -> None:
        """A disk that is slow for a while is no mistake of anybody's: the next round tries again."""
        failure.trap(FlushTimeout)
        if self._rarely.due("late") is not None:
            self._log.warn(
                "the progress of delayed messages is not written yet, a crash now would have some delivered"
                " twice: {error}",
                error=failure.value,
            )

    def _not_saved(self, failure: Failure) -> None:
        failure.trap(StoreError)
        self._log.warn(
            "the progress of delayed messages is not written, some will come twice: {error}",
            error=failure.value,
        )

    def _begin(self) -> None:
        self._progress.lead()
        self._base_ms = self._now_ms() - self._reactor.seconds() * 1000
        configured = len(self._config.delay_levels_ms)
        waiting = [queue_id + 1 for topic, queue_id in self._store.queues() if topic == SCHEDULE_TOPIC]
        for number in range(1, max([configured, *waiting]) + 1):
            level = Level(number, delay_rules.queue_of(number))
            level.seen_to = self._offsets(level)[1]
            self._levels.append(level)
            self._arrivals.watch(SCHEDULE_TOPIC, level.queue_id, partial(self._arrived, level))
            self._turns.make_ready(level)

    def _end(self) -> None:
        for level in self._levels:
            if level.timer is not None:
                level.timer.cancel()
            self._arrivals.unwatch(SCHEDULE_TOPIC, level.queue_id)
        self._levels = []
        self._turns.end()

    def figures(self) -> dict[str, str]:
        """By Apache's names: how far each level is delivered, and where its queue ends."""
        table = {}
        for number, offset in sorted(self._progress.offsets().items()):
            end = self._store.queue_offsets(SCHEDULE_TOPIC, delay_rules.queue_of(number))[1]
            table[f"scheduleMessageOffset_{number}"] = f"{offset},{end}"
        return table

    # -- what wakes a level --------------------------------------------------------------------------------

    def _arrived(self, level: Level) -> None:
        level.steps.stored_from(level.seen_to, self._now_ms() - self._steady_ms())
        level.seen_to = self._offsets(level)[1]
        self._turns.wake(level)

    # -- a pass --------------------------------------------------------------------------------------------

    def _pass(self, level: Level) -> None:
        offset = self._next_offset(level)
        may_block = level.cold_reads >= COLD_READS_MAX
        try:
            entries = self._store.entries_from(
                SCHEDULE_TOPIC, level.queue_id, offset, PASS_MESSAGES, may_block
            )
        except WouldBlock as cold:
            self._warm(level, [cold])
            return
        times = level.steps.steady_times(offset, [time_ms for _, _, time_ms in entries])
        level_delay_ms = delay_rules.delay_ms(level.number, self._config.delay_levels_ms)
        decided = delay_rules.due(times, self._steady_ms(), level_delay_ms)
        if decided.messages:
            delivered = self._deliver(level, offset, entries[: decided.messages], may_block)
            if delivered is None:
                return
            level.steps.delivered_to(offset + delivered)
            if delivered < decided.messages:
                self._turns.make_ready(level)
                return
        if decided.wait_ms is not None:
            self._turns.wait(level, max(decided.wait_ms / 1000, PAUSE_S if decided.messages else 0.0))
        elif offset + len(entries) < self._offsets(level)[1]:
            self._turns.make_ready(level)
        else:
            level.busy = False

    def _next_offset(self, level: Level) -> int:
        """The progress, brought within what the queue has."""
        first, end = self._offsets(level)
        kept = self._progress.offset(level.number)
        offset = min(max(kept, first), end)
        if offset != kept:
            self._progress.delivered_to(level.number, offset)
        return offset

    def _deliver(self, level: Level, offset: int, entries: Sequence[Entry], may_block: bool) -> int | None:
        """How many of the entries are done with; None when the level reads or rests first."""
        is_given_up = partial(self._is_given_up, level)
        try:
            delivered = self._delivery.deliver(level.number, offset, entries, may_block, is_given_up)
        except ColdRecords as cold:
            self._warm(level, cold.errors)
            return None
        except RequestRefused as refusal:
            delivered = None
            self._refused(level, refusal)
        else:
            if delivered is None:
                return None
        level.cold_reads = level.failures = 0
        return delivered

    # -- what goes wrong -----------------------------------------------------------------------------------

    def _refused(self, level: Level, refusal: RequestRefused) -> None:
        if self._rarely.due("refused") is not None:
            self._log.warn("delayed messages wait: {reason}", reason=refusal.remark)
        self._turns.rest(level)

    def _is_given_up(self, level: Level, commit_log_offset: int, error: StoreError) -> bool:
        """Whether a record was tried often enough; else the level rests."""
        level.failures += 1
        if level.failures < READ_ATTEMPTS:
            self._turns.rest(level)
            return False
        self._log.error(
            "a delayed message is not delivered: commit_log_offset={offset} {error}",
            offset=commit_log_offset,
            error=error,
        )
        return True

    def _warm(self, level: Level, cold: Sequence[WouldBlock]) -> None:
        """Has bytes brought into memory; a disk that fails is met again, and told, by the next pass."""
        level.cold_reads += 1
        warming = self._reads.warm(cold)
        warming.addErrback(lambda failure: failure.trap(StoreError))
        warming.addCallback(lambda _: self._turns.make_ready(level) if level in self._levels else None)

    # -- small things --------------------------------------------------------------------------------------

    def _offsets(self, level: Level) -> tuple[int, int]:
        return self._store.queue_offsets(SCHEDULE_TOPIC, level.queue_id)

    def _steady_ms(self) -> int:
        """The calendar as it was at the start, and the time that has passed since."""
        return int(self._base_ms + self._reactor.seconds() * 1000 + _ROUNDING_MS)
