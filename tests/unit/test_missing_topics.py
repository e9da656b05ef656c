"""Which topics a new master makes, or a start after a kill, because their messages have come without them."""

from __future__ import annotations

import errno

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.missing_topics import RECENT_MS, missing_topics
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import DeleteTopicRequestHeader
from rocketmq_tx.protocol.properties import pack_properties
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

    def test_further_queues_are_no_topics(self) -> None:
        store = open_store(MemoryDisk(), enable_multi_dispatch=True)
        named = message("Known")._replace(properties=pack_properties({"INNER_MULTI_DISPATCH": "Further"}))
        store.append_all([named], NOW)
        self.assertIn(("Further", 0), store.queues())
        self.assertEqual(self.missing("Known", store=store), {})

    def test_one_that_its_master_has_deleted_is_not_missing_on_a_slave(self) -> None:
        self.send("Gone")
        slave = open_store(MemoryDisk())
        slave.append_raw(self.store.log_bytes(0, 1 << 20), 0, NOW)
        self.store.delete_topic("Gone")
        self.assertEqual(self.missing(store=slave), {"Gone": 8})
        slave.topics_were_deleted(self.store.deleted_topics)
        self.assertEqual(self.missing(store=slave), {})

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

    def test_a_delayed_message_does_not_bring_a_deleted_topic_back(self) -> None:
        broker = MemoryBroker()
        broker.send(b"later", "Gone", properties={"DELAY": "1"})
        broker.ask(Frame.request(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader(topic="Gone")))
        broker.pass_time(2.0)
        self.assertEqual(broker.bodies("Gone"), [b"later"])
        self.assertEqual(broker.killed().pull("Gone").code, ResponseCode.TOPIC_NOT_EXIST)

    def test_one_that_was_made_again_is_kept_with_its_delayed_messages(self) -> None:
        broker = MemoryBroker()
        broker.send(b"hello", "Again")
        broker.ask(Frame.request(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader(topic="Again")))
        broker.disk.fail("create", "topics.json", errno.ENOSPC)
        self.assertEqual(broker.send(b"hello", "Again").code, ResponseCode.SUCCESS)
        self.assertEqual(broker.killed().pull("Again").code, ResponseCode.SUCCESS)

    def test_a_slave_leaves_it_to_its_master(self) -> None:
        broker = self.unwritten().killed(brokerRole="SLAVE", brokerId=1)
        self.assertEqual(broker.pull("Fresh", 2).code, ResponseCode.TOPIC_NOT_EXIST)
