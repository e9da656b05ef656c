"""A damaged slot table is made good while a broker serves: no turn does more than a bite of it.

Queries that need it wait, or are told to ask again; whoever needs it not is not kept waiting.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.derived_tending import INDEX_BITE_S, INDEX_LATER_S, INDEX_PATIENCE_S
from rocketmq_tx.broker.query_handlers import QueryRequests
from rocketmq_tx.broker.store_service import StoreService
from rocketmq_tx.broker.warm_reads import WarmReads
from rocketmq_tx.errors import RequestRefused, StoreError
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import QueryMessageRequestHeader
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.remoting.registry import Reply
from rocketmq_tx.runtime.group_commit import GroupCommit
from rocketmq_tx.runtime.watermark import Watermark
from rocketmq_tx.store import index_slots
from rocketmq_tx.store.early_checkpoints import MUCH_BYTES
from rocketmq_tx.store.index_slots import SlotReading
from rocketmq_tx.store.layouts import INDEX_HEADER_BYTES, INDEX_SLOT_BYTES
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_broker import NoThread
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, STORE_HOST, message, open_store, small_config
from tests.unit.broker_parts import FakePeer
from tests.unit.read_parts import at_once

SLOTS, ENTRIES = 500, 2000
LOOKED_AT, ENTERED_AGAIN = 50, 20
OLD, NEW = 2500, 60
"""Messages that two checkpoints' worth of index files have: the first is full, the second is damaged."""
LATER_MS = 1 << 62


