"""Which topics a new master makes, or a start after a kill, because their messages have come without them."""

from __future__ import annotations

import errno

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.missing_topics import RECENT_MS, missing_topics
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import DeleteTopicRequestHeader
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_broker import MemoryBroker
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, message, open_store


class MissingTopics(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.store = open_store(self.disk)

    def send(self, topic: str, queue_id: int = 0, at_ms: int = NOW) -> None:
        self.store.append_all([message(topic, queue_id)], at_ms)

    def missing(self, *known: str, store: MessageStore | None = None) -> dict[str, int]:
        return missing_topics(store or self.store, known.__contains__, 8)

    def test_there_are_none_in_an_empty_store(self) -> None:
        self.assertEqual(self.missing(), {})

    def test_an_unknown_topic_gets_the_usual_queues_and_all_that_have_messages(self) -> None:
        self.send("Known")
        self.send("New", 2)
        self.send("Wide", 11)
        self.assertEqual(self.missing("Known"), {"New": 8, "Wide": 12})

    def test_topics_of_brokers_and_groups_get_the_queues_that_have_messages(self) -> None:
        self.send("%RETRY%g")
        self.send("%DLQ%g")
        self.send("RMQ_SYS_TRANS_HALF_TOPIC")
        self.assertEqual(set(self.missing().values()), {1})
        self.assertEqual(len(self.missing()), 3)

    def test_light_queues_are_no_topics(self) -> None:
        self.send("%LMQ%a")
        self.assertEqual(self.missing(), {})

    def test_one_whose_last_message_is_old_was_deleted(self) -> None:
        self.send("Old", at_ms=NOW)
        self.send("Recent", at_ms=NOW + 1)
        self.send("Known", at_ms=NOW + 1 + RECENT_MS)
        self.assertEqual(self.missing("Known"), {"Recent": 8})

    def test_a_sector_that_cannot_be_read_hides_no_topic(self) -> None:
        self.send("New")
        self.disk.fail("read", "commitlog", errno.EIO)
        self.assertEqual(self.missing(), {"New": 8})


class AfterAKillTests(SynchronousTestCase):
    """The table of topics was not written when the kill came: many were made, or the disk was full."""

    def unwritten(self, **keys: object) -> MemoryBroker:
        broker = MemoryBroker(**keys)
        self.assertEqual(broker.send(b"hello", "Before").code, ResponseCode.SUCCESS)
        broker.disk.fail("create", "topics.json", errno.ENOSPC)
        self.assertEqual(broker.send(b"hello", "Fresh", 2).code, ResponseCode.SUCCESS)
        return broker

    def test_what_was_acknowledged_can_be_pulled(self) -> None:
        broker = self.unwritten().killed()
        self.assertEqual(broker.pull("Fresh", 2).code, ResponseCode.SUCCESS)
        self.assertEqual(broker.send(b"hello", "Fresh", 3).code, ResponseCode.SUCCESS)

    def test_a_topic_that_was_deleted_stays_so(self) -> None:
        broker = MemoryBroker()
        broker.send(b"hello", "Gone")
        broker.ask(Frame.request(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader(topic="Gone")))
        self.assertEqual(broker.killed().pull("Gone").code, ResponseCode.TOPIC_NOT_EXIST)

    def test_a_slave_leaves_it_to_its_master(self) -> None:
        broker = self.unwritten().killed(brokerRole="SLAVE", brokerId=1)
        self.assertEqual(broker.pull("Fresh", 2).code, ResponseCode.TOPIC_NOT_EXIST)
