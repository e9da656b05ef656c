"""What is read together, by sums and patterns, is what looking at one message after the other gives."""

from __future__ import annotations

from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.store import entry_blocks
from rocketmq_tx.store.property_scan import Matches
from rocketmq_tx.store.pull import GetResult, Puller
from rocketmq_tx.store.tag_codes import TagCodes
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, message, open_store

SENT = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1]), st.sampled_from([50, 50, 50, 51, 700]), st.sampled_from([1, 2, -(2**31)])
    ),
    min_size=1, max_size=80,
)  # fmt: skip
"""(queue, size, tags code)"""


class TogetherAndOneByOne(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(entry_blocks, "BLOCK_ENTRIES", 8)

    @settings(max_examples=60, deadline=None)
    @given(
        SENT,
        st.one_of(st.none(), st.sets(st.sampled_from([1, 2, -(2**31)]))),
        st.integers(-1, 40),
        st.integers(200, 20_000),
        st.integers(0, 80),
    )
    @example([(0, 50, 1 + number % 2) for number in range(80)], {2}, 32, 20_000, 70)
    @example([(number % 2, 50, 1) for number in range(80)], None, 16, 20_000, 0)
    @example([(0, 50, 1)] * 80, {1}, 32, 20_000, 70)
    def test_both_give_the_same(
        self,
        sent: list[tuple[int, int, int]],
        wanted: set[int] | None,
        count: int,
        most_bytes: int,
        written: int,
    ) -> None:
        store = open_store(
            MemoryDisk(),
            max_transfer_bytes_on_message_in_memory=most_bytes,
            mapped_file_size_consume_queue=20 * 1000,
        )
        messages = [message("T", queue, b"x" * size, tags_code=code) for queue, size, code in sent]
        store.append_all(messages[:written], NOW)
        store._queues.write_dirty()
        store.append_all(messages[written:], NOW)
        look_up, matches = (None, None) if wanted is None else (wanted.__contains__, TagCodes(wanted))
        end = sum(queue == 0 for queue, _, _ in sent)

        def get(at: int, matches: Matches | None) -> GetResult:
            return store.get_messages("T", 0, at, count, matches)

        for at in (*range(end), *range(end)):  # patterns are known the second time
            together = get(at, matches)
            with (
                mock.patch.object(Puller, "_scan_together", return_value=None),
                mock.patch.object(Puller, "_scan_alike", return_value=None),
            ):
                alone = get(at, look_up)
            self.assertEqual(together, alone)
