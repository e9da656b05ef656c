"""Log lines that a peer could provoke without end, let through a few times a minute."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

_KEYS_MAX = 1000
"""Keys may come from peers (addresses); beyond this many the oldest knowledge is given up."""


class Rarely:
    """Says whether the line for a key is due: once per `interval_s`, with the number held back since."""

    def __init__(self, reactor: IReactorTime, interval_s: float = 60.0) -> None:
        self._reactor = reactor
        self.interval_s = interval_s
        self._seen: dict[Hashable, tuple[float, int]] = {}

    def due(self, key: Hashable) -> int | None:
        """The number of lines held back since the last one that was due; None: hold this one back, too."""
        now = self._reactor.seconds()
        seen = self._seen.get(key)
        if seen is not None and now - seen[0] < self.interval_s:
            self._seen[key] = (seen[0], seen[1] + 1)
            return None
        if seen is None and len(self._seen) >= _KEYS_MAX:
            self._seen.clear()
        self._seen[key] = (now, 0)
        return seen[1] if seen is not None else 0
