"""Transactions a second with the unmodified Java client, against our broker and Apache's in turn.

    python -m benchmarks.java_transactions [--rounds 3] [--threads 32] [--seconds 8] [--size 128]

Each round starts a fresh cluster of each kind, creates the topic by the first message, warms up for
`--seconds` and measures as long. A transaction is a half message, answered, and a commit, sent one-way. Needs
Java 17 and Maven, as the interop tests do.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess

from benchmarks.process_facts import cpu_seconds
from tests.clusters import Apache, Cluster, Kind, Ours
from tests.interop import toolchain


def measure(kind: Kind, options: argparse.Namespace) -> tuple[float, float]:
    """(transactions a second, CPU microseconds of the broker for one)."""
    settings = {"mappedFileSizeCommitLog": str(1 << 30), "mappedFileSizeConsumeQueue": str(6_000_000)}
    with Cluster.start(settings=settings, kind=kind) as cluster:
        pid = cluster.broker().process.pid
        before_s = cpu_seconds(pid)
        done = subprocess.run(
            [
                "java", "-Xmx512m", "-cp", toolchain.client_class_path(), "interop.TransactionLoad",
                cluster.namesrv_address, "BenchTransactions", str(options.threads), str(options.seconds),
                str(options.size),
            ],
            capture_output=True, text=True, check=True, cwd=cluster.folder,
        )  # fmt: skip
        used_s = cpu_seconds(pid) - before_s
    rates = {}
    for line in done.stdout.splitlines():
        phase, rate, failed = line.split()
        rates[phase] = float(rate)
        if int(failed):
            print(f"{phase}: {failed} sends failed")
    return rates["measured"], used_s / (sum(rates.values()) * options.seconds) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    kinds: dict[str, Kind] = {"ours": Ours(), "apache": Apache()}
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(options.rounds):
        for name, kind in kinds.items():
            rate, cpu_us = measure(kind, options)
            rates[name].append(rate)
            print(f"{name}: {rate:.0f} transactions/s, {cpu_us:.0f} us of CPU each", flush=True)
    medians = {name: statistics.median(each) for name, each in rates.items()}
    for name, each in rates.items():
        print(f"{name}: median {medians[name]:.0f} ({min(each):.0f} to {max(each):.0f})")
    print(f"ours / apache: {medians['ours'] / medians['apache']:.2f}")


if __name__ == "__main__":
    main()
