"""The short cut for plain records does what the long way does, and leaves to it what is not plain."""

from __future__ import annotations

import errno

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError
from rocketmq_tx.protocol.names import SCHEDULE_TOPIC
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, message, open_store
from tests.unit.replication_parts import log_of

PROPERTIES = st.lists(
    st.sampled_from(
        [
            b"TAGS\x01TagA", b"TAGS\x01", b"TAGS\x01a\x01b", b"XTAGS\x01no", b"TAGS", b"UNIQ_KEY\x01U1",
            b"UNIQ_KEY\x01", b"KEYS\x01k1 k2", b"KEYS\x01", b"KEYS\x01\xff", b"TAGS\x01\xc3\xa4",
            b"DELAY\x013", b"UNIQ_KEY\x01\xff\xfe", b"\x01v", b"", b"a",
        ]
    ),
    max_size=5,
).map(b"\x02".join)  # fmt: skip
MESSAGES = st.tuples(
    st.sampled_from(["T", "Other", "Ümlaut", SCHEDULE_TOPIC]),
    st.integers(0, 1),
    st.binary(max_size=20),
    PROPERTIES,
    st.sampled_from([0, 0, 0, 4, 8, 12]),
    st.sampled_from([4, 16]),
)


def stored(messages: list[tuple[str, int, bytes, bytes, int, int]]) -> MessageStore:
    """A master with these messages, each with its properties as they are."""
    store = open_store(MemoryDisk())
    for topic, queue_id, body, properties, sys_flag, host_bytes in messages:
        made = message(topic, queue_id, body, sys_flag=sys_flag, born_host=bytes(host_bytes + 4))
        store.append_all([made._replace(properties=properties)], NOW)
    return store


def copied(master: MessageStore, sizes: list[int], plain: bool) -> MessageStore:
    """A slave that got the log in pieces of these sizes."""
    slave = open_store(MemoryDisk())
    if not plain:
        slave._raw._plain.take = lambda data, at, base: at  # type: ignore[method-assign]
    at = 0
    for size in sizes * (master.written_to or 1):
        data = master.log_bytes(at, size) if at < master.written_to else b""
        if not data:
            break
        slave.append_raw(data, at, NOW)
        at += len(data)
    return slave


def shown(store: MessageStore) -> object:
    """All that was derived from the log."""
    queues = {
        queue: [store.entry_at(*queue, at) for at in range(*store.queue_offsets(*queue))]
        for queue in store.queues()
    }
    return queues, store._pending_keys.hashed(), store.last_record_at, store.derived.dispatched_to


class PlainRecordTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.lists(MESSAGES, max_size=12), st.lists(st.integers(1, 700), min_size=1, max_size=5))
    def test_both_ways_make_the_same_store(self, messages: list, sizes: list[int]) -> None:
        master = stored(messages)
        short, long = copied(master, sizes, True), copied(master, sizes, False)
        self.assertEqual(short.written_to, master.written_to)
        self.assertEqual(shown(short), shown(long))
        self.assertEqual(log_of(short, 0, short.written_to), log_of(master, 0, master.written_to))

    def test_records_that_cannot_be_written_are_taken_back_from_queues_and_index(self) -> None:
        master = open_store(MemoryDisk())
        for number in range(10):
            master.append_all([message("T", 0, b"x", unique=f"U{number}")], NOW)
        data = master.log_bytes(0, 1 << 20)
        half = master.entry_at("T", 0, 5)[0]
        disk = MemoryDisk()
        slave = open_store(disk)
        slave.append_raw(data[:half], 0, NOW)
        before = shown(slave)
        disk.fail("write", "commitlog", errno.ENOSPC)
        self.assertRaises(StoreError, slave.append_raw, data[half:], half, NOW)
        self.assertEqual(shown(slave), before)
        disk.heal()
        slave.drop_unfinished()
        slave.append_raw(data[half:], half, NOW)
        self.assertEqual(shown(slave), (shown(master)))

    def test_an_empty_log_begins_only_where_a_record_says_so(self) -> None:
        master = open_store(MemoryDisk())
        master.append_all([message()], NOW)
        data = master.log_bytes(0, 1 << 20)
        slave = open_store(MemoryDisk())
        self.assertRaises(StoreError, slave.append_raw, data, 65536, NOW)
        slave.append_raw(data[:50], 0, NOW)
        slave.append_raw(data[50:], 50, NOW)
        self.assertEqual(slave.written_to, len(data))
