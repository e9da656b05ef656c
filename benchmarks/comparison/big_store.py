"""Makes big stores without sending: one of real messages, one that is mostly holes.

    python -m benchmarks.comparison.big_store real FOLDER [--messages 10000000]
    python -m benchmarks.comparison.big_store sparse FOLDER [--messages 100000000]

Both are in Apache's layout and may be opened by either system.
"""

from __future__ import annotations

import argparse
import struct
import time
from array import array
from pathlib import Path

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.protocol.java import crc32, string_hash
from rocketmq_tx.protocol.message import pack_host
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.os_disk import platform_disk

TOPIC = "Stored"
QUEUES = 4
BODY = b"x" * 64
HOST = pack_host("127.0.0.1", 10911)
RUN = 512
"""Messages of one append, which have one store time."""
RUN_MS = 5
SEGMENT_BYTES = 1 << 30
QUEUE_FILE_ENTRIES = 300_000
RECORD_BYTES = 256
"""Of every message of the sparse store."""
REAL_RECORDS = 50_000
"""At the end of the sparse store; the rest are entries of queues that point into holes."""
BLANK_MAGIC = -875286124


def unique_key(number: int) -> str:
    """Of one message of the real store."""
    return f"{number:032X}"


def first_store_time_ms(messages: int, end_ms: int) -> int:
    return end_ms - RUN_MS * (messages // RUN + 1)


def fill(folder: Path, messages: int, end_ms: int) -> int:
    """`messages` of `TOPIC`, in its queues in turn, with keys; store times end at `end_ms`."""
    store = _store(folder)
    now_ms = first_store_time_ms(messages, end_ms)
    store.open(now_ms)
    crc, tags_code = crc32(BODY), string_hash("TagA")
    for begin in range(0, messages, RUN):
        now_ms += RUN_MS
        store.append_all(
            [_message(number, crc, tags_code, now_ms) for number in range(begin, min(begin + RUN, messages))],
            now_ms,
        )
        if begin % (16 * RUN) == 0:
            store.derived.write_index(now_ms)
        if begin % (2000 * RUN) == 0:
            store.derived.save_checkpoint(now_ms)
    store.close(now_ms)
    return messages


def _store(folder: Path) -> MessageStore:
    config = MessageStoreConfig()
    config.store_path_root_dir = str(folder)
    return MessageStore(config, platform_disk(), HOST, notice=print)


def _message(number: int, crc: int, tags_code: int, now_ms: int) -> NewMessage:
    key = unique_key(number)
    properties = f"UNIQ_KEY\x01{key}\x02TAGS\x01TagA\x02CLUSTER\x01DefaultCluster".encode()
    return NewMessage(
        TOPIC, number % QUEUES, BODY, crc, properties, 0, 0, now_ms, HOST, 0, 0, tags_code, (key,)
    )


# -- mostly holes --------------------------------------------------------------------------------------------


def fill_sparse(folder: Path, messages: int, end_ms: int) -> int:
    """Full queues over a log of which only the end is there; returns the number of messages, a little more.

    Every segment but the last is a hole that says that it is blank, so that nobody walks through it.
    """
    per_segment = (SEGMENT_BYTES - 1) // RECORD_BYTES
    segments = -(-messages // per_segment)
    first_real = segments * per_segment
    log = folder / "commitlog"
    log.mkdir(parents=True)
    for number in range(segments + 1):
        with (log / f"{number * SEGMENT_BYTES:020d}").open("wb") as file:
            if number < segments:
                file.write(struct.pack(">ii", SEGMENT_BYTES, BLANK_MAGIC))
            else:
                file.writelines(
                    _record(first_real + place, segments * SEGMENT_BYTES + place * RECORD_BYTES, end_ms)
                    for place in range(REAL_RECORDS)
                )
            file.truncate(SEGMENT_BYTES)
    for queue in range(QUEUES):
        _fill_queue(
            folder / "consumequeue" / TOPIC / str(queue), queue, first_real + REAL_RECORDS, per_segment
        )
    return first_real + REAL_RECORDS


def _record(number: int, offset: int, now_ms: int) -> bytes:
    topic = TOPIC.encode()
    properties = b"TAGS\x01TagA\x02CLUSTER\x01DefaultCluster"
    body = b"x" * (RECORD_BYTES - 91 - len(topic) - len(properties))
    return struct.pack(
        f">iiiiiqqiq8sq8siqi{len(body)}sB{len(topic)}sh{len(properties)}s",
        RECORD_BYTES, -626843481, crc32(body), number % QUEUES, 0, number // QUEUES, offset, 0, now_ms, HOST,
        now_ms, HOST, 0, 0, len(body), body, len(topic), topic, len(properties), properties,
    )  # fmt: skip


def _fill_queue(directory: Path, queue: int, messages: int, per_segment: int) -> None:
    """All entries of one queue, each five words of 32 bits: offset, size, tags code."""
    directory.mkdir(parents=True)
    tags_code = string_hash("TagA")
    high_code, low_code = (tags_code >> 32) & 0xFFFFFFFF, tags_code & 0xFFFFFFFF
    entries = -(-(messages - queue) // QUEUES)
    for begin in range(0, entries, QUEUE_FILE_ENTRIES):
        words = array("I")
        for number in range(begin, min(begin + QUEUE_FILE_ENTRIES, entries)):
            segment, place = divmod(number * QUEUES + queue, per_segment)
            offset = segment * SEGMENT_BYTES + place * RECORD_BYTES
            words.extend((offset >> 32, offset & 0xFFFFFFFF, RECORD_BYTES, high_code, low_code))
        words.byteswap()
        with (directory / f"{begin * 20:020d}").open("wb") as file:
            file.write(words.tobytes())
            file.truncate(QUEUE_FILE_ENTRIES * 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kind", choices=("real", "sparse"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--messages", type=int)
    options = parser.parse_args()
    started = time.perf_counter()
    end_ms = int(time.time() * 1000)
    if options.kind == "real":
        messages = fill(options.folder, options.messages or 10_000_000, end_ms)
    else:
        messages = fill_sparse(options.folder, options.messages or 100_000_000, end_ms)
    print(f"{messages:,} messages in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
