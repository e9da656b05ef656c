"""Measuring by the unmodified Java client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.comparison.declaring import Sample, Turn
from benchmarks.comparison.raw import QUEUES, create_topics, fill_topic

SENT = "JavaSent"
BACKLOG = "JavaBacklog"
BACKLOG_OF_A_QUEUE = 150_000
BACKLOG_TIMEOUT_MS = 60_000
RATE = 2_000
"""Messages a second in the latency scenario: what both systems and the client bear with ease."""


def sends(mode: str, threads: int, size: int = 128) -> Callable[[Turn], Sample]:
    """Messages stored a second."""

    def measure(turn: Turn) -> Sample:
        create_topics(turn, [SENT])
        return _measured(
            turn, "send", mode=mode, topic=SENT, threads=threads, size=size, seconds=turn.seconds
        )

    return measure


def consumption(
    expression: str = "*", sql: str | None = None, share: float = 1.0
) -> Callable[[Turn], Sample]:
    """Messages a second that a new group takes from a backlog, of which `share` match."""

    def measure(turn: Turn) -> Sample:
        turn.stage.once(("backlog", turn.name), lambda: _fill_backlog(turn))
        count = int(BACKLOG_OF_A_QUEUE * QUEUES * share)
        return _measured(
            turn, "consume", topic=BACKLOG, group=_new_group(turn), expression=expression, sql=sql,
            count=count, timeoutMs=BACKLOG_TIMEOUT_MS,
        )  # fmt: skip

    return measure


def _fill_backlog(turn: Turn) -> bool:
    create_topics(turn, [BACKLOG])
    places = [(queue, number) for number in range(BACKLOG_OF_A_QUEUE) for queue in range(QUEUES)]
    fill_topic(turn.side, BACKLOG, places)
    return True


def live(turn: Turn) -> Sample:
    """Messages a second that a consumer receives while 16 threads send."""
    topic = _new_topic(turn)
    return _measured(
        turn, "live", topic=topic, group=_new_group(turn), expression="*", threads=16, size=128,
        seconds=turn.seconds,
    )  # fmt: skip


def latency(turn: Turn) -> Sample:
    """Milliseconds from the time when a message was to be sent to its listener."""
    topic = _new_topic(turn)
    used_s = turn.side.cpu_seconds()
    answer = turn.java.run(
        "latency", turn.side, topic=topic, group=_new_group(turn), rate=RATE, seconds=turn.seconds, size=128
    )
    used_s = turn.side.cpu_seconds() - used_s
    return {
        "p50_ms": answer["p50"], "p99_ms": answer["p99"], "p999_ms": answer["p999"],
        "cpu_us": used_s / answer["messages"] * 1e6, "failed": answer["failed"],
    }  # fmt: skip


def warm_up(turn: Turn) -> None:
    """Sends by many threads for most of the time, the rest asynchronously."""
    create_topics(turn, [SENT])
    for mode, threads, share in (("sync", 64, 0.5), ("async", 2, 0.4), ("batch", 2, 0.1)):
        turn.java.run(
            "send", turn.side, mode=mode, topic=SENT, threads=threads, size=128, seconds=share * turn.seconds
        )


def warm_up_consumers(turn: Turn) -> None:
    """Sends, and consumes what was sent."""
    create_topics(turn, [SENT])
    turn.java.run(
        "live", turn.side, topic=SENT, group=f"warm-{turn.name}", expression="*", threads=16, size=128,
        seconds=turn.seconds,
    )  # fmt: skip


def _measured(turn: Turn, command: str, **arguments: Any) -> Sample:
    used_s = turn.side.cpu_seconds()
    answer = turn.java.run(command, turn.side, **arguments)
    used_s = turn.side.cpu_seconds() - used_s
    messages = answer["messages"]
    return {
        "rate": messages / answer["seconds"],
        "cpu_us": used_s / max(1, messages) * 1e6,
        "failed": answer["failed"],
    }


def _new_topic(turn: Turn) -> str:
    """A topic for this round alone: a new group finds nothing old in it."""
    name = f"Round{_next_number(turn)}"
    create_topics(turn, [name])
    return name


def _new_group(turn: Turn) -> str:
    return f"group-{turn.name}-{_next_number(turn)}"


def _next_number(turn: Turn) -> int:
    number = int(turn.stage.kept.get("number", 0)) + 1
    turn.stage.kept["number"] = number
    return number
