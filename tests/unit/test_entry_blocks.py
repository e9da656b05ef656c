"""Blocks of queue entries that are kept give what the queue gives, whatever happened to it meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.store import entry_blocks
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.entry_blocks import EntryBlocks, as_words, codes_of, sizes_of, starts_of
from rocketmq_tx.store.layouts import QUEUE_ENTRY, QUEUE_ENTRY_BYTES
from rocketmq_tx.store.queue_view import QueueView
from rocketmq_tx.store.segments import OpenFiles
from tests.memory_disk import MemoryDisk

FILE_ENTRIES = 30
RECORD_BYTES = 100
LONGS = st.integers(-(2**63), 2**63 - 1)


def new_queue() -> ConsumeQueue:
    return ConsumeQueue(OpenFiles(MemoryDisk()), "queue/0", FILE_ENTRIES * QUEUE_ENTRY_BYTES, "T", 0)


def put(queue: ConsumeQueue, count: int, code: int = 7) -> None:
    for _ in range(count):
        queue.put((queue.max_offset * RECORD_BYTES, RECORD_BYTES, code))


def cut(queue: ConsumeQueue, at: int) -> None:
    queue.write_tail()
    queue.find_end(0, at * RECORD_BYTES, tidy=False)


def begin_anew(queue: ConsumeQueue, at: int) -> None:
    queue.remove()
    queue.begin_at(at)
    put(queue, 1, code=9)


def replace(queue: ConsumeQueue, at: int) -> None:
    if queue.min_offset <= at < queue.max_offset:
        queue.replace(at, (at * RECORD_BYTES, RECORD_BYTES, 8))


CHANGES: dict[str, Callable[[ConsumeQueue, int], object]] = {
    "put": put,
    "put others": lambda queue, count: put(queue, count, code=count),
    "write": lambda queue, _: queue.write_tail(),
    "cut": cut,
    "begin anew": begin_anew,
    "replace": replace,
    "take back": lambda queue, _: queue.take_back() if queue.tail else None,
}


class Columns(SynchronousTestCase):
    @given(st.lists(st.tuples(LONGS, st.integers(-(2**31), 2**31 - 1), LONGS)))
    def test_columns_hold_what_the_entries_hold(self, entries: list[tuple[int, int, int]]) -> None:
        words = as_words(b"".join([QUEUE_ENTRY.pack(*entry) for entry in entries]))
        columns = starts_of(words), sizes_of(words), codes_of(words)
        self.assertEqual(list(zip(*columns, strict=True)), entries)


class Blocks(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(entry_blocks, "BLOCK_ENTRIES", 8)
        self.patch(entry_blocks, "ENTRIES_AT_A_TIME", 3)

    def assert_same(self, blocks: EntryBlocks, queue: ConsumeQueue) -> None:
        for offset in range(queue.min_offset, queue.max_offset):
            wanted = queue.read(offset, min(3, queue.max_offset - offset))
            found = blocks.read(queue, offset, min(3, queue.max_offset - offset), may_block=False)
            self.assertEqual(found, as_words(wanted), offset)

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.integers(0, 70)), max_size=12))
    def test_they_follow_whatever_is_done_to_a_queue(self, changes: list[tuple[str, int]]) -> None:
        queue, blocks = new_queue(), EntryBlocks(blocks_max=5)
        put(queue, 40)
        queue.write_tail()
        for name, number in changes:
            CHANGES[name](queue, number)
            self.assert_same(blocks, queue)
            self.assertLessEqual(len(blocks), 5)

    def test_a_block_is_read_once(self) -> None:
        queue, blocks = new_queue(), EntryBlocks()
        put(queue, 20)
        queue.write_tail()
        blocks.read(queue, 0, 3, may_block=False)
        self.patch(queue._files, "_files", None)  # every read fails from now on
        for offset in range(8):
            self.assertEqual(len(blocks.read(queue, offset, 3, may_block=False)), 15)
        self.assertRaises(AttributeError, blocks.read, queue, 8, 3, may_block=False)

    def test_a_queue_that_is_made_again_shares_nothing_with_the_one_before(self) -> None:
        blocks = EntryBlocks()
        for code in (1, 2):
            queue = new_queue()
            put(queue, 20, code)
            queue.write_tail()
            self.assertEqual(set(codes_of(blocks.read(queue, 0, 3, may_block=False))), {code})

    def test_a_part_of_a_queue_has_its_blocks(self) -> None:
        queue, blocks = new_queue(), EntryBlocks()
        put(queue, 20)
        queue.write_tail()
        view = QueueView(queue, 2)
        self.assertEqual(blocks.read(view, 0, 2, may_block=False), blocks.read(queue, 0, 2, may_block=False))
        self.assertEqual(len(blocks), 1)

    def test_what_is_cold_is_said_and_what_cannot_be_read_hides_nothing_else(self) -> None:
        queue, blocks = new_queue(), EntryBlocks()
        put(queue, 20)
        queue.write_tail()
        wanted, read = as_words(queue.read(0, 3)), queue.read

        def fails(error: StoreError) -> Callable[..., bytes]:
            def read_written(offset: int, count: int, may_block: bool) -> bytes:
                raise error

            return read_written

        class Failing(QueueView):
            read_written = staticmethod(fails(StoreError("input/output error")))  # type: ignore[assignment]

        self.assertEqual(blocks.read(Failing(queue, 20), 0, 3, may_block=False), wanted)

        class Cold(QueueView):
            read_written = staticmethod(fails(WouldBlock("queue/0", 0, 220)))  # type: ignore[assignment]

        self.assertRaises(WouldBlock, blocks.read, Cold(queue, 20), 0, 3, may_block=False)
        self.assertEqual(read(0, 3), queue.read(0, 3))
