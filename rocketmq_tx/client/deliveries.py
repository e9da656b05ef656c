"""Handing messages to the listener: what succeeds counts as consumed, what fails goes back to its broker."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from rocketmq_tx.client.message import ReceivedMessage
from rocketmq_tx.client.offset_store import OffsetStore
from rocketmq_tx.client.process_queue import ProcessQueue

Listener = Callable[["list[ReceivedMessage]"], Any]
"""Called with messages of one queue; may return a Deferred or be a coroutine function.

Raising, or failing later, hands the messages back to their broker for another try after a while.
"""

SendBack = Callable[[ReceivedMessage], "Deferred[bool]"]
"""Hands one message back; fires with whether the broker has taken it."""

TRY_AGAIN_S = 5.0
#: Listeners that never wait would else keep the reactor until everything that was pulled is done.
CALLS_A_TURN = 64


class Deliveries:
    """Batches waiting for the listener, and those it is working on."""

    _log = Logger()

    def __init__(
        self,
        listener: Listener,
        offsets: OffsetStore,
        send_back: SendBack,
        reactor: IReactorTime,
        concurrency: int,
        batch_size: int,
    ) -> None:
        self._listener = listener
        self._offsets = offsets
        self._send_back = send_back
        self._reactor = reactor
        self._concurrency = concurrency
        self._batch_size = batch_size
        self._waiting: deque[tuple[ProcessQueue, list[ReceivedMessage]]] = deque()
        self._running = 0
        self._timers: set[IDelayedCall] = set()
        self._turn_planned = False
        self._when_idle: list[Deferred[None]] = []
        self._is_stopped = False

    def add(self, process_queue: ProcessQueue, messages: Sequence[ReceivedMessage]) -> None:
        """Queues messages; the listener is called in a later turn of the reactor."""
        if self._is_stopped:
            return
        for start in range(0, len(messages), self._batch_size):
            self._waiting.append((process_queue, list(messages[start : start + self._batch_size])))
        self._plan_turn()

    @property
    def running(self) -> int:
        """Calls of the listener that have not ended."""
        return self._running

    def stop(self) -> Deferred[None]:
        """Calls the listener no more; fires when the calls in progress have ended."""
        self._is_stopped = True
        self._waiting.clear()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        idle: Deferred[None] = Deferred()
        self._when_idle.append(idle)
        self._tell_idle()
        return idle

    def _tell_idle(self) -> None:
        if self._running == 0:
            waiting, self._when_idle = self._when_idle, []
            for idle in waiting:
                idle.callback(None)

    def _later(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        def now() -> None:
            self._timers.discard(timer)
            act(*arguments)

        timer = self._reactor.callLater(seconds, now)
        self._timers.add(timer)

    def _plan_turn(self) -> None:
        if not self._turn_planned and self._waiting and self._running < self._concurrency:
            self._turn_planned = True
            self._later(0, self._turn)

    def _turn(self) -> None:
        self._turn_planned = False
        for _ in range(CALLS_A_TURN):
            if not self._waiting or self._running >= self._concurrency:
                break
            process_queue, messages = self._waiting.popleft()
            if not process_queue.is_dropped:
                self._running += 1
                Deferred.fromCoroutine(self._consume(process_queue, messages))
        self._plan_turn()

    async def _consume(self, process_queue: ProcessQueue, messages: list[ReceivedMessage]) -> None:
        kept: list[ReceivedMessage] = []
        try:
            result = self._listener(messages)
            if isinstance(result, Deferred) or inspect.isawaitable(result):
                await result
        except Exception:  # noqa: BLE001  whatever the application does: its messages must not get lost
            self._log.warn(
                "listener failed, messages go back: count={count} first={message_id}\n{trace}",
                count=len(messages),
                message_id=messages[0].message_id,
                trace=Failure().getTraceback(),
            )
            kept = [message for message in messages if not await self._send_back(message)]
        self._finished(kept, process_queue, messages)

    def _finished(
        self, kept: list[ReceivedMessage], process_queue: ProcessQueue, messages: list[ReceivedMessage]
    ) -> None:
        self._running -= 1
        done = [message for message in messages if message not in kept] if kept else messages
        offset = process_queue.done(done)
        if offset is not None:
            self._offsets.advance(process_queue.queue, offset)
        for message in kept:
            message.reconsume_times += 1
            if not self._is_stopped:
                self._later(TRY_AGAIN_S, self.add, process_queue, [message])
        self._plan_turn()
        self._tell_idle()
