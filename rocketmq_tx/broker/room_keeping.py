"""Sees to it that there is memory for what the log gets next, off the reactor (`store.log_room`)."""

from __future__ import annotations

from rocketmq_tx.runtime.threads import Runner
from rocketmq_tx.store.log_room import LogRoom


class RoomKeeping:
    """Call `appended` after each append. Messages do not wait for room: without, they only cost more."""

    def __init__(self, room: LogRoom, thread: Runner) -> None:
        self._room = room
        self._thread = thread
        self._is_busy = False

    def appended(self) -> None:
        """Messages came in."""
        if not self._is_busy and self._room.is_due:
            job = self._room.job()
            if job is not None:
                self._is_busy = True
                self._thread.run(job).addCallback(self._got)

    def _got(self, result: None) -> None:
        self._is_busy = False

    def stop(self) -> None:
        """Nobody waits for what is under way."""
        self._is_busy = True
        self._thread.abandon()
