"""What messages with a delivery time of their own cost: pending ones in memory and on disk, due ones in time.

    python -m benchmarks.timers index [--entries 10000000] [--days 3]
    python -m benchmarks.timers broker [--pending 200000] [--due 100000] [--rate 10000] [--set KEY=VALUE]
    python -m benchmarks.timers store [--entries 10000000] [--folder FOLDER] [--due 100000] [--rate 10000]

`index` fills the timer index alone, on the real disk in a temporary folder, with entries whose times are
spread at random, saving as the broker does; then it opens it anew and takes a million entries. `broker` sends
to a child: pending messages that stay, then others that become due at `--rate` a second, and tells how late
these were stored in their own topic. `store` makes a store in which messages wait and starts a broker on it,
which enters them all; then others become due as with `broker`, and it is started once more. Memory is what
the process holds in private pages.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import resource
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.child_broker import child_broker
from benchmarks.loader import Connection
from benchmarks.process_facts import cpu_seconds
from benchmarks.timer_store import fill
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.store.os_disk import platform_disk
from rocketmq_tx.store.timer_entries import pack_entry
from rocketmq_tx.store.timer_index import SPILL_ENTRIES, TimerIndex

BITE = 256
SAVE_EVERY = 20_000
"""Entries between two saves: a second's worth at that many sends a second."""
TAKEN = 1_000_000
RECORD_BYTES = 400
TOLD_EVERY_S = 20.0
TOPIC = "BenchmarkTest"
QUEUES = 4
_HEADER = (
    '{"code":310,"extFields":{"a":"bench_producer","b":"BenchmarkTest","c":"TBW102","d":"4","e":"%d","f":"0",'
    '"g":"1700000000000","h":"0","i":"UNIQ_KEY\\u0001%032X\\u0002WAIT\\u0001true\\u0002'
    'TIMER_DELIVER_MS\\u0001%d","j":"0","k":"false","m":"false","n":"broker-a"},"flag":0,"language":"JAVA",'
    '"opaque":%d,"serializeTypeCurrentRPC":"JSON","version":407}'
)


def private_mib(pid: int) -> float:
    """MiB of private memory of a process."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_")) / 1024


def tell(what: str, seconds: float, count: int, more: str = "") -> None:
    print(
        f"{what}: {count:,} in {seconds:.1f} s, {seconds / max(count, 1) * 1e6:.2f} us each{more}", flush=True
    )


# -- the index alone -----------------------------------------------------------------------------------------


def save(index: TimerIndex) -> float:
    """Saves; the seconds that this took outside of the broker's thread for it."""
    started = time.thread_time()
    job = index.begin_save(1 << 60)
    took_s = time.thread_time() - started
    if job is not None:
        job.run()
        index.finish_save(job)
    return took_s


def measure_index(options: argparse.Namespace) -> int:
    span_ms = int(options.days * 86_400_000)
    choice = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="bench-timers-") as folder:
        index = TimerIndex(platform_disk(), folder, print)
        index.load(1 << 60, 1 << 60)
        before_mib, highest_mib, turn_s = private_mib(os.getpid()), 0.0, 0.0
        started = time.perf_counter()
        for begin in range(0, options.entries, BITE):
            numbers = range(begin, min(begin + BITE, options.entries))
            entries = [
                pack_entry(choice.randrange(span_ms), number * RECORD_BYTES, RECORD_BYTES)
                for number in numbers
            ]
            at = time.thread_time()
            index.enter(entries, numbers.stop, numbers.stop * RECORD_BYTES)
            if index.begin_merge():
                index.merge_step(4096)
            turn_s = max(turn_s, time.thread_time() - at)
            if numbers.stop % SAVE_EVERY < BITE:
                turn_s = max(turn_s, save(index))
                highest_mib = max(highest_mib, private_mib(os.getpid()))
        seconds = time.perf_counter() - started
        tell("entered, random times made for them included", seconds, options.entries)
        print(
            f"memory: {highest_mib - before_mib:.1f} MiB more than at the start,"
            f" longest bite {turn_s * 1000:.0f} ms of CPU"
        )
        while index.begin_merge():
            index.merge_step(4096)
        started = time.perf_counter()
        job = index.begin_save(1 << 60, everything=True)
        if job is not None:
            job.run()
            index.finish_save(job)
        saved_s = time.perf_counter() - started
        size = sum(entry.stat().st_size for entry in os.scandir(folder))
        print(f"disk: {size / 1e6:.0f} MB in {index.run_count} runs, last save {saved_s * 1000:.0f} ms")

        started = time.perf_counter()
        index = TimerIndex(platform_disk(), folder, print)
        index.load(1 << 60, 1 << 60)
        print(f"opened anew: {(time.perf_counter() - started) * 1000:.1f} ms, {index.pending:,} pending")
        started = time.perf_counter()
        taken = 0
        while taken < min(TAKEN, options.entries):
            taken += len(index.take(span_ms, 128))
            index.done()
        tell("taken in order", time.perf_counter() - started, taken)
    print(
        f"highest memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
    )
    return 0


