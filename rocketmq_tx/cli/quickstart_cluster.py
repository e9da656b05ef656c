"""A NameServer and a broker as child processes, for trying out: on standard or free ports, in one folder."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater

from rocketmq_tx.errors import StartError

HOST = "127.0.0.1"
NAMESRV_PORT = 9876
BROKER_PORT = 10911
#: What a broker listens on, relative to its port: VIP alias, itself, replication.
BROKER_OFFSETS = (-2, 0, 10_000)
#: Where free ports are looked for: below the range that systems use for outgoing connections.
FREE_PORTS = range(12_000, 20_000)
POLL_S = 0.02
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
LOG_TAIL_LINES = 15


def choose_port(wanted: int, offsets: Iterable[int] = (0,)) -> int:
    """`wanted`, if it and its companions are free, else another port."""
    offsets = tuple(offsets)
    candidates = [wanted, *random.sample(FREE_PORTS, 200)]
    for port in candidates:
        if all(_is_free(port + offset) for offset in offsets):
            return port
    raise StartError("no free port was found")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        if sys.platform != "win32":  # there the option would let two servers share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


class Child:
    """One server process; what it prints goes to `log_path`."""

    def __init__(self, name: str, module: str, config: Path, reactor: Any) -> None:
        self.name = name
        self.log_path = config.with_suffix(".log")
        self._command = [sys.executable, "-m", module, "-c", str(config)]
        self._reactor = reactor
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, banner: str) -> None:
        """Returns when the banner is printed; StartError with the end of its output when that fails."""
        log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        self._process = process = self._spawn()
        until_s = self._reactor.seconds() + START_TIMEOUT_S
        while banner not in self._output(log_start):
            if process.poll() is not None:
                raise self._start_error(f"ended with exit code {process.returncode}", log_start)
            if self._reactor.seconds() > until_s:
                raise self._start_error(f"was not ready within {START_TIMEOUT_S:g} s", log_start)
            await deferLater(self._reactor, POLL_S)

    def _spawn(self) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if name != "NAMESRV_ADDR"}
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C is for us, who stop the children in order
            )

    async def stop(self) -> None:
        """Asks it to stop in order and waits until it has; one that hangs is killed."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        until_s = self._reactor.seconds() + STOP_TIMEOUT_S
        while process.poll() is None:
            if self._reactor.seconds() > until_s:
                print(f"{self.name} does not stop and is killed", file=sys.stderr)
                process.kill()
                process.wait()
                break
            await deferLater(self._reactor, POLL_S)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    def _output(self, start: int) -> str:
        with self.log_path.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def _start_error(self, what: str, log_start: int) -> StartError:
        tail = "\n".join(self._output(log_start).splitlines()[-LOG_TAIL_LINES:])
        return StartError(f"the {self.name} {what}; it said ({self.log_path}):\n{tail}")


class QuickstartCluster:
    """The two children, with everything they write under `folder`."""

    def __init__(self, folder: Path, reactor: Any) -> None:
        self.folder = folder
        namesrv_port = choose_port(NAMESRV_PORT)
        broker_port = choose_port(BROKER_PORT, BROKER_OFFSETS)
        self.namesrv_address = f"{HOST}:{namesrv_port}"
        self.broker_address = f"{HOST}:{broker_port}"
        namesrv_config = folder / "namesrv.properties"
        broker_config = folder / "broker.properties"
        _write(
            namesrv_config, listenPort=str(namesrv_port), kvConfigPath=(folder / "kvConfig.json").as_posix()
        )
        _write(
            broker_config,
            brokerName="broker-a",
            brokerIP1=HOST,
            listenPort=str(broker_port),
            namesrvAddr=self.namesrv_address,
            storePathRootDir=(folder / "store").as_posix(),
            mappedFileSizeCommitLog=str(64 << 20),
        )
        self.namesrv = Child("NameServer", "rocketmq_tx.cli.mqnamesrv", namesrv_config, reactor)
        self.broker = Child("broker", "rocketmq_tx.cli.mqbroker", broker_config, reactor)

    async def start(self) -> None:
        await self.namesrv.start("The Name Server boot success.")
        await self.broker.start("boot success.")

    async def stop(self) -> None:
        """The broker first: it says farewell to the NameServer."""
        await self.broker.stop()
        await self.namesrv.stop()

    def gone(self) -> Child | None:
        """A child that ended by itself, if there is one."""
        return next((one for one in (self.broker, self.namesrv) if one.exit_code is not None), None)


def _write(path: Path, **values: str) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in values.items()), encoding="utf-8")
