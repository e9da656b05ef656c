"""Runs of records of one shape are entered by columns as one by one, whatever stands in between.

Their topics may be one, or others in turn; an opening is held to one that takes the general way.
"""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.names import SCHEDULE_TOPIC
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.plain_records import PlainRecords
from rocketmq_tx.store.plain_runs import LEAST_RECORDS, TopicNames
from rocketmq_tx.store.recovery import RecoveryReport
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, SEGMENT, STORE_HOST, message, open_store, small_config

QUEUES = [
    ("T", 0), ("T", 1), ("T", 2), ("U", 0), ("U", 1), ("V", 1), ("Other", 0), ("Other", 1), ("Ändr", 0),
    (SCHEDULE_TOPIC, 0), ("SCHEDULE_TOPIC_YYYY", 0),
]  # fmt: skip
ALTERNATING = [("T", 0), ("U", 1), ("V", 1), ("U", 0), ("T", 2)]
PROPERTIES = [
    "UNIQ_KEY\x01{:016d}",
    "TAGS\x01A\x02UNIQ_KEY\x01{:016d}\x02WAIT\x01true",
    "TAGS\x01A",
    "",
    "UNIQ_KEY\x01{:016d}\x02KEYS\x01k",
    "UNIQ_KEY\x01ä{:016d}",
    "a\x01{:016d}",
]
STRETCHES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(QUEUES), min_size=1, max_size=3) | st.permutations(ALTERNATING),
        st.integers(1, 5 * LEAST_RECORDS),
        st.integers(0, 20),
        st.sampled_from(PROPERTIES),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=5,
)
KINDS = st.sampled_from([0, 0, 0, 0x4, 0x8])
"""Flags of a stretch: plain, or half messages, or committed ones."""
FLIPS = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=2)


def log_of_stretches(stretches: list) -> tuple[bytes, int]:
    """The log of these messages, behind a first one in each queue; and where those of the stretches begin."""
    store = open_store(MemoryDisk())
    store.append_all([message(*queue) for queue in QUEUES], NOW)
    begin, number = store.written_to, 0
    for queues, count, body_bytes, properties, each_ms in stretches:
        for _ in range(count):
            number += 1
            made = message(*queues[number % len(queues)], body=number.to_bytes(8, "big") * 3)
            made = made._replace(body=made.body[:body_bytes], properties=properties.format(number).encode())
            made = made._replace(body_crc=message("T", 0, made.body).body_crc)
            store.append_all([made], NOW + number * each_ms)
    return store.log_bytes(0, 1 << 22), begin


def ends_of_records(data: bytes) -> list[int]:
    ends = [0]
    while ends[-1] < len(data):
        ends.append(ends[-1] + int.from_bytes(data[ends[-1] : ends[-1] + 4], "big"))
    return ends[1:]


def entered(data: bytes, begin: int, in_runs: bool, ends: Sequence[int] = ()) -> tuple[MessageStore, object]:
    """What `PlainRecords.take` has made of the log from `begin` on, given up to one of `ends` at a time."""
    store = open_store(MemoryDisk())
    store.append_raw(data[:begin], 0, NOW)
    plain = store._raw._plain
    if not in_runs:
        plain._take_run = lambda data, at, base, shape: at  # type: ignore[method-assign]
    end, results = begin, []
    while end < len(data):
        given = next((given for given in ends if given > end), len(data))
        at = plain.take(data[:given], end, 0)
        results.append((end, at, plain.last_record_at, plain.last_store_timestamp, len(plain.touched)))
        if at == end:
            break
        end = at
    tails = {key: (bytes(queue.tail), queue.max_offset) for key, queue in store._queues.queues.items()}
    return store, (results, tails, store._pending_keys.hashed())


