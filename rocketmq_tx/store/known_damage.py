"""Which stretches of the log were found damaged: a later start, which walks over less, still knows of them.

A power cut may take bytes from the middle of what was not synced. Replication compares such stretches, as
the logs of master and slave differ there though their ends are equal. Apache has nothing like it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store.json_file import JsonFile
from rocketmq_tx.store.recovery import Damage

KEPT_MAX = 1000


class KnownDamage:
    """Kept in `config/damagedLog.json`, `{"damagedLog":[[OFFSET,SIZE]]}`; no damage, no file."""

    def __init__(self, file: JsonFile, notice: Callable[[str], None]) -> None:
        self._file = file
        self._notice = notice
        self.stretches: list[Damage] = []

    def found(self, damage: Iterable[Damage], log_min_offset: int) -> None:
        """Adds what this start has found to what earlier ones had; forgets what the log has no more."""
        before = self._load()
        known = {each.offset: each for each in (*before, *damage) if each.offset >= log_min_offset}
        self._keep(before, sorted(known.values())[:KEPT_MAX])

    def cut_to(self, log_end: int) -> None:
        """The log ends there now."""
        self._keep(self.stretches, [each for each in self.stretches if each.offset < log_end])

    def _keep(self, before: list[Damage], stretches: list[Damage]) -> None:
        self.stretches = stretches
        if stretches == before:
            return
        try:
            self._file.save(json.dumps({"damagedLog": stretches}).encode())
        except StoreError as error:
            self._notice(f"what is damaged in the log will not be known after a restart: {error}")

    def _load(self) -> list[Damage]:
        try:
            return self._file.load(_parse) or []
        except StoreError as error:
            self._notice(f"what was damaged in the log is not known: {error}")
            return []


def _parse(content: bytes) -> list[Damage]:
    try:
        return [Damage(int(offset), int(size)) for offset, size in json.loads(content)["damagedLog"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a list of damaged stretches: {error!r}") from error