# -- a whole broker ------------------------------------------------------------------------------------------


def timed_send(number: int, deliver_ms: int) -> bytes:
    """A send of 128 bytes to be delivered at that time."""
    header = (_HEADER % (number % QUEUES, number, deliver_ms, number & 0x7FFFFFFF)).encode()
    return struct.pack(">II", 4 + len(header) + 128, len(header)) + header + b"x" * 128


def send_all(address: tuple[str, int], frames: list[bytes], in_flight: int = 128) -> None:
    connection = Connection(address, frames, in_flight)
    sent = min(in_flight, len(frames))
    connection.send(sent)
    while connection.answered < len(frames):
        answered = connection.receive()
        again = min(answered, len(frames) - sent)
        if again:
            connection.send(again)
            sent += again
    if connection.refused:
        raise RuntimeError(f"{connection.refused} sends were refused")
    connection.socket.close()


def late_ms(address: tuple[str, int], count: int, timeout_s: float) -> list[int]:
    """By how much each of `count` messages was stored late in its topic."""
    offsets = dict.fromkeys(range(QUEUES), 0)
    late: list[int] = []
    until = time.monotonic() + timeout_s
    with socket.create_connection(address) as connection:
        for opaque in itertools.count(1):
            if len(late) >= count or time.monotonic() > until:
                return late
            queue_id = opaque % QUEUES
            body = pull(connection, opaque, queue_id, offsets[queue_id])
            records = decode_records(body)
            offsets[queue_id] += len(records)
            late += [record.store_timestamp - int(record.property_map["TIMER_OUT_MS"]) for record in records]
            if not records:
                time.sleep(0.01)
    raise AssertionError


def pull(connection: socket.socket, opaque: int, queue_id: int, offset: int) -> bytes:
    fields = {
        "consumerGroup": "bench", "topic": TOPIC, "queueId": queue_id, "queueOffset": offset,
        "maxMsgNums": 32, "sysFlag": 4, "commitOffset": 0, "suspendTimeoutMillis": 0,
        "subscription": "*", "subVersion": 0,
    }  # fmt: skip
    command = {
        "code": 11, "flag": 0, "language": "JAVA", "opaque": opaque, "version": 407,
        "extFields": {name: str(value) for name, value in fields.items()},
    }  # fmt: skip
    header = json.dumps(command).encode()
    connection.sendall(struct.pack(">II", 4 + len(header), len(header)) + header)
    size = int.from_bytes(read(connection, 4), "big")
    answer = read(connection, size)
    header_size = int.from_bytes(answer[1:4], "big")
    return answer[4 + header_size :] if b'"code":0' in answer[4 : 4 + header_size] else b""


