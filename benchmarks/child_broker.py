"""A broker of its own process for a benchmark: free port, temporary store, stopped at the end."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
STOP_TIMEOUT_S = 15


def free_port() -> int:
    """A port whose neighbour two below (the VIP port) is free, too."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port - 2))
            except OSError:
                continue
            return port


@contextlib.contextmanager
def child_broker(keys: Sequence[str] = ()) -> Iterator[tuple[tuple[str, int], int]]:
    """((host, port), pid) of a broker that says that it has booted; `keys` are lines of its file."""
    with tempfile.TemporaryDirectory(prefix="bench-broker-") as folder:
        port = free_port()
        lines = ["brokerIP1=127.0.0.1", f"listenPort={port}", f"storePathRootDir={folder}/store", *keys]
        file = Path(folder, "broker.properties")
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        log = Path(folder, "broker.log")
        command = [*TWISTD, "-n", "--pidfile=", f"--logfile={log}", "rocketmq-broker", "-c", str(file)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
        try:
            assert child.stdout is not None
            for line in child.stdout:
                if "boot success" in line:
                    break
            else:
                raise RuntimeError(f"the broker did not start:\n{log.read_text() if log.exists() else ''}")
            yield ("127.0.0.1", port), child.pid
        finally:
            child.terminate()
            child.wait(STOP_TIMEOUT_S)
