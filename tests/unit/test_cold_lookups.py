"""Look-ups of messages by key, place and time: nothing keeps the reactor waiting for a disk."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import execute
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.store_times import StoreTimes
from rocketmq_tx.broker.topic_rules import make_topic
from rocketmq_tx.broker.warm_reads import WarmReads
from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.protocol.bodies import ConsumeStats
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.headers import (
    GetConsumeStatsInBrokerHeader,
    GetConsumeStatsRequestHeader,
    GetEarliestMsgStoretimeRequestHeader,
    GetTopicStatsInfoRequestHeader,
    QueryConsumeTimeSpanRequestHeader,
    QueryMessageRequestHeader,
    SearchOffsetRequestHeader,
    ViewMessageRequestHeader,
)
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.store import key_query
from tests import memory_disk
from tests.replay import BEGAN_MS, ReplayedBroker
from tests.store_cases import message
from tests.unit.read_parts import at_once

QUEUES = 3
LATER_MS = 1 << 60


class ColdLookUps(SynchronousTestCase):
    """Topic `t` has 60 messages, one a second, with keys k0 to k4; nothing of them is in memory."""

    def setUp(self) -> None:
        self.broker = ReplayedBroker()
        self.parts = self.broker.parts
        self.in_thread = False
        self.thread_calls = 0
        self.patch(self.broker.clock, "getThreadPool", lambda: self)
        self.parts.topics.put(make_topic("t", QUEUES))
        self.parts.groups.find("g")
        for number in range(60):
            stored = message("t", number % QUEUES, b"x" * 2000, keys=f"k{number % 5}")
            self.parts.store.append_all([stored], BEGAN_MS + 1000 * number)
            self.parts.offsets.commit("g", "t", number % QUEUES, 7)
        self.parts.store.derived.save_checkpoint(BEGAN_MS)
        read = memory_disk._MemoryFile.pread

        def pread(file: Any, length: int, offset: int) -> bytes:
            self.assertTrue(self.in_thread or file.path not in self.disk.cold, f"{file.path} is cold")
            return read(file, length, offset)

        self.patch(memory_disk._MemoryFile, "pread", pread)

    @property
    def disk(self) -> Any:
        return self.parts.disk

    def callInThreadWithCallback(
        self, ended: Callable[[bool, Any], object], call: Callable[..., Any], *arguments: Any
    ) -> None:
        self.in_thread = True
        self.thread_calls += 1
        done = execute(call, *arguments)
        self.in_thread = False
        done.addCallbacks(lambda result: ended(True, result), lambda failure: ended(False, failure))

    def ask(self, code: int, header: Any) -> Frame:
        *_, answer = self.broker.serve(encode_frame(Frame.request(code, header)))
        return answer

    def test_each_look_up_answers_the_same_whether_its_bytes_are_in_memory_or_not(self) -> None:
        place = self.parts.store.entry_at("t", 1, 4)[0]
        key = QueryMessageRequestHeader(
            topic="t", key="k3", max_num=32, begin_timestamp=0, end_timestamp=LATER_MS
        )
        for code, header in (
            (RequestCode.QUERY_MESSAGE, key),
            (RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader(offset=place)),
            (
                RequestCode.SEARCH_OFFSET_BY_TIMESTAMP,
                SearchOffsetRequestHeader(topic="t", queue_id=2, timestamp=BEGAN_MS + 20_000),
            ),
            (
                RequestCode.GET_EARLIEST_MSG_STORETIME,
                GetEarliestMsgStoretimeRequestHeader(topic="t", queue_id=1),
            ),
            (RequestCode.GET_TOPIC_STATS_INFO, GetTopicStatsInfoRequestHeader(topic="t")),
            (RequestCode.GET_CONSUME_STATS, GetConsumeStatsRequestHeader(consumer_group="g", topic="t")),
            (RequestCode.GET_BROKER_CONSUME_STATS, GetConsumeStatsInBrokerHeader(is_order=False)),
            (RequestCode.QUERY_CONSUME_TIME_SPAN, QueryConsumeTimeSpanRequestHeader(topic="t", group="g")),
        ):
            warm = self.ask(code, header)
            self.assertEqual((warm.code, self.thread_calls), (0, 0), code)
            self.disk.cold.update(path for path in self.disk.nodes if "/config/" not in path)
            cold = self.ask(code, header)
            self.assertEqual((cold.ext_fields, cold.body), (warm.ext_fields, warm.body), code)
            self.assertTrue(0 < self.thread_calls < 12, code)
            self.disk.cold.clear()
            self.thread_calls = 0

    def test_a_bad_sector_hides_its_own_message_only(self) -> None:
        key = QueryMessageRequestHeader(
            topic="t", key="k0", max_num=32, begin_timestamp=0, end_timestamp=LATER_MS
        )
        every_one = decode_records(self.ask(RequestCode.QUERY_MESSAGE, key).body)
        read = memory_disk._MemoryFile.pread

        def pread(file: Any, length: int, offset: int, is_cached: bool = False) -> bytes:
            if "/commitlog/" in file.path and offset == every_one[0].commit_log_offset:
                raise WouldBlock(file.path, offset, length) if is_cached else StoreError("input/output error")
            return read(file, length, offset)

        self.patch(memory_disk._MemoryFile, "pread", pread)
        self.patch(memory_disk._MemoryFile, "pread_cached", functools.partialmethod(pread, is_cached=True))
        found = self.ask(RequestCode.QUERY_MESSAGE, key)
        self.assertEqual((found.code, decode_records(found.body)), (0, every_one[1:]))

    def test_a_time_that_cannot_be_read_is_left_out_of_an_answer_about_queues(self) -> None:
        place = self.parts.store.entry_at("t", 0, 6)[0]
        read = memory_disk._MemoryFile.pread

        def pread(file: Any, length: int, offset: int, is_cached: bool = False) -> bytes:
            if "/commitlog/" in file.path and offset <= place < offset + length:
                raise WouldBlock(file.path, offset, length) if is_cached else StoreError("input/output error")
            return read(file, length, offset)

        self.patch(memory_disk._MemoryFile, "pread", pread)
        self.patch(memory_disk._MemoryFile, "pread_cached", functools.partialmethod(pread, is_cached=True))
        header = GetConsumeStatsRequestHeader(consumer_group="g", topic="t")
        answer = self.ask(RequestCode.GET_CONSUME_STATS, header)
        self.assertEqual(answer.code, 0, answer.remark)
        table = ConsumeStats.from_bytes(answer.body).offset_table
        times = {queue.queue_id: each.last_timestamp for queue, each in table.items()}
        self.assertEqual(times, {0: 0, 1: BEGAN_MS + 19_000, 2: BEGAN_MS + 20_000})

    def test_an_answer_about_many_queues_fetches_all_that_it_misses_at_once(self) -> None:
        self.disk.cold.update(path for path in self.disk.nodes if "consumequeue" in path)
        self.ask(RequestCode.QUERY_CONSUME_TIME_SPAN, QueryConsumeTimeSpanRequestHeader(topic="t", group="g"))
        self.assertEqual(self.thread_calls, 1)

    def test_times_that_do_not_stay_in_memory_are_read_in_the_end(self) -> None:
        asked: list[bool] = []

        class Store:
            def store_time_at(self, topic: str, queue_id: int, offset: int, may_block: bool = True) -> int:
                asked.append(may_block)
                if not may_block:
                    raise WouldBlock("commitlog/0", 0, 1)
                return 5

            def warm(self, error: WouldBlock) -> None:
                """It is evicted again at once."""

        store: Any = Store()
        times = StoreTimes(store, WarmReads(store, at_once))
        answer = times.answer(lambda store_time: store_time("t", 0, 0))
        with self.assertRaises(StopIteration) as stopped:
            answer.send(None)
        self.assertEqual((stopped.exception.value, asked), (5, [False] * 4 + [True]))

    def test_one_answer_holds_no_more_than_a_frame_can(self) -> None:
        self.patch(key_query, "BODY_BYTES_MAX", 7000)
        header = QueryMessageRequestHeader(
            topic="t", key="k3", max_num=32, begin_timestamp=0, end_timestamp=LATER_MS
        )
        records = decode_records(self.ask(RequestCode.QUERY_MESSAGE, header).body)
        self.assertEqual([record.store_timestamp - BEGAN_MS for record in records], [48_000, 53_000, 58_000])
        self.patch(key_query, "BODY_BYTES_MAX", 10)
        records = decode_records(self.ask(RequestCode.QUERY_MESSAGE, header).body)
        self.assertEqual([record.store_timestamp - BEGAN_MS for record in records], [58_000])

    def test_a_place_without_a_record_is_told(self) -> None:
        for offset in (-5, 3, 1 << 40):
            answer = self.ask(RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader(offset=offset))
            self.assertEqual(
                (answer.code, answer.remark), (1, f"can not find message by the offset, {offset}")
            )
