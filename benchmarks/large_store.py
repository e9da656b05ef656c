"""What large stores cost: opening, closing, memory, descriptors; how fast a start after a kill catches up.

    python -m benchmarks.large_store [queues] [segments] [log] [catch-up] [--folder DIR] [--log-gib 10]

Without names all of them are measured. Each step is a process of its own on a store below a temporary folder:

queues     10,000 topics of 8 queues, a message in each: written, closed, opened, all changed, closed, killed
segments   1,000 sparse segments of 1 GiB, a record in each: closed, opened, read from end to end
log        10 GB of records of 64 KiB, closed in order and opened with a cold cache
catch-up   records of 128 B and of 4 KiB that no queue knows of when the process is killed
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.process_facts import anonymous_mib
from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.protocol.java import crc32
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.os_disk import platform_disk

TOPICS, QUEUES_OF_TOPIC = 10_000, 8
SEGMENTS = 1_000
CATCH_UP = {128.0: 400_000, 4096.0: 150_000}
HOST = bytes((127, 0, 0, 1, 0, 0, 42, 159))
NOW_MS = 1_700_000_000_000


def message(topic: str, queue_id: int, body: bytes, key: str = "") -> NewMessage:
    """As a Java client would have sent it; with a unique key when one is given."""
    properties = f"UNIQ_KEY\1{key}\2WAIT\1true\2TAGS\1TagA\2".encode() if key else b""
    keys = (key,) if key else ()
    return NewMessage(topic, queue_id, body, crc32(body), properties, 0, 0, NOW_MS, HOST, 0, 0, 2598919, keys)


def new_store(root: str, segment_bytes: int = 1 << 30) -> MessageStore:
    config = MessageStoreConfig()
    config.store_path_root_dir = root
    config.mapped_file_size_commit_log = segment_bytes
    return MessageStore(
        config, platform_disk(), HOST, notice=lambda line: print(f"    {line}"), seconds=time.monotonic
    )


def timed(what: str, call: Callable[[], object]) -> float:
    """Prints how long a step takes, and what the process has by then."""
    started = time.perf_counter()
    call()
    took = time.perf_counter() - started
    files = len(os.listdir("/proc/self/fd"))
    print(f"  {what}: {took:.3f} s, {anonymous_mib(os.getpid()):.0f} MiB, {files} descriptors", flush=True)
    return took


def forget_cache(root: str) -> None:
    """Takes the files out of memory, as far as an ordinary user can."""
    os.sync()  # what is not on the device stays
    for file in Path(root).rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


# -- steps: each runs in a process of its own ----------------------------------------------------------------


def fill_queues(store: MessageStore) -> None:
    for number in range(TOPICS):
        store.append_all([message(f"Topic{number:05d}", queue, b"x" * 100) for queue in range(8)], NOW_MS)


def queues_make(root: str) -> None:
    store = new_store(root, 64 << 20)
    store.open(NOW_MS)
    fill_queues(store)
    timed(f"{TOPICS * QUEUES_OF_TOPIC:,} new queues are closed", lambda: store.close(NOW_MS))


def queues_reopen(root: str) -> None:
    store = new_store(root, 64 << 20)
    timed("opened after a clean end", lambda: store.open(NOW_MS))
    fill_queues(store)
    timed("all changed, closed", lambda: store.close(NOW_MS))


def queues_cold(root: str) -> None:
    forget_cache(root)
    store = new_store(root, 64 << 20)
    timed("opened with a cold cache", lambda: store.open(NOW_MS))
    fill_queues(store)
    store.derived.write_all(NOW_MS)
    os._exit(0)


def queues_killed(root: str) -> None:
    store = new_store(root, 64 << 20)
    timed(f"opened after a kill, {TOPICS * QUEUES_OF_TOPIC:,} records behind", lambda: store.open(NOW_MS))
    store.close(NOW_MS)


def segments_make(root: str) -> None:
    store = new_store(root)
    store.open(NOW_MS)
    log = store._log  # sparse: a record, and the mark that ends its file
    for number in range(SEGMENTS):
        store.append_all([message("Sparse", 0, b"%d" % number)], NOW_MS + number)
        if number < SEGMENTS - 1:
            log.append([(log.written_to, log.blank(log.written_to))], log.segments.end_of(log.written_to))
    timed(f"{SEGMENTS:,} new segments are closed", lambda: store.close(NOW_MS))


def segments_read(root: str) -> None:
    store = new_store(root)
    timed("opened after a clean end", lambda: store.open(NOW_MS))

    def read_all() -> None:
        offset = 0
        while offset < SEGMENTS:
            offset = store.get_messages("Sparse", 0, offset, 32, may_block=True).next_offset

    timed("all read", read_all)
    store.close(NOW_MS)
    os.remove(f"{root}/checkpoint")
    Path(root, "abort").touch()
    again = new_store(root)
    timed("opened after a crash without a checkpoint", lambda: again.open(NOW_MS))
    again.close(NOW_MS)


def log_make(root: str, gib: float) -> None:
    store = new_store(root)
    store.open(NOW_MS)
    body = os.urandom(65_000)
    batch = [message("Big", queue, body, f"K{queue}") for queue in range(16)]
    while store.written_to < gib * (1 << 30):
        store.append_all(batch, NOW_MS)
    timed(f"{store.written_to / 1e9:.1f} GB are closed", lambda: store.close(NOW_MS))


def log_open(root: str, _: float) -> None:
    forget_cache(root)
    store = new_store(root)
    timed("opened after a clean end, cold cache", lambda: store.open(NOW_MS))
    store.close(NOW_MS)


def catch_up_make(root: str, size: float) -> None:
    store = new_store(root)
    store.open(NOW_MS)
    body = os.urandom(int(size))
    for number in range(0, CATCH_UP[size], 64):
        store.append_all(
            [
                message("Behind", n % 4, body, f"7F0000010A2B18B4AAC2{n:012X}")
                for n in range(number, number + 64)
            ],
            NOW_MS,
        )
    os._exit(0)


def catch_up_open(root: str, size: float) -> None:
    store = new_store(root)
    gc.freeze()
    took = timed(
        f"opened after a kill, {CATCH_UP[size]:,} records of {size:.0f} B behind", lambda: store.open(NOW_MS)
    )
    print(f"  {CATCH_UP[size] / took:,.0f} records/s, {store.written_to / took / 1e6:.0f} MB/s")
    store.close(NOW_MS)


# -- the program ---------------------------------------------------------------------------------------------

STEPS = {
    "queues": ("queues_make", "queues_reopen", "queues_cold", "queues_killed"),
    "segments": ("segments_make", "segments_read"),
    "log": ("log_make", "log_open"),
    "catch-up": ("catch_up_make", "catch_up_open"),
}


def run_steps(steps: Iterable[str], folder: str, argument: float | None) -> None:
    """Each in its own process, on one new store."""
    with tempfile.TemporaryDirectory(prefix="large-store-", dir=folder) as root:
        for step in steps:
            command = [sys.executable, "-m", "benchmarks.large_store", "--step", step, f"{root}/store"]
            subprocess.run([*command, *([] if argument is None else [str(argument)])], check=True)


def run_step(step: str, root: str, argument: str = "") -> None:
    """Inside the process of a step."""
    call: Callable[..., None] = globals()[step]
    call(root, *([float(argument)] if argument else []))


def main() -> None:
    if sys.argv[1:2] == ["--step"]:
        run_step(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="*", help="default: all")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where the stores are made")
    parser.add_argument(
        "--log-gib", type=float, default=10, help="size of the log, whose space must be there"
    )
    options = parser.parse_args()
    arguments = {"log": [options.log_gib], "catch-up": [*CATCH_UP]}
    for what in options.what or STEPS:
        for argument in arguments.get(what, [None]):
            print(what, "" if argument is None else argument, flush=True)
            run_steps(STEPS[what], options.folder, argument)


if __name__ == "__main__":
    main()
