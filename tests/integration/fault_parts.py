"""Parts for tests of faults with real servers: a broker alone, a plain socket that speaks frames, memory."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame, encode_frame
from rocketmq_tx.protocol.header_fields import Header
from rocketmq_tx.protocol.headers import PullMessageRequestHeader, SendMessageRequestHeaderV2
from tests import send_headers
from tests.clusters import HOST, NAMESRV_BANNER, SMALL_STORE, Ours, write_properties
from tests.ports import free_broker_port, free_port
from tests.processes import ServerProcess
from tests.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[2]
ANSWER_TIMEOUT_S = 20.0


class Client:
    """A blocking connection. `ask` returns the answer to one request, whatever its code."""

    def __init__(self, port: int, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._opaque = 0

    def send(self, *frames: Frame) -> None:
        for frame in frames:
            self._opaque += 1
            frame.opaque = self._opaque
        self.socket.sendall(b"".join(map(encode_frame, frames)))

    def receive(self) -> Frame:
        (size,) = struct.unpack(">i", self._exactly(4))
        return decode_frame(self._exactly(size))

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            more = self.socket.recv(min(size - len(data), 1 << 20))
            if not more:
                raise ConnectionError("closed by the server")
            data += more
        return bytes(data)

    def ask(self, code: int, header: Header | None = None, body: bytes = b"") -> Frame:
        self.send(Frame.request(code, header, body))
        answer = self.receive()
        while not answer.is_response:  # the server has something to say, too
            answer = self.receive()
        assert answer.opaque == self._opaque, f"an answer to {answer.opaque} instead of {self._opaque}"
        return answer

    def send_message(self, topic: str = "Faults", body: bytes = b"hello", queue_id: int = 0) -> Frame:
        return self.ask(RequestCode.SEND_MESSAGE_V2, send_header(topic, queue_id), body)

    def pull(self, offset: int, topic: str = "Faults", queue_id: int = 0) -> Frame:
        return self.ask(RequestCode.PULL_MESSAGE, pull_header(topic, queue_id, offset))

    def is_closed_by_server(self) -> bool:
        """Waits until the server closes; answers that come before are read and dropped."""
        try:
            while self.socket.recv(1 << 20):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def send_header(topic: str = "Faults", queue_id: int = 0, **special: Any) -> SendMessageRequestHeaderV2:
    return send_headers.send_header(topic, queue_id, producer_group="faults", reconsume_times=0, **special)


def pull_header(topic: str, queue_id: int, offset: int, **more: object) -> PullMessageRequestHeader:
    """A pull of group `faults` that brings its subscription along; it is not held unless `more` says so."""
    fields: dict[str, object] = {
        "consumer_group": "faults", "topic": topic, "queue_id": queue_id, "queue_offset": offset,
        "max_msg_nums": 32, "sys_flag": 4, "commit_offset": 0, "suspend_timeout_millis": 15_000,
        "subscription": "*", "sub_version": 1, "expression_type": "TAG", **more,
    }  # fmt: skip
    return PullMessageRequestHeader(**fields)  # type: ignore[arg-type]


class Server:
    """A daemon of ours in a folder of its own."""

    def __init__(self, process: ServerProcess, port: int, banner: str) -> None:
        self.process = process
        self.port = port
        self._banner = banner

    def start(self) -> None:
        self.process.start()
        self.process.wait_for_output(self._banner)

    def memory_bytes(self) -> int:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def lines(self, *parts: str) -> list[str]:
        """Lines of output that hold all of `parts`."""
        return [line for line in self.process.output().splitlines() if all(part in line for part in parts)]


class FaultCase(SynchronousTestCase):
    """Servers of one test, which must all end in order when it is over and have printed no trace."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="faults-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def broker(
        self, name: str = "broker-a", *, start: bool = True, kind: Ours | None = None, **keys: object
    ) -> Server:
        """A broker without NameServer unless `keys` name one."""
        port = int(str(keys.pop("listenPort", free_broker_port())))
        folder = self.folder / name
        config = write_broker_file(folder, name, port, keys)
        command = (kind or Ours()).broker_command(folder, config)
        process = ServerProcess(name, command, folder, Ours().environment(folder))
        return self._tended(Server(process, port, f"The broker[{name}, {HOST}:{port}] boot success."), start)

    def namesrv(self, name: str = "namesrv", port: int | None = None) -> Server:
        port = port or free_port()
        folder = self.folder / name
        config = folder / "namesrv.properties"
        write_properties(config, {"listenPort": str(port), "kvConfigPath": str(folder / "kvConfig.json")})
        command = Ours().namesrv_command(folder, config)
        process = ServerProcess(name, command, folder, Ours().environment(folder))
        return self._tended(Server(process, port, NAMESRV_BANNER), start=True)

    def _tended(self, server: Server, start: bool) -> Server:
        self.addCleanup(self._end, server)
        if start:
            server.start()
        return server

    def _end(self, server: Server) -> None:
        """Whatever was done to it, it stops when it is told to, and has printed no trace."""
        if server.process.is_running:
            server.process.stop()
        if server.process.log_path.exists():
            self.assertNotIn("Traceback", server.process.log_path.read_text(errors="replace"))

    def client(self, server: Server, timeout_s: float = ANSWER_TIMEOUT_S) -> Client:
        client = Client(server.port, timeout_s)
        self.addCleanup(client.close)
        return client

    def crowd(self, server: Server, kind: str, number: int) -> Crowd:
        crowd = Crowd(server.port, kind, number)
        self.addCleanup(crowd.end)
        return crowd


def write_broker_file(folder: Path, name: str, port: int, keys: Mapping[str, object]) -> Path:
    store = folder / "store"
    config = folder / "broker.properties"
    write_properties(
        config,
        {
            "brokerName": name,
            "brokerIP1": HOST,
            "listenPort": str(port),
            "storePathRootDir": str(store),
            "storePathCommitLog": str(store / "commitlog"),
            **SMALL_STORE,
            **{key: str(value) for key, value in keys.items()},
        },
    )
    return config


class Crowd:
    """Very many connections, held by a process of its own: descriptors of one process are limited."""

    def __init__(self, port: int, kind: str, number: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.crowd", kind, str(port), str(number)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def report(self) -> dict[str, float]:
        """The next line that the crowd says of itself."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the crowd ended with {self._process.wait()}"
        return dict(json.loads(line))

    def finish(self) -> dict[str, float]:
        """Asks it to come to an end; its last report."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self.report()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def connections_of(port: int) -> int:
    """How many connections the server behind `port` has open, as the kernel counts them."""
    ending = f":{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(ending) and row[3] == "01" for row in rows)


def wait_for_connections(port: int, number: int) -> None:
    wait_until(lambda: connections_of(port) == number, f"{number} connections are open at the server")
