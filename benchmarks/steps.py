"""What each step of a send and of a pull costs, one by one, in a broker without sockets.

    python -m benchmarks.steps

Each step is called again and again with what the steps before it have made of a read of the loader's. Printed
is the CPU time of this thread, the least of many rounds: of a message for sends, 64 in a read; of a pull of
32 messages for pulls. The sum is less than the whole (`benchmarks.in_process`), where caches are colder.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks.in_process import CASES, Bench
from rocketmq_tx.broker.scanned_pulls import ScannedPulls
from rocketmq_tx.protocol.decoder import SCANNED_PULL, FrameDecoder
from rocketmq_tx.protocol.send_scan import SendScanner
from rocketmq_tx.store.entry_blocks import starts_of

ROUNDS = 25
TIMES = 50


def least_us(step: Callable[[], object], count: int) -> float:
    """CPU microseconds of one of the `count` things that a step does."""
    found = []
    for _ in range(ROUNDS):
        began_s = time.thread_time()
        for _ in range(TIMES):
            step()
        found.append(time.thread_time() - began_s)
    return min(found) / TIMES / count * 1e6


def say(what: str, step: Callable[[], object], count: int = 1) -> None:
    print(f"  {what}: {least_us(step, count):.2f} us", flush=True)


def sends(bench: Bench, by_columns: bool) -> None:
    reads, _ = CASES["send"](bench)
    bench.serve(reads[:40])
    parts, peer = bench.broker.parts, bench.protocol.peer
    appending, store, now_ms = parts.appending, parts.store, bench.broker.now_ms()
    scanner, scanned_sends = parts.sending.scanner, parts.sending.scanned_sends
    read = reads[30]
    decoder = FrameDecoder(scanner=scanner)
    run: Any = decoder.feed(read)[0][1]
    count = len(run)
    size = len(read) // count
    header_end = 8 + int.from_bytes(read[4:8], "big")
    way = "append_alike" if by_columns else "append"
    append = getattr(appending, way)
    if not by_columns:
        run = list(run)
    seen: list[Any] = []

    def record(messages: Any, now_ms: int) -> Any:
        seen[:] = [messages]
        return append(messages, now_ms)

    setattr(appending, way, record)
    scanned_sends.send_scanned(peer, run)
    placed = append(seen[0], now_ms)
    setattr(appending, way, lambda messages, now_ms: placed)

    def scan() -> object:
        if by_columns:
            return decoder.feed(read)
        starts = range(0, len(read), size)
        return [scanner.scan(read, start + 8, start + header_end, start + size) for start in starts]

    def answer() -> object:
        if by_columns:
            queue_ids = [route.queue_id for route in run.routes]
            return scanned_sends._answers.success_alike(run.opaques, queue_ids, placed)
        return scanned_sends._answering.each(run, placed, None)

    def append_and_index(index: bool) -> None:
        append(seen[0], now_ms)
        if index:
            store.derived.write_index(now_ms)
        else:
            store._pending_keys.clear()

    print("a send, by columns:" if by_columns else "a send, one by one:")
    say("frames and headers", scan, count)
    say("messages and answers", lambda: scanned_sends.send_scanned(peer, run), count)
    say("of it, answers", answer, count)
    say("records and queue entries, written", lambda: append_and_index(index=False), count)
    say("the same, and the index", lambda: append_and_index(index=True), count)


def pulls(case: str, bench: Bench) -> None:
    reads, _ = CASES[case](bench)
    peer, store = bench.protocol.peer, bench.broker.parts.store
    decoder = FrameDecoder(scanner=SendScanner())
    ((_, run),) = decoder.feed(reads[3])
    scanned = run[0]
    header, offset = scanned.route.header, scanned.queue_offset
    handler: Any = bench.broker.parts.connections.registry.handlers[SCANNED_PULL]
    short_cut: ScannedPulls = handler.__self__
    general, rules = short_cut._general, short_cut._rules
    admission = rules.admit(header, *peer.address)
    read = general.reader(header, admission)
    result = read(offset, False)
    head = (7, 0, result.next_offset, result.min_offset, result.max_offset, len(result.body))
    queue = store._queues.queues[header.topic, header.queue_id]
    puller = store._puller
    entries = puller._blocks.read(queue, offset, 32, may_block=False)
    start, size_bytes = starts_of(entries)[0], len(result.body)

    def read_records() -> object:
        if case == "pull":
            return store._log.read(start, size_bytes, may_block=False)
        return puller._records.alike(entries, b"\1" * 32, start, may_block=False)

    print(f"{case}, a pull:")
    say("frames and headers", lambda: decoder.feed(reads[3]), len(run))
    say("all the rest", lambda: short_cut.pull_scanned(peer, run), len(run))
    say("of it, checks, once for a queue's pulls", lambda: rules.admit(header, *peer.address))
    say("of it, store", lambda: read(offset, False))
    say("of that, queue entries from a kept block", lambda: puller._blocks.read(queue, offset, 32, False))
    say("of that, reading records", read_records)
    say("of it, the answer's header", lambda: short_cut._found_head(*head))


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    for by_columns in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            sends(Bench(folder), by_columns)
    for case in ("pull", "pull-mixed"):
        with tempfile.TemporaryDirectory() as folder:
            pulls(case, Bench(folder))


if __name__ == "__main__":
    main()
