"""An Apache ZooKeeper server for tests: started, stopped, frozen, and cut off from one broker at a time."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import threading
from pathlib import Path

from tests.interop import toolchain
from tests.ports import free_port
from tests.processes import ServerProcess
from tests.waiting import wait_until

HOST = "127.0.0.1"
TICK_MS = 2000
"""As in the configuration that ZooKeeper ships: sessions end up to a tick later than agreed."""
CONNECTIONS_MAX = 60


class ZooKeeper:
    """One server; its data lasts over restarts."""

    def __init__(self, tick_ms: int = TICK_MS) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="zookeeper-"))
        self.port = free_port()
        main = "org.apache.zookeeper.server.ZooKeeperServerMain"
        data = str(self.folder / "data")
        command = [
            "java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-Dzookeeper.admin.enableServer=false",
            f"-Djava.io.tmpdir={self.folder}", "-cp", toolchain.zookeeper_class_path(),
            main, str(self.port), data, str(tick_ms), str(CONNECTIONS_MAX),
        ]  # fmt: skip
        self.process = ServerProcess("zookeeper", command, self.folder)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Returns when it answers."""
        self.process.start()
        wait_until(self._answers, "ZooKeeper listens", 60)

    def _answers(self) -> bool:
        assert self.process.is_running, self.process.log_tail()
        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        self.process.kill()

    def freeze(self) -> None:
        """It keeps all connections and answers nothing."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def remove(self) -> None:
        """The server and its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Proxy:
    """A way to a server that can be cut: then connections hang, and nothing gets through either way."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._open = threading.Event()
        self._open.set()
        self._closed = False
        self._sockets: list[socket.socket] = []
        self._listening = socket.create_server((HOST, 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def cut(self) -> None:
        self._open.clear()

    def heal(self) -> None:
        """What hung goes on, as after a partition."""
        self._open.set()

    def close(self) -> None:
        self._closed = True
        self._open.set()
        for each in (self._listening, *self._sockets):
            each.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listening.accept()
                server = socket.create_connection((HOST, self._target_port))
            except OSError:
                continue
            self._sockets += [client, server]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._open.wait()
                sink.sendall(data)
        except OSError:
            pass
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
