"""The two systems that are compared, as running clusters with equal settings, both up, loaded in turn."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import define, field

from benchmarks.process_facts import cpu_seconds
from tests.clusters import HOST, Apache, Cluster, Kind, Ours

OURS, APACHE = "ours", "apache"
SIDES = (OURS, APACHE)
THROUGHPUT_HEAP = ("-Xms2g", "-Xmx2g")
SMALL_HEAP = ("-Xms512m", "-Xmx1g")
SLOW_FSYNC_SOURCE = Path(__file__).with_name("slow_fsync.c")

COMMON = {
    "mappedFileSizeCommitLog": str(1 << 30),
    "mappedFileSizeConsumeQueue": str(20 * 300_000),
    "enablePropertyFilter": "true",
    "fileReservedTime": "480",
}
"""Apache's own defaults for the files (tests use smaller ones); SQL92 must be asked for."""


@define(frozen=True)
class Servers:
    """What a group of scenarios wants to run against."""

    settings: Mapping[str, str] = field(factory=dict)
    slave: bool = False
    heap: Sequence[str] = THROUGHPUT_HEAP
    fsync_ms: int = 0
    """Added to each fsync, fdatasync and msync of the brokers."""


@define(eq=False)
class Side:
    """One system: its cluster and its master."""

    name: str
    cluster: Cluster

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.cluster.broker().port

    @property
    def namesrv_address(self) -> str:
        return self.cluster.namesrv_address

    @property
    def pid(self) -> int:
        return self.cluster.broker().process.pid

    def cpu_seconds(self) -> float:
        """What the master has used of the processors so far."""
        return cpu_seconds(self.pid)


@define(frozen=True)
class _WithEnvironment:
    """A kind of servers whose processes see more variables."""

    kind: Kind
    more: Mapping[str, str]

    def namesrv_command(self, folder: Path, config: Path) -> list[str]:
        return self.kind.namesrv_command(folder, config)

    def broker_command(self, folder: Path, config: Path) -> list[str]:
        return self.kind.broker_command(folder, config)

    def environment(self, folder: Path) -> dict[str, str]:
        return {**self.kind.environment(folder), **self.more}


def kind_of(name: str, heap: Sequence[str]) -> Kind:
    return Ours() if name == OURS else Apache(heap)


@contextlib.contextmanager
def running(names: Sequence[str], servers: Servers) -> Iterator[dict[str, Side]]:
    """Clusters of these systems by name; gone at the end, with their data."""
    with contextlib.ExitStack() as stack:
        more = stack.enter_context(slow_fsync(servers.fsync_ms))
        sides = {}
        for name in names:
            kind: Kind = kind_of(name, servers.heap)
            if more:
                kind = _WithEnvironment(kind, more)
            cluster = Cluster.start(settings={**COMMON, **servers.settings}, kind=kind)
            stack.callback(cluster.kill)
            if servers.slave:
                slave = cluster.add_broker(
                    "broker-a", broker_id=1, settings={**COMMON, **servers.settings, "brokerRole": "SLAVE"}
                )
                slave.start()
            sides[name] = Side(name, cluster)
        yield sides


@contextlib.contextmanager
def slow_fsync(fsync_ms: int) -> Iterator[dict[str, str]]:
    """The variables that make a process wait so long in each fsync, fdatasync and msync."""
    if not fsync_ms:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="slow-fsync-") as folder:
        library = Path(folder, "slow_fsync.so")
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SLOW_FSYNC_SOURCE), "-ldl"], check=True
        )
        yield {"LD_PRELOAD": str(library), "SLOW_FSYNC_MS": str(fsync_ms)}
