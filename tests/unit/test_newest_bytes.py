"""What was written last is handed to slaves from memory, and is always what the file has."""

from __future__ import annotations

import errno

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, message, open_store
from tests.unit.replication_parts import Pair

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5), st.integers(0, 9000)),
        st.tuples(st.just("fail"), st.integers(1, 5), st.integers(0, 9000)),
        st.tuples(st.just("cut"), st.integers(0, 5), st.just(0)),
    ),
    max_size=12,
)


class NewestBytes(SynchronousTestCase):
    def test_a_slave_that_keeps_up_gets_what_was_appended_without_a_read_of_the_log(self) -> None:
        pair = Pair()
        pair.connect().pump()
        pair.master_disk.fail("read", "commitlog", errno.EIO)
        pair.send(20)
        pair.wire.pump()
        pair.master_disk.heal()
        self.assertEqual(pair.slave.written_to, pair.master.written_to)
        self.assertEqual(*pair.logs())

    def test_of_much_at_once_nothing_is_kept(self) -> None:
        store = open_store(MemoryDisk(), mapped_file_size_commit_log=1 << 22)
        store.append_all([message("T", 0, bytes(1 << 20))], NOW)
        self.assertIsNone(store._log.newest(0, 10))

    @settings(max_examples=60, deadline=None)
    @given(STEPS, st.floats(0, 1), st.integers(1, 20_000))
    def test_whatever_happens_to_the_log_they_are_those_of_the_file(
        self, steps: list, place: float, length: int
    ) -> None:
        disk = MemoryDisk()
        store = open_store(disk)
        ends = [0]
        for number, (step, first, second) in enumerate(steps):
            messages = [message("T", 0, bytes([number]) * (second + at)) for at in range(first)]
            if step == "append":
                store.append_all(messages, NOW)
                ends.append(store.written_to)
            elif step == "fail":
                disk.fail("write", "commitlog", errno.ENOSPC)
                self.assertRaises(StoreError, store.append_all, messages, NOW)
                disk.heal()
            else:
                ends = ends[: first + 1]
                store.cut_tail(ends[-1], NOW)
            end = store.written_to
            for offset in {int(place * end), max(end - length, 0), ends[max(len(ends) - 2, 0)]}:
                data = store.log_bytes(offset, length)
                self.assertEqual(data, store._log.read(offset, len(data)) if data else b"")
