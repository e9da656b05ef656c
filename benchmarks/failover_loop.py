"""Kills the master of a pair again and again under load: how long nothing is taken, and is anything lost.

    python -m benchmarks.failover_loop [--kills 20] [--queues 4] [--pause-ms 5]

A ZooKeeper, a NameServer, and two brokers of one name with `autoFailover` and SYNC_MASTER. The unmodified
Java client sends numbered messages to each queue, one after the other and each until it is taken, and
consumes them in order. Each round the broker that is master is killed by SIGKILL, the other takes over, and
the first is started again and is in sync before the next round. At the end every message that was answered
SEND_OK must have been consumed, and each queue's messages in the order in which they were sent (a message
that was sent again may come again). Printed is for how long after each kill no queue took a message, and
until all did. Needs Java 17 and Maven, as the interop tests do.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tests.clusters import Broker, Cluster, Ours, cluster_info
from tests.interop import toolchain
from tests.waiting import WaitedInVain, wait_until
from tests.zookeeper import ZooKeeper

TOPIC = "FailoverLoop"
LATEST_MS = 10_000
"""What is promised."""
TAKEN = frozenset({"SEND_OK", "SLAVE_NOT_AVAILABLE", "FLUSH_SLAVE_TIMEOUT", "FLUSH_DISK_TIMEOUT"})


class Pair:
    """Two brokers of one name that take over from each other; each has its own way to ZooKeeper."""

    def __init__(self, ways: Sequence[str], **settings: str) -> None:
        self.cluster = Cluster.start(brokers=0, kind=Ours())
        self.brokers = [
            self.cluster.add_broker(
                "broker-a",
                broker_id,
                {"autoFailover": f"zookeeper://{way}/rocketmq_tx", "brokerRole": role, **settings},
            )
            for broker_id, (way, role) in enumerate(zip(ways, ("SYNC_MASTER", "SLAVE"), strict=True))
        ]

    def start(self) -> None:
        for broker in self.brokers:
            broker.start()
        self.wait_in_sync()

    def master(self) -> Broker | None:
        """Who clients are told is the master."""
        found = re.search(r'0:"([^"]+)"', cluster_info(self.cluster.namesrv_address))
        return next((broker for broker in self.brokers if found and broker.address == found[1]), None)

    def other(self, broker: Broker) -> Broker:
        return next(each for each in self.brokers if each is not broker)

    def wait_in_sync(self, timeout_s: float = 60) -> None:
        """Until the master has the other in sync."""

        def both() -> bool:
            master = self.master()
            if master is None or not master.process.is_running:
                return False
            said = re.findall(
                r"in sync: epoch=\d+ before=\S+(?: \d+\])? now=(\[[^\]]*\])", master.process.output()
            )
            return bool(said) and said[-1] == "[0, 1]"

        wait_until(both, "both brokers are in sync", timeout_s)


class Load:
    """The Java program, and what it has written."""

    def __init__(self, namesrv_address: str, folder: Path, queues: int, pause_ms: int) -> None:
        self.path = folder / "ordered-load.txt"
        self.queues = queues
        command = [
            "java", "-Xmx256m", "-XX:TieredStopAtLevel=1", f"-Duser.home={folder}", "-cp",
            toolchain.client_class_path(), "interop.OrderedLoad", namesrv_address, TOPIC, str(queues),
            str(self.path), str(pause_ms),
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder
        )

    def lines(self) -> list[list[str]]:
        """What was sent and received, whole lines only."""
        text = self.path.read_text() if self.path.exists() else ""
        return [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]

    def first_taken_after(self, since_ms: int) -> dict[int, int]:
        """By queue: when the first message was taken that was answered after that time (epoch ms)."""
        found: dict[int, int] = {}
        for line in self.lines():
            if line[0] == "S" and line[3] in TAKEN and int(line[4]) > since_ms:
                found.setdefault(int(line[1]), int(line[4]))
        return found

    def stop_sending(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"stop\n")
        self._process.stdin.flush()

    def received(self) -> dict[int, list[int]]:
        """By queue: the numbers received, each where it came first."""
        found: dict[int, dict[int, None]] = defaultdict(dict)
        for line in self.lines():
            if line[0] == "R":
                found[int(line[1])].setdefault(int(line[2]))
        return {queue: list(numbers) for queue, numbers in found.items()}

    def acknowledged(self) -> dict[int, list[int]]:
        """By queue: the numbers that were answered SEND_OK."""
        found: dict[int, list[int]] = defaultdict(list)
        for line in self.lines():
            if line[0] == "S" and line[3] == "SEND_OK":
                found[int(line[1])].append(int(line[2]))
        return found

    def statuses(self) -> Counter[str]:
        """How often each status or error came."""
        return Counter(line[3] for line in self.lines() if line[0] in "SE")

    def missing(self) -> dict[int, list[int]]:
        """What was answered SEND_OK and has not been received."""
        received = self.received()
        return {
            queue: lost
            for queue, numbers in self.acknowledged().items()
            if (lost := sorted(set(numbers) - set(received.get(queue, ()))))
        }

    def out_of_order(self) -> dict[int, list[int]]:
        """Numbers that came before a smaller one."""
        return {
            queue: wrong
            for queue, numbers in self.received().items()
            if (wrong := [one for one, following in pairwise(numbers) if following < one])
        }

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Gap(NamedTuple):
    """After one kill, in ms: until some queue took a message again, and until all did."""

    first_ms: int
    all_ms: int


def kill_master(pair: Pair, load: Load) -> Gap:
    """One round."""
    master = pair.master()
    assert master is not None
    killed_ms = int(time.time() * 1000)
    master.kill()
    # what was answered in the moment of the kill is not of the new master
    wait_until(
        lambda: len(load.first_taken_after(killed_ms + 500)) == load.queues, "all queues take messages", 60
    )
    taken = load.first_taken_after(killed_ms + 500)
    master.process.start()
    pair.wait_in_sync()
    return Gap(min(taken.values()) - killed_ms, max(taken.values()) - killed_ms)


class Outcome(NamedTuple):
    """Of a whole run. `missing` and `out_of_order` are by queue, and empty when all is well."""

    gaps: list[Gap]
    statuses: Counter[str]
    missing: dict[int, list[int]]
    out_of_order: dict[int, list[int]]


def run(
    kills: int,
    queues: int,
    pause_ms: int,
    told: Callable[[int, Gap], object] = lambda number, gap: None,
    quiet_s: float = 0.0,
    **settings: str,
) -> Outcome:
    """All rounds, with `quiet_s` between them, until everything acknowledged has come or will not come."""
    zookeeper = ZooKeeper()
    zookeeper.start()
    pair = Pair([zookeeper.address] * 2, **settings)
    load: Load | None = None
    try:
        pair.start()
        load = Load(pair.cluster.namesrv_address, pair.cluster.folder, queues, pause_ms)
        running = load
        wait_until(lambda: len(running.received()) == queues, "messages flow", 60)
        gaps = []
        for number in range(kills):
            time.sleep(quiet_s)
            gaps.append(kill_master(pair, load))
            told(number, gaps[-1])
        load.stop_sending()
        with contextlib.suppress(WaitedInVain):
            wait_until(lambda: not running.missing(), "everything that was acknowledged has come", 60)
        return Outcome(gaps, load.statuses(), load.missing(), load.out_of_order())
    except BaseException:
        print(pair.cluster.log_tails())
        raise
    finally:
        if load is not None:
            load.kill()
        pair.cluster.kill()
        zookeeper.remove()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--queues", type=int, default=4)
    parser.add_argument("--pause-ms", type=int, default=5)
    parser.add_argument("--quiet-s", type=float, default=2.0, help="between two kills")
    arguments = parser.parse_args()

    def told(number: int, gap: Gap) -> None:
        print(
            f"kill {number + 1}: first queue after {gap.first_ms} ms, all after {gap.all_ms} ms", flush=True
        )

    outcome = run(arguments.kills, arguments.queues, arguments.pause_ms, told, arguments.quiet_s)
    all_ms = sorted(gap.all_ms for gap in outcome.gaps)
    print(f"all queues again after {all_ms[0]} to {all_ms[-1]} ms, median {statistics.median(all_ms):.0f} ms")
    print(" ".join(f"{status}={count}" for status, count in outcome.statuses.most_common()))
    print(f"SEND_OK lost: {outcome.missing or 0}, out of order: {outcome.out_of_order or 0}")
    if outcome.missing or outcome.out_of_order or all_ms[-1] > LATEST_MS:
        sys.exit(1)


if __name__ == "__main__":
    main()
