"""What starting a broker must not import, so that it stays quick."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

LATER = {
    "construct": "layouts are declared with it for tests and documents; `store.layouts` has the structs",
    "lz4": "`protocol.compression` imports it when a body is packed with it",
    "zstandard": "as lz4",
    "kazoo": "for autoFailover only",
    "rich": "for tools",
    "yaml": "for nothing that a broker does",
    "matplotlib": "for the benchmarks",
    "twisted.web": "for an address server only",
    "OpenSSL": "for nothing that a broker does",
    "rocketmq_tx.client": "for quickstart and tools",
    "rocketmq_tx.namesrv": "the other role",
    "rocketmq_tx.failover.zookeeper": "for autoFailover only",
    "rocketmq_tx.failover.automatic": "for autoFailover only",
    "rocketmq_tx.failover.rounds": "for autoFailover only",
    "rocketmq_tx.filter": "`compiled_expressions` imports it when somebody subscribes by SQL92",
    "rocketmq_tx.store.verify": "for mqstore",
    "rocketmq_tx.store.repair": "for mqstore",
}
"""What is imported later, if at all, and why that is enough."""
ENTRIES = {
    "twistd rocketmq-broker": "import rocketmq_tx.cli.broker_maker",
    "mqbroker": "import rocketmq_tx.cli.mqbroker",
}
PROGRAM = "{entry}, rocketmq_tx.broker.service, sys; print(*sorted(sys.modules))"


class StartImportTests(SynchronousTestCase):
    def test_a_broker_starts_without_what_it_does_not_need(self) -> None:
        for name, entry in ENTRIES.items():
            command = [sys.executable, "-c", PROGRAM.format(entry=entry)]
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            self.assertIn("rocketmq_tx.broker.service", found)
            imported = {module for module in LATER if module in found}
            self.assertEqual(imported, set(), f"{name}: {[LATER[module] for module in imported]}")
