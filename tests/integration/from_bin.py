"""Launchers that are started from a folder `bin`, as configuration files with relative paths want it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.processes import ServerProcess

PROJECT = Path(__file__).resolve().parents[2]


class FromBinCase(SynchronousTestCase):
    """`root` has a folder `bin`, and a home for each process; both are gone after the test."""

    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="from-bin-"))
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        (self.root / "bin").mkdir()

    def launch(self, name: str, launcher: str, *arguments: str) -> ServerProcess:
        """Starts `mqbroker` or `mqnamesrv`; the end of the test stops it, and finds no mishap in its log."""
        command = [sys.executable, "-c", f"from rocketmq_tx.cli.{launcher} import main; main()", *arguments]
        environment = {"HOME": str(self.root / name), "PYTHONPATH": str(PROJECT)}
        process = ServerProcess(name, command, self.root / "bin", environment)
        self.addCleanup(self.end, process)
        process.start()
        return process

    def end(self, process: ServerProcess) -> None:
        if process.is_running:
            process.stop()
        self.assertNotIn("Traceback", process.log_path.read_text(errors="replace"))
