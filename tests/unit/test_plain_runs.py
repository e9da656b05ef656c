"""Runs of records of one shape are entered by columns as one by one, whatever stands in between."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.plain_runs import LEAST_RECORDS
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, message, open_store

QUEUES = [("T", 0), ("T", 1), ("T", 2), ("Other", 0), ("Other", 1)]
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
        st.lists(st.sampled_from(QUEUES), min_size=1, max_size=3),
        st.integers(1, 5 * LEAST_RECORDS),
        st.integers(0, 20),
        st.sampled_from(PROPERTIES),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=5,
)
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
