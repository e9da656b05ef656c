"""`mqstore stats`: how much of what a store holds, from its queues, without reading the log."""

from __future__ import annotations

from typing import Any

import attrs
import click

from rocketmq_tx.cli.store_dump import as_json, time_text
from rocketmq_tx.cli.store_opening import of_a_store, say_json, shown_progress
from rocketmq_tx.store.layouts import FILLER_SIZE
from rocketmq_tx.store.records import STORE_TIMESTAMP_HEAD_BYTES, store_timestamp
from rocketmq_tx.store.store_files import StoreFiles
from rocketmq_tx.store.verify_index import read_head


@attrs.define
class TopicStats:
    """Of the messages that a topic's queues name and the log still has; times are store times, -1 = none."""

    queues: int = 0
    messages: int = 0
    bytes: int = 0
    first_ms: int = -1
    last_ms: int = -1

    def add_times(self, first_ms: int, last_ms: int) -> None:
        known = [time for time in (self.first_ms, first_ms) if time >= 0]
        self.first_ms = min(known, default=-1)
        self.last_ms = max(self.last_ms, last_ms)


def topic_stats(files: StoreFiles) -> dict[str, TopicStats]:
    """By topic, sorted."""
    log_min = files.log[0].start if files.log else 0
    stats: dict[str, TopicStats] = {}
    for queue in shown_progress(list(files.queues()), "counting"):
        topic = stats.setdefault(queue.topic, TopicStats())
        topic.queues += 1
        first = last = -1
        for _, (offset, size, _) in queue.entries():
            if size != FILLER_SIZE and offset >= log_min:
                first = offset if first < 0 else first
                last = offset
                topic.messages += 1
                topic.bytes += size
        topic.add_times(_time_at(files, first), _time_at(files, last))
    return stats


def _time_at(files: StoreFiles, offset: int) -> int:
    for segment in files.log if offset >= 0 else ():
        if segment.start <= offset < segment.start + segment.size:
            head = files.files.open(segment.path).pread(STORE_TIMESTAMP_HEAD_BYTES, offset - segment.start)
            return store_timestamp(head) if len(head) == STORE_TIMESTAMP_HEAD_BYTES else -1
    return -1


def overview(files: StoreFiles) -> dict[str, Any]:
    """The store as a whole."""
    index = files.index_files()
    return {
        "commitLogFiles": len(files.log),
        "commitLogFileBytes": files.segment_bytes,
        "commitLogMinOffset": files.log[0].start if files.log else 0,
        "commitLogEndOfFiles": files.log[-1].start + files.log[-1].size if files.log else 0,
        "indexFiles": len(index),
        "indexEntries": sum(max(0, read_head(files, file).next_number - 1) for file in index),
        "abort": files.crashed,
    }


@click.command("stats")
@as_json
@of_a_store
def stats(files: StoreFiles, is_json: bool) -> None:
    """Messages and bytes by topic, and how many files there are."""
    topics = topic_stats(files)
    if is_json:
        say_json({**overview(files), "topics": {name: attrs.asdict(own) for name, own in topics.items()}})
        return
    for name, value in overview(files).items():
        click.echo(f"{name} = {str(value).lower() if isinstance(value, bool) else value}")
    width = max([5, *map(len, topics)])
    click.echo(f"\n{'topic':<{width}} {'queues':>6} {'messages':>10} {'bytes':>14} first and last store time")
    for name, own in topics.items():
        times = f"{time_text(own.first_ms)} {time_text(own.last_ms)}" if own.first_ms >= 0 else "-"
        click.echo(f"{name:<{width}} {own.queues:>6} {own.messages:>10,} {own.bytes:>14,} {times}")
