"""The programs in examples/ do what they say."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clusters import ClusterTestCase, shared_cluster
from tests.processes import ServerProcess
from tests.waiting import wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SENT = 8


class ExampleTests(ClusterTestCase):
    def test_what_the_producer_sends_the_consumer_gets(self) -> None:
        self.cluster = shared_cluster()
        address = self.cluster.namesrv_address
        folder = tempfile.TemporaryDirectory(prefix="examples-")
        self.addCleanup(folder.cleanup)

        sent = subprocess.run(
            [sys.executable, str(EXAMPLES / "producer.py"), address],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(sent.returncode, 0, sent.stderr)
        self.assertEqual(sent.stdout.count("sendStatus=SEND_OK"), 5)

        command = [sys.executable, str(EXAMPLES / "consumer.py"), address]
        consumer = ServerProcess("consumer", command, Path(folder.name))
        consumer.start()
        self.addCleanup(consumer.kill)
        wait_until(lambda: consumer.output().count("offset=") == SENT, f"{SENT} messages have come")
        consumer.stop(signal_number=signal.SIGINT)
        for step in ("created", "paid", "sent"):
            self.assertEqual(consumer.output().count(f"b'{step}'"), 1)

    def test_a_brokers_figures_are_a_number_a_line(self) -> None:
        self.cluster = shared_cluster()
        shown = subprocess.run(
            [sys.executable, str(EXAMPLES / "figures.py"), self.cluster.broker().address],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(shown.returncode, 0, shown.stderr)
        pairs = [line.split(" ") for line in shown.stdout.splitlines()]
        names = [name for name, _ in pairs]
        self.assertEqual(names, sorted(set(names)))
        for name, number in pairs:
            self.assertRegex(name, r"^rocketmq_[A-Za-z0-9]+$")
            float(number)
        self.assertLessEqual(
            {"rocketmq_putTps", "rocketmq_commitLogMaxOffset", "rocketmq_commitLogDiskRatio"}, set(names)
        )
