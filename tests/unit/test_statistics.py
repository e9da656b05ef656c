"""Statistics of a broker: what is counted, and what it looks like over a minute, an hour and a day."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import statistics as statistics_module
from rocketmq_tx.broker.counters import Counter, Window
from rocketmq_tx.broker.statistics import BrokerStatistics
from rocketmq_tx.protocol.batch import BatchItem, encode_batch
from rocketmq_tx.protocol.bodies import BrokerStatsData, BrokerStatsItem, ConsumeStats
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    DeleteSubscriptionGroupRequestHeader,
    DeleteTopicRequestHeader,
    GetConsumeStatsRequestHeader,
    ViewBrokerStatsDataRequestHeader,
)
from tests.memory_broker import MemoryBroker
from tests.send_headers import send_header

NOTHING = BrokerStatsItem()


class WindowTests(SynchronousTestCase):
    def test_the_first_sample_is_compared_with_nothing_a_period_earlier(self) -> None:
        window = Window(10_000, 7)
        self.assertEqual(window.figures(), NOTHING)
        window.look(1_000_000, 50, 5)
        self.assertEqual(window.figures(), BrokerStatsItem(sum=50, tps=5.0, avgpt=10.0))

    def test_six_periods_lie_between_seven_samples(self) -> None:
        window = Window(10_000, 7)
        for number in range(1, 21):
            window.look(number * 10_000, number * 30, number)
        self.assertEqual(window.figures(), BrokerStatsItem(sum=180, tps=3.0, avgpt=30.0))

    def test_what_rests_longer_than_the_window_is_zero_and_begins_anew(self) -> None:
        window = Window(10_000, 7)
        window.look(10_000, 60, 60)
        for number in range(2, 8):
            window.look(number * 10_000, 60, 60)
        self.assertEqual(window.figures(), NOTHING)
        window.look(500_000, 60, 60)
        self.assertEqual(window.figures(), NOTHING)
        window.look(510_000, 80, 70)
        self.assertEqual(window.figures(), BrokerStatsItem(sum=20, tps=2.0, avgpt=2.0))

    def test_rates_are_of_the_last_look_of_a_minute_and_of_ten_minutes(self) -> None:
        statistics = BrokerStatistics("c", lambda: now_ms)
        now_ms = 0
        self.assertEqual(
            statistics.rates(), {"putTps": "0.00 0.00 0.00", "getTransferedTps": "0.00 0.00 0.00"}
        )
        for number in range(1, 61):
            now_ms = number * 10_000
            statistics.put_alike("t", 100 if number == 60 else 40, 10)
            if number > 58:
                statistics.got("t", 0, "g", 5, 50, 0)
            statistics.look()
        self.assertEqual(
            statistics.rates(), {"putTps": "10.00 5.00 4.10", "getTransferedTps": "0.50 0.50 0.02"}
        )

    def test_hours_and_days_have_looks_of_their_own(self) -> None:
        counter = Counter()
        counter.value, counter.times = 3600, 10
        counter.look(600_000, for_hour=True, for_day=False)
        self.assertEqual(counter.data().stats_hour, BrokerStatsItem(sum=3600, tps=6.0, avgpt=360.0))
        self.assertEqual(counter.data().stats_day, NOTHING)
        counter.look(3_600_000, for_hour=False, for_day=True)
        self.assertEqual(counter.data().stats_day, BrokerStatsItem(sum=3600, tps=1.0, avgpt=360.0))

    def test_messages_of_many_topics_count_as_if_each_had_been_counted_at_once(self) -> None:
        for most in (1, 3, 100):
            self.patch(statistics_module, "UNCOUNTED_PUTS_MAX", most)
            late, at_once = (BrokerStatistics("c", lambda: 0) for _ in range(2))
            for size, topics in ((100, "abca"), (70, "a"), (100, "bb"), (9, "cd")):
                late.put_each(list(topics), size)
                for topic in topics:
                    at_once.put_alike(topic, 1, size)
            for each in (late, at_once):
                each.forget_topics(["d"])
                each.look()
            keys = [("TOPIC_PUT_NUMS", topic) for topic in "abcd"]
            keys += [("TOPIC_PUT_SIZE", topic) for topic in "abcd"] + [("BROKER_PUT_NUMS", "c")]
            for key in keys:
                counters = [each.counter(*key) for each in (late, at_once)]
                values = [(counter.value, counter.times) for counter in counters]
                self.assertEqual(values[0], values[1], key)
            self.assertEqual(late.counter("TOPIC_PUT_SIZE", "a").value, 270)

    def test_light_names_count_as_one(self) -> None:
        statistics = BrokerStatistics("c", lambda: 0, light=True)
        for number in range(3):
            statistics.got(f"%LMQ%{number}", 0, f"%LMQ%g{number}", 2, 100, 0)
        statistics.look()
        self.assertEqual(statistics.counter("GROUP_GET_NUMS", "%LMQ%@%LMQ%").value, 6)


class CountingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = MemoryBroker(autoDeleteUnusedStats="true")
        self.cluster = self.broker.settings.broker.broker_cluster_name

    def view(self, name: str, key: str) -> Frame:
        header = ViewBrokerStatsDataRequestHeader(stats_name=name, stats_key=key)
        return self.broker.ask(Frame.request(RequestCode.VIEW_BROKER_STATS_DATA, header))

    def look(self) -> None:
        self.broker.pass_time(10)
        self.broker.parts.statistics.look()

    def minute(self, name: str, key: str) -> BrokerStatsItem:
        answer = self.view(name, key)
        self.assertEqual(answer.code, 0, answer.remark)
        return BrokerStatsData.from_bytes(answer.body).stats_minute

    def test_messages_and_bytes_of_a_topic_are_counted_as_they_are_stored(self) -> None:
        for number in range(20):
            self.broker.send(b"x" * number, queue_id=number % 4)
        self.look()
        size = self.broker.parts.store.written_to
        self.assertEqual(self.minute("TOPIC_PUT_NUMS", "Orders"), BrokerStatsItem(20, 2.0, 1.0))
        self.assertEqual(self.minute("TOPIC_PUT_SIZE", "Orders").sum, size)
        self.assertEqual(self.minute("BROKER_PUT_NUMS", self.cluster).sum, 20)

    def test_a_batch_is_one_call_of_many_messages(self) -> None:
        header = send_header("Orders", batch=True)
        body = encode_batch([BatchItem(0, b"%d" % number, b"") for number in range(8)])
        self.broker.ask(Frame.request(RequestCode.SEND_BATCH_MESSAGE, header, body))
        self.look()
        self.assertEqual(self.minute("TOPIC_PUT_NUMS", "Orders"), BrokerStatsItem(8, 0.8, 8.0))

    def test_delayed_messages_count_where_they_wait_and_where_they_arrive(self) -> None:
        self.broker.send(properties={"DELAY": "1", "UNIQ_KEY": "U"})
        self.look()
        self.assertEqual(self.minute("TOPIC_PUT_NUMS", "SCHEDULE_TOPIC_XXXX").sum, 1)
        self.assertEqual(self.minute("TOPIC_PUT_NUMS", "Orders").sum, 1)

    def test_pulled_messages_are_counted_by_topic_and_group(self) -> None:
        for _ in range(6):
            self.broker.send(b"hello")
        self.broker.pull(offset=0)
        self.broker.pull(offset=4)
        self.broker.pull(offset=6)
        self.look()
        self.assertEqual(self.minute("GROUP_GET_NUMS", "Orders@cg"), BrokerStatsItem(8, 0.8, 4.0))
        self.assertEqual(self.minute("GROUP_GET_LATENCY", "0@Orders@cg"), BrokerStatsItem(0, 0.0, 0.0))
        self.assertEqual(self.minute("BROKER_GET_NUMS", self.cluster).sum, 8)
        self.assertGreater(self.minute("GROUP_GET_SIZE", "Orders@cg").sum, 8 * 91)

    def test_messages_handed_back_are_counted(self) -> None:
        self.broker.send(b"nack")
        (record,) = self.broker.records()
        self.broker.send_back(record)
        self.look()
        self.assertEqual(self.minute("SNDBCK_PUT_NUMS", "Orders@cg").sum, 1)

    def test_the_progress_of_a_group_tells_its_rate(self) -> None:
        for _ in range(5):
            self.broker.send()
        self.broker.pull()
        self.look()
        self.broker.parts.offsets.commit("cg", "Orders", 0, 5)
        header = GetConsumeStatsRequestHeader(consumer_group="cg", topic="Orders")
        answer = self.broker.ask(Frame.request(RequestCode.GET_CONSUME_STATS, header))
        self.assertEqual(ConsumeStats.from_bytes(answer.body).consume_tps, 0.5)

    def test_what_was_never_counted_does_not_exist(self) -> None:
        answer = self.view("TOPIC_PUT_NUMS", "Nobody")
        self.assertEqual(
            (answer.code, answer.remark),
            (ResponseCode.SYSTEM_ERROR, "The stats <TOPIC_PUT_NUMS> <Nobody> not exist"),
        )

    def test_statistics_of_deleted_topics_and_groups_go_when_that_is_asked_for(self) -> None:
        for kept in (False, True):
            self.broker.settings.broker.auto_delete_unused_stats = not kept
            self.broker.send()
            self.broker.pull()
            self.broker.pull(group="other")
            group = DeleteSubscriptionGroupRequestHeader(group_name="cg")
            self.broker.ask(Frame.request(RequestCode.DELETE_SUBSCRIPTIONGROUP, group))
            expected = 0 if kept else ResponseCode.SYSTEM_ERROR
            self.assertEqual(self.view("GROUP_GET_NUMS", "Orders@cg").code, expected)
            self.assertEqual(self.view("GROUP_GET_NUMS", "Orders@other").code, 0)
            topic = DeleteTopicRequestHeader(topic="Orders")
            self.broker.ask(Frame.request(RequestCode.DELETE_TOPIC_IN_BROKER, topic))
            for name, key in (("TOPIC_PUT_NUMS", "Orders"), ("GROUP_GET_LATENCY", "0@Orders@other")):
                self.assertEqual(self.view(name, key).code, expected, name)
        self.assertEqual(self.view("BROKER_PUT_NUMS", self.cluster).code, 0)
