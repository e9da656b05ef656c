"""Leases of queues as orderly consumers ask for them, on a whole broker in memory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.lock_handlers import LockRequests
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.protocol.bodies import (
    LockBatchRequestBody,
    LockBatchResponseBody,
    MessageQueue,
    UnlockBatchRequestBody,
)
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from tests.memory_broker import MemoryBroker

QUEUES = [MessageQueue(topic="Orders", broker_name="broker-a", queue_id=number) for number in range(2)]


class OrderlyConsumers(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = MemoryBroker()
        self.jobs = self.broker.parts.reading.services()
        for job in self.jobs:
            job.startService()

    def lock(self, client_id: str, *queues: MessageQueue) -> list[int]:
        """Queue ids that the client holds afterwards, of those that it asked for."""
        body = LockBatchRequestBody(consumer_group="cg", client_id=client_id, mq_set=list(queues or QUEUES))
        answer = self.broker.ask(Frame.request(RequestCode.LOCK_BATCH_MQ, None, body.to_bytes()))
        held = LockBatchResponseBody.from_bytes(answer.body).lock_ok_mq_set
        return sorted(queue.queue_id for queue in held)

    def unlock(self, client_id: str) -> None:
        body = UnlockBatchRequestBody(consumer_group="cg", client_id=client_id, mq_set=QUEUES)
        self.broker.ask(Frame.request(RequestCode.UNLOCK_BATCH_MQ, None, body.to_bytes()))

    def test_one_client_of_a_group_holds_a_queue(self) -> None:
        self.assertEqual(self.lock("one", QUEUES[0]), [0])
        self.assertEqual(self.lock("two"), [1])
        self.unlock("one")
        self.assertEqual(self.lock("two"), [0, 1])

    def test_who_renews_keeps_it_and_who_is_silent_for_a_minute_loses_it(self) -> None:
        self.lock("one")
        for _ in range(5):
            self.broker.pass_time(20)
            self.lock("one")
        self.assertEqual(self.lock("two"), [])
        self.broker.pass_time(60)
        self.assertEqual(self.lock("two"), [0, 1])
        self.assertEqual(self.lock("one"), [])

    def test_a_clock_that_is_set_ends_no_lease(self) -> None:
        self.lock("one")
        self.broker.set_by_ms = 3_600_000
        self.assertEqual(self.lock("two"), [])

    def test_a_restarted_broker_knows_of_no_leases(self) -> None:
        self.lock("one")
        self.broker = self.broker.restarted()
        self.assertEqual(self.lock("two"), [0, 1])

    def test_a_slave_leases_nothing_and_forgets_what_it_leased_as_master(self) -> None:
        self.lock("one")
        store = self.broker.parts.settings.store
        store.broker_role = BrokerRole.SLAVE
        self.broker.parts.reading.role_changed()
        body = LockBatchRequestBody(consumer_group="cg", client_id="one", mq_set=QUEUES)
        refused = self.broker.ask(Frame.request(RequestCode.LOCK_BATCH_MQ, None, body.to_bytes()))
        self.assertEqual(refused.code, ResponseCode.SYSTEM_ERROR)
        self.assertIn("slave", refused.remark or "")
        store.broker_role = BrokerRole.ASYNC_MASTER
        self.broker.parts.reading.role_changed()
        self.assertEqual(self.lock("two"), [0, 1])

    def test_leases_that_nobody_renews_are_forgotten_by_themselves(self) -> None:
        (requests,) = [
            each for each in self.broker.parts.reading.handlers() if isinstance(each, LockRequests)
        ]
        self.lock("one")
        self.broker.pass_time(59)
        self.assertEqual(len(requests.locks), 2)
        self.broker.pass_time(62)
        self.assertEqual(len(requests.locks), 0)
