"""Kills a broker under load again and again, and reads back every message that it has acknowledged.

    python -m benchmarks.kill_loop [--rounds 50] [--seed N] [--set KEY=VALUE] ...

A broker of its own with SYNC_FLUSH and small files gets pipelined sends over a few connections until a
random moment, when SIGKILL ends it. Every other start is killed at a random moment, too, most of them in the
middle of recovery. After each start all that this round has acknowledged is asked for by its offset: body,
place and checksum must be right. At the end so is everything once more, the broker is stopped in order, and
the whole store is verified. Exit code 1 when anything is missing or wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import define, field

from benchmarks.child_broker import STOP_TIMEOUT_S, TWISTD, free_port
from benchmarks.frames import encode_send
from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame, encode_frame
from rocketmq_tx.protocol.headers import ViewMessageRequestHeader
from rocketmq_tx.protocol.message import decode_record
from rocketmq_tx.protocol.message_ids import decode_offset_message_id
from rocketmq_tx.store.read_only_disk import ReadOnlyDisk
from rocketmq_tx.store.store_files import IndexSize, StoreFiles
from rocketmq_tx.store.verify import VerifyReport, verify

TOPICS = 3
QUEUES = 4
START_TIMEOUT_S = 60
ANSWER_TIMEOUT_S = 30
KEYS = (
    "flushDiskType=SYNC_FLUSH",
    "mappedFileSizeCommitLog=1048576",  # records cross into new files many times a round
    "mappedFileSizeConsumeQueue=20000",
    "maxHashSlotNum=5000",
    "maxIndexNum=20000",
    "flushConsumeQueueThoroughInterval=200",
    "flushConsumerOffsetInterval=200",
    "fileReservedTime=1000000",
)
INDEX_SIZE = IndexSize(5000, 20000)


class Lost(AssertionError):
    """Something acknowledged is missing or wrong."""


@define(frozen=True)
class Acknowledged:
    """A message that was answered SEND_OK."""

    topic: str
    queue_id: int
    queue_offset: int
    commit_log_offset: int
    body: bytes


class Broker:
    """A broker that can be killed, and started again on the same store and port."""

    def __init__(self, folder: str, keys: Sequence[str]) -> None:
        self.store = f"{folder}/store"
        self.port = free_port()
        self._folder = folder
        lines = ["brokerIP1=127.0.0.1", f"listenPort={self.port}", f"storePathRootDir={self.store}", *keys]
        self._file = Path(folder, "broker.properties")
        self._log_file = Path(folder, "broker.log")
        self._file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._log_start = 0
        self._child: subprocess.Popen[str] | None = None

    def launch(self) -> None:
        """Starts it without waiting for it."""
        self._log_start = self._log_file.stat().st_size if self._log_file.exists() else 0
        command = [*TWISTD, "-n", "--pidfile=", f"--logfile={self._log_file}"]
        self._child = subprocess.Popen(
            [*command, "rocketmq-broker", "-c", str(self._file)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=self._folder,
        )

    def start(self) -> float:
        """Starts it; seconds until it says that it has booted."""
        began = time.perf_counter()
        self.launch()
        assert self._child is not None and self._child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            while selector.select(START_TIMEOUT_S):
                line = self._child.stdout.readline()
                if "boot success" in line:
                    return time.perf_counter() - began
                if not line:
                    break
        self.kill()
        log = self._log_file.read_text(encoding="utf-8") if self._log_file.exists() else ""
        raise Lost(f"the broker does not start any more:\n{log[-4000:]}")

    def records_walked(self) -> int:
        """How many records it looked at in its last start, by its own words."""
        return int(re.findall(r"store opened: .* records_walked=(\d+)", self._said())[-1])

    def warnings(self) -> list[str]:
        """What it had to warn of in its last start."""
        return [line for line in self._said().splitlines() if "#warn]" in line]

    def _said(self) -> str:
        with self._log_file.open(encoding="utf-8") as log:
            log.seek(self._log_start)
            return log.read()

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._gone()

    def stop(self) -> None:
        self.ask_to_stop()
        self.wait_for_end()

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting."""
        assert self._child is not None
        self._child.send_signal(signal.SIGTERM)

    def wait_for_end(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        self._gone(timeout_s)

    def _gone(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        assert self._child is not None and self._child.stdout is not None
        self._child.wait(timeout_s)
        self._child.stdout.close()
        self._child = None


class Loader:
    """One connection with sends on their way; bodies tell who sent them, so that none is like another."""

    def __init__(self, port: int, name: str, choice: random.Random, in_flight: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.acknowledged: list[Acknowledged] = []
        self._name = name
        self._choice = choice
        self._waiting: dict[int, tuple[str, bytes]] = {}
        self._sent = 0
        self._pending = b""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._send(in_flight)

    def _send(self, count: int) -> None:
        frames = []
        for _ in range(count):
            self._sent += 1
            topic = f"KillLoop{self._sent % TOPICS}"
            body = f"{self._name}.{self._sent} ".encode() + self._choice.randbytes(
                self._choice.choice((0, 100, 1000, 5000))
            )
            self._waiting[self._sent] = (topic, body)
            frames.append(encode_send(topic, self._choice.randrange(QUEUES), self._sent, body))
        self.socket.sendall(b"".join(frames))

    def receive(self, send_more: bool) -> bool:
        """Takes the answers that have come; False when the connection has ended."""
        try:
            data = self.socket.recv(262_144)
        except ConnectionError:
            return False
        self._pending += data
        count = 0
        for frame in self._frames():
            count += 1
            self._answered(frame)
        if send_more and count:
            with contextlib.suppress(ConnectionError):
                self._send(count)
        return bool(data)

    def _frames(self) -> Iterator[Frame]:
        at = 0
        while len(self._pending) - at >= 4:
            end = at + 4 + int.from_bytes(self._pending[at : at + 4], "big")
            if end > len(self._pending):
                break
            yield decode_frame(self._pending[at + 4 : end])
            at = end
        self._pending = self._pending[at:]

    def _answered(self, frame: Frame) -> None:
        topic, body = self._waiting.pop(frame.opaque)
        if frame.code == 0:
            fields = frame.ext_fields or {}
            place = decode_offset_message_id(fields["msgId"])
            queue = int(fields["queueId"]), int(fields["queueOffset"])
            self.acknowledged.append(Acknowledged(topic, *queue, place.commit_log_offset, body))


def load_until_ended(
    broker: Broker,
    name: str,
    choice: random.Random,
    seconds: float,
    connections: int,
    in_flight: int,
    end: Callable[[], object],
) -> list[Acknowledged]:
    """Sends for so long, ends the broker, and returns what was acknowledged, also on its last breath."""
    loaders = [Loader(broker.port, f"{name}.{number}", choice, in_flight) for number in range(connections)]
    kill_at: float | None = time.perf_counter() + seconds
    with selectors.DefaultSelector() as selector:
        for loader in loaders:
            selector.register(loader.socket, selectors.EVENT_READ, loader)
        while selector.get_map():
            left = 0.0 if kill_at is None else max(0.0, kill_at - time.perf_counter())
            for key, _ in selector.select(left if kill_at is not None else ANSWER_TIMEOUT_S):
                if not key.data.receive(send_more=kill_at is not None):
                    selector.unregister(key.fileobj)
                    key.data.socket.close()
            if kill_at is not None and time.perf_counter() >= kill_at:
                kill_at = None
                end()
    return [one for loader in loaders for one in loader.acknowledged]


def read_back(port: int, wanted: Sequence[Acknowledged]) -> None:
    """Asks for each by its offset; Lost when one is missing or not as it was sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S) as connection:
        answers = connection.makefile("rb")
        for start in range(0, len(wanted), 64):
            some = wanted[start : start + 64]
            requests = [
                Frame.request(
                    RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader(offset=one.commit_log_offset)
                )
                for one in some
            ]
            for opaque, request in enumerate(requests):
                request.opaque = opaque
            connection.sendall(b"".join(map(encode_frame, requests)))
            found = {}
            for _ in some:
                frame = decode_frame(answers.read(int.from_bytes(answers.read(4), "big")))
                found[frame.opaque] = frame
            for opaque, one in enumerate(some):
                _compare(one, found[opaque])


def _compare(one: Acknowledged, answer: Frame) -> None:
    if answer.code != 0:
        raise Lost(f"{one.topic} at {one.commit_log_offset} was acknowledged and is lost: {answer.remark}")
    try:
        record = decode_record(answer.body, check_crc=True)
    except MessageError as error:
        raise Lost(f"{one.topic} at {one.commit_log_offset} is damaged: {error}") from error
    found = Acknowledged(
        record.topic, record.queue_id, record.queue_offset, record.commit_log_offset, record.body
    )
    if found != one:
        raise Lost(f"{one} was acknowledged, {found} is there")


@define
class Summary:
    """What all rounds came to."""

    rounds: int = 0
    starts_killed: int = 0
    acknowledged: list[Acknowledged] = field(factory=list)
    recovery_s: list[float] = field(factory=list)
    records_walked: list[int] = field(factory=list)
    report: VerifyReport | None = None


def kill_rounds(
    rounds: int,
    seed: int,
    keys: Sequence[str] = (),
    connections: int = 4,
    in_flight: int = 16,
    longest_s: float = 1.0,
    tell: bool = False,
) -> Summary:
    """All of it; Lost as soon as something is."""
    choice = random.Random(seed)
    summary = Summary()
    with tempfile.TemporaryDirectory(prefix="kill-loop-") as folder:
        broker = Broker(folder, [*KEYS, *keys])
        try:
            broker.start()
            for number in range(1, rounds + 1):
                seconds = choice.uniform(0.02, longest_s)
                acknowledged = load_until_ended(
                    broker, str(number), choice, seconds, connections, in_flight, broker.kill
                )
                if number % 2 == 0:
                    broker.launch()
                    time.sleep(choice.uniform(0.1, 0.8))  # until somewhere in its start
                    broker.kill()
                    summary.starts_killed += 1
                took = broker.start()
                read_back(broker.port, acknowledged)
                summary.rounds += 1
                summary.acknowledged += acknowledged
                summary.recovery_s.append(took)
                summary.records_walked.append(broker.records_walked())
                if tell:
                    walked = summary.records_walked[-1]
                    print(
                        f"round {number}: {len(acknowledged):,} acknowledged in {seconds:.2f} s, "
                        f"started again in {took:.2f} s by looking at {walked:,} records, all there",
                        *broker.warnings(),
                        sep="\n    ",
                        flush=True,
                    )
            read_back(broker.port, summary.acknowledged)
            broker.stop()
        finally:
            broker.kill()
        summary.report = verify(StoreFiles(ReadOnlyDisk(), broker.store, index_size=INDEX_SIZE))
        if not summary.report.is_clean:
            raise Lost("\n".join(finding.sentence for finding in summary.report.findings.kept))
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--in-flight", type=int, default=16, help="for each connection")
    parser.add_argument("--longest", type=float, default=1.0, help="seconds of load before a kill at most")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for the broker")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    try:
        summary = kill_rounds(
            options.rounds, options.seed, options.set, options.connections, options.in_flight,
            options.longest, tell=True,
        )  # fmt: skip
    except Lost as failure:
        print(f"LOST: {failure}")
        return 1
    report = summary.report
    assert report is not None
    print(
        f"{summary.rounds} rounds, {summary.starts_killed} starts killed, "
        f"{len(summary.acknowledged):,} acknowledged and all there, of {report.records:,} records; "
        f"slowest start {max(summary.recovery_s):.2f} s, most records looked at in a start "
        f"{max(summary.records_walked):,}; the store is sound"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
