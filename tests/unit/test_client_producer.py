"""The producer against brokers in memory: where messages go, what is tried again, and what is said of it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.client import Message, Producer, ProducerSettings, SendStatus
from rocketmq_tx.errors import (
    CallRefused,
    ConnectFailed,
    MessageError,
    OperatorError,
    RequestTimeout,
    RouteUnknown,
)
from rocketmq_tx.protocol.bodies import MessageQueue
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from tests.unit.fake_cluster import NAMESRV, FakeCluster


class ProducerTests(SynchronousTestCase):
    def make(self, *brokers: str, **settings: object) -> Producer:
        self.cluster = FakeCluster(*brokers)
        self.clock = self.cluster.clock
        producer = Producer(
            "group", NAMESRV, self.clock, ProducerSettings(**settings), self.cluster.environment()
        )
        producer.startService()
        self.addCleanup(self.stop, producer)
        return producer

    def stop(self, producer: Producer) -> None:
        self.successResultOf(producer.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_messages_go_round_all_queues_of_a_topic_that_the_first_one_creates(self) -> None:
        producer = self.make()
        results = [self.successResultOf(producer.send(Message("orders", b"%d" % n))) for n in range(8)]
        self.assertEqual({result.status for result in results}, {SendStatus.SEND_OK})
        self.assertEqual(sorted(result.queue.queue_id for result in results), [0, 0, 1, 1, 2, 2, 3, 3])
        self.assertEqual(len({result.message_id for result in results}), 8)
        self.assertEqual([len(queue) for queue in self.cluster.broker.topics["orders"]], [2, 2, 2, 2])

    def test_the_route_is_asked_for_once_and_then_every_30_seconds(self) -> None:
        producer = self.make()
        self.cluster.broker.add_topic("orders", 2)
        for _ in range(3):
            self.successResultOf(producer.send(Message("orders", b"x")))
        self.assertEqual(self.cluster.route_requests, ["orders"])
        self.cluster.broker.add_topic("orders", 5)
        self.clock.advance(30)
        self.assertEqual(self.cluster.route_requests, ["orders"] * 2)
        self.assertEqual(len(self.successResultOf(producer.publish_queues("orders"))), 5)

    def test_a_topic_that_nobody_would_create_is_said_to_have_no_route(self) -> None:
        producer = self.make()
        self.cluster.broker.creates_topics = False
        self.failureResultOf(producer.send(Message("orders", b"x")), RouteUnknown)

    def test_the_next_name_server_is_asked_when_one_does_not_answer(self) -> None:
        cluster = FakeCluster()
        cluster.down.add("127.0.0.9:9876")
        producer = Producer(
            "group", f"127.0.0.9:9876; {NAMESRV}", cluster.clock, environment=cluster.environment()
        )
        self.successResultOf(producer.send(Message("orders", b"x")))
        cluster.down.add(NAMESRV)
        self.failureResultOf(producer.send(Message("bills", b"x")), ConnectFailed)

    def test_a_failed_send_is_repeated_on_another_broker_under_the_same_id(self) -> None:
        """Fault 25: what a cut connection left undecided is sent again, and told apart by its id."""
        producer = self.make("broker-a", "broker-b")
        for broker in self.cluster.brokers.values():
            broker.add_topic("orders", 2)
        self.cluster.down.add(self.cluster.broker.address)
        results = [self.successResultOf(producer.send(Message("orders", b"x"))) for _ in range(4)]
        self.assertEqual({result.queue.broker_name for result in results}, {"broker-b"})
        stored = [record for queue in self.cluster.brokers["broker-b"].topics["orders"] for record in queue]
        self.assertEqual(
            {record.property_map["UNIQ_KEY"] for record in stored}, {result.message_id for result in results}
        )

    def test_a_refusal_that_another_broker_might_not_share_is_tried_three_times(self) -> None:
        producer = self.make()
        self.cluster.broker.refuses = (ResponseCode.NO_PERMISSION, "not now")
        refused = self.failureResultOf(producer.send(Message("orders", b"x")), CallRefused).value
        self.assertEqual((refused.code, refused.remark), (ResponseCode.NO_PERMISSION, "not now"))
        self.assertEqual(len(self.cluster.broker.requests(RequestCode.SEND_MESSAGE_V2)), 3)

    def test_a_refusal_for_good_is_not_tried_again(self) -> None:
        producer = self.make()
        self.cluster.broker.refuses = (ResponseCode.MESSAGE_ILLEGAL, "too long")
        self.failureResultOf(producer.send(Message("orders", b"x")), CallRefused)
        self.assertEqual(len(self.cluster.broker.requests(RequestCode.SEND_MESSAGE_V2)), 1)

    def test_a_message_that_is_stored_but_not_safe_is_a_result_and_no_failure(self) -> None:
        producer = self.make()
        self.cluster.broker.refuses = None
        original = self.cluster.broker._stored

        def unsafe(*arguments: object) -> object:
            answer = original(*arguments)
            answer.code = ResponseCode.FLUSH_DISK_TIMEOUT
            return answer

        self.cluster.broker._stored = unsafe
        result = self.successResultOf(producer.send(Message("orders", b"x")))
        self.assertEqual(result.status, SendStatus.FLUSH_DISK_TIMEOUT)

    def test_all_tries_together_take_no_longer_than_the_send_timeout(self) -> None:
        producer = self.make(send_timeout_ms=3000)
        self.cluster.broker.add_topic("orders", 4)
        self.cluster.broker.is_silent = True
        sending = producer.send(Message("orders", b"x"))
        self.clock.pump([1, 1])
        self.assertNoResult(sending)
        self.clock.pump([1])
        self.failureResultOf(sending, RequestTimeout)

    def test_a_chosen_queue_is_kept_and_tried_once(self) -> None:
        producer = self.make()
        self.cluster.broker.add_topic("orders", 4)
        queue = MessageQueue("orders", "broker-a", 2)
        self.successResultOf(producer.publish_queues("orders"))
        result = self.successResultOf(producer.send(Message("orders", b"x"), queue))
        self.assertEqual(result.queue, queue)
        self.cluster.broker.refuses = (ResponseCode.SYSTEM_ERROR, "broken")
        self.failureResultOf(producer.send(Message("orders", b"x"), queue), CallRefused)
        self.assertEqual(len(self.cluster.broker.requests(RequestCode.SEND_MESSAGE_V2)), 2)

    def test_a_batch_is_one_request_and_one_result_with_all_ids(self) -> None:
        producer = self.make()
        batch = [Message("orders", b"%d" % n) for n in range(3)]
        result = self.successResultOf(producer.send_batch(batch))
        self.assertEqual(len(result.message_id.split(",")), 3)
        self.assertEqual(len(result.offset_message_id.split(",")), 3)
        stored = self.cluster.broker.topics["orders"][result.queue.queue_id]
        self.assertEqual([record.body for record in stored], [b"0", b"1", b"2"])

    def test_a_one_way_message_is_stored_without_a_result(self) -> None:
        producer = self.make()
        self.assertIsNone(self.successResultOf(producer.send_oneway(Message("orders", b"x"))))
        self.assertEqual(sum(map(len, self.cluster.broker.topics["orders"])), 1)

    def test_a_bad_message_fails_without_a_request(self) -> None:
        producer = self.make()
        self.failureResultOf(producer.send(Message("orders", b"")), MessageError)
        self.failureResultOf(producer.send_batch([]), MessageError)
        self.assertEqual(self.cluster.broker.seen, [])

    def test_brokers_hear_of_the_group_every_30_seconds_and_of_its_end(self) -> None:
        producer = self.make()
        self.successResultOf(producer.send(Message("orders", b"x")))
        self.clock.pump([30, 30])
        beats = len(self.cluster.broker.requests(RequestCode.HEART_BEAT))
        self.assertGreaterEqual(beats, 2)
        self.successResultOf(producer.stopService())
        (farewell,) = self.cluster.broker.requests(RequestCode.UNREGISTER_CLIENT)
        self.assertEqual((farewell.producer_group, farewell.consumer_group), ("group", None))

    def test_a_bad_group_or_no_name_server_is_told_at_once(self) -> None:
        cluster = FakeCluster()
        self.assertRaises(OperatorError, Producer, "no blanks", NAMESRV, cluster.clock)
        self.assertRaises(OperatorError, Producer, "group", " ; ", cluster.clock)
