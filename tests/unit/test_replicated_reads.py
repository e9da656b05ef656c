"""What consumers see of a master whose newest messages are not acknowledged yet."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.replicated_reads import ReplicatedArrivals, ReplicatedReads
from rocketmq_tx.config.coordination import parse_coordination
from rocketmq_tx.errors import ConfigError
from rocketmq_tx.runtime.arrivals import Arrivals
from rocketmq_tx.store.pull import GetStatus
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, message, open_store


class Mark:
    visible_to = 0


class ReplicatedReadsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = open_store(MemoryDisk())
        self.mark = Mark()
        self.reads = ReplicatedReads(self.store, self.mark)
        self.ends = []
        for number in range(150):
            self.store.append_all([message("T", 0, b"%d" % number, unique=f"U{number}")], NOW + number)
            self.ends.append(self.store.written_to)

    def test_a_queue_ends_at_the_mark_wherever_it_is(self) -> None:
        for count, end in enumerate(self.ends, 1):
            self.mark.visible_to = end
            self.assertEqual(self.reads.queue_offsets("T", 0), (0, count))
            self.mark.visible_to = end - 1  # of a record that has not come whole
            self.assertEqual(self.reads.queue_offsets("T", 0), (0, count))

    def test_a_pull_gets_nothing_behind_the_mark(self) -> None:
        self.mark.visible_to = self.ends[99]
        result = self.reads.get_messages("T", 0, 90, 32)
        self.assertEqual((result.status, result.count, result.next_offset), (GetStatus.FOUND, 10, 100))
        self.assertEqual(result.max_offset, 100)
        filtered = self.reads.get_messages("T", 0, 90, 32, lambda code: False)
        self.assertEqual((filtered.status, filtered.next_offset), (GetStatus.NO_MATCHED_MESSAGE, 100))

    def test_a_consumer_behind_the_mark_waits_there_and_is_not_sent_back(self) -> None:
        self.mark.visible_to = self.ends[99]
        for offset in (100, 120, 150):
            result = self.reads.get_messages("T", 0, offset, 32)
            self.assertEqual((result.status, result.next_offset), (GetStatus.OFFSET_OVERFLOW_ONE, offset))

    def test_before_anything_is_acknowledged_there_is_nothing(self) -> None:
        self.assertEqual(self.reads.queue_offsets("T", 0), (0, 0))
        self.assertEqual(self.reads.get_messages("T", 0, 0, 32).status, GetStatus.OFFSET_OVERFLOW_ONE)
        self.assertEqual(self.reads.queue_offsets("other", 0), (0, 0))

    def test_a_search_by_time_ends_at_the_mark(self) -> None:
        self.mark.visible_to = self.ends[99]
        self.assertEqual(self.reads.offset_by_time("T", 0, NOW + 20), 20)
        self.assertEqual(self.reads.offset_by_time("T", 0, NOW + 140), 100)

    def test_everything_is_there_once_all_is_acknowledged(self) -> None:
        self.mark.visible_to = self.ends[-1]
        self.assertEqual(self.reads.queue_offsets("T", 0), self.store.queue_offsets("T", 0))
        self.assertEqual(self.reads.get_messages("T", 0, 140, 32), self.store.get_messages("T", 0, 140, 32))

    def test_held_pulls_are_answered_when_the_mark_has_passed_their_message(self) -> None:
        arrivals = Arrivals(Clock())
        shown = ReplicatedArrivals(arrivals, self.store, self.mark)
        tried: list[str] = []
        for topic in ("T", "S"):
            arrivals.hold(topic, 0, 10, lambda topic=topic: bool(tried.append(topic)) or True, lambda: None)
        shown.notify("T", 0)
        self.assertEqual(tried, [])
        shown.shown_to(self.ends[-1] - 1)
        self.assertEqual(tried, [])
        self.mark.visible_to = self.ends[-1]
        shown.shown_to(self.ends[-1])
        self.assertEqual(tried, ["T"])
        shown.notify("S", 0)
        self.assertEqual(tried, ["T", "S"], "at once, where all is acknowledged")

    def test_arrivals_in_several_queues_wait_for_the_mark_as_one_does(self) -> None:
        arrivals = Arrivals(Clock())
        shown = ReplicatedArrivals(arrivals, self.store, self.mark)
        tried: list[str] = []
        arrivals.hold("T", 0, 10, lambda: bool(tried.append("T")) or True, lambda: None)
        shown.notify_all(["S", "T"], [0, 0])
        self.assertEqual(tried, [])
        self.mark.visible_to = self.ends[-1]
        shown.shown_to(self.ends[-1])
        self.assertEqual(tried, ["T"])


class CoordinationAddressTests(SynchronousTestCase):
    def test_one_server_or_several_and_a_path(self) -> None:
        self.assertEqual(parse_coordination("zookeeper://a:2181/mq/prod/"), ("a:2181", "/mq/prod"))
        self.assertEqual(parse_coordination("zookeeper://a:2181, b:2181"), ("a:2181,b:2181", ""))

    def test_anything_else_is_refused_with_an_example(self) -> None:
        for text in ("a:2181", "etcd://a:1/x", "zookeeper://", "zookeeper://a/x", "zookeeper://a:1//x"):
            error = self.assertRaises(ConfigError, parse_coordination, text)
            self.assertIn("expected zookeeper://host:port/path", str(error))
