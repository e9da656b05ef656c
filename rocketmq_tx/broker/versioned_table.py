"""A table of settings by name with a data version, by which NameServers and slaves see that it has changed.

It is kept in a file of `config`, written after each change. Facts: `spec/store.yaml` (config_json).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from rocketmq_tx.broker.kept_table import KeptTable, TableFile
from rocketmq_tx.protocol.bodies import DataVersion
from rocketmq_tx.protocol.bodies.fields import Body

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

_Settings = TypeVar("_Settings")


class VersionedTable(Generic[_Settings]):
    """What topics and groups have in common. A subclass says by which body the table is shown and kept."""

    def __init__(
        self,
        at_start: dict[str, _Settings],
        file: TableFile,
        now_ms: Callable[[], int],
        reactor: IReactorTime | None = None,
    ) -> None:
        self._table = at_start
        self._kept = KeptTable(file, self.to_json, reactor)
        self._now_ms = now_ms
        self.data_version = DataVersion(timestamp=now_ms(), counter=0)

    def get(self, name: str) -> _Settings | None:
        """What is kept under a name, or None; never creates anything."""
        return self._table.get(name)

    def configs(self) -> Mapping[str, _Settings]:
        """The whole table, for reading."""
        return self._table

    def snapshot(self) -> Body:
        """The table as it is answered to who asks for all of it."""
        raise NotImplementedError

    def read(self, data: bytes) -> tuple[dict[str, _Settings], DataVersion]:
        """What a snapshot's bytes say; BodyError."""
        raise NotImplementedError

    def _new_version(self) -> None:
        """To be called after each change of the table."""
        self.data_version = DataVersion(timestamp=self._now_ms(), counter=self.data_version.counter + 1)
        self._kept.save()

    def _replace(self, table: Mapping[str, _Settings], version: DataVersion) -> None:
        """On a slave: the master's table in place of ours."""
        self._table = dict(table)
        self.data_version = version
        self._kept.save()

    # -- the file ------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Takes what was kept; what the file has wins over what a fresh broker has."""
        kept = self._kept.load(self.read)
        if kept is not None:
            table, self.data_version = kept
            self._table.update(table)

    def save_again(self) -> None:
        """Writes the table once more if the last write failed; called from time to time."""
        self._kept.save_again()

    def save_now(self) -> None:
        """Writes the table if a change of it is not written yet; for an orderly stop."""
        self._kept.save_now()

    def to_json(self) -> bytes:
        """The table as the file holds it (indented)."""
        return self.snapshot().to_bytes(pretty=True)