def read(connection: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionError("the broker closed the connection")
        parts += part
    return parts


def measure_due(address: tuple[str, int], pid: int, first_number: int, options: argparse.Namespace) -> None:
    """Sends messages that become due at a rate, and tells how late they came."""
    lead_ms = 3000 + options.due // 10
    now_ms = time.time_ns() // 1_000_000
    frames = [
        timed_send(first_number + number, now_ms + lead_ms + number * 1000 // options.rate)
        for number in range(options.due)
    ]
    send_all(address, frames)
    left_s = (now_ms + lead_ms - time.time_ns() // 1_000_000) / 1000
    cpu_s = cpu_seconds(pid)
    time.sleep(max(0.0, left_s) + options.due / options.rate + 0.5)
    used = cpu_seconds(pid) - cpu_s
    late = sorted(late_ms(address, options.due, 60))
    print(
        f"delivered: {len(late):,} of {options.due:,}, due at {options.rate:,} a second, first due"
        f" {left_s:.1f} s after the last was sent; late by {late[0]} ms at least,"
        f" {late[len(late) // 2]} ms p50, {late[len(late) * 99 // 100]} ms p99, {late[-1]} ms at most;"
        f" broker {used / options.due * 1e6:.1f} us CPU each"
    )


def measure_broker(options: argparse.Namespace) -> int:
    choice = random.Random(1)
    with child_broker(options.set) as (address, pid):
        before_mib = private_mib(pid)
        now_ms = time.time_ns() // 1_000_000
        frames = [
            timed_send(number, now_ms + 3_600_000 + choice.randrange(2 * 86_400_000))
            for number in range(options.pending)
        ]
        cpu_s, started = cpu_seconds(pid), time.perf_counter()
        send_all(address, frames)
        tell("pending ones sent", time.perf_counter() - started, options.pending)
        time.sleep(3)
        used = cpu_seconds(pid) - cpu_s
        mib = private_mib(pid) - before_mib
        print(f"  broker: {used / max(options.pending, 1) * 1e6:.1f} us CPU each, {mib:.1f} MiB more memory")
        measure_due(address, pid, options.pending, options)
    return 0


# -- a broker in whose store many wait -----------------------------------------------------------------------


def entered(folder: Path) -> int:
    """How many pending messages the broker has entered, without those in the heap."""
    try:
        return int(json.loads((folder / "timers" / "manifest.json").read_text())["intakeFrom"])
    except FileNotFoundError:
        return 0


def measure_store(options: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        folder = options.folder
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-timers-")))
        folder = folder / "store"
        if not folder.exists():
            now_ms = time.time_ns() // 1_000_000
            started = time.perf_counter()
            span_ms = int(options.days * 86_400_000)
            fill(str(folder), options.entries, now_ms, now_ms + 3_600_000, span_ms, TOPIC)
            tell("stored", time.perf_counter() - started, options.entries)
        keys = [f"storePathRootDir={folder}", *options.set]
        with child_broker() as (_, pid):
            print(f"memory of a broker without any: {private_mib(pid):.1f} MiB", flush=True)
        with child_broker(keys) as (address, pid):
            enter_all(folder, pid, options.entries)
            measure_due(address, pid, options.entries, options)
            print(f"memory: {private_mib(pid):.1f} MiB", flush=True)
        started = time.perf_counter()
        with child_broker(keys) as (_, pid):
            print(f"started again in {time.perf_counter() - started:.1f} s")
            time.sleep(5)
            print(f"memory: {private_mib(pid):.1f} MiB", flush=True)
    return 0


def enter_all(folder: Path, pid: int, count: int) -> None:
    """Waits until a started broker has entered all, and tells what that took."""
    begun, started, cpu_s, highest_mib = entered(folder), time.perf_counter(), cpu_seconds(pid), 0.0
    told_s = started
    while (now := entered(folder)) < count - SPILL_ENTRIES:
        highest_mib = max(highest_mib, private_mib(pid))
        if time.perf_counter() - told_s > TOLD_EVERY_S:
            told_s = time.perf_counter()
            print(f"  {now:,} entered, {highest_mib:.1f} MiB at most", flush=True)
        time.sleep(0.2)
    used = cpu_seconds(pid) - cpu_s
    tell("entered", time.perf_counter() - started, count - begun, f", {used:.1f} s of CPU")
    time.sleep(3)
    print(f"memory: {private_mib(pid):.1f} MiB, {highest_mib:.1f} MiB at most", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("index", "broker", "store"))
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--days", type=float, default=3)
    parser.add_argument("--pending", type=int, default=200_000)
    parser.add_argument("--due", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where `store` makes its store, or finds it from before")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for the child")
    options = parser.parse_args()
    measure = {"index": measure_index, "broker": measure_broker, "store": measure_store}[options.what]
    return measure(options)


if __name__ == "__main__":
    sys.exit(main())
