"""Measuring on big stores: starting on one, and finding something in it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from benchmarks.comparison import big_store
from benchmarks.comparison.declaring import Sample, Turn
from benchmarks.comparison.life import Lone, lone_broker
from benchmarks.loader import at_share
from benchmarks.process_facts import anonymous_mib
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.headers import QueryMessageRequestHeader, SearchOffsetRequestHeader
from rocketmq_tx.protocol.message import decode_record
from tests.integration.fault_parts import Client

FOUND_BEFORE_COUNTING = 500
FOUND = 500


def ten_million(turn: Turn) -> Sample:
    """Seconds to start on a large store that was closed in order; microseconds to find a message in it."""
    count, end_ms, folder = store_of(turn, "real")
    with lone_broker(turn.name, store=folder) as broker:
        seconds = broker.start()
        choice = Random(turn.number)
        by_key = _times_us(broker, lambda client: _look_up(client, choice.randrange(count)))
        first_ms = big_store.first_store_time_ms(count, end_ms)
        by_time = _times_us(broker, lambda client: _seek(client, choice.randrange(first_ms, end_ms)))
        memory = anonymous_mib(broker.process.pid)
        broker.process.stop()
    return {"start_s": seconds, "key_us": by_key, "time_us": by_time, "anonymous_mib": memory}


def _look_up(client: Client, number: int) -> None:
    header = QueryMessageRequestHeader(
        topic=big_store.TOPIC, key=big_store.unique_key(number), max_num=32, begin_timestamp=0,
        end_timestamp=1 << 62,
    )  # fmt: skip
    answer = client.ask(RequestCode.QUERY_MESSAGE, header)
    assert answer.code == 0 and decode_record(answer.body).queue_offset == number // big_store.QUEUES, answer


def _seek(client: Client, timestamp: int) -> None:
    header = SearchOffsetRequestHeader(topic=big_store.TOPIC, queue_id=0, timestamp=timestamp)
    answer = client.ask(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, header)
    assert answer.code == 0, answer


def _times_us(broker: Lone, ask: Callable[[Client], None]) -> float:
    """The median of some, after as many that are not counted."""
    client = Client(broker.address[1])
    for _ in range(FOUND_BEFORE_COUNTING):
        ask(client)
    took = []
    for _ in range(FOUND):
        started = time.perf_counter()
        ask(client)
        took.append(time.perf_counter() - started)
    client.socket.close()
    return at_share(sorted(took), 0.5) * 1e6


def store_of(turn: Turn, kind: str) -> tuple[int, int, Path]:
    """(messages, last store time, folder) of this side's own copy of a store, the same in all rounds."""

    def copied() -> tuple[int, int, Path]:
        folder = turn.stage.stores
        facts = folder / f"{kind}.json"
        if not facts.is_file():
            end_ms = int(time.time() * 1000)
            count = MAKERS[kind](folder / kind, turn.messages, end_ms)
            facts.write_text(json.dumps([count, end_ms]))
        mine = Path(turn.stage.kept_until_the_end("bench-store-"), "store")
        subprocess.run(["cp", "-r", "--sparse=auto", str(folder / kind), str(mine)], check=True)
        count, end_ms = json.loads(facts.read_text())
        return count, end_ms, mine

    found: tuple[int, int, Path] = turn.stage.once((kind, turn.name), copied)
    return found


MAKERS = {
    "real": big_store.fill,
    "sparse": lambda folder, messages, end_ms: big_store.fill_sparse(folder, 10 * messages, end_ms),
}
"""How each kind of store is made; they return the number of messages."""
