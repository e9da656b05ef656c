"""`tools org.apache.rocketmq.example.quickstart.Producer` and `...Consumer`, as guides for Apache's use them.

NAMESRV_ADDR names the NameServer. What they print has the shape of Apache's own output.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import Any

from rocketmq_tx.cli.foreground import EXIT_OK, run_to_end, slept
from rocketmq_tx.cli.quickstart_trip import CONSUMER_GROUP, TOPIC, Trip, send_all
from rocketmq_tx.client import ConsumerSettings, PushConsumer, ReceivedMessage
from rocketmq_tx.protocol import property_names
from rocketmq_tx.protocol.bodies import ConsumeFromWhere
from rocketmq_tx.runtime.clocks import wall_ms

DEFAULT_NAMESRV = "127.0.0.1:9876"
COUNT = 1000
#: Apache's consumer has so many threads, and their numbers stand in its lines.
CONSUME_THREADS = 20
A_WHILE_S = 3600.0
_QUEUE_ENDS = (property_names.MIN_OFFSET, property_names.MAX_OFFSET)


def namesrv_address(environ: Mapping[str, str]) -> str:
    """What NAMESRV_ADDR says, else this machine's standard port."""
    return environ.get("NAMESRV_ADDR") or DEFAULT_NAMESRV


def with_start_time(properties: Mapping[str, str], now_ms: int) -> dict[str, str]:
    """Properties with the time at which the listener was called, in its place in Apache's print-out."""
    ends = {name: properties[name] for name in _QUEUE_ENDS if name in properties}
    return {**ends, property_names.CONSUME_START_TIME: str(now_ms), **properties}


def producer(arguments: list[str]) -> int:
    """Sends 1,000 messages to TopicTest and prints each result."""

    async def run(reactor: Any) -> int:
        await send_all(
            Trip(), COUNT, namesrv_address(os.environ), reactor, lambda _, result: print(result, flush=True)
        )
        return EXIT_OK

    return run_to_end(run)


def consumer(arguments: list[str]) -> int:
    """Prints each message of TopicTest until Ctrl-C."""
    threads = itertools.cycle(range(1, CONSUME_THREADS + 1))

    def listen(messages: list[ReceivedMessage]) -> None:
        for message in messages:
            message.properties = with_start_time(message.properties, wall_ms())
        shown = ", ".join(map(str, messages))
        print(f"ConsumeMessageThread_{next(threads)} Receive New Messages: [{shown}] ", flush=True)

    async def run(reactor: Any) -> int:
        settings = ConsumerSettings(consume_from=ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET)
        member = PushConsumer(CONSUMER_GROUP, namesrv_address(os.environ), listen, reactor, settings)
        member.subscribe(TOPIC)
        try:
            await member.startService()
            print("Consumer Started.", flush=True)
            while await slept(reactor, A_WHILE_S):
                pass
        finally:
            await member.stopService()
        return EXIT_OK

    return run_to_end(run)
