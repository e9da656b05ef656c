"""Measuring whether a message costs the same when there are many of something."""

from __future__ import annotations

import attrs

from benchmarks.comparison.declaring import Sample, Turn
from benchmarks.comparison.life import Lone, load, lone_broker
from benchmarks.comparison.raw import send_frames, sends
from benchmarks.comparison.stores import store_of
from benchmarks.loader import Connection, keep_busy
from benchmarks.process_facts import anonymous_mib, cpu_seconds

LOADED_FIRST = 200_000
"""Messages before the cost of one is measured: a fresh JVM is at its slowest."""


def topics(turn: Turn) -> Sample:
    half = attrs.evolve(turn, seconds=turn.seconds / 2)
    return growth(sends()(half)["cpu_us"], sends(topics=1000)(half)["cpu_us"])


def connections(turn: Turn) -> Sample:
    half = attrs.evolve(turn, seconds=turn.seconds / 2)
    few = sends(connections=1, in_flight=16)(half)["cpu_us"]
    return growth(few, sends(connections=1000, in_flight=16)(half)["cpu_us"])


def store(turn: Turn) -> Sample:
    """CPU of a send to an empty store and to one of a hundred million messages."""
    _, _, folder = store_of(turn, "sparse")
    with lone_broker(turn.name) as empty, lone_broker(turn.name, store=folder) as full:
        brokers = (empty, full) if turn.number % 2 else (full, empty)
        costs = {}
        for broker in brokers:
            broker.start()
            load(broker.address, LOADED_FIRST)
            costs[broker] = _cost_us(broker, turn.seconds / 2)
            broker.process.stop()
    return growth(costs[empty], costs[full])


def _cost_us(broker: Lone, seconds: float) -> float:
    connections = [Connection(broker.address, frames, 64) for frames in send_frames(128, 4)]
    used_s = cpu_seconds(broker.process.pid)
    keep_busy(connections, seconds)
    used_s = cpu_seconds(broker.process.pid) - used_s
    for connection in connections:
        connection.close()
    return used_s / sum(connection.answered for connection in connections) * 1e6


def growth(little_us: float, much_us: float) -> Sample:
    return {"little_us": little_us, "much_us": much_us, "growth": much_us / little_us}


def memory(turn: Turn) -> Sample:
    """Anonymous memory in MiB after a million messages, and by how much it grows with further ones."""
    with lone_broker(turn.name) as broker:
        broker.start()
        load(broker.address, 1_000_000)
        early = anonymous_mib(broker.process.pid)
        load(broker.address, turn.messages)
        late = anonymous_mib(broker.process.pid)
        return {"early_mib": early, "growth_mib": late - early, "messages": turn.messages}
