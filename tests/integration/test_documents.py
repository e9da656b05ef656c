"""Examples of the documents that need a cluster, run against one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.clusters import ClusterTestCase, shared_cluster
from tests.unit.test_docs import PROJECT, python_examples

STANDARD_ADDRESS = "127.0.0.1:9876"


class ReadmeTests(ClusterTestCase):
    def test_the_python_example_sends_a_message(self) -> None:
        self.cluster = shared_cluster()
        (example,) = python_examples(PROJECT / "README.md")
        self.assertIn(STANDARD_ADDRESS, example)
        program = Path(self.mktemp()).resolve()
        program.write_text(example.replace(STANDARD_ADDRESS, self.cluster.namesrv_address), "utf-8")
        done = subprocess.run(
            [sys.executable, str(program)],
            cwd=PROJECT,
            env={"PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertIn("SendResult [sendStatus=SEND_OK", done.stdout, done.stderr)
        self.assertEqual(done.returncode, 0, done.stderr)
