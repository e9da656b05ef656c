"""Transactions a second with the unmodified Java client, against our broker and Apache's in turn.

    python -m benchmarks.java_transactions [--rounds 3] [--threads 1,8,64] [--seconds 4] [--size 128]

Both clusters are started once and stay. Each run is a JVM of its own with one producer: it warms up for
`--seconds` and measures as long. Before the rounds, Apache's broker gets runs that are not counted, as a JVM
is slow at first. A transaction is a half message, answered, and a commit, sent one-way; what is counted are
the calls of the producer, which do not wait for the commit. Printed are transactions a second and the CPU
time that broker and client used for each: when both together use all processors, who uses less is faster.
Needs Java 17 and Maven, as the interop tests do.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
from typing import NamedTuple

from benchmarks.raw_send import cpu_seconds
from tests.clusters import Apache, Cluster, Kind, Ours
from tests.interop import toolchain

STORE = {"mappedFileSizeCommitLog": str(1 << 30), "mappedFileSizeConsumeQueue": str(6_000_000)}


class Figures(NamedTuple):
    """Of one run: transactions a second, microseconds of CPU for each, at the broker and at the client."""

    rate: float
    broker_us: float
    client_us: float


def measure(cluster: Cluster, threads: int, seconds: int, size: int) -> Figures:
    """The figures of the second phase of a run."""
    command = [
        "java", "-Xmx512m", "-cp", toolchain.client_class_path(), "interop.TransactionLoad",
        cluster.namesrv_address, "BenchTransactions", str(threads), str(seconds), str(size),
    ]  # fmt: skip
    broker = cluster.broker().process.pid
    ended: list[tuple[float, float, float]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cluster.folder) as client:
        assert client.stdout is not None
        for line in client.stdout:
            if not line.startswith(("warm-up ", "measured ")):
                print(line, end="")  # the client's library has something to say
                continue
            phase, rate, failed = line.split()
            ended.append((float(rate), cpu_seconds(broker), cpu_seconds(client.pid)))
            if int(failed):
                print(f"{phase}: {failed} sends failed")
    (_, broker_before, client_before), (rate_after, broker_after, client_after) = ended
    count = rate_after * seconds
    return Figures(
        rate_after, (broker_after - broker_before) / count * 1e6, (client_after - client_before) / count * 1e6
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", default="1,8,64", help="numbers of sending threads, one after the other")
    parser.add_argument("--seconds", type=int, default=4, help="of each phase of a run")
    parser.add_argument("--warm-up", type=int, default=8, help="seconds of each phase before the rounds")
    parser.add_argument("--size", type=int, default=128, help="bytes of a body")
    options = parser.parse_args()
    kinds: dict[str, Kind] = {"ours": Ours(), "apache": Apache()}
    with contextlib.ExitStack() as stack:
        clusters = {
            name: stack.enter_context(Cluster.start(settings=STORE, kind=kind))
            for name, kind in kinds.items()
        }
        measure(clusters["apache"], 64, options.warm_up, options.size)
        for threads in map(int, options.threads.split(",")):
            runs: dict[str, list[Figures]] = {name: [] for name in kinds}
            for _ in range(options.rounds):
                for name, cluster in clusters.items():
                    runs[name].append(measure(cluster, threads, options.seconds, options.size))
            report(threads, runs)


def report(threads: int, runs: dict[str, list[Figures]]) -> None:
    for name, each in runs.items():
        rates = [figures.rate for figures in each]
        print(
            f"{threads} threads, {name}: median {statistics.median(rates):,.0f} transactions/s"
            f" ({min(rates):,.0f} to {max(rates):,.0f}), CPU for each: broker"
            f" {statistics.median(figures.broker_us for figures in each):.0f} us, client"
            f" {statistics.median(figures.client_us for figures in each):.0f} us",
            flush=True,
        )
    ours, apache = (statistics.median(figures.rate for figures in each) for each in runs.values())
    print(f"{threads} threads, ours / apache: {ours / apache:.2f}", flush=True)


if __name__ == "__main__":
    main()
