"""Runs the timer on masters: enters what comes, delivers what is due, keeps the index safe.

One turn after another, each of some milliseconds: enter a bite, deliver a batch, merge or save a little,
append again a few records that are about to be deleted. A turn that leaves nothing to do is followed by a
wait for the next message that is due, at most a second: so a wall clock that is set is noticed at once, and
never waited for. An arrival in the timer topic wakes the timer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from rocketmq_tx.broker.timer_delivery import TimerDelivery
from rocketmq_tx.broker.timer_intake import TimerIntake
from rocketmq_tx.broker.timer_keeping import TimerKeeping
from rocketmq_tx.broker.timer_rules import PENDING_QUEUE
from rocketmq_tx.broker.warm_reads import WarmReads
from rocketmq_tx.errors import RequestRefused, StoreError, StoreUnavailable
from rocketmq_tx.protocol.names import TIMER_TOPIC
from rocketmq_tx.runtime.periodic import Periodic
from rocketmq_tx.runtime.rarely import Rarely
from rocketmq_tx.store.timer_index import TimerIndex

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall

    from rocketmq_tx.broker.storage_side import StorageSide
    from rocketmq_tx.broker.surroundings import Surroundings

LONGEST_WAIT_S = 1.0
"""While messages wait: so soon a wall clock that was set is noticed."""
IDLE_S = 3600.0
WAKE_S = 0.002
"""After an arrival: messages that come together are entered together."""
REST_S = 1.0
"""After a refused append."""
MOVED_AT_ONCE = 128
MERGED_AT_ONCE = 4096
"""Some 4 ms."""


class TimerService(Service):
    """Messages with a delivery time of their own. `ensure_topic` makes the timer topic, if need be."""

    _log = Logger()

    def __init__(
        self, surroundings: Surroundings, storage: StorageSide, ensure_topic: Callable[[], object]
    ) -> None:
        self.setName("timer messages")
        self._config = surroundings.settings.store
        self._store = store = storage.store
        self._arrivals = storage.arrivals
        self._ensure_topic = ensure_topic
        self._reactor = reactor = surroundings.reactor
        self._now_ms = now_ms = surroundings.now_ms
        self._thread = surroundings.thread(reactor, "timers")
        self.index = TimerIndex(surroundings.disk, self._config.below_root("timers"), self._notice)
        appending, reads = storage.appending, WarmReads(store, surroundings.off_reactor)
        rarely = Rarely(reactor)
        self._intake = TimerIntake(store, self.index, reads, reactor, self._notice)
        self._delivery = TimerDelivery(store, appending, self.index, reads, rarely, now_ms)
        self._keeping = TimerKeeping(
            storage, self.index, self._thread, reactor, now_ms, lambda: self._delivery.delivered
        )
        self._is_open = False
        self._is_discarded = False
        self._was_rebuilt = False
        self._has_topic = False
        self._is_refused = False
        self._wait_s = 0.0
        self._waking: IDelayedCall | None = None
        self._moves: list[tuple[int, Deferred[None]]] = []
        self._turns = Periodic(
            reactor, lambda: self._wait_s, lambda: Deferred.fromCoroutine(self._turn()), "timer messages", 0.0
        )

    # -- life ----------------------------------------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        self._arrivals.watch(TIMER_TOPIC, PENDING_QUEUE, self._arrived)
        self._turns.startService()

    def stopService(self) -> Deferred[None]:
        """Delivers nothing more and saves where it stands, so that nothing is delivered twice."""
        if not self.running:
            return succeed(None)
        super().stopService()
        self._arrivals.unwatch(TIMER_TOPIC, PENDING_QUEUE)
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        moves, self._moves = self._moves, []
        for _, done in moves:
            done.errback(StoreUnavailable("the broker stops"))
        stopped = self._turns.stopService() or succeed(None)
        return stopped.addCallback(lambda _: Deferred.fromCoroutine(self._close()))

    async def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            try:
                await self._keeping.close()
            except StoreError as error:
                self._log.warn("the timer index is not saved: {error}", error=error)
        self._thread.abandon()

    def _arrived(self) -> None:
        if self._waking is None:
            self._waking = self._reactor.callLater(WAKE_S, self._wake)

    def _wake(self) -> None:
        self._waking = None
        self._turns.run_now()

    def role_changed(self) -> None:
        """Begins or ends delivering, as the role in the settings says."""
        self._turns.run_now()

    # -- what others ask -----------------------------------------------------------------------------------

    def appended_again_before(self, commit_log_offset: int) -> Deferred[None]:
        """Fires when no pending message needs the log below that offset any more, also after a crash.

        Those that did have been appended again, on a slave by its master. To be asked before segments are
        deleted. Fails with StoreUnavailable when the broker stops before that; while the store takes no
        message it waits.
        """
        if not self.running:
            return fail(StoreUnavailable("the timer has stopped"))
        done: Deferred[None] = Deferred()
        self._moves.append((min(commit_log_offset, self._store.written_to), done))
        self._turns.run_now()
        return done

    # -- turns ---------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        self._wait_s = REST_S  # should this turn fail
        if not await self._is_master():
            self._answer_by_the_log()
            self._wait_s = LONGEST_WAIT_S if self._moves else IDLE_S
            return
        has_more = await self._intake.enter_some()
        if self.index.intake_from > 0 and not self._has_topic:
            self._ensure_topic()
            self._has_topic = True
        try:
            is_delivering = await self._delivery.deliver_some()
            is_moving = await self._move_some(has_more)
            self._is_refused = False
        except RequestRefused as refusal:
            if not self._is_refused:
                self._notice(f"messages that are due wait: {refusal.remark}")
            self._is_refused = True
            self._keeping.keep()
            self._wait_s = REST_S
            return
        self._delivery.expire_cancellations(not has_more and not is_delivering)
        self._build_anew_if_wrong()
        busy = has_more or is_delivering or is_moving
        if busy:
            self._keeping.changed()
        if self.index.begin_merge():
            busy = not self.index.merge_step(MERGED_AT_ONCE) or busy
            self._keeping.changed()
        keep_s = self._keeping.keep()
        self._answer_moves()
        self._wait_s = 0.0 if busy and self.index.has_room else min(self._until_next_s(), keep_s)

    async def _is_master(self) -> bool:
        """Opens the index or throws it away, as the role says.

        The log of a slave is its master's: what this broker alone had may be cut off, and other messages
        stand there later. Only the log itself can tell, when it is master again.
        """
        if not self._config.broker_role.is_master:
            if not self._is_discarded:
                self._is_open = False
                await self._keeping.at_rest()
                self.index.discard()
                self._is_discarded = True
            return False
        if not self._is_open:
            self._delivery.forget()
            self._intake.open()
            self._keeping.begin()
            self._is_open = True
            self._is_discarded = False
        return True

    def _until_next_s(self) -> float:
        next_due_ms = self.index.next_due_ms()
        if next_due_ms is None:
            return IDLE_S
        return min(max(next_due_ms - self._now_ms(), 0) / 1000, LONGEST_WAIT_S)

    def _build_anew_if_wrong(self) -> None:
        wrong, self._delivery.wrong_entry = self._delivery.wrong_entry, None
        if wrong is not None and not self._was_rebuilt:
            self._was_rebuilt = True  # should the log itself be wrong, once is enough
            self.index.begin_anew(wrong)
            self._keeping.changed()
            self._turns.run_now()

    async def _move_some(self, has_more: bool) -> bool:
        """Appends again a few of the records that are to be deleted; whether there are more."""
        index = self.index
        wanted = max((below for below, _ in self._moves), default=0)
        if wanted <= index.void_below:
            return False
        if has_more or index.is_merging:
            return True  # first all that is pending is known, and in runs that stay
        index.begin_move(wanted)
        entries = index.next_to_move(MOVED_AT_ONCE)
        if entries:
            self._delivery.append_again(await self._delivery.records(entries))
        index.moved()
        return True

    def _answer_by_the_log(self) -> None:
        """On a slave: whoever wants to delete what its master has appended again may do so."""
        waiting = [move for move in self._moves if not move[1].called]
        self._moves = [move for move in waiting if self._intake.waits_before(move[0])]
        for move in waiting:
            if move not in self._moves:
                move[1].callback(None)

    def _answer_moves(self) -> None:
        waiting = self._moves
        self._moves = [move for move in waiting if move[0] > self._keeping.saved_void_below]
        for below, done in waiting:
            if below <= self._keeping.saved_void_below:
                done.callback(None)

    def _notice(self, sentence: str) -> None:
        self._log.warn("timer messages: {sentence}", sentence=sentence)
