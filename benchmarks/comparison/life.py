"""Measuring what a broker's life costs: starting, lying idle, having worked, coming back after a kill."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import define

from benchmarks.comparison.declaring import Sample, Turn
from benchmarks.comparison.raw import send_frames
from benchmarks.comparison.sides import COMMON, OURS, SMALL_HEAP, kind_of
from benchmarks.loader import Connection, keep_busy
from benchmarks.process_facts import anonymous_mib
from benchmarks.start_up import compile_modules, first_send_s
from tests.clusters import HOST, write_properties
from tests.ports import free_broker_port
from tests.processes import ServerProcess

IDLE_S = 3.0
"""After the start: what it does in the beginning is over."""
LOADED_MESSAGES = 500_000
KILLED_MESSAGES = 300_000
LARGE_MESSAGES = 3_000_000
"""Nearly a whole file of the commit log, which is what Apache reads again after a kill at most."""
LAST_MESSAGES = 10_000
"""Sent right before each kill of a large store, so that there is something to recover."""


@define(eq=False)
class Lone:
    """A broker without a NameServer in a folder of its own; may be started again."""

    process: ServerProcess
    address: tuple[str, int]

    def start(self) -> float:
        """Seconds to the first send that is accepted."""
        began_s = time.perf_counter()
        self.process.start()
        return first_send_s(self.address, began_s)

    def kill(self) -> None:
        self.process.kill()


@contextlib.contextmanager
def lone_broker(name: str, store: Path | None = None) -> Iterator[Lone]:
    """Not started yet; gone at the end with its data, unless `store` is a folder that stays.

    Apache's has the heap of the memory scenario.
    """
    kind = kind_of(name, SMALL_HEAP)
    if name == OURS:
        compile_modules()
    with tempfile.TemporaryDirectory(prefix="bench-life-") as temporary:
        folder = Path(temporary)
        port = free_broker_port()
        store = store or folder / "store"
        config = folder / "broker.properties"
        keys = {
            "brokerName": "broker-a", "brokerIP1": HOST, "listenPort": str(port),
            "storePathRootDir": str(store), "storePathCommitLog": str(store / "commitlog"),
            **COMMON,
        }  # fmt: skip
        write_properties(config, keys)
        process = ServerProcess(name, kind.broker_command(folder, config), folder, kind.environment(folder))
        try:
            yield Lone(process, (HOST, port))
        finally:
            process.kill()


def start_up(turn: Turn) -> Sample:
    """Seconds from starting the process on an empty store to its first accepted send."""
    with lone_broker(turn.name) as broker:
        return {"seconds": broker.start()}


def memory(turn: Turn) -> Sample:
    """Anonymous memory in MiB: idle, and after half a million messages."""
    with lone_broker(turn.name) as broker:
        broker.start()
        time.sleep(IDLE_S)
        idle = anonymous_mib(broker.process.pid)
        load(broker.address, LOADED_MESSAGES)
        return {"idle_mib": idle, "loaded_mib": anonymous_mib(broker.process.pid)}


def restart(turn: Turn) -> Sample:
    """Seconds from starting again after SIGKILL under load to the first accepted send."""
    with lone_broker(turn.name) as broker:
        broker.start()
        load(broker.address, KILLED_MESSAGES)
        broker.kill()
        return {"seconds": broker.start()}


def restart_large(turn: Turn) -> Sample:
    """The same with millions of messages: filled once, killed under load and started again in each round."""

    def filled() -> Lone:
        broker = turn.stage.closing.enter_context(lone_broker(turn.name))
        broker.start()
        load(broker.address, LARGE_MESSAGES)
        return broker

    broker: Lone = turn.stage.once(("large store", turn.name), filled)
    load(broker.address, LAST_MESSAGES)
    broker.kill()
    return {"seconds": broker.start()}


def load(address: tuple[str, int], count: int) -> None:
    """Sends of 128 bytes, 4 x 64 in flight."""
    connections = [Connection(address, frames, 64) for frames in send_frames(128, 4)]
    keep_busy(connections, float("inf"), count)
    for connection in connections:
        connection.close()
