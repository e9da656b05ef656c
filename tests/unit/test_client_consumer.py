"""The push consumer against brokers in memory: shares, pulls, offsets, failures, and other members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.client import ConsumerSettings, PushConsumer, ReceivedMessage
from rocketmq_tx.client.process_queue import FlowLimits
from rocketmq_tx.errors import ConnectFailed, OperatorError
from rocketmq_tx.protocol.bodies import ConsumeFromWhere, HeartbeatData
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import NotifyConsumerIdsChangedRequestHeader
from rocketmq_tx.protocol.properties import encode_properties
from tests.unit.fake_cluster import NAMESRV, START_S, FakeCluster

FIRST = ConsumerSettings(consume_from=ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET)


def tagged(tag: str) -> bytes:
    return encode_properties({"TAGS": tag}).encode()


class PushConsumerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = FakeCluster()
        self.clock = self.cluster.clock
        self.broker = self.cluster.broker
        self.broker.add_topic("orders", 4)
        self.got: list[bytes] = []

    def consumer(
        self,
        settings: ConsumerSettings = FIRST,
        listener: Callable[[list[ReceivedMessage]], object] | None = None,
        expression: str = "*",
    ) -> PushConsumer:
        consumer = PushConsumer(
            "group", NAMESRV, listener or self.listen, self.clock, settings, self.cluster.environment()
        )
        consumer.subscribe("orders", expression)
        self.successResultOf(consumer.startService())
        self.addCleanup(self.stop, consumer)
        self.run_briefly()
        return consumer

    def listen(self, messages: list[ReceivedMessage]) -> None:
        self.got += [message.body for message in messages]

    def stop(self, consumer: PushConsumer) -> None:
        if consumer.running:
            stopping = consumer.stopService()
            self.run_briefly()
            self.successResultOf(stopping)

    def run_briefly(self) -> None:
        """Long enough for what is due at once, too short for any period."""
        self.clock.pump([0.001] * 20)

    def store(self, *bodies: bytes, queue_id: int = 0, tag: str = "") -> None:
        for body in bodies:
            self.broker.store("orders", queue_id, body, tagged(tag) if tag else b"")
        self.run_briefly()

    def committed(self, queue_id: int = 0) -> int | None:
        return self.broker.offsets.get(("group", "orders", queue_id))

    # -- receiving -----------------------------------------------------------------------------------------

    def test_messages_that_were_there_and_those_that_come_arrive_once(self) -> None:
        self.store(b"one", b"two")
        self.consumer()
        self.assertEqual(self.got, [b"one", b"two"])
        self.store(b"three", queue_id=3)
        self.assertEqual(self.got, [b"one", b"two", b"three"])

    def test_more_messages_than_a_pull_brings_arrive_once(self) -> None:
        wanted = [b"%d" % number for number in range(500)]
        self.store(*wanted)
        self.consumer()
        self.clock.pump([0.01] * 30)
        self.assertEqual(self.got, wanted)

    def test_only_subscribed_tags_arrive_even_when_their_hashes_are_equal(self) -> None:
        self.consumer(expression="Aa || other")
        self.store(b"wanted", tag="Aa")
        self.store(b"same hash", tag="BB")
        self.assertEqual(self.got, [b"wanted"])

    def test_a_listener_may_take_its_time_and_others_go_on(self) -> None:
        waiting: list[Deferred[None]] = []

        def slow(messages: list[ReceivedMessage]) -> Deferred[None]:
            self.listen(messages)
            waiting.append(Deferred())
            return waiting[-1]

        self.consumer(ConsumerSettings(consume_from=FIRST.consume_from, concurrency=2), slow)
        self.store(b"one", b"two", b"three")
        self.assertEqual(self.got, [b"one", b"two"])
        waiting[1].callback(None)
        self.run_briefly()
        self.assertEqual(self.got, [b"one", b"two", b"three"])
        self.clock.pump([1] * 5)
        self.assertEqual(self.committed(), 0, "the first message is not done")
        waiting[0].callback(None)
        waiting[2].callback(None)
        self.clock.pump([1] * 5)
        self.assertEqual(self.committed(), 3)

    def test_a_coroutine_may_listen(self) -> None:
        async def listener(messages: list[ReceivedMessage]) -> None:
            self.listen(messages)

        self.consumer(listener=listener)
        self.store(b"one")
        self.assertEqual(self.got, [b"one"])

    def test_pulling_pauses_while_too_much_waits_here(self) -> None:
        stuck: Deferred[None] = Deferred()
        settings = ConsumerSettings(
            consume_from=FIRST.consume_from, flow_limits=FlowLimits(messages=40), concurrency=1
        )
        self.consumer(settings, lambda messages: stuck)
        self.store(*[b"x"] * 200)
        self.clock.pump([0.05] * 10)
        pulls = [one for one in self.broker.requests(RequestCode.PULL_MESSAGE) if one.topic == "orders"]
        self.assertLess(max(one.queue_offset for one in pulls if one.queue_id == 0), 100)
        stuck.callback(None)
        self.clock.pump([0.05] * 30)
        pulls = [one for one in self.broker.requests(RequestCode.PULL_MESSAGE) if one.topic == "orders"]
        self.assertEqual(max(one.queue_offset for one in pulls), 200)

    # -- where it begins, what it commits ------------------------------------------------------------------

    def test_a_new_group_begins_at_the_end_unless_it_says_otherwise(self) -> None:
        self.store(b"old")
        self.consumer(ConsumerSettings())
        self.store(b"new")
        self.assertEqual(self.got, [b"new"])

    def test_a_new_group_may_begin_at_a_time(self) -> None:
        self.store(b"old")
        self.clock.advance(10)
        self.store(b"new")
        settings = ConsumerSettings(
            consume_from=ConsumeFromWhere.CONSUME_FROM_TIMESTAMP,
            consume_from_timestamp_ms=(START_S + 5) * 1000,
        )
        self.consumer(settings)
        self.assertEqual(self.got, [b"new"])

    def test_what_the_group_has_committed_wins(self) -> None:
        self.store(b"one", b"two", b"three")
        self.broker.offsets["group", "orders", 0] = 2
        self.consumer()
        self.assertEqual(self.got, [b"three"])

    def test_offsets_are_committed_every_5_seconds_and_at_the_end(self) -> None:
        consumer = self.consumer()
        self.store(b"one", b"two")
        self.assertIsNone(self.committed())
        self.clock.pump([1] * 5)
        self.assertEqual(self.committed(), 2)
        self.store(b"three")
        self.stop(consumer)
        self.assertEqual(self.committed(), 3)

    def test_an_offset_beyond_the_queue_is_put_right(self) -> None:
        self.store(b"one")
        self.broker.offsets["group", "orders", 0] = 100
        self.consumer()
        self.store(b"two")
        self.assertEqual(self.got, [b"two"])
        self.clock.pump([1] * 5)
        self.assertEqual(self.committed(), 2)

    def test_an_empty_long_poll_is_followed_by_the_next(self) -> None:
        self.consumer()
        before = len(self.broker.requests(RequestCode.PULL_MESSAGE))
        self.clock.advance(15)
        self.broker.release_held()
        self.run_briefly()
        self.assertEqual(len(self.broker.requests(RequestCode.PULL_MESSAGE)), before + 5)
        self.store(b"one")
        self.assertEqual(self.got, [b"one"])

    # -- failures ------------------------------------------------------------------------------------------

    def failing(self, messages: list[ReceivedMessage]) -> None:
        self.listen(messages)
        if messages[0].body == b"bad" and messages[0].reconsume_times == 0:
            raise ValueError("a listener's own trouble")

    def test_a_message_that_the_listener_fails_on_goes_back_and_counts_as_done(self) -> None:
        self.consumer(listener=self.failing)
        self.store(b"good", b"bad", b"good too")
        (back,) = self.broker.sent_back
        self.assertEqual((back.group, back.origin_topic, back.delay_level), ("group", "orders", 0))
        self.assertEqual(back.offset, self.broker.topics["orders"][0][1].commit_log_offset)
        self.clock.pump([1] * 5)
        self.assertEqual(self.committed(), 3)

    def test_a_message_that_the_broker_does_not_take_back_is_tried_again_here(self) -> None:
        self.consumer(listener=self.failing)
        self.broker.refuses = (ResponseCode.SYSTEM_ERROR, "no")
        self.store(b"bad", b"good")
        self.clock.pump([1] * 4)
        self.assertEqual(Counter(self.got), {b"bad": 1, b"good": 1})
        self.assertIn(self.committed(), (None, 0))
        self.clock.pump([1] * 6)
        self.assertEqual(Counter(self.got), {b"bad": 2, b"good": 1})
        self.assertEqual(self.committed(), 2)

    def test_retried_messages_come_by_the_groups_own_topic(self) -> None:
        self.consumer()
        self.clock.pump([1] * 2)  # the topic is made by the first heartbeat, and found by a later look
        retried = encode_properties({"RETRY_TOPIC": "orders"}).encode()
        self.broker.store("%RETRY%group", 0, b"again", retried)
        self.run_briefly()
        self.assertEqual(self.got, [b"again"])

    def test_a_broker_that_forgot_the_group_is_told_again_at_once(self) -> None:
        self.consumer()
        self.broker.members.clear()
        self.broker.release_held()
        self.clock.pump([0.5] * 4)
        self.store(b"one")
        self.assertEqual(self.got, [b"one"])

    def test_pulling_goes_on_after_the_broker_was_away(self) -> None:
        self.consumer()
        self.cluster.down.add(self.broker.address)
        self.broker.release_held()
        self.clock.pump([1] * 10)
        self.cluster.down.clear()
        self.clock.pump([1] * 2)
        self.store(b"one")
        self.assertEqual(self.got, [b"one"])

    def test_a_silent_broker_costs_one_pull_at_a_time(self) -> None:
        self.broker.is_silent = True
        consumer = PushConsumer("group", NAMESRV, self.listen, self.clock, FIRST, self.cluster.environment())
        consumer.subscribe("orders")
        starting = consumer.startService()
        self.clock.pump([1] * 8)
        self.successResultOf(starting)
        self.broker.is_silent = False
        self.clock.pump([1] * 40)
        self.store(b"one")
        self.assertEqual(self.got, [b"one"])
        self.stop(consumer)

    def test_without_a_name_server_the_start_fails(self) -> None:
        self.cluster.down.add(NAMESRV)
        consumer = PushConsumer("group", NAMESRV, self.listen, self.clock, FIRST, self.cluster.environment())
        consumer.subscribe("orders")
        self.failureResultOf(consumer.startService(), ConnectFailed)
        self.stop(consumer)

    def test_a_bad_group_is_told_at_once(self) -> None:
        self.assertRaises(OperatorError, PushConsumer, "no blanks", NAMESRV, self.listen, self.clock)

    # -- the group -----------------------------------------------------------------------------------------

    def notify(self, group: str = "group") -> None:
        header = NotifyConsumerIdsChangedRequestHeader(consumer_group=group)
        self.cluster.notify(Frame.request(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, header, oneway=True))
        self.run_briefly()

    def queue_ids(self, consumer: PushConsumer) -> list[int]:
        return sorted(queue.queue_id for queue in consumer.queues if queue.topic == "orders")

    def test_a_second_consumer_takes_half_of_the_queues_and_gives_them_back(self) -> None:
        first = self.consumer()
        self.store(b"before", queue_id=3)
        self.clock.pump([1] * 5)
        self.assertEqual(self.queue_ids(first), [0, 1, 2, 3])
        second = self.consumer()
        self.notify()
        self.assertEqual((self.queue_ids(first), self.queue_ids(second)), ([0, 1], [2, 3]))
        for queue_id in range(4):
            self.store(b"during", queue_id=queue_id)
        self.stop(second)
        self.notify()
        self.assertEqual(self.queue_ids(first), [0, 1, 2, 3])
        self.store(b"after", queue_id=2)
        self.assertEqual(Counter(self.got), {b"before": 1, b"during": 4, b"after": 1})

    def test_a_queue_that_is_given_up_is_committed_at_once(self) -> None:
        self.consumer()
        self.store(b"one", queue_id=3)
        self.assertIsNone(self.committed(3))
        self.consumer()
        self.notify()
        self.assertEqual(self.committed(3), 1)

    def test_a_notice_to_another_group_changes_nothing(self) -> None:
        self.consumer()
        asked = len(self.broker.requests(RequestCode.GET_CONSUMER_LIST_BY_GROUP))
        self.notify("another")
        self.assertEqual(len(self.broker.requests(RequestCode.GET_CONSUMER_LIST_BY_GROUP)), asked)

    def test_an_empty_list_of_members_changes_nothing(self) -> None:
        consumer = self.consumer()
        self.broker.members["group"].clear()
        self.notify()
        self.assertEqual(self.queue_ids(consumer), [0, 1, 2, 3])

    def test_new_queues_of_a_topic_are_found(self) -> None:
        consumer = self.consumer()
        self.broker.topics["orders"].append([])
        self.clock.pump([1] * 31)
        self.assertEqual(self.queue_ids(consumer), [0, 1, 2, 3, 4])

    def test_a_topic_that_is_created_later_is_found_within_a_second(self) -> None:
        del self.broker.topics["orders"]
        consumer = self.consumer()
        self.clock.pump([1] * 5)
        self.assertEqual(consumer.queues, set())
        self.broker.add_topic("orders", 2)
        self.clock.pump([1])
        self.assertEqual(self.queue_ids(consumer), [0, 1])
        self.store(b"one")
        self.assertEqual(self.got, [b"one"])

    def test_the_heartbeat_says_what_the_group_subscribes_to(self) -> None:
        consumer = self.consumer(expression="TagA || TagB")
        data: HeartbeatData = self.broker.members["group"][consumer.client_id]
        (consumer_data,) = data.consumer_data_set
        expressions = {one.topic: one.sub_string for one in consumer_data.subscription_data_set}
        self.assertEqual(expressions, {"orders": "TagA || TagB", "%RETRY%group": "*"})

    def test_stopping_leaves_the_group_and_nothing_behind(self) -> None:
        consumer = self.consumer()
        self.store(b"one")
        self.stop(consumer)
        self.assertEqual(self.broker.members["group"], {})
        self.assertEqual(consumer._session.remoting.running, 0)
        self.assertEqual(
            [call for call in self.clock.getDelayedCalls() if call.active()], [], "timers are left"
        )
