"""Fault 6, with real processes: two brokers on one store, two on one port. The second says why and goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.clusters import Ours
from tests.integration.fault_parts import FaultCase, Server, write_broker_file
from tests.ports import free_broker_port

BIN = Path(sys.executable).parent
TAKEN_PORT_EXIT = 255
"""Apache's launchers end with -1 when they cannot listen, and so do ours; twistd knows only 1."""


class SecondStartCase(FaultCase):
    def second(self, command: list[str]) -> tuple[int, str]:
        """(exit code, stderr) of a daemon that must not start."""
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env={"PATH": str(BIN), **Ours().environment(self.folder), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertNotIn("Traceback", ended.stdout + ended.stderr)
        self.assertNotIn("boot success", ended.stdout)
        return ended.returncode, ended.stderr

    def twistd(self, role: str, config: Path) -> tuple[int, str]:
        return self.second([sys.executable, str(BIN / "twistd"), "-n", "--pidfile=", role, "-c", str(config)])

    def launcher(self, name: str, config: Path) -> tuple[int, str]:
        module = f"rocketmq_tx.cli.{name}"
        return self.second([sys.executable, "-c", f"from {module} import main; main()", "-c", str(config)])

    def assertOneSentence(self, text: str, *parts: str) -> None:
        """Exactly one line of stderr is the sentence, which names what an operator has to know."""
        sentences = [line for line in text.splitlines() if line.startswith(("mqbroker:", "mqnamesrv:"))]
        self.assertEqual(len(sentences), 1, text)
        for part in parts:
            self.assertIn(part, sentences[0])

    def assertStillServes(self, first: Server) -> None:
        with self.client(first) as client:
            self.assertEqual(client.send_message().code, 0)
            self.assertIn(b"hello", client.pull(0).body)


class OneStoreTests(SecondStartCase):
    """Fault 6: two brokers on one store."""

    def test_a_second_broker_on_a_store_is_refused_and_the_first_goes_on(self) -> None:
        first = self.broker()
        store = self.folder / "broker-a" / "store"
        config = write_broker_file(
            self.folder / "second",
            "broker-b",
            free_broker_port(),
            {"storePathRootDir": store, "storePathCommitLog": store / "commitlog"},
        )
        for code, stderr in (self.twistd("rocketmq-broker", config), self.launcher("mqbroker", config)):
            self.assertEqual(code, 1)
            self.assertOneSentence(stderr, str(store), "in use by another broker", "storePathRootDir")
        self.assertStillServes(first)

    def test_the_store_is_free_again_when_its_broker_was_killed(self) -> None:
        first = self.broker()
        self.assertStillServes(first)
        first.process.kill()
        first.start()
        with self.client(first) as client:
            self.assertIn(b"hello", client.pull(0).body)


class OnePortTests(SecondStartCase):
    """Fault 6: two daemons on one port."""

    def test_a_second_broker_on_a_port_is_refused_and_the_first_goes_on(self) -> None:
        first = self.broker()
        config = write_broker_file(self.folder / "second", "broker-b", first.port, {})
        code, stderr = self.twistd("rocketmq-broker", config)
        self.assertEqual(code, 1)
        self.assertOneSentence(stderr, f"cannot listen on 0.0.0.0:{first.port}", "listenPort")
        code, stderr = self.launcher("mqbroker", config)
        self.assertEqual(code, TAKEN_PORT_EXIT)
        self.assertOneSentence(stderr, f"cannot listen on 0.0.0.0:{first.port}", "listenPort")
        self.assertStillServes(first)

    def test_the_refused_broker_left_its_store_in_order(self) -> None:
        first = self.broker()
        folder = self.folder / "second"
        config = write_broker_file(folder, "broker-b", first.port, {})
        self.twistd("rocketmq-broker", config)
        self.assertFalse((folder / "store" / "abort").exists())
