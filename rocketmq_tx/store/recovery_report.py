"""What opening a store found and did."""

from __future__ import annotations

from typing import NamedTuple

import attrs


class Damage(NamedTuple):
    """A stretch of the log that is no whole record, before one that is."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


@attrs.define
class RecoveryReport:
    """What opening found and did; `warnings` are sentences for the operator."""

    clean: bool = True
    log_min_offset: int = 0
    log_end_offset: int = 0
    queue_count: int = 0
    records_walked: int = 0
    records_withheld: list[int] = attrs.field(factory=list)
    damage: list[Damage] = attrs.field(factory=list)
    bytes_walked: int = 0
    rebuilt: bool = False
    warnings: list[str] = attrs.field(factory=list)
