"""Measuring by raw pipelined frames: what a server takes and gives when no client is in the way."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

import attrs

from benchmarks.comparison.declaring import Sample, Turn
from benchmarks.comparison.sides import Side
from benchmarks.frames import encode_pull, encode_send
from benchmarks.loader import Connection, at_share, keep_busy, round_trips, send_all
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.headers import (
    CreateTopicRequestHeader,
    GetMaxOffsetRequestHeader,
    GetRouteInfoRequestHeader,
)
from tests.integration.fault_parts import Client
from tests.waiting import wait_until

TOPIC = "BenchmarkTest"
QUEUES = 4
FRAMES_OF_A_CONNECTION = 4096
PULLED_OF_A_QUEUE = 32 * 800
PULL_SIZE = 32
QUEUES_FILLED_S = 180.0
"""Apache fills its queues behind the log: after a load to thousands of them it is a minute behind."""

Frames = Sequence[bytes]


# -- sends ---------------------------------------------------------------------------------------------------


@functools.cache
def send_frames(size: int, connections: int, topics: int = 1) -> list[Frames]:
    """Frames for each of some connections; the topics in turn, each connection at one queue of them."""
    opaque = itertools.count(1)
    names = [TOPIC] if topics == 1 else topic_names(topics)
    body = b"x" * size
    distinct = min(connections, QUEUES)
    frames = [
        [
            encode_send(names[number % len(names)], queue, next(opaque), body)
            for number in range(FRAMES_OF_A_CONNECTION)
        ]
        for queue in range(distinct)
    ]
    return [frames[number % distinct] for number in range(connections)]


def topic_names(count: int) -> list[str]:
    return [f"Bench{number:04d}" for number in range(count)]


def sends(
    size: int = 128, connections: int = 4, in_flight: int = 64, topics: int = 1
) -> Callable[[Turn], Sample]:
    """Messages stored a second, and the latency of a round of what is in flight, in microseconds."""

    def measure(turn: Turn) -> Sample:
        frames = send_frames(size, connections, topics)
        if topics > 1:
            create_topics(turn, topic_names(topics))
        return pipelined(turn, frames, in_flight)

    return measure


def pipelined(turn: Turn, frames: Sequence[Frames], in_flight: int, of_a_frame: int = 1) -> Sample:
    """A round of load: messages a second, CPU of the server for each, latencies, refusals."""
    side = turn.side
    connections = [Connection(side.address, each, in_flight) for each in frames]
    used_s = side.cpu_seconds()
    seconds = keep_busy(connections, turn.seconds)
    used_s = side.cpu_seconds() - used_s
    trips = round_trips(connections)
    refused = sum(connection.refused for connection in connections)
    messages = (sum(connection.answered for connection in connections) - refused) * of_a_frame
    for connection in connections:
        connection.close()
    return {
        "rate": messages / seconds,
        "cpu_us": used_s / max(1, messages) * 1e6,
        "p50_us": at_share(trips, 0.5) * 1e6,
        "p99_us": at_share(trips, 0.99) * 1e6,
        "failed": refused,
    }


# -- pulls ---------------------------------------------------------------------------------------------------


def pulls(
    topic: str, connections: int = 4, in_flight: int = 8, tags: str = "*", step: int = PULL_SIZE
) -> Callable[[Turn], Sample]:
    """Messages fetched a second by pulls of 32, from `topic` of `fill_pulled`, again and again.

    `step` is how many messages of the queue one pull passes over to find 32 that match.
    """

    def measure(turn: Turn) -> Sample:
        fill_pulled(turn, topic)
        frames = turn.stage.once(("pulls", topic, tags), lambda: pull_frames(topic, tags, step))
        return pipelined(turn, [frames[n % QUEUES] for n in range(connections)], in_flight, PULL_SIZE)

    return measure


def pull_frames(topic: str, tags: str, step: int) -> list[Frames]:
    return [
        [encode_pull(topic, queue, at, at, tags) for at in range(0, PULLED_OF_A_QUEUE - step + 1, step)]
        for queue in range(QUEUES)
    ]


TOGETHER, MIXED = "PulledTogether", "PulledMixed"
"""Topics of `fill_pulled`: each queue's messages lie together in the log, or all queues in turn."""


def fill_pulled(turn: Turn, topic: str) -> None:
    def fill() -> bool:
        create_topics(turn, [topic])
        numbers = range(PULLED_OF_A_QUEUE)
        places = [(queue, number) for queue in range(QUEUES) for number in numbers]
        if topic == MIXED:
            places = [(queue, number) for number in numbers for queue in range(QUEUES)]
        fill_topic(turn.side, topic, places)
        return True

    turn.stage.once(("filled", turn.name, topic), fill)


def fill_topic(side: Side, topic: str, places: Sequence[tuple[int, int]]) -> None:
    """Messages of 128 bytes at these (queue, number), tags A and B in turn, property `a` from 0 to 9."""
    frames = [
        encode_send(
            topic, queue, opaque, b"x" * 128, f"Tag{'AB'[number % 2]}", f"\\u0002a\\u0001{number % 10}"
        )
        for opaque, (queue, number) in enumerate(places)
    ]
    send_all(side.address, frames)
    ends: dict[int, int] = {}
    for queue, _ in places:
        ends[queue] = ends.get(queue, 0) + 1
    client = Client(side.address[1])

    def ready() -> bool:
        return all(
            int((client.ask(RequestCode.GET_MAX_OFFSET, header).ext_fields or {})["offset"]) >= end
            for queue, end in ends.items()
            for header in [GetMaxOffsetRequestHeader(topic=topic, queue_id=queue)]
        )

    wait_until(ready, f"all messages of {topic} are in their queues", QUEUES_FILLED_S)
    client.socket.close()


# -- topics --------------------------------------------------------------------------------------------------


def create_topics(turn: Turn, names: Sequence[str], queues: int = QUEUES) -> None:
    """Those that are not there yet; clients can find them."""
    missing = [name for name in names if ("topic", turn.name, name) not in turn.stage.kept]
    if not missing:
        return
    client = Client(turn.side.address[1])
    for name in missing:
        header = CreateTopicRequestHeader(
            topic=name, default_topic="TBW102", read_queue_nums=queues, write_queue_nums=queues, perm=6,
            topic_filter_type="SINGLE_TAG", topic_sys_flag=0, order=False,
        )  # fmt: skip
        answer = client.ask(RequestCode.UPDATE_AND_CREATE_TOPIC, header)
        assert answer.code == 0, answer
        turn.stage.kept["topic", turn.name, name] = True
    client.socket.close()
    routes = Client(int(turn.side.namesrv_address.rpartition(":")[2]))
    asked = GetRouteInfoRequestHeader(topic=missing[-1])
    wait_until(
        lambda: routes.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, asked).code == 0, f"{missing[-1]} is routed"
    )
    routes.socket.close()


def warm_up(turn: Turn) -> None:
    """Sends for most of the time, pulls for the rest."""
    share = 0.6 * turn.seconds
    pipelined(_lasting(turn, share), send_frames(128, 4), 64)
    pulls(MIXED)(_lasting(turn, turn.seconds - share))


def warm_up_sends(turn: Turn) -> None:
    pipelined(turn, send_frames(128, 4), 64)


def _lasting(turn: Turn, seconds: float) -> Turn:
    return attrs.evolve(turn, seconds=seconds)
