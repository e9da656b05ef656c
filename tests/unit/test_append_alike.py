"""Messages appended by columns leave the bytes that they leave one by one, or are left to that way."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError, StoreUnavailable
from rocketmq_tx.protocol.java import crc32
from rocketmq_tx.store import arriving_messages
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.append_alike import AlikeMessages, PlacedAlike
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import MemoryDisk
from tests.store_cases import BORN_HOST, NOW, SEGMENT, STORE_HOST, message, open_store, small_config

LOG = "/store/commitlog/"
IPV6_HOST = bytes(15) + b"\1" + (50000).to_bytes(4, "big")


def alike(
    count: int = 3,
    queues: list[tuple[str, int]] | None = None,
    queue_numbers: Sequence[int] | None = None,
    body_size: int = 5,
    **changes: object,
) -> AlikeMessages:
    bodies = [bytes((number % 256,)) * body_size for number in range(count)]
    made = AlikeMessages(
        dict.fromkeys(queues or [("TopicTest", 0)]),  # type: ignore[arg-type]  # see `append`
        queue_numbers or [0] * count,
        bodies,
        [crc32(body) for body in bodies],
        b"UNIQ_KEY\1",
        [b"7F000001%024X" % number for number in range(count)],
        b"\2TAGS\1TagA",
        0,
        0,
        [NOW - number for number in range(count)],
        BORN_HOST,
        0,
        2_598_919,
    )
    return made._replace(**changes)


def append(store: MessageStore, messages: AlikeMessages, now_ms: int = NOW) -> PlacedAlike | None:
    """Appends messages of `alike`, whose queues are given by topic and queue id: a store has its own."""
    queues = dict.fromkeys([store._queues.get(*key) for key in messages.queues])  # type: ignore[misc]
    return store.append_alike(messages._replace(queues=queues), now_ms)


def one_by_one(messages: AlikeMessages) -> list[NewMessage]:
    queues: Any = list(messages.queues)
    return [
        NewMessage(
            *queues[number], body, crc, messages.before + key + messages.after, messages.flag,
            messages.sys_flag, born_timestamp, messages.born_host, messages.reconsume_times, 0,
            messages.tags_code, (key.decode(),),
        )
        for number, body, crc, key, born_timestamp in zip(
            messages.queue_numbers, messages.bodies, messages.body_crcs, messages.keys,
            messages.born_timestamps, strict=True,
        )
    ]  # fmt: skip


@st.composite
def runs(draw: st.DrawFn) -> AlikeMessages:
    topics = draw(st.sampled_from([["A"], ["Topic-1", "Topic-2"], ["ü", "ab"]]))
    queues = draw(
        st.lists(st.tuples(st.sampled_from(topics), st.integers(0, 3)), min_size=1, max_size=4, unique=True)
    )
    count = draw(st.just(len(queues)) | st.integers(len(queues), 12))
    others = draw(
        st.lists(st.integers(0, len(queues) - 1), min_size=count - len(queues), max_size=count - len(queues))
    )
    key_size = draw(st.sampled_from([1, 30, 32, 40, 56]))
    return alike(
        count,
        queues,
        [*range(len(queues)), *others] if others else range(len(queues)),
        draw(st.integers(0, 40)),
        keys=[(b"%056X" % number)[-key_size:] for number in range(count)],
        after=draw(st.sampled_from([b"", b"\2WAIT\1true", "\2x\1ü".encode()])),
        before=draw(st.sampled_from([b"UNIQ_KEY\1", b"a\1b\2UNIQ_KEY\1"])),
        flag=draw(st.integers(-(2**31), 2**31 - 1)),
        sys_flag=draw(st.sampled_from([0, 1, 3])),
        born_host=draw(st.sampled_from([BORN_HOST, IPV6_HOST])),
        reconsume_times=draw(st.integers(0, 16)),
        tags_code=draw(st.integers(-(2**31), 2**31 - 1)),
    )


def files(disk: MemoryDisk) -> dict[str, bytes]:
    return {path: disk.content(path) for path in disk.nodes if "lock" not in path}


class OneByOneAndByColumns(SynchronousTestCase):
    @settings(max_examples=200, deadline=None)
    @given(st.lists(runs(), min_size=1, max_size=3), st.booleans())
    def test_both_leave_the_same(self, all_runs: list[AlikeMessages], v6: bool) -> None:
        found = []
        for by_columns in (True, False):
            disk = MemoryDisk()
            store = MessageStore(small_config("/store"), disk, IPV6_HOST if v6 else STORE_HOST)
            store.open(NOW)
            store.append_all([message("A", 1), message("Topic-2", 1, unique="before")], NOW)
            placed = []
            for number, messages in enumerate(all_runs):
                if by_columns:
                    places = append(store, messages, NOW + number)
                    assert places is not None
                    placed.append(places.each())
                    got = Counter(messages.queue_numbers)
                    self.assertEqual(list(places.queue_counts), [got[at] for at in range(len(got))])
                else:
                    placed.append(store.append_all(one_by_one(messages), NOW + number))
            store.append_all([message("ab", 1, unique="behind")], NOW + 9)
            keys = [set(zip(*store._pending_keys.hashed(), strict=True))]
            store.close(NOW + 10)
            found.append((placed, keys, files(disk)))
        for columns, single in zip(*found, strict=True):
            self.assertEqual(columns, single)

    def test_keys_are_found(self) -> None:
        store = open_store(MemoryDisk())
        messages = alike(30, [("TopicTest", 0), ("TopicMore", 1)], [0, 1] * 15)
        assert append(store, messages) is not None
        assert append(store, alike(8)) is not None
        store.derived.write_index(NOW)
        for topic, number, wanted in (("TopicTest", 4, 2), ("TopicMore", 5, 1), ("TopicTest", 20, 1)):
            key = f"7F000001{number:024X}"
            found = store.query_by_key(topic, key, 32, 0, NOW + 1000)
            self.assertEqual(len(found.offsets), wanted, key)


class LeftToTheOtherWay(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.store = open_store(self.disk)

    def assert_left(self, messages: AlikeMessages) -> None:
        before = (files(self.disk), self.store.written_to, self.store.queue_offsets("TopicTest", 0))
        self.assertIsNone(append(self.store, messages))
        self.assertEqual(
            (files(self.disk), self.store.written_to, self.store.queue_offsets("TopicTest", 0)), before
        )
        self.assertEqual(self.store._pending_keys.waiting, 0)

    def test_a_run_in_which_the_segment_ends(self) -> None:
        self.store.append_all([message(body=bytes(SEGMENT - 1000))], NOW)
        self.assert_left(alike(10, body_size=100))
        self.assertIsNotNone(append(self.store, alike(2, body_size=100)))

    def test_topics_of_different_length_are_left(self) -> None:
        self.assert_left(alike(3, [("TopicTest", 0), ("T", 0)], [0, 1, 0]))

    def test_transactions_are_left_to_the_other_way(self) -> None:
        self.assert_left(alike(sys_flag=4))

    def test_values_out_of_range_are_left(self) -> None:
        self.assert_left(alike(flag=2**31))
        self.assert_left(alike(after=bytes(40_000)))


class Failing(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.store = open_store(self.disk)

    def test_a_failed_write_leaves_nothing(self) -> None:
        append(self.store, alike(2))
        end, keys = self.store.written_to, self.store._pending_keys.waiting
        for short in (None, 150):
            self.disk.fail("write", LOG, errno.EIO, short=short)
            with self.assertRaises(StoreError):
                append(self.store, alike(5, [("TopicTest", 0), ("TopicMore", 0)], [0, 1, 0, 1, 0]))
            self.disk.heal()
            self.assertEqual(self.store.queue_offsets("TopicTest", 0), (0, 2))
            self.assertEqual(self.store.queue_offsets("TopicMore", 0), (0, 0))
            self.assertEqual((self.store.written_to, self.store._pending_keys.waiting), (end, keys))
        self.assertEqual(self.disk.content(LOG + "0" * 20)[end : end + 1000], bytes(1000))
        self.assertIsNotNone(append(self.store, alike(1)))

    def test_a_store_that_takes_nothing_says_why(self) -> None:
        self.store.refuse("test", "it rests")
        with self.assertRaisesRegex(StoreUnavailable, "it rests"):
            append(self.store, alike())

    def test_keys_that_nobody_enters_are_bounded(self) -> None:
        self.patch(arriving_messages, "PENDING_KEYS_MAX", 20)
        for _ in range(10):
            append(self.store, alike(8))
        self.assertLessEqual(self.store._pending_keys.waiting, 28)
