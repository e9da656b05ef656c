"""What a round of check-backs costs when many transactions have finished and few are open.

    python -m benchmarks.transaction_round [--finished 1000000] [--open 100] [--rounds 9]

In this process, with a store in a temporary folder: no sockets. The open ones are sent first, so that all
finished ones stand behind them in the half topic; their producer answers UNKNOWN. Printed are milliseconds
and bytes of the log read, a round, and what a restart reads and takes before and after a round.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import Any

from rocketmq_tx.broker.transaction_replay import HALF, OP, Replay
from rocketmq_tx.store.append import Placed
from rocketmq_tx.store.os_disk import platform_disk
from tests.unit.transaction_parts import ROLLBACK, UNKNOWN, Bench

BATCH = 500


def finish(bench: Bench, count: int) -> None:
    """Half messages that are rolled back at once."""
    like = bench.half("K")
    for start in range(0, count, BATCH):
        halves = []
        for number in range(start, min(start + BATCH, count)):
            key = f"K{number:08d}"
            properties = like.properties.replace(b"UNIQ_KEY\x01K", b"UNIQ_KEY\x01" + key.encode())
            halves.append(like._replace(properties=properties, keys=(key,)))
        placed = bench.appending.append(halves, bench.now_ms())
        bench.ends.end(None, [bench.end_frame(place, ROLLBACK) for place in placed])  # type: ignore[arg-type]
        bench.store.derived.write_index(bench.now_ms())
        if start % (100 * BATCH) == 0:
            bench.checks.tick()


def read_again(bench: Bench) -> str:
    """What building the table takes, as a start does it."""
    bench.log.keep_last_progress(1.0)
    offsets = [bench.offsets.query("CID_RMQ_SYS_TRANS", *queue) for queue in (HALF, OP)]
    started = time.perf_counter()
    table = Replay(bench.store).run(*offsets)
    return f"{(time.perf_counter() - started) * 1000:.1f} ms, {len(table)} open"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--open", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="transaction-round-") as folder:
        disk: Any = platform_disk()
        bench = Bench(
            disk, storePathRootDir=folder, transactionCheckMax=1000, mappedFileSizeCommitLog=1 << 28,
            maxHashSlotNum=500_000, maxIndexNum=2_000_000,
        )  # fmt: skip
        peer = bench.connect()
        for number in range(options.open):
            bench.send(f"open-{number}")
        started = time.perf_counter()
        finish(bench, options.finished)
        print(f"{options.finished} transactions finished in {time.perf_counter() - started:.1f} s")
        bench.checks.tick()
        print(f"a start before the first round: {read_again(bench)}")
        times, sizes = [], []
        record_at = bench.store.record_at
        read: list[int] = []

        def counted(*arguments: Any, **more: Any) -> bytes:
            data = record_at(*arguments, **more)
            read.append(len(data))
            return data

        bench.store.record_at = counted  # type: ignore[method-assign]
        for _ in range(options.rounds):
            read.clear()
            bench.clock.advance(60)
            before = time.perf_counter()
            bench.tick()
            times.append((time.perf_counter() - before) * 1000)
            sizes.append(sum(read))
            asked = [
                Placed(head.commit_log_offset, 0, head.tran_state_table_offset) for head, _ in peer.take()
            ]
            assert len(asked) == options.open
            bench.answers([bench.end_frame(place, UNKNOWN) for place in asked])
        print(
            f"a round with {options.open} open: median {statistics.median(times):.1f} ms"
            f" ({min(times):.1f} to {max(times):.1f}), {max(sizes)} bytes read"
        )
        print(f"a start after it: {read_again(bench)}")


if __name__ == "__main__":
    main()
