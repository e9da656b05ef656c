"""A table that lives in one JSON file: loaded at start, written after each change.

A write costs as much as the table is long, and any client can make topics and groups. So writing may take a
tenth of the time: within that each change is on the disk before it is answered, and what comes faster waits
for one write of all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from twisted.logger import Logger

from rocketmq_tx.errors import StoreError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")

WRITING_SHARE = 0.1
"""Of the time, for each table."""
BURST_S = 0.25
"""Of writing that may come at once after a quiet time: some hundred changes of a table of usual size."""


class TableFile(Protocol):
    """What a table needs of `store.json_file`."""

    def load(self, parse: Callable[[bytes], T]) -> T | None:
        """What `parse` makes of the file, or of its `.bak` on ValueError or BodyError; None without both."""

    def save(self, data: bytes) -> None:
        """Replaces the file's content as a whole; raises StoreError."""


class KeptTable:
    """Writes a table down. A write that fails is told once and tried again later; memory stays right.

    Without a `reactor` each change is written at once, however long that takes.
    """

    _log = Logger()

    def __init__(
        self, file: TableFile, to_json: Callable[[], bytes], reactor: IReactorTime | None = None
    ) -> None:
        self._file = file
        self._to_json = to_json
        self._reactor = reactor
        self._failed = False
        self._due: IDelayedCall | None = None
        self._left_s = BURST_S
        self._counted_to_s = 0.0

    def load(self, parse: Callable[[bytes], T]) -> T | None:
        """What was kept; a content that is no table makes the `.bak` stand in."""
        return self._file.load(parse)

    def save(self) -> None:
        """Writes now, or soon when writing has taken too much of the time."""
        if self._due is not None:
            return
        if self._reactor is None:
            self._write()
            return
        now_s = self._reactor.seconds()
        self._left_s = min(BURST_S, self._left_s + (now_s - self._counted_to_s) * WRITING_SHARE)
        self._counted_to_s = now_s
        if self._left_s > 0:
            self._write_counted(self._reactor)
        else:
            self._due = self._reactor.callLater(-self._left_s / WRITING_SHARE, self._write_due, self._reactor)

    def save_again(self) -> None:
        """Writes only if the last write failed."""
        if self._failed:
            self.save()

    def save_now(self) -> None:
        """Writes what is not written, for an orderly stop."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        elif not self._failed:
            return
        self._write()

    def _write_due(self, reactor: IReactorTime) -> None:
        self._due = None
        self._left_s = 0.0
        self._counted_to_s = reactor.seconds()
        self._write_counted(reactor)

    def _write_counted(self, reactor: IReactorTime) -> None:
        began_s = reactor.seconds()
        self._write()
        self._left_s -= reactor.seconds() - began_s

    def _write(self) -> None:
        try:
            self._file.save(self._to_json())
        except StoreError as error:
            if not self._failed:
                self._log.error("table not written, to be tried again: {error}", error=error)
            self._failed = True
        else:
            self._failed = False
