"""Measuring double writes: the same master and slave, asynchronous and synchronous in turn."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.comparison.declaring import Sample, Turn
from benchmarks.comparison.raw import send_frames
from benchmarks.loader import Connection, keep_busy
from rocketmq_tx.protocol.bodies import KVTable
from rocketmq_tx.protocol.codes import RequestCode
from tests.integration.fault_parts import Client
from tests.waiting import wait_until

ROLES = ("ASYNC_MASTER", "SYNC_MASTER")
CATCH_UP_S = 60.0


def double_writes(connections: int = 4) -> Callable[[Turn], Sample]:
    """With so many connections and 64 messages in flight on each."""
    return lambda turn: _double_write(turn, connections)


def _double_write(turn: Turn, connections: int) -> Sample:
    """Messages a second as SYNC_MASTER, and their share of what the same pair does as ASYNC_MASTER.

    A run ends when the slave has everything: the asynchronous one cannot leave its work for afterwards.
    """
    order = ROLES if turn.number % 2 else ROLES[::-1]
    samples = {role: _run(turn, role, connections) for role in order}
    synchronous = samples["SYNC_MASTER"]
    return {
        **synchronous,
        "share": synchronous["rate"] / samples["ASYNC_MASTER"]["rate"],
        "async_rate": samples["ASYNC_MASTER"]["rate"],
    }


def _run(turn: Turn, role: str, number: int) -> dict[str, float]:
    side = turn.side
    master = Client(side.address[1])
    answer = master.ask(RequestCode.UPDATE_BROKER_CONFIG, body=f"brokerRole={role}".encode())
    assert answer.code == 0, answer
    slave = Client(side.cluster.broker("broker-a-1").port)
    wait_until(lambda: log_end(slave) == log_end(master), "the slave has everything", CATCH_UP_S)
    connections = [Connection(side.address, frames, 64) for frames in send_frames(128, number)]
    used_s = side.cpu_seconds()
    started = time.perf_counter()
    keep_busy(connections, turn.seconds / 2)
    while log_end(slave) != log_end(master):
        time.sleep(0.002)
    seconds = time.perf_counter() - started
    used_s = side.cpu_seconds() - used_s
    refused = sum(connection.refused for connection in connections)
    stored = sum(connection.answered for connection in connections) - refused
    for each in [*(connection.socket for connection in connections), master.socket, slave.socket]:
        each.close()
    return {"rate": stored / seconds, "cpu_us": used_s / max(1, stored) * 1e6, "failed": refused}


def log_end(client: Client) -> str:
    """Where the broker's log ends."""
    body = client.ask(RequestCode.GET_BROKER_RUNTIME_INFO).body
    return KVTable.from_bytes(body).table["commitLogMaxOffset"]
