"""How many checks one producer may have unanswered: a decision over offsets and seconds, for one connection.

A check is a push that nobody acknowledges; what comes back, sooner or later, is an end of the transaction. A
Java client lets 2,000 checks wait and drops the rest, each counted as asked. So no more is pushed than
is being answered:

    asked, asked, asked ... until OUTSTANDING_MAX are out    then nothing, until answers come
    an answer                                                room for another one
    silence for SILENCE_S                                    what is out is taken for lost, fewer may be out
    an answer after that                                     it grows again
"""

from __future__ import annotations

import attrs

OUTSTANDING_MAX = 500
"""A quarter of what waits at most in a Java client (checkRequestHoldMax)."""
SILENCE_S = 30.0
"""Who has not answered anything for so long has perhaps got nothing, or dropped it."""
SILENT_MAX = 50
"""So many are asked of it until it answers again: enough for what is open to come to its end."""


@attrs.define
class CheckWindow:
    """What is out, by queue offset of the half message's copy, oldest first; times are monotonic seconds."""

    limit: int = OUTSTANDING_MAX
    _out: dict[int, float] = attrs.Factory(dict)
    _heard_s: float = 0.0

    @property
    def room(self) -> int:
        """So many more may be asked."""
        return max(0, self.limit - len(self._out))

    @property
    def is_as_new(self) -> bool:
        """Nothing is lost by forgetting it."""
        return not self._out and self.limit == OUTSTANDING_MAX

    def lost_in_silence(self, now_s: float) -> list[int]:
        """What is out is lost when there was no answer for long; to be asked now and then."""
        if not self._out:
            return []
        since_s = max(self._heard_s, next(iter(self._out.values())))
        if now_s - since_s < SILENCE_S:
            return []
        lost = list(self._out)
        self._out.clear()
        self.limit = SILENT_MAX
        return lost

    def asked(self, half_queue_offset: int, now_s: float) -> None:
        self._out[half_queue_offset] = now_s

    def answered(self, half_queue_offset: int, now_s: float) -> tuple[int, ...]:
        """Returns what is not out any more: it, and what was asked so much earlier that it must be lost."""
        asked_s = self._out.pop(half_queue_offset, None)
        if asked_s is None:
            return ()
        self._heard_s = now_s
        self.limit = min(OUTSTANDING_MAX, 2 * self.limit)
        lost = []
        for earlier, earlier_s in self._out.items():
            if asked_s - earlier_s < SILENCE_S:
                break
            lost.append(earlier)
        for earlier in lost:
            del self._out[earlier]
        return half_queue_offset, *lost

    @property
    def outstanding(self) -> list[int]:
        return list(self._out)
