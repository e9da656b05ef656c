"""Requests of consumers and tools about offsets, locks, messages and figures, on a whole broker in memory."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.offset_handlers import OffsetRequests
from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.broker.runtime_info import size_text, uptime_text
from rocketmq_tx.broker.topic_rules import make_topic
from rocketmq_tx.broker.warm_reads import WarmReads
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import bodies
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.headers import (
    CloneGroupOffsetRequestHeader,
    DeleteSubscriptionGroupRequestHeader,
    GetConsumeStatsInBrokerHeader,
    GetConsumeStatsRequestHeader,
    GetTopicStatsInfoRequestHeader,
    PullMessageRequestHeader,
    QueryConsumeQueueRequestHeader,
    QueryConsumerOffsetRequestHeader,
    QueryConsumeTimeSpanRequestHeader,
    QueryCorrectionOffsetHeader,
    QueryMessageRequestHeader,
    SendMessageRequestHeader,
    ViewMessageRequestHeader,
)
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.store.pull import GetResult, GetStatus
from tests.replay import BEGAN_MS, ReplayedBroker, frames_of
from tests.unit.read_parts import at_once


class ReadingCase(SynchronousTestCase):
    """Topic `t` has two queues; queue 0 holds three messages, TagA, TagB, TagA."""

    def setUp(self) -> None:
        self.broker = ReplayedBroker()
        parts = self.broker.parts
        self.topics, self.groups, self.offsets = parts.topics, parts.groups, parts.offsets
        self.topics.put(make_topic("t", 2))
        for number, tag in enumerate(("TagA", "TagB", "TagA")):
            self.broker.clock.advance(1.0)
            self.send(f"KEYS\x01key-{number}\x02TAGS\x01{tag}")

    def ask(self, code: int, header: Any = None, body: bytes = b"") -> Frame:
        *_, answer = self.broker.serve(encode_frame(Frame.request(code, header, body)))
        return answer

    def send(self, properties: str) -> None:
        header = SendMessageRequestHeader(
            producer_group="p", topic="t", default_topic="TBW102", default_topic_queue_nums=4,
            queue_id=0, sys_flag=0, born_timestamp=BEGAN_MS, flag=0, properties=properties,
        )  # fmt: skip
        self.assertEqual(self.ask(RequestCode.SEND_MESSAGE, header, b"hello").code, 0)

    def beat(self, *topics: str, expression: str = "*") -> None:
        """Group `g` comes online with these subscriptions."""
        codes = [] if expression == "*" else [2598919]
        data = bodies.HeartbeatData(
            client_id="c",
            consumer_data_set=[
                bodies.ConsumerData(
                    group_name="g",
                    subscription_data_set=[
                        bodies.SubscriptionData(topic, expression, code_set=codes, sub_version=1)
                        for topic in topics
                    ],
                )
            ],
        )
        self.assertEqual(self.ask(RequestCode.HEART_BEAT, body=data.to_bytes()).code, 0)

    @staticmethod
    def queue(number: int, topic: str = "t") -> bodies.MessageQueue:
        return bodies.MessageQueue(topic, "broker-a", number)


class Progress(ReadingCase):
    def stats(self, topic: str | None = None) -> dict[bodies.MessageQueue, bodies.OffsetWrapper]:
        header = GetConsumeStatsRequestHeader(consumer_group="g", topic=topic)
        return bodies.ConsumeStats.from_bytes(
            self.ask(RequestCode.GET_CONSUME_STATS, header).body
        ).offset_table

    def test_a_group_is_shown_in_each_queue_of_the_topics_where_it_has_offsets(self) -> None:
        self.offsets.commit("g", "t", 0, 2)
        self.assertEqual(
            self.stats(),
            {
                self.queue(0): bodies.OffsetWrapper(3, 2, BEGAN_MS + 2000),
                self.queue(1): bodies.OffsetWrapper(0, 0, 0),
            },
        )
        self.assertEqual(self.stats("t"), self.stats())

    def test_topics_that_are_gone_or_no_longer_subscribed_to_are_left_out(self) -> None:
        self.offsets.commit("g", "t", 0, 2)
        self.offsets.commit("g", "gone", 0, 2)
        self.beat("other")
        self.assertEqual(self.stats(), {})
        self.assertEqual(self.stats("gone"), {})

    def test_all_groups_of_the_broker_and_what_waits_for_them(self) -> None:
        self.groups.find("g")
        self.offsets.commit("g", "t", 0, 1)
        for is_order, behind in ((False, 2), (True, 0)):
            header = GetConsumeStatsInBrokerHeader(is_order=is_order)
            answer = self.ask(RequestCode.GET_BROKER_CONSUME_STATS, header)
            shown = bodies.ConsumeStatsList.from_bytes(answer.body)
            self.assertEqual((shown.total_diff, shown.broker_addr), (behind, "127.0.0.1:28911"))
            self.assertIn("g", {name for entry in shown.consume_stats_list for name in entry})

    def test_a_topic_is_shown_with_the_ends_of_its_queues(self) -> None:
        answer = self.ask(RequestCode.GET_TOPIC_STATS_INFO, GetTopicStatsInfoRequestHeader(topic="t"))
        table = bodies.TopicStatsTable.from_bytes(answer.body).offset_table
        self.assertEqual(table[self.queue(0)], bodies.TopicOffset(0, 3, BEGAN_MS + 3000))
        self.assertEqual(table[self.queue(1)], bodies.TopicOffset(0, 0, 0))

    def test_progress_is_told_in_times_as_well(self) -> None:
        self.offsets.commit("g", "t", 0, 1)
        self.broker.clock.advance(10.0)
        header = QueryConsumeTimeSpanRequestHeader(topic="t", group="g")
        answer = self.ask(RequestCode.QUERY_CONSUME_TIME_SPAN, header)
        busy, idle = bodies.QueryConsumeTimeSpanBody.from_bytes(answer.body).consume_time_span_set
        self.assertEqual(
            (busy.min_time_stamp, busy.max_time_stamp, busy.consume_time_stamp, busy.delay_time),
            (BEGAN_MS + 1000, BEGAN_MS + 3000, BEGAN_MS + 1000, 11_000),
        )
        self.assertEqual((idle.min_time_stamp, idle.delay_time), (-1, 0))

    def test_an_unknown_topic_has_no_figures(self) -> None:
        answer = self.ask(RequestCode.GET_TOPIC_STATS_INFO, GetTopicStatsInfoRequestHeader(topic="none"))
        self.assertEqual((answer.code, answer.remark), (17, "topic[none] not exist"))


class StoredOffsets(ReadingCase):
    def query(self, store: Any) -> int:
        header = QueryConsumerOffsetRequestHeader(consumer_group="g", topic="t", queue_id=0)
        peer: Any = None
        reply = OffsetRequests(ConsumerOffsets(), store, WarmReads(store, at_once)).query(
            peer, Frame(14), header
        )
        return int(reply.header.offset)  # type: ignore[union-attr]

    def test_a_new_group_starts_at_0_only_on_a_queue_that_is_whole_and_in_memory(self) -> None:
        for first, cold, starts in ((0, False, True), (5, False, False), (0, True, False)):
            store = type("Queue", (), {"get_messages": lambda *_, first=first, cold=cold: GetResult(
                GetStatus.FOUND, 1, first, 9, b"", 1, cold, 1)})()  # fmt: skip
            if starts:
                self.assertEqual(self.query(store), 0)
            else:
                refusal = self.assertRaises(RequestRefused, self.query, store)
                self.assertEqual(refusal.code, 22)

    def test_the_lowest_offsets_are_read_without_losing_those_of_other_groups(self) -> None:
        for group, offset in (("g", 2), ("h", 1), ("i", 0)):
            self.offsets.commit(group, "t", 0, offset)
        header = QueryCorrectionOffsetHeader(filter_groups="i,x", compare_group="g", topic="t")
        answer = self.ask(RequestCode.QUERY_CORRECTION_OFFSET, header)
        self.assertEqual(answer.body, b'{"correctionOffsets":{0:1}}')
        self.assertEqual(self.offsets.query("i", "t", 0), 0)

    def test_a_group_can_be_made_to_stand_where_another_one_stands(self) -> None:
        self.offsets.commit("g", "t", 0, 2)
        self.beat("other")
        for topic, offline, offset in (("t", False, -1), (None, True, 2)):
            header = CloneGroupOffsetRequestHeader(
                src_group="g", dest_group="copy", topic=topic, offline=offline
            )
            self.assertEqual(self.ask(RequestCode.CLONE_GROUP_OFFSET, header).code, 0)
            self.assertEqual(self.offsets.query("copy", "t", 0), offset)

    def test_a_deleted_group_keeps_its_offsets_unless_they_are_to_go_too(self) -> None:
        self.groups.find("g")
        self.offsets.commit("g", "t", 0, 2)
        for remove, left in ((False, 2), (True, -1)):
            header = DeleteSubscriptionGroupRequestHeader(group_name="g", remove_offset=remove)
            self.assertEqual(self.ask(RequestCode.DELETE_SUBSCRIPTIONGROUP, header).code, 0)
            self.assertEqual(self.offsets.query("g", "t", 0), left)
        self.assertIsNone(self.groups.get("g"))


class Looking(ReadingCase):
    def by_key(self, key: str, most: int = 32, **ext_fields: str) -> Frame:
        header = QueryMessageRequestHeader(
            topic="t", key=key, max_num=most, begin_timestamp=0, end_timestamp=BEGAN_MS * 2
        )
        frame = Frame.request(RequestCode.QUERY_MESSAGE, header)
        frame.ext_fields = {**(frame.ext_fields or {}), **ext_fields}
        (answer,) = self.broker.serve(encode_frame(frame))
        return answer

    def test_a_message_is_found_by_its_key(self) -> None:
        answer = self.by_key("key-1")
        (record,) = decode_records(answer.body)
        self.assertEqual((answer.code, record.queue_offset), (0, 1))
        self.assertEqual(answer.ext_fields["indexLastUpdateTimestamp"], str(BEGAN_MS + 3000))  # type: ignore[index]

    def test_for_a_unique_key_the_broker_chooses_the_number(self) -> None:
        self.assertEqual(self.by_key("key-1", most=0).code, 22)
        self.assertEqual(self.by_key("key-1", most=0, _UNIQUE_KEY_QUERY="true").code, 0)

    def test_a_message_is_found_by_its_place(self) -> None:
        answer = self.ask(RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader(offset=0))
        (record,) = decode_records(answer.body)
        self.assertEqual(record.body, b"hello")
        answer = self.ask(RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader(offset=7))
        self.assertEqual((answer.code, answer.remark), (1, "can not find message by the offset, 7"))

    def entries(self, **changes: Any) -> tuple[Frame, bodies.QueryConsumeQueueResponseBody | None]:
        values = {"topic": "t", "queue_id": 0, "index": 0, "count": 10, **changes}
        answer = self.ask(RequestCode.QUERY_CONSUME_QUEUE, QueryConsumeQueueRequestHeader(**values))
        body = bodies.QueryConsumeQueueResponseBody.from_bytes(answer.body) if answer.body else None
        return answer, body

    def test_entries_say_which_of_them_a_group_that_is_online_gets(self) -> None:
        self.beat("t", expression="TagA")
        _, body = self.entries(consumer_group="g", count=2)
        assert body is not None
        self.assertEqual([entry.eval for entry in body.queue_data], [True, False])
        self.assertEqual((body.min_queue_index, body.max_queue_index), (0, 3))
        self.assertEqual(body.subscription_data.sub_string, "TagA")  # type: ignore[union-attr]

    def test_entries_outside_the_queue_are_no_error_but_a_missing_queue_is(self) -> None:
        answer, body = self.entries(index=3)
        self.assertEqual((answer.code, answer.remark, body), (0, "Index 3 of 0@t is not exist!", None))
        answer, body = self.entries(queue_id=9)
        self.assertEqual((answer.code, answer.remark), (1, "9@t is not exist!"))


class TwoConnections(ReadingCase):
    """One client waits for messages, another one sends them."""

    def test_a_message_reaches_a_waiting_consumer_in_the_turn_in_which_it_arrives(self) -> None:
        consumer, received = self.broker.protocol, self.broker.transport
        pull = PullMessageRequestHeader(
            consumer_group="g", topic="t", queue_id=0, queue_offset=3, max_msg_nums=32, sys_flag=6,
            suspend_timeout_millis=15_000, subscription="*",
        )  # fmt: skip
        received.clear()
        consumer.dataReceived(encode_frame(Frame.request(RequestCode.PULL_MESSAGE, pull)))
        self.broker.connect(close_other=False)
        self.assertEqual(received.value(), b"")
        self.send("TAGS\x01TagA")  # waits for nothing: its answer is there when dataReceived returns
        (answer,) = frames_of(received.value())
        self.assertEqual((answer.code, answer.remark), (0, "FOUND"))
        self.assertEqual([record.queue_offset for record in decode_records(answer.body)], [3])

    def test_a_consumer_that_goes_leaves_nothing_held(self) -> None:
        pull = PullMessageRequestHeader(
            consumer_group="g", topic="t", queue_id=0, queue_offset=3, max_msg_nums=32, sys_flag=6,
            suspend_timeout_millis=15_000, subscription="*",
        )  # fmt: skip
        consumer = self.broker.protocol
        consumer.dataReceived(encode_frame(Frame.request(RequestCode.PULL_MESSAGE, pull)))
        self.assertEqual(len(self.broker.parts.arrivals), 1)
        consumer.connectionLost()
        self.assertEqual(len(self.broker.parts.arrivals), 0)


class Locks(ReadingCase):
    def lock(self, client_id: str, *numbers: int) -> list[bodies.MessageQueue]:
        queues = [self.queue(number) for number in numbers]
        body = bodies.LockBatchRequestBody(consumer_group="g", client_id=client_id, mq_set=queues)
        answer = self.ask(RequestCode.LOCK_BATCH_MQ, body=body.to_bytes())
        return bodies.LockBatchResponseBody.from_bytes(answer.body).lock_ok_mq_set

    def test_a_queue_belongs_to_one_client_until_its_lease_ends(self) -> None:
        self.assertEqual(self.lock("one", 0), [self.queue(0)])
        self.assertEqual(self.lock("two", 0, 1), [self.queue(1)])
        self.broker.clock.advance(61.0)
        self.assertEqual(self.lock("two", 0), [self.queue(0)])

    def test_a_client_that_unlocks_lets_the_next_one_in(self) -> None:
        self.lock("one", 0)
        body = bodies.UnlockBatchRequestBody("g", "one", [self.queue(0)])
        self.assertEqual(self.ask(RequestCode.UNLOCK_BATCH_MQ, body=body.to_bytes()).code, 0)
        self.assertEqual(self.lock("two", 0), [self.queue(0)])

    def test_a_request_without_a_body_is_refused(self) -> None:
        for code in (RequestCode.LOCK_BATCH_MQ, RequestCode.UNLOCK_BATCH_MQ):
            self.assertEqual(self.ask(code).code, 1)


class Figures(ReadingCase):
    def test_every_name_that_tools_ask_for_is_there(self) -> None:
        self.broker.clock.advance(90.0)  # the three messages were put longer than a minute ago
        table = bodies.KVTable.from_bytes(self.ask(RequestCode.GET_BROKER_RUNTIME_INFO).body).table
        self.assertEqual(table["brokerVersionDesc"], "V4_9_7")
        self.assertEqual(table["runtime"], "[ 0 days, 0 hours, 1 minutes, 33 seconds ]")
        self.assertEqual(table["msgPutTotalTodayNow"], "3")
        self.assertEqual(table["earliestMessageTimeStamp"], str(BEGAN_MS + 1000))
        for name in ("putTps", "getTransferedTps"):
            self.assertEqual([float(rate) for rate in table[name].split()], [0.0, 0.0, 0.0])

    def test_sizes_and_times_read_as_apaches(self) -> None:
        self.assertEqual(
            [size_text(size) for size in (0, 864, 1024, 270582939648, 1 << 70)],
            ["0 B", "864 B", "1.0 KiB", "252.0 GiB", "1048576.0 PiB"],
        )
        self.assertEqual(uptime_text(90_061), "[ 1 days, 1 hours, 1 minutes, 1 seconds ]")

    @given(st.integers(0, 1 << 60))
    def test_a_size_has_a_number_below_1024_before_its_unit(self, size: int) -> None:
        number, unit = size_text(size).split()
        self.assertLessEqual(float(number), 1024.0)
        self.assertTrue(unit.endswith("B"))
