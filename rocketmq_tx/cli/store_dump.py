"""`mqstore dump`: what a store's files hold, a line each, as text or as JSON."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

import click

from rocketmq_tx.cli.store_opening import of_a_store, printable, progress_over, say_json, shown_progress
from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol.message import decode_record
from rocketmq_tx.store.layouts import FILLER_SIZE
from rocketmq_tx.store.log_scan import LogScan
from rocketmq_tx.store.log_walk import Step
from rocketmq_tx.store.records import Verdict
from rocketmq_tx.store.store_files import StoreFiles
from rocketmq_tx.store.verify_index import read_head, read_rows

as_json = click.option("--json", "is_json", is_flag=True, help="JSON lines instead of text.")
_of_topic = click.option("--topic", help="Only of this topic.")
_of_queue = click.option("--queue", "queue_id", type=int, help="Only of the queue with this number.")
_TOLD_EVERY_BYTES = 1 << 20
_limit = click.option("--limit", type=click.IntRange(min=1), help="At most so many lines.")


@click.group("dump")
def dump() -> None:
    """Show what the files hold."""


@dump.command("records")
@_of_topic
@_of_queue
@click.option("--from", "start", type=click.IntRange(min=0), default=0, help="Commit log offset of a record.")
@_limit
@click.option("--bodies", is_flag=True, help="Bodies, too: as text where they are UTF-8, else in base64.")
@as_json
@of_a_store
def records(
    files: StoreFiles,
    topic: str | None,
    queue_id: int | None,
    start: int,
    limit: int | None,
    bodies: bool,
    is_json: bool,
) -> None:
    """The records of the commit log, damaged ones included."""
    shown = 0
    for step in with_progress(files, LogScan(files, start=start)):
        fields = step_fields(step, bodies)
        if fields is None or (topic is not None and fields.get("topic") != topic):
            continue
        if queue_id is not None and fields.get("queueId") != queue_id:
            continue
        say_json(fields) if is_json else click.echo(printable(record_line(fields)))
        shown += 1
        if shown == limit:
            return


def with_progress(files: StoreFiles, steps: Iterable[Step]) -> Iterator[Step]:
    """The steps, with a bar that tells of every megabyte of them."""
    told = 0
    with progress_over(files, "reading", lines=True) as progress:
        for step in steps:
            if step.offset - told >= _TOLD_EVERY_BYTES:
                told = step.offset
                progress(told)
            yield step


def step_fields(step: Step, bodies: bool) -> dict[str, Any] | None:
    """What there is to say of a step; None for the blank at the end of a file."""
    place = {"offset": step.offset, "size": step.size}
    if step.verdict is Verdict.BLANK:
        return None
    if step.verdict is Verdict.NOTHING:
        return {**place, "damage": "no record" if step.data else "no file"}
    try:
        record = decode_record(step.data, step.at)
    except MessageError as error:
        return {**place, "damage": str(error)}
    fields: dict[str, Any] = {
        **place,
        "topic": record.topic,
        "queueId": record.queue_id,
        "queueOffset": record.queue_offset,
        "storeTimestamp": record.store_timestamp,
        "bornTimestamp": record.born_timestamp,
        "bornHost": "{}:{}".format(*record.born_host),
        "storeHost": "{}:{}".format(*record.store_host),
        "flag": record.flag,
        "sysFlag": record.sys_flag,
        "reconsumeTimes": record.reconsume_times,
        "preparedTransactionOffset": record.prepared_transaction_offset,
        "bodySize": len(record.body),
        "properties": record.property_map,
    }
    if step.verdict is Verdict.DAMAGED:
        fields["damage"] = "wrong checksum or texts"
    if bodies:
        try:
            fields["body"] = record.body.decode()
        except UnicodeDecodeError:
            fields["bodyBase64"] = base64.b64encode(record.body).decode()
    return fields


def record_line(fields: dict[str, Any]) -> str:
    """`OFFSET SIZE TOPIC QUEUE NUMBER TIME {properties} body`."""
    line = f"{fields['offset']:>12} {fields['size']:>8}"
    if "topic" in fields:
        properties = " ".join(f"{name}={value}" for name, value in fields["properties"].items())
        line += (
            f" {fields['topic']} {fields['queueId']} {fields['queueOffset']}"
            f" {time_text(fields['storeTimestamp'])} {{{properties}}}"
        )
    if "damage" in fields:
        line += f" DAMAGED: {fields['damage']}"
    if "body" in fields:
        line += f" {fields['body']!r}"
    elif "bodyBase64" in fields:
        line += f" base64:{fields['bodyBase64']}"
    return line


@dump.command("queues")
@_of_topic
@_of_queue
@_limit
@as_json
@of_a_store
def queues(
    files: StoreFiles, topic: str | None, queue_id: int | None, limit: int | None, is_json: bool
) -> None:
    """The entries of the consume queues."""
    shown = 0
    for queue in shown_progress(list(files.queues()), "reading", lines=True):
        if (topic is not None and queue.topic != topic) or queue_id not in (None, queue.queue_id):
            continue
        for number, (offset, size, code) in queue.entries():
            is_filler = size == FILLER_SIZE
            if is_json:
                place = {"topic": queue.topic, "queueId": queue.queue_id, "queueOffset": number}
                own = {"filler": True} if is_filler else {"offset": offset, "size": size, "tagsCode": code}
                say_json({**place, **own})
            else:
                text = "filler" if is_filler else f"{offset:>12} {size:>8} {code}"
                click.echo(f"{printable(queue.topic)} {queue.queue_id} {number:>8} {text}")
            shown += 1
            if shown == limit:
                return


@dump.command("index")
@_limit
@as_json
@of_a_store
def index(files: StoreFiles, limit: int | None, is_json: bool) -> None:
    """The files of the message index, and their entries."""
    shown = 0
    for file in shown_progress(list(files.index_files()), "reading", lines=True):
        head, size = read_head(files, file), files.index_size(file)
        fields = {"file": file.path, **head._asdict(), "slots": size and size.slots}
        say_json(fields) if is_json else click.echo(" ".join(f"{k}={v}" for k, v in fields.items()))
        if size is None:
            continue
        for row in read_rows(files, file, size, head.next_number):
            time_ms = head.begin_ms + row.seconds * 1000
            if is_json:
                say_json({**row._asdict(), "aboutMs": time_ms})
            else:
                click.echo(
                    f"{row.number:>9} {row.key_hash:>11} {row.commit_log_offset:>12} {time_text(time_ms)} "
                    f"after {row.previous}"
                )
            shown += 1
            if shown == limit:
                return


@dump.command("checkpoint")
@as_json
@of_a_store
def checkpoint(files: StoreFiles, is_json: bool) -> None:
    """What the checkpoint vouches for."""
    found = files.checkpoint()
    claim = found.claim._asdict() if found.claim is not None else None
    if is_json:
        say_json({"times": found.times._asdict(), "claim": claim, "abort": files.crashed})
        return
    for name, time_ms in found.times._asdict().items():
        click.echo(f"{name} = {time_ms} ({time_text(time_ms)})")
    for name, value in (claim or {"claim": "none"}).items():
        click.echo(f"{name} = {value}")
    click.echo(f"abort file = {'there' if files.crashed else 'not there'}")


def time_text(epoch_ms: int) -> str:
    """`2023-11-14T22:13:20.000Z`; the number itself when no calendar has it."""
    try:
        when = datetime.fromtimestamp(epoch_ms / 1000, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return str(epoch_ms)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{epoch_ms % 1000:03d}Z"