class Bites(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(index_slots, "_LOOKED_AT", LOOKED_AT)
        self.patch(index_slots, "_ENTERED_AGAIN", ENTERED_AGAIN)
        self.bites_in_turn = 0
        self.turns: list[int] = []
        """Bites done in each turn that did any."""
        for name in ("look", "mend"):
            self.patch(SlotReading, name, self.counted(getattr(SlotReading, name)))
        self.clock = Clock()
        self.disk = self.damaged()
        config = small_config("/store", mapped_file_size_commit_log=1 << 20)
        self.store = MessageStore(config, self.disk, STORE_HOST)
        flushes = GroupCommit(self.store, Watermark(self.clock), [NoThread(self.clock, "flush")], self.clock)
        self.service = StoreService(
            self.store, config, flushes, NoThread(self.clock, "checkpoint"), self.clock, lambda: NOW
        )
        self.service.startService()
        self.count_turn()
        self.turns.clear()  # that of the start
        self.requests = QueryRequests(
            config, self.store, WarmReads(self.store, at_once, self.service.index_ready)
        )

    def counted(self, real: Callable[[SlotReading, Any], bool]) -> Callable[[SlotReading, Any], bool]:
        def one(reading: SlotReading, file: Any) -> bool:
            self.bites_in_turn += 1
            return real(reading, file)

        return one

    def damaged(self) -> MemoryDisk:
        """Killed, and most slots of the newest index file are lost."""
        disk = MemoryDisk()
        store = open_store(disk, mapped_file_size_commit_log=1 << 20)
        for number in range(OLD + NEW):
            store.append_all([message("T", 0, b"%d" % number, unique=f"U{number}")], NOW + number * 1000)
        store.derived.save_checkpoint(NOW)
        for number in range(OLD + NEW, OLD + NEW + 5):
            store.append_all([message("T", 0, b"%d" % number, unique=f"U{number}")], NOW + number * 1000)
        image = disk.after_kill()
        path = max(path for path in image.nodes if "/index/" in path)
        image.spoil(path, INDEX_HEADER_BYTES + 20 * INDEX_SLOT_BYTES, bytes(450 * INDEX_SLOT_BYTES))
        return image

    # -- turns -----------------------------------------------------------------------------------------------

    def count_turn(self) -> None:
        if self.bites_in_turn:
            self.turns.append(self.bites_in_turn)
        self.bites_in_turn = 0

    def turn(self, seconds: float = INDEX_BITE_S) -> None:
        self.count_turn()
        self.clock.advance(seconds)
        self.count_turn()

    def finish(self) -> None:
        while self.store.derived.is_index_behind:
            self.turn()

    def query(self, number: int, begin_ms: int = 0, end_ms: int = LATER_MS) -> Deferred[Reply]:
        header = QueryMessageRequestHeader(
            topic="T", key=f"U{number}", max_num=32, begin_timestamp=begin_ms, end_timestamp=end_ms
        )
        frame = Frame.request(RequestCode.QUERY_MESSAGE, header)
        peer: Any = FakePeer()
        return Deferred.fromCoroutine(self.requests.by_key(peer, frame, header))

    def bodies(self, answer: Deferred[Reply]) -> list[bytes]:
        return [record.body for record in decode_records(self.successResultOf(answer).body)]

    # -- what happens ----------------------------------------------------------------------------------------

    def test_no_turn_does_more_than_one_bite_whoever_needs_the_table(self) -> None:
        answers = [self.query(number) for number in (OLD + 7, OLD + NEW + 3, OLD + 7)]
        self.assertEqual(self.turns, [])
        self.patch(type(self.store.derived), "unclaimed_bytes", MUCH_BYTES)  # a checkpoint is due as well
        self.turn(INDEX_LATER_S)
        self.assertEqual(self.turns, [1])
        sent = 0
        while self.store.derived.is_index_behind:
            self.store.append_all([message("T", 0, b"new", unique=f"N{sent}")], NOW)
            self.service.appended()
            self.turn(1.0 if sent == 3 else INDEX_BITE_S)
            sent += 1
        entries = OLD + NEW - (ENTRIES - 1)
        self.assertEqual(self.turns, [1] * (SLOTS // LOOKED_AT + -(-entries // ENTERED_AGAIN)))
        self.assertEqual([self.bodies(answer) for answer in answers], [[b"2507"], [b"2563"], [b"2507"]])
        self.turn(1.0)
        for number in (0, OLD, OLD + NEW + 4):
            self.assertEqual(self.bodies(self.query(number)), [b"%d" % number])
        self.assertEqual(len(self.store.query_by_key("T", "N5", 9, 0, LATER_MS).offsets), 1)

    def test_a_query_of_a_time_before_the_damaged_file_is_answered_from_the_others_at_once(self) -> None:
        answer = self.query(7, end_ms=NOW + 1900 * 1000)
        self.assertEqual((self.bodies(answer), self.turns), ([b"7"], []))
        self.finish()

    def test_a_query_that_has_waited_long_is_told_how_far_it_is_and_to_ask_again(self) -> None:
        self.patch(self.store.derived, "write_index_bite", lambda now_ms: True)  # a bite of nothing
        answer = self.query(OLD + 7)
        for _ in range(11):
            self.turn(INDEX_PATIENCE_S / 11 + 0.01)
        refusal = self.failureResultOf(answer, RequestRefused).value
        self.assertEqual(refusal.code, ResponseCode.SYSTEM_BUSY)
        self.assertIn("made ready after a crash: 0 of 500 slots have been looked through", refusal.remark)

    def test_a_table_that_cannot_be_read_is_an_error_for_who_needs_it_and_is_tried_again(self) -> None:
        answer = self.query(OLD + 7)
        self.disk.fail("read", "/index/", errno.EIO)
        self.turn(INDEX_LATER_S)
        self.failureResultOf(answer, StoreError)
        self.disk.heal()
        self.turn(1.0)
        self.finish()
        self.assertEqual(self.bodies(self.query(OLD + 7)), [b"2507"])

    def test_neither_a_deleted_topic_nor_an_orderly_stop_has_it_done_in_one_turn(self) -> None:
        self.store.append_all([message("Old", 0, b"new")], NOW)
        self.store.delete_topic("Old")
        self.count_turn()
        self.assertEqual(self.turns, [])
        self.turn(INDEX_LATER_S)
        stopped = self.service.stopService()
        assert stopped is not None
        self.count_turn()
        self.assertEqual(self.turns, [1, 1])
        self.assertNoResult(stopped)
        self.turn(0)
        self.successResultOf(stopped)
        self.assertFalse(self.store.derived.is_index_behind)
        again = open_store(self.disk, mapped_file_size_commit_log=1 << 20)
        self.assertFalse(again.derived.is_index_behind)
        self.assertEqual(len(again.query_by_key("T", f"U{OLD + 7}", 9, 0, LATER_MS).offsets), 1)
        self.assertEqual(again.queue_offsets("Old", 0), (0, 0))