def killed_store(stretches: list, kinds: list[int], deleting: tuple[int, str], flips: list) -> MemoryDisk:
    """What a kill leaves of these stretches, each a write of its own or a batch, over some small segments.

    Before one of them a topic is deleted; afterwards bytes of the log are flipped.
    """
    disk = MemoryDisk()
    store = open_store(disk, enable_multi_dispatch=kinds[0] < 0)
    store.append_all([message(*queue) for queue in QUEUES], NOW)
    store.derived.save_checkpoint(NOW)
    begin, number = store.written_to, 0
    for at, (queues, count, body_bytes, properties, each_ms) in enumerate(stretches):
        if at == deleting[0]:
            store.delete_topic(deleting[1])
        made = []
        for _ in range(count):
            number += 1
            own = properties.format(number).encode()
            if kinds[0] < 0:
                own += b"\x02INNER_MULTI_DISPATCH\x01%LMQ%a"
            body = number.to_bytes(8, "big")[: body_bytes % 9] * 30
            one = message(*queues[number % len(queues)], body=body, sys_flag=max(kinds[at % len(kinds)], 0))
            made.append(one._replace(properties=own))
        for some in [made] if each_ms == 0 else [[one] for one in made]:
            store.append_all(some, NOW + number * each_ms, whole=each_ms == 0 and len(queues) == 1)
    length = store.written_to - begin
    for place, change in flips:
        offset = begin + min(int(place * length), length - 1)
        path, at = f"/store/commitlog/{offset - offset % SEGMENT:020d}", offset % SEGMENT
        disk.spoil(path, at, bytes((disk.nodes[path].content[at] ^ change,)))
    return disk


def opened(disk: MemoryDisk, in_runs: bool, light: bool) -> tuple[object, RecoveryReport]:
    """All that an opening has made of it."""
    said: list[str] = []
    store = MessageStore(
        small_config("/store", enable_multi_dispatch=light), disk, STORE_HOST, notice=said.append
    )
    if in_runs:
        report = store.open(NOW)
    else:
        with mock.patch.object(PlainRecords, "take", lambda records, data, at, base: at):
            report = store.open(NOW)
    queues = {
        queue: [store.entry_at(*queue, at) for at in range(*store.queue_offsets(*queue))]
        for queue in store.queues()
    }
    keys = [bite.hashed() for bite in store._pending_keys.aside], store._pending_keys.hashed()
    last = store.last_record_at, store.written_to
    while store.derived.is_index_behind:
        store.derived.write_index_bite(NOW)
    store.close(NOW)
    files = {
        path: bytes(node.content)
        for path, node in disk.nodes.items()
        if path.startswith(("/store/index/", "/store/consumequeue/"))
    }
    return (queues, sorted_keys(keys), last, said, files), report


def sorted_keys(keys: tuple[list, tuple]) -> list:
    """(hash, commit log offset, time) of each key that waits, in order, whatever bites they are in."""
    aside, others = keys
    return [key for bite in [*aside, others] for key in zip(*bite, strict=True)]


class OpeningTests(SynchronousTestCase):
    @settings(max_examples=80, deadline=None)
    @given(
        STRETCHES,
        st.lists(KINDS, min_size=1, max_size=5) | st.just([-1]),
        st.tuples(st.integers(0, 6), st.sampled_from(["T", "U", "Other"])),
        FLIPS,
    )
    def test_an_opening_finds_the_same_by_columns_as_record_by_record(
        self, stretches: list, kinds: list[int], deleting: tuple[int, str], flips: list
    ) -> None:
        disk = killed_store(stretches, kinds, deleting, flips)
        columns, general = (opened(disk.after_kill(), way, kinds[0] < 0) for way in (True, False))
        self.assertEqual(columns, general)

    def test_topics_in_turn_are_read_again_by_columns(self) -> None:
        disk = killed_store([(ALTERNATING, 2000, 3, PROPERTIES[1], 0)], [0], (9, "T"), [])
        with mock.patch.object(PlainRecords, "_take_run", lambda records, data, at, base, shape: at):
            one_by_one = open_store(disk.after_kill())
        by_columns = open_store(disk.after_kill())
        kept = [
            sum(bite.in_columns for bite in [*store._pending_keys.aside, store._pending_keys])
            for store in (one_by_one, by_columns)
        ]
        self.assertEqual(kept[0], 0)
        self.assertGreater(kept[1], 1800)


