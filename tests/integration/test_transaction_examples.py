"""The example of docs/transactions.md and examples/transactions.py, run against a cluster."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from rocketmq_tx.client import ConsumerSettings, PushConsumer, ReceivedMessage
from rocketmq_tx.protocol.bodies import ConsumeFromWhere
from tests.clusters import ClusterTestCase
from tests.unit.test_docs import PROJECT, python_examples

QUICK_CHECKS = {"transactionTimeOut": "500", "transactionCheckInterval": "500"}


class TransactionExampleTests(ClusterTestCase):
    timeout = 60

    def written(self, example: str) -> Path:
        program = Path(self.mktemp()).resolve()
        program.write_text(example, "utf-8")
        return program

    def run_program(self, program: Path) -> str:
        assert self.cluster is not None
        done = subprocess.run(
            [sys.executable, str(program), self.cluster.namesrv_address],
            cwd=PROJECT,
            env={"PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    async def consumed(self, topic: str, count: int) -> Counter[bytes]:
        """What a consumer gets: `count` messages at least."""
        assert self.cluster is not None
        bodies: Counter[bytes] = Counter()
        enough: Deferred[None] = Deferred()

        async def handle(messages: list[ReceivedMessage]) -> None:
            bodies.update(message.body for message in messages)
            if bodies.total() >= count and not enough.called:
                enough.callback(None)

        settings = ConsumerSettings(consume_from=ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET)
        consumer = PushConsumer(f"{topic}-consumer", self.cluster.namesrv_address, handle, reactor, settings)
        consumer.subscribe(topic, "*")
        await consumer.startService()
        try:
            await enough
        finally:
            await consumer.stopService()
        return bodies

    async def test_the_documents_payments_are_made_once(self) -> None:
        self.own_cluster(settings=QUICK_CHECKS)
        program = self.written(*python_examples(PROJECT / "docs" / "transactions.md"))
        self.assertEqual(self.run_program(program), "alice 70 COMMIT\nalice 70 ROLLBACK\n")
        self.assertEqual(await self.consumed("Payments", 1), Counter([b"alice 70"]))

    async def test_the_example_is_asked_by_the_broker(self) -> None:
        self.own_cluster(settings=QUICK_CHECKS)
        output = self.run_program(PROJECT / "examples" / "transactions.py")
        self.assertIn("order-1 of -5: ROLLBACK\norder-2 of 2000: UNKNOWN\n", output)
        self.assertIn("asked about order-2: COMMIT\n", output)
        self.assertEqual(await self.consumed("ExampleOrders", 2), Counter([b"100", b"2000"]))
