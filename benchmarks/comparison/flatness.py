"""Measuring whether a message costs the same when there are many of something."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from benchmarks.comparison.declaring import Sample, Turn
from benchmarks.comparison.life import IDLE_S, Lone, load, lone_broker
from benchmarks.comparison.raw import Frames, create_topics, send_frames, topic_names
from benchmarks.comparison.stores import store_of
from benchmarks.loader import Connection, keep_busy
from benchmarks.process_facts import anonymous_mib, cpu_seconds

LOADED_FIRST = 200_000
"""Messages before the cost of one is measured: a fresh JVM is at its slowest."""
TOPICS = 1000
CONNECTIONS = 1000
FIRST_MESSAGES = 1_000_000
"""After so many, memory is looked at for the first time."""
FURTHER_TIMES = 5
"""So many times `--messages` follow: 50 million by default, six minutes at 140,000 a second."""
REST_S, REST_MOST_S = 5.0, 20.0
"""At rest is who has done nothing for so long: each half of a round waits for its own left-over work, so that
the other does not pay for it. A checkpoint of ours may come four seconds after the one before."""
AT_REST_CORES = 0.05
"""A JVM that has nothing to do needs about half of that."""


def topics(turn: Turn) -> Sample:
    """CPU of a send to one topic and to a thousand; all files of queues are there already."""
    names = topic_names(TOPICS)
    one, many = send_frames(128, 4), send_frames(128, 4, TOPICS)

    def fill() -> bool:
        create_topics(turn, names)
        for frames in (one, many):
            _cost_us(turn.side.address, turn.side.pid, frames, 64, 1.0)
        return True

    turn.stage.once(("flat-topics", turn.name), fill)
    return _in_turn(turn, lambda: _cost(turn, one, 64), lambda: _cost(turn, many, 64))


def connections(turn: Turn) -> Sample:
    """CPU of a send with one connection and with a thousand, 16 in flight on each."""
    frames = send_frames(128, CONNECTIONS)
    return _in_turn(turn, lambda: _cost(turn, frames[:1], 16), lambda: _cost(turn, frames, 16))


def store(turn: Turn) -> Sample:
    """CPU of a send to an empty store and to one of a hundred million messages."""
    _, _, folder = store_of(turn, "sparse")
    with lone_broker(turn.name) as empty, lone_broker(turn.name, store=folder) as full:

        def cost_of(broker: Lone) -> float:
            broker.start()
            load(broker.address, LOADED_FIRST)
            _come_to_rest(broker.process.pid)
            cost = _cost_us(broker.address, broker.process.pid, send_frames(128, 4), 64, turn.seconds)
            broker.process.stop()
            return cost

        return _in_turn(turn, lambda: cost_of(empty), lambda: cost_of(full))


def memory(turn: Turn) -> Sample:
    """Anonymous memory in MiB after a million messages, and by how much it grows with further ones."""
    further = FURTHER_TIMES * turn.messages
    with lone_broker(turn.name) as broker:
        broker.start()
        load(broker.address, FIRST_MESSAGES)
        time.sleep(IDLE_S)
        early = anonymous_mib(broker.process.pid)
        load(broker.address, further)
        time.sleep(IDLE_S)
        late = anonymous_mib(broker.process.pid)
        return {"early_mib": early, "growth_mib": late - early, "messages": further}


def _in_turn(turn: Turn, of_few: Callable[[], float], of_many: Callable[[], float]) -> Sample:
    """Both, the one first in this round and the other in the next."""
    if turn.number % 2:
        little_us, much_us = of_few(), of_many()
    else:
        much_us, little_us = of_many(), of_few()
    return {"little_us": little_us, "much_us": much_us, "growth": much_us / little_us}


def _cost(turn: Turn, frames: Sequence[Frames], in_flight: int) -> float:
    return _cost_us(turn.side.address, turn.side.pid, frames, in_flight, turn.seconds)


def _cost_us(
    address: tuple[str, int], pid: int, frames: Sequence[Frames], in_flight: int, seconds: float
) -> float:
    """CPU of a message under load, with all that is left to be done for it when the load is over."""
    connections = [Connection(address, each, in_flight) for each in frames]
    used_s = cpu_seconds(pid)
    keep_busy(connections, seconds)
    for connection in connections:
        connection.close()
    _come_to_rest(pid)
    used_s = cpu_seconds(pid) - used_s
    return used_s / sum(connection.answered for connection in connections) * 1e6


def _come_to_rest(pid: int) -> None:
    """Waits until files are written and the process has nothing to do, or for `REST_MOST_S`."""
    began_s, used_s = time.monotonic(), cpu_seconds(pid)
    rests_s = began_s
    while time.monotonic() - began_s < REST_MOST_S and time.monotonic() - rests_s < REST_S:
        time.sleep(1.0)
        before_s, used_s = used_s, cpu_seconds(pid)
        if used_s - before_s > AT_REST_CORES:
            rests_s = time.monotonic()
