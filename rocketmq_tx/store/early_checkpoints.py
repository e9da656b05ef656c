"""When is a checkpoint worth it before its time? A start after a crash reads what no checkpoint covers.

The interval alone lets a broker under load leave millions of messages to be read again. So one is made when
much has come since the last, as long as they take a small part of the time altogether, and when a load ends.
Where many queues have to be written for one, they come so seldom that sends hardly notice.
"""

from __future__ import annotations

MUCH_BYTES = 8 << 20
"""Read again in 0.03 s where small messages are of one shape, in 0.15 s where they are not."""
LITTLE_BYTES = 256 << 10
"""Not worth a sync of its own before the interval is over."""
RESTS_S = 1.0
"""A load has ended when so long nothing came."""
LOOK_S = 0.25
"""How often to ask. Four times as much comes in a second: a quarter of a million messages on a fast day."""
AFTER_FAILURE_S = 60.0
PAUSE_TIMES = 4
"""Between two stand so many times the duration of the first: they take a fifth of the time at most.

Nearly all of that is waiting for the device, in a thread. Measured: with a tenth, one came every half second
under full load, and up to 200,000 messages were to be read again; a message costs the same CPU with either.
"""
QUEUES_A_SECOND = 2000
"""Writing a queue takes the reactor 10 to 16 us under load. With 4,000 of them a checkpoint comes each three
seconds, one of which it takes itself, for 2 % of the reactor's time.
"""


class EarlyCheckpoints:
    """Asked once in a while; knows what it was told the last time, and what a checkpoint takes."""

    def __init__(self) -> None:
        self._seen_bytes = 0
        self._seen_s = 0.0
        self._not_before_s = 0.0

    def made(self, began_s: float, ended_s: float, queues: int = 0) -> None:
        """A checkpoint was made, for whatever reason; so many queues had been written before it began."""
        pause_s = max(PAUSE_TIMES * (ended_s - began_s), queues / QUEUES_A_SECOND)
        self._not_before_s = ended_s + pause_s
        self._seen_bytes = 0

    def failed(self, now_s: float) -> None:
        """A checkpoint could not be made; the next ones in time will say so often enough."""
        self._not_before_s = now_s + AFTER_FAILURE_S

    def is_due(self, unclaimed_bytes: int, now_s: float) -> bool:
        """Whether one should be made now; `unclaimed_bytes` of the log are not covered by the last one."""
        if unclaimed_bytes != self._seen_bytes:
            self._seen_bytes, self._seen_s = unclaimed_bytes, now_s
        rests = now_s - self._seen_s >= RESTS_S
        if now_s < self._not_before_s:
            return False
        return unclaimed_bytes >= MUCH_BYTES or (rests and unclaimed_bytes >= LITTLE_BYTES)
