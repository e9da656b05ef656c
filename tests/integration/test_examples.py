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
