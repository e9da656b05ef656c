"""What the brokers of one name agree on: the epoch, its master, and who holds everything acknowledged. Pure.

It lies with the coordination service as JSON, and every change of it is a compare-and-set.
"""

from __future__ import annotations

from typing import Any

import attrs
import orjson

from rocketmq_tx.errors import CoordinationError

VERSION = 1
"""Of this format: a broker that finds a higher one touches nothing."""


@attrs.frozen
class ClusterState:
    """Members are told apart by their configured `brokerId`, which stays theirs whatever their role is.

    `proven_by`: a member whose store knows of no epoch as late as this one has lost its disk, and with it
    what made it a member.
    """

    epoch: int
    master: int
    address: str
    """Where the master serves requests, `host:port`."""
    in_sync: frozenset[int]
    """Who holds everything that was acknowledged, the master among them: only these may be elected."""
    proven_by: int

    def to_bytes(self) -> bytes:
        table = attrs.asdict(self) | {"in_sync": sorted(self.in_sync), "version": VERSION}
        return orjson.dumps(table)

    @classmethod
    def from_bytes(cls, data: bytes) -> ClusterState:
        """CoordinationError for anything that no broker of this version has written."""
        try:
            table: dict[str, Any] = orjson.loads(data)
            if table["version"] != VERSION:
                raise CoordinationError(
                    f"the agreed state is of version {table['version']}, known is {VERSION}"
                )
            return cls(
                int(table["epoch"]),
                int(table["master"]),
                str(table["address"]),
                frozenset(map(int, table["in_sync"])),
                int(table["proven_by"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CoordinationError(f"the agreed state cannot be read: {data[:200]!r}") from error


@attrs.frozen
class Reading:
    """A state and its version, which the next change of it must name."""

    state: ClusterState
    version: int