class TopicNameTests(SynchronousTestCase):
    def test_only_plain_names_are_names(self) -> None:
        names = TopicNames()
        for field in b"\1T", b"\3\xc3\xa4b":
            self.assertEqual(names[field], field[1:].decode())
        schedule = SCHEDULE_TOPIC.encode()
        for field in b"\2T", b"\0", b"\1\xff", bytes((len(schedule),)) + schedule:
            self.assertEqual(names[field], "")


class PlainRunTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(STRETCHES, FLIPS, st.integers(1, 100))
    def test_both_ways_enter_the_same(self, stretches: list, flips: list, records_of_a_take: int) -> None:
        data, begin = log_of_stretches(stretches)
        ends = ends_of_records(data)[::records_of_a_take]
        damaged = bytearray(data)
        for place, change in flips:
            damaged[min(begin + int(place * (len(data) - begin)), len(data) - 1)] ^= change
        runs, one_by_one = (entered(bytes(damaged), begin, in_runs, ends)[1] for in_runs in (True, False))
        self.assertEqual(runs, one_by_one)

    def test_a_run_is_taken_by_columns(self) -> None:
        data, begin = log_of_stretches([(QUEUES[:3], 300, 12, PROPERTIES[1], 1)])
        store, (results, *_) = entered(data, begin, True)
        self.assertEqual([(end, count) for _, end, _, _, count in results], [(len(data), 300)])
        self.assertGreater(store._pending_keys.in_columns, 200)

    def test_what_comes_next_is_a_run_from_its_first_record_on(self) -> None:
        data, begin = log_of_stretches([(QUEUES[:3], 300, 12, PROPERTIES[1], 1)])
        ends = ends_of_records(data[begin:])
        store, _ = entered(data, begin, True, [begin + ends[19], begin + ends[149], begin + ends[269]])
        self.assertEqual((len(store._pending_keys), store._pending_keys.in_columns), (1, 299))

    def test_a_run_of_another_shape_and_the_same_size_takes_the_place_of_the_last_one(self) -> None:
        alike, other = (QUEUES[:1], 2 * LEAST_RECORDS, 12), "b\x01{:023d}"
        self.assertEqual(len(other.format(1)), len(PROPERTIES[0].format(1)))
        data, begin = log_of_stretches([(*alike, PROPERTIES[0], 1), (*alike, other, 1)])
        store, _ = entered(data, begin, True, [begin + (len(data) - begin) // 2])
        shape = store._raw._plain._shape
        self.assertIsNotNone(shape)
        self.assertEqual(shape.key_bytes, 0)

    def test_records_of_topics_in_turn_are_taken_by_columns(self) -> None:
        data, begin = log_of_stretches([(ALTERNATING, 300, 12, PROPERTIES[1], 1)])
        store, (results, *_) = entered(data, begin, True)
        self.assertEqual([(end, count) for _, end, _, _, count in results], [(len(data), 300)])
        self.assertEqual((len(store._pending_keys), store._pending_keys.in_columns), (1, 299))

    def test_records_of_a_deleted_topic_end_what_is_taken(self) -> None:
        data, begin = log_of_stretches([(ALTERNATING, 300, 12, PROPERTIES[1], 1)])
        store = open_store(MemoryDisk())
        store.append_raw(data[:begin], 0, NOW)
        ends = ends_of_records(data[begin:])
        store._raw._plain._deleted.add({"V": begin + ends[100]})
        end = store._raw._plain.take(data, begin, 0)
        self.assertLess(end - begin, ends[5])

    def test_what_was_entered_is_taken_back_with_its_columns(self) -> None:
        data, begin = log_of_stretches([(QUEUES[:3], 300, 12, PROPERTIES[1], 1)])
        store = open_store(MemoryDisk())
        store.append_raw(data[:begin], 0, NOW)
        queues = store._queues.queues.values()
        before = [(bytes(queue.tail), queue.max_offset) for queue in queues]
        mark, keys = store._pending_keys.mark(), store._pending_keys.hashed()
        store._raw._plain.take(data, begin, 0)
        store._raw._plain.take_back(mark)
        self.assertEqual([(bytes(queue.tail), queue.max_offset) for queue in queues], before)
        self.assertEqual((store._pending_keys.hashed(), store._pending_keys.in_columns), (keys, 0))
