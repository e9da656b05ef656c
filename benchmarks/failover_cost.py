"""What automatic fail-over costs while nothing fails: double writes with `autoFailover` and without, in turn.

    python -m benchmarks.failover_cost [--pairs 6] [--count 60000] [--in-flight 64]

Two pairs of master and slave, both SYNC_MASTER, stay up; each pair of runs loads both masters, in alternating
order. Printed are sends a second, the CPU time of master and slave for a message, and the mean of the ratios.
Needs Java 17 and Maven for ZooKeeper.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics

from benchmarks.double_write import T_95
from benchmarks.failover_loop import Pair
from benchmarks.process_facts import cpu_seconds
from benchmarks.raw_send import load
from tests.clusters import HOST, Broker, Cluster, Ours
from tests.waiting import wait_until
from tests.zookeeper import ZooKeeper


def plain_pair() -> tuple[Cluster, list[Broker]]:
    """A master and a slave without `autoFailover`."""
    cluster = Cluster.start(settings={"brokerRole": "SYNC_MASTER"}, kind=Ours())
    slave = cluster.add_broker("broker-a", 1, {"brokerRole": "SLAVE"})
    slave.start()
    wait_until(lambda: "slave follows" in cluster.broker().process.output(), "the slave follows")
    return cluster, [cluster.broker(), slave]


def run(brokers: list[Broker], options: argparse.Namespace) -> tuple[float, list[float]]:
    """Sends a second; microseconds of CPU for each, of master and slave."""
    before = [cpu_seconds(broker.process.pid) for broker in brokers]
    connections, seconds = load((HOST, brokers[0].port), options)
    answered = sum(connection.answered for connection in connections)
    after = [cpu_seconds(broker.process.pid) for broker in brokers]
    used = [(end - start) / answered * 1e6 for start, end in zip(before, after, strict=True)]
    return answered / seconds, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--count", type=int, default=60_000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--queues", type=int, default=4)
    parser.add_argument("--topic", default="BenchmarkTest")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        zookeeper = ZooKeeper()
        stack.callback(zookeeper.remove)
        zookeeper.start()
        plain, plain_brokers = plain_pair()
        stack.callback(plain.kill)
        agreed = Pair([zookeeper.address] * 2)
        stack.callback(agreed.cluster.kill)
        agreed.start()
        kinds = {"without": plain_brokers, "with": agreed.brokers}
        for brokers in kinds.values():
            run(brokers, options)
        ratios = []
        for number in range(options.pairs):
            order = ("without", "with") if number % 2 else ("with", "without")
            rates = {kind: run(kinds[kind], options) for kind in order}
            ratios.append(rates["with"][0] / rates["without"][0])
            for kind in ("without", "with"):
                rate, (master_us, slave_us) = rates[kind]
                print(
                    f"{kind} {rate:,.0f} sends/s, CPU us: master {master_us:.1f} slave {slave_us:.1f};",
                    end=" ",
                )
            print(f"ratio {ratios[-1]:.3f}", flush=True)
    half = T_95.get(len(ratios) - 1, 2.6) * statistics.stdev(ratios) / math.sqrt(len(ratios))
    print(f"with / without: {statistics.fmean(ratios):.3f} +- {half:.3f} (95 %, {len(ratios)} pairs)")


if __name__ == "__main__":
    main()
