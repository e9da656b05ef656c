"""Server processes of tests: each in its folder and process group, stopped by SIGTERM and seen to go."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.waiting import wait_until

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
LOG_TAIL_BYTES = 6000

#: An ordered stop after SIGTERM ends by the signal itself (Twisted), by its number + 128 (JVMs), or by 0.
ORDERLY_EXITS = frozenset({0, -signal.SIGTERM, 128 + signal.SIGTERM})


class ServerFailed(AssertionError):
    """A server did not start, stop or stay as it should; carries the end of its output."""


class ServerProcess:
    """A command that may be started, stopped or killed, and started again in the same folder."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.folder = folder
        self._command = list(command)
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def log_path(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts without waiting for anything; output of all starts is appended to `log_path`."""
        assert not self.is_running, f"{self.name} is running already"
        self.folder.mkdir(parents=True, exist_ok=True)
        inherited = {key: value for key, value in os.environ.items() if key != "NAMESRV_ADDR"}
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env={**inherited, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        """What was printed since the last start."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def wait_for_output(self, text: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Until `text` is printed; fails at once when the process ends before."""

        def printed() -> bool:
            if text in self.output():
                return True
            if not self.is_running:
                raise self._failure(f"ended with exit code {self.exit_code} before it printed {text!r}")
            return False

        wait_until(printed, f"{self.name} printed {text!r}", timeout_s)

    @property
    def exit_code(self) -> int | None:
        return self._process.poll() if self._process else None

    def stop(self, timeout_s: float = STOP_TIMEOUT_S, signal_number: int = signal.SIGTERM) -> None:
        """SIGTERM or SIGINT; insists that the process and its whole group have gone in an orderly way."""
        if self._process is None:
            return
        if not self.is_running:
            raise self._failure(f"had gone by itself with exit code {self.exit_code}")
        self._process.send_signal(signal_number)
        try:
            exit_code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self._failure(f"was still there {timeout_s:g} s after signal {signal_number}") from None
        left_behind = self._kill_group()
        self._process = None
        if exit_code not in ORDERLY_EXITS:
            raise self._failure(f"ended with exit code {exit_code} after signal {signal_number}")
        if left_behind:
            raise self._failure("left processes of its own behind")

    def kill(self) -> None:
        """SIGKILL to the whole group, as a crash."""
        if self._process is not None:
            self._kill_group()
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def _kill_group(self) -> bool:
        """Whether there was anybody left; the group has the number of the process that led it."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def log_tail(self) -> str:
        output = self.log_path.read_bytes() if self.log_path.exists() else b""
        text = output[-LOG_TAIL_BYTES:].decode(errors="replace")
        return f"--- {self.name}: end of its output ---\n{text}"

    def _failure(self, what: str) -> ServerFailed:
        return ServerFailed(f"{self.name} {what}\n{self.log_tail()}")
