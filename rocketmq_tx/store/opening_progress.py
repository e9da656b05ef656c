"""Saying how far the opening of a store is, once it takes longer than anybody waits without a word."""

from __future__ import annotations

from collections.abc import Callable

EVERY_S = 2.0
_WORK_BETWEEN_LOOKS = 4 << 20
RECORD_WORK = 4096
"""What a record counts for besides its bytes; a look at the clock is nothing beside a thousand of them."""
QUEUE_WORK = 16 << 10


class OpeningProgress:
    """Gives a sentence to `notice` when `seconds`, a clock that never goes back, has moved on by two."""

    def __init__(self, notice: Callable[[str], None], seconds: Callable[[], float]) -> None:
        self._notice = notice
        self._seconds = seconds
        self._said_s = seconds()
        self._work = 0

    def did(self, work: int, sentence: str, *figures: int) -> None:
        """So much has been done, in bytes and by the constants; `sentence` has a `{}` for each figure."""
        self._work += work
        if self._work >= _WORK_BETWEEN_LOOKS:
            self._work = 0
            now_s = self._seconds()
            if now_s - self._said_s >= EVERY_S:
                self._said_s = now_s
                self._notice(sentence.format(*figures))
