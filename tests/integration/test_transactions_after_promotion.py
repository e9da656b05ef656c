"""Open transactions, with real processes: whoever takes over from a killed master asks and ends them."""

from __future__ import annotations

from rocketmq_tx.protocol.message import decode_records
from tests.integration.test_promotion import mqpromote
from tests.integration.test_replication import ReplicationCase, store_of
from tests.interop.test_transactions_interchange import COMMIT, ROLLBACK, TOPIC, Producer
from tests.store_compare import wait_until_equal
from tests.waiting import wait_until

CHECKS = {"transactionCheckInterval": "1000", "transactionTimeOut": "500"}
DECISIONS = {"asked-1": COMMIT, "asked-2": ROLLBACK, "told": COMMIT}


class TransactionsAfterPromotion(ReplicationCase):
    def test_what_a_killed_master_left_open_is_asked_about_and_ended_by_its_successor(self) -> None:
        master = self.master_of(brokerRole="SYNC_MASTER", **CHECKS)
        slave = self.slave_of(**CHECKS)
        self.wait_in_sync(master)
        producer, connection = Producer(), self.client(master)
        for key in ("before", *DECISIONS):
            producer.send(connection, key)
        producer.end(connection, "before", COMMIT)
        wait_until_equal(store_of(master), store_of(slave))
        master.kill()
        done = mqpromote(slave)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

        connection = self.client(slave)
        producer.end(connection, "told", COMMIT, producer.first["told"])
        producer.connect(connection)
        wanted = frozenset({"asked-1", "asked-2"})
        asked = producer.checks(connection, 20, wanted)
        self.assertEqual(set(asked), wanted)
        for key in wanted:
            producer.end(connection, key, DECISIONS[key])
        producer.checks(connection, 0.5)  # what was on its way
        self.assertEqual(producer.checks(connection, 3), {})

        def delivered() -> list[bytes]:
            with self.client(slave) as reader:
                return sorted(record.body for record in decode_records(reader.pull(0, TOPIC).body))

        wait_until(lambda: len(delivered()) >= 3, "what was committed is delivered")
        self.assertEqual(delivered(), [b"asked-1", b"before", b"told"])
