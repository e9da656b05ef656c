"""What a double write costs: the same master and slave, asynchronous and synchronous in turn.

    python -m benchmarks.double_write [--pairs 10] [--count 100000] [--in-flight 64] [--set KEY=VALUE]

Each pair of runs loads the master once as ASYNC_MASTER and once as SYNC_MASTER (which goes first alternates),
waits between runs until the slave has caught up, and gives a ratio of their throughputs. Printed are the
runs, and the mean of the ratios with its 95 % confidence interval: once up to the last answer, once until the
slave has everything, as an asynchronous master leaves work for afterwards. CPU time per message, of master
and slave, says more than throughput where the machine has other work: the three processes want three cores.
"""

from __future__ import annotations

import argparse
import math
import socket
import statistics
import struct
import sys
import time

from benchmarks.child_broker import child_broker, free_port
from benchmarks.process_facts import cpu_seconds
from benchmarks.raw_send import load
from rocketmq_tx.protocol.bodies import KVTable
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame, encode_frame

T_95 = {
    4: 2.776,
    5: 2.571,
    6: 2.447,
    7: 2.365,
    8: 2.306,
    9: 2.262,
    10: 2.228,
    11: 2.201,
    14: 2.145,
    19: 2.093,
}
"""Student's t by degrees of freedom; 2 beyond the table."""


def ask(address: tuple[str, int], code: int, body: bytes = b"") -> Frame:
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(encode_frame(Frame.request(code, None, body)))
        with connection.makefile("rb") as answers:
            (size,) = struct.unpack(">i", answers.read(4))
            return decode_frame(answers.read(size))


def log_end(address: tuple[str, int]) -> str:
    body = ask(address, RequestCode.GET_BROKER_RUNTIME_INFO).body
    return KVTable.from_bytes(body).table["commitLogMaxOffset"]


def catch_up(master: tuple[str, int], slave: tuple[str, int]) -> float:
    """Waits until the slave has everything; returns the seconds that took."""
    started = time.perf_counter()
    while log_end(master) != log_end(slave):
        if time.perf_counter() - started > 120:
            raise TimeoutError("the slave does not catch up")
        time.sleep(0.005)
    return time.perf_counter() - started


def run(master: tuple[str, int], role: str, options: argparse.Namespace) -> float:
    """Sends a second."""
    answer = ask(master, RequestCode.UPDATE_BROKER_CONFIG, f"brokerRole={role}".encode())
    if answer.code:
        raise RuntimeError(f"the role was not taken: {answer.remark}")
    connections, seconds = load(master, options)
    refused = sum(connection.refused for connection in connections)
    if refused:
        raise RuntimeError(f"{refused} sends were not answered SEND_OK as {role}")
    return sum(connection.answered for connection in connections) / seconds


def mean_of(ratios: list[float]) -> str:
    """With its confidence interval."""
    half = T_95.get(len(ratios) - 1, 2.0) * statistics.stdev(ratios) / math.sqrt(len(ratios))
    return f"{statistics.fmean(ratios):.3f} +- {half:.3f} (95 %, {len(ratios)} pairs)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--count", type=int, default=100_000, help="sends of a run")
    parser.add_argument("--seconds", type=float, default=30, help="longest time of a run")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--in-flight", type=int, default=64, help="for each connection")
    parser.add_argument("--size", type=int, default=128, help="bytes of a body")
    parser.add_argument("--queues", type=int, default=4)
    parser.add_argument("--topic", default="BenchmarkTest")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for both brokers")
    options = parser.parse_args()
    ha_port = free_port()
    ours = ["brokerName=broker-a", "mappedFileSizeCommitLog=268435456", *options.set]
    master_keys = [*ours, f"haListenPort={ha_port}"]
    slave_keys = [*ours, "brokerRole=SLAVE", "brokerId=1", f"haMasterAddress=127.0.0.1:{ha_port}"]
    ratios: list[float] = []
    ratios_with_rest: list[float] = []
    with child_broker(master_keys) as (master, master_pid), child_broker(slave_keys) as (slave, slave_pid):
        time.sleep(1)
        run(master, "ASYNC_MASTER", options)
        catch_up(master, slave)
        for number in range(options.pairs):
            rates, behind, used = {}, {}, {}
            roles = ("ASYNC_MASTER", "SYNC_MASTER")
            for role in roles if number % 2 else reversed(roles):
                before = cpu_seconds(master_pid), cpu_seconds(slave_pid)
                rates[role] = run(master, role, options)
                behind[role] = catch_up(master, slave)
                after = cpu_seconds(master_pid), cpu_seconds(slave_pid)
                used[role] = [
                    (end - start) / options.count * 1e6 for start, end in zip(before, after, strict=True)
                ]
            ratios.append(rates["SYNC_MASTER"] / rates["ASYNC_MASTER"])
            whole = {role: options.count / rates[role] + behind[role] for role in roles}
            ratios_with_rest.append(whole["ASYNC_MASTER"] / whole["SYNC_MASTER"])
            print(
                f"async {rates['ASYNC_MASTER']:,.0f} sends/s (slave {behind['ASYNC_MASTER']:.2f} s behind),"
                f" sync {rates['SYNC_MASTER']:,.0f} sends/s, ratio {ratios[-1]:.3f}; CPU us a message"
                + "".join(
                    f", {role.partition('_')[0].lower()} master {used[role][0]:.1f} slave {used[role][1]:.1f}"
                    for role in roles
                ),
                flush=True,
            )
    print(f"sync / async, up to the last answer: {mean_of(ratios)}")
    print(f"sync / async, until the slave has everything: {mean_of(ratios_with_rest)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
