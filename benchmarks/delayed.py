"""How late delayed messages come: sends at a steady rate, then compares when each was due and when stored.

    python -m benchmarks.delayed [--rate 10000] [--seconds 10] [--levels 1] [--set KEY=VALUE]

The broker is a child on a free port. Messages are sent at `--rate` a second for `--seconds`, to the delay
levels in turn; a second or more later they become due at the same rate, while sends still go on. A message is
late by the store time of its delivered copy, less the store time of the waiting one and the delay.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import sys
import time

from benchmarks.child_broker import child_broker
from benchmarks.process_facts import cpu_seconds
from rocketmq_tx.protocol.message import decode_records

TOPIC, SCHEDULE = "BenchmarkTest", "SCHEDULE_TOPIC_XXXX"
DELAYS_MS = (1000, 5000, 10_000, 30_000)
QUEUES = 4
TICK_S = 0.005
_HEADER = (
    '{"code":310,"extFields":{"a":"bench_producer","b":"%s","c":"TBW102","d":"4","e":"%d","f":"0",'
    '"g":"1700000000000","h":"0","i":"UNIQ_KEY\\u00017F0000011A2B18B4AAC2%012X\\u0002WAIT\\u0001true'
    '\\u0002DELAY\\u0001%d","j":"0","k":"false","m":"false","n":"broker-a"},"flag":2,"language":"JAVA",'
    '"opaque":%d,"serializeTypeCurrentRPC":"JSON","version":407}'
)


def frame(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body


def delayed_send(number: int, level: int, size: int) -> bytes:
    """A one-way send, whose body begins with its number."""
    header = _HEADER % (TOPIC, number % QUEUES, number, level, number)
    return frame(header.encode(), b"%08d" % number + b"x" * (size - 8))


def send_all(address: tuple[str, int], frames: list[bytes], rate: float) -> float:
    """Sends at a steady rate; the seconds that it took."""
    started = time.monotonic()
    done = 0
    with socket.create_connection(address) as connection:
        while done < len(frames):
            due = min(len(frames), int((time.monotonic() - started) * rate) + 1)
            connection.sendall(b"".join(frames[done:due]))
            done = due
            time.sleep(TICK_S)
    return time.monotonic() - started


def waited_seconds(pid: int) -> float:
    """How long a process was ready to run while others had the processors."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[1]) / 1e9


class Reader:
    """Pulls on one connection, one request at a time."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._connection = socket.create_connection(address)
        self._answers = self._connection.makefile("rb")

    def pull(self, topic: str, queue_id: int, offset: int) -> tuple[bytes, int]:
        """(records, next offset)"""
        fields = {
            "consumerGroup": "bench_consumer", "topic": topic, "queueId": queue_id, "queueOffset": offset,
            "maxMsgNums": 32, "sysFlag": 4, "commitOffset": 0, "suspendTimeoutMillis": 0,
            "subscription": "*", "subVersion": 0,
        }  # fmt: skip
        command = {
            "code": 11, "flag": 0, "language": "JAVA", "opaque": 1, "version": 407,
            "extFields": {name: str(value) for name, value in fields.items()},
        }  # fmt: skip
        self._connection.sendall(frame(json.dumps(command).encode()))
        (size,) = struct.unpack(">i", self._answers.read(4))
        payload = self._answers.read(size)
        header_size = struct.unpack(">i", payload[:4])[0] & 0xFFFFFF
        answer = json.loads(payload[4 : 4 + header_size])
        return payload[4 + header_size :], int((answer["extFields"] or {}).get("nextBeginOffset", offset))

    def store_times(self, topic: str, queue_id: int) -> dict[bytes, int]:
        """Store time by the number in the body, of all messages of a queue."""
        times: dict[bytes, int] = {}
        offset = 0
        while True:
            data, offset = self.pull(topic, queue_id, offset)
            if not data:
                return times
            times.update((record.body[:8], record.store_timestamp) for record in decode_records(data))


def lateness_ms(reader: Reader, levels: list[int], count: int) -> list[int]:
    """How late each message came, sorted; waits until all have come."""
    due: dict[bytes, int] = {}
    for level in levels:
        waiting = reader.store_times(SCHEDULE, level - 1)
        due.update((number, stored + DELAYS_MS[level - 1]) for number, stored in waiting.items())
    time.sleep(max(0.0, max(due.values()) / 1000 + 2 - time.time()))
    delivered: dict[bytes, int] = {}
    for queue_id in range(QUEUES):
        delivered.update(reader.store_times(TOPIC, queue_id))
    if len(due) != count or delivered.keys() != due.keys():
        raise SystemExit(f"{count} sent, {len(due)} in the schedule, {len(delivered)} delivered")
    return sorted(stored - due[number] for number, stored in delivered.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=10_000, help="messages a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--levels", type=int, default=1, choices=range(1, len(DELAYS_MS) + 1))
    parser.add_argument("--size", type=int, default=128, help="bytes of a body")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for the child")
    options = parser.parse_args()
    count = int(options.rate * options.seconds)
    levels = list(range(1, options.levels + 1))
    frames = [delayed_send(n, levels[n % len(levels)], options.size) for n in range(count)]
    with child_broker(options.set) as (address, pid):
        before = cpu_seconds(pid)
        took = send_all(address, frames, options.rate)
        time.sleep(DELAYS_MS[levels[-1] - 1] / 1000 + 0.5)
        used = cpu_seconds(pid) - before
        starved = waited_seconds(pid) / took
        late = lateness_ms(Reader(address), levels, count)
    at = [late[min(count - 1, int(count * share))] for share in (0.5, 0.99, 0.999)]
    print(
        f"{count / took:,.0f} messages/s, {count:,} in all, late by p50 {at[0]} ms, p99 {at[1]} ms, "
        f"p99.9 {at[2]} ms, most {late[-1]} ms, earliest {late[0]} ms; "
        f"broker {used / count * 1e6:.1f} us CPU a message, sent, kept and delivered; "
        f"{starved:.0%} of the time it waited for a processor"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
