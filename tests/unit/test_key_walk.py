"""Queries by key over files that hold anything: they end, raise nothing, and do so much a turn at most."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import query_handlers
from rocketmq_tx.broker.query_handlers import QueryRequests
from rocketmq_tx.broker.warm_reads import WarmReads
from rocketmq_tx.errors import WouldBlock
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import QueryMessageRequestHeader
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.remoting.registry import Reply
from rocketmq_tx.store import key_query
from rocketmq_tx.store.index_file import IndexFile
from rocketmq_tx.store.layouts import INDEX_ENTRY, INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES, INDEX_SLOT_BYTES
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, message, open_store, small_config
from tests.unit.broker_parts import FakePeer

LATER = 1 << 62
SLOTS, ENTRIES = 16, 60
SMALL = {"max_hash_slot_num": SLOTS, "max_index_num": ENTRIES}
ENTRIES_AT = INDEX_HEADER_BYTES + SLOTS * INDEX_SLOT_BYTES
FILE_BYTES = ENTRIES_AT + ENTRIES * INDEX_ENTRY_BYTES
MESSAGES = 150


def stored(disk: MemoryDisk, messages: int, **config: Any) -> MessageStore:
    """Message n has the keys `Un` and `hot`, and comes n seconds after `NOW`."""
    store = open_store(disk, **config)
    for number in range(messages):
        each = message("T", 0, b"%d" % number, unique=f"U{number}", keys="hot")
        store.append_all([each], NOW + number * 1000)
    return store


class Damaged(SynchronousTestCase):
    def setUp(self) -> None:
        self.looked_at = 0
        entry = IndexFile.entry

        def counted(file: IndexFile, number: int, may_block: bool) -> tuple[int, int, int, int]:
            self.looked_at += 1
            return entry(file, number, may_block)

        self.patch(IndexFile, "entry", counted)
        self.disk = MemoryDisk()
        stored(self.disk, MESSAGES, **SMALL).close(NOW)
        self.paths = [path for path in self.disk.nodes if "/index/" in path]

    def query_all(self, disk: MemoryDisk) -> None:
        store = open_store(disk, **SMALL)
        for key in ("hot", "U0", "U77", f"U{MESSAGES - 1}", "none"):
            for begin_ms, end_ms in ((0, LATER), (NOW + 50_000, NOW + 60_000), (-1, 0)):
                self.looked_at = 0
                found = store.query_by_key("T", key, 64, begin_ms, end_ms)
                self.assertLessEqual(self.looked_at, len(self.paths) * ENTRIES)
                for record in decode_records(found.body):
                    self.assertIn(key, (record.property_map["UNIQ_KEY"], record.property_map["KEYS"]))
                    self.assertTrue(begin_ms <= record.store_timestamp <= end_ms)

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, FILE_BYTES - 8), st.binary(max_size=8))))
    def test_bytes_that_have_rotted_anywhere(self, rotten: list[tuple[int, int, bytes]]) -> None:
        disk = self.disk.after_kill()
        for file, at, data in rotten:
            disk.spoil(self.paths[file % len(self.paths)], at, data)
        self.query_all(disk)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 1 << 32))
    def test_files_of_anything_with_headers_of_anything(self, seed: int) -> None:
        choice = random.Random(seed)
        disk = self.disk.after_kill()
        for path in self.paths:
            kind = choice.randrange(4)
            if kind == 0:
                disk.spoil(path, 0, choice.randbytes(FILE_BYTES))
            elif kind == 1:
                disk.spoil(path, INDEX_HEADER_BYTES, choice.randbytes(FILE_BYTES - INDEX_HEADER_BYTES))
            elif kind == 2:  # numbers that are near to what they should be
                numbers = [choice.randrange(-2, ENTRIES + 3) for _ in range((FILE_BYTES - 32) // 4)]
                disk.spoil(path, 32, b"".join(number.to_bytes(4, "big", signed=True) for number in numbers))
        self.query_all(disk)

    def test_a_file_that_is_cut_short_while_it_is_open(self) -> None:
        store = open_store(self.disk, **SMALL)
        for size in (FILE_BYTES - 30, ENTRIES_AT + 50, ENTRIES_AT - 2, 50, 0):
            for path in self.paths:
                self.disk.open(path).truncate(size)
            self.assertIn(len(store.query_by_key("T", "hot", 64, 0, LATER).offsets), range(65))


class LongChains(SynchronousTestCase):
    """A thousand messages have one key, and somebody asks for the oldest of them."""

    def setUp(self) -> None:
        self.patch(query_handlers, "WORK_A_TURN", 64)
        self.disk = MemoryDisk()
        config = {"max_index_num": 5000, "mapped_file_size_commit_log": 1 << 20}
        self.store = stored(self.disk, 1000, **config)
        self.turns: list[Callable[[], None]] = []
        self.requests = QueryRequests(
            small_config("/store"), self.store, WarmReads(self.store, self.off_reactor)
        )

    def off_reactor(self, call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.turns.append(lambda: done.callback(call(*arguments)))
        return done

    def query(self, key: str, begin_ms: int, end_ms: int) -> Deferred[Reply]:
        header = QueryMessageRequestHeader(
            topic="T", key=key, max_num=32, begin_timestamp=begin_ms, end_timestamp=end_ms
        )
        peer: Any = FakePeer()
        return Deferred.fromCoroutine(
            self.requests.by_key(peer, Frame.request(RequestCode.QUERY_MESSAGE, header), header)
        )

    def test_what_is_far_down_a_chain_is_found_and_the_others_have_their_turns(self) -> None:
        answer = self.query("hot", NOW, NOW + 9_000)
        count = 0
        while self.turns:
            self.assertNoResult(answer)
            self.turns.pop()()
            count += 1
        self.assertIn(count, range(1000 // 64, (1000 + 10 * 16) // 64 + 1))
        found = decode_records(self.successResultOf(answer).body)
        self.assertEqual([record.body for record in found], [b"%d" % number for number in range(10)])

    def test_a_walk_goes_on_where_bytes_had_to_be_fetched(self) -> None:
        self.store.derived.write_index(NOW)
        path = next(path for path in self.disk.nodes if "/index/" in path)
        looked_at = []
        entry = IndexFile.entry

        def evicted(file: IndexFile, number: int, may_block: bool) -> tuple[int, int, int, int]:
            if len(looked_at) % 100 == 50:
                looked_at.append(-1)
                raise WouldBlock(path, 0, 20)
            looked_at.append(number)
            return entry(file, number, may_block)

        self.patch(IndexFile, "entry", evicted)
        answer = self.query("hot", NOW, NOW + 9_000)
        while self.turns:
            self.turns.pop()()
        self.assertEqual(len(decode_records(self.successResultOf(answer).body)), 10)
        numbers = [number for number in looked_at if number > 0]
        self.assertEqual(numbers, sorted(set(numbers), reverse=True))

    def test_chains_that_name_messages_of_others_end_when_they_are_too_long(self) -> None:
        self.store.derived.write_index(NOW)
        (path,) = (path for path in self.disk.nodes if "/index/" in path)
        entries_at = INDEX_HEADER_BYTES + 500 * INDEX_SLOT_BYTES
        for number in range(1, 2001):  # all of them name the first message
            at = entries_at + number * INDEX_ENTRY_BYTES
            entry = INDEX_ENTRY.unpack(self.disk.content(path)[at : at + INDEX_ENTRY_BYTES])
            key_hash, _, seconds, previous = entry
            self.disk.spoil(path, at, INDEX_ENTRY.pack(key_hash, 0, seconds, previous))
        self.patch(key_query, "WORK_MAX", 500)
        asked: list[int] = []
        record_at = self.store._log.record_at
        self.patch(
            self.store._log,
            "record_at",
            lambda at, may_block: (asked.append(at), record_at(at, may_block))[1],
        )
        answer = self.query("hot", NOW + 5_000, LATER)
        while self.turns:
            self.turns.pop()()
        self.assertEqual(self.successResultOf(answer).body, b"")
        self.assertLess(len(asked), 500 // 16 + 5)
