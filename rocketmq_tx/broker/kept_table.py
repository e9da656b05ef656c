"""A table that lives in one JSON file: loaded at start, written after each change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.logger import Logger

from rocketmq_tx.errors import BodyError, StoreError

T = TypeVar("T")


class TableFile(Protocol):
    """What a table needs of `store.json_file`."""

    def load(self, parse: Callable[[bytes], T]) -> T | None:
        """What `parse` makes of the file, or of its `.bak` when it raises ValueError; None without both."""

    def save(self, data: bytes) -> None:
        """Replaces the file's content as a whole; raises StoreError."""


class KeptTable:
    """Writes a table down. A write that fails is told once and tried again later; memory stays right."""

    _log = Logger()

    def __init__(self, file: TableFile, to_json: Callable[[], bytes]) -> None:
        self._file = file
        self._to_json = to_json
        self._failed = False

    def load(self, parse: Callable[[bytes], T]) -> T | None:
        """What was kept; a content that is no table makes the `.bak` stand in."""

        def parse_or_value_error(data: bytes) -> T:
            try:
                return parse(data)
            except BodyError as error:
                raise ValueError(str(error)) from error

        return self._file.load(parse_or_value_error)

    def save(self) -> None:
        try:
            self._file.save(self._to_json())
        except StoreError as error:
            if not self._failed:
                self._log.error("table not written, to be tried again: {error}", error=error)
            self._failed = True
        else:
            self._failed = False

    def save_again(self) -> None:
        """Writes only if the last write failed."""
        if self._failed:
            self.save()
