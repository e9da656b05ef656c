"""Messages that wait, with real processes: the slave that takes over delivers what a dead master promised."""

from __future__ import annotations

import time
from collections import Counter

from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.protocol.properties import encode_properties
from tests.clusters import Broker
from tests.integration.fault_parts import send_header
from tests.integration.test_promotion import mqpromote
from tests.integration.test_replication import QUEUES, ReplicationCase
from tests.waiting import wait_until

DELAYED = "Delayed"
EACH = 20
LATE_S = 10
DELAYS = {"messageDelayLevel": f"1s {LATE_S}s"}


class DelaysAfterPromotion(ReplicationCase):
    def delay(self, master: Broker, kind: str, **properties: str) -> list[bytes]:
        """Sends some messages; their bodies."""
        client = self.client(master)
        bodies = [f"{kind} {number}".encode() for number in range(EACH)]
        for number, body in enumerate(bodies):
            header = send_header(DELAYED, number % QUEUES)
            header.properties = encode_properties({"UNIQ_KEY": body.decode(), **properties})
            answer = client.ask(RequestCode.SEND_MESSAGE_V2, header, body)
            self.assertEqual(answer.code, ResponseCode.SUCCESS, answer.remark)
        return bodies

    def delivered(self, broker: Broker) -> Counter[bytes]:
        """How often each message has come to its topic."""
        client = self.client(broker)
        found: Counter[bytes] = Counter()
        for queue_id in range(QUEUES):
            offset = 0
            while records := decode_records(client.pull(offset, DELAYED, queue_id).body):
                found.update(record.body for record in records)
                offset = records[-1].queue_offset + 1
        client.close()
        return found

    def test_what_waits_in_a_killed_master_is_delivered_by_its_slave(self) -> None:
        master = self.master_of(brokerRole="SYNC_MASTER", **DELAYS)
        slave = self.slave_of(**DELAYS)
        self.wait_in_sync(master)
        early = self.delay(master, "early", DELAY="1") + self.delay(
            master, "early timed", TIMER_DELAY_SEC="1"
        )
        wait_until(lambda: len(self.delivered(slave)) == len(early), "the slave has what was delivered")
        late = self.delay(master, "late", DELAY="2")
        late += self.delay(master, "late timed", TIMER_DELAY_SEC=str(LATE_S))
        sent_s = time.monotonic()

        master.kill()
        done = mqpromote(slave)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertLess(
            time.monotonic(), sent_s + LATE_S, "this machine is too slow for the delays of the test"
        )
        self.assertFalse(set(late) & set(self.delivered(slave)), "not before their time")

        wait_until(lambda: set(late) <= set(self.delivered(slave)), "they are delivered", 2 * LATE_S)
        found = self.delivered(slave)
        self.assertEqual(set(found), {*early, *late})
        self.assertEqual({found[body] for body in late}, {1})
