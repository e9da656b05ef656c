"""Keys that are entered together stand in the file as if each had been entered by itself."""

from __future__ import annotations

import errno
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store import index_file
from rocketmq_tx.store.index_file import IndexFile
from rocketmq_tx.store.segments import OpenFiles
from tests.memory_disk import MemoryDisk

PATH = "/index/20260101000000000"
BEGIN_MS = 1_795_239_814_400
#: (hash, store timestamp): few slots, so that many keys share one; times that go back, and beyond all bounds.
KEYS = st.lists(
    st.tuples(
        st.integers(0, 2**31 - 1) | st.integers(0, 3),
        st.sampled_from([0, 1, 999, 1000, 5000, -5000, 2**45]).map(lambda ms: BEGIN_MS + ms),
    ),
    max_size=40,
)


def entered(bites: list[list[tuple[int, int]]]) -> tuple[int, bytes]:
    """How many keys were taken, and the file with its slots."""
    disk = MemoryDisk()
    file = IndexFile(OpenFiles(disk), PATH, 20, 30)
    file.create()
    taken = 0
    for bite in bites:
        offsets = range(taken * 100, (taken + len(bite)) * 100, 100)
        taken += file.add([own for own, _ in bite], offsets, [time for _, time in bite])
    file.snapshot().run()
    return taken, disk.content(PATH)


class IndexFileTests(SynchronousTestCase):
    @given(KEYS)
    def test_a_bite_is_the_same_as_key_by_key(self, keys: list[tuple[int, int]]) -> None:
        self.assertEqual(entered([keys]), entered([[key] for key in keys[:29]]))

    def test_a_bite_that_cannot_be_written_leaves_the_slots_as_they_were(self) -> None:
        disk = MemoryDisk()
        file = IndexFile(OpenFiles(disk), PATH, 20, 30)
        file.create()
        file.add([1, 21], [0, 100], [BEGIN_MS] * 2)
        disk.fail("write", "/index/", errno.ENOSPC)
        self.assertRaises(StoreError, file.add, [41, 2, 1], [200, 300, 400], [BEGIN_MS] * 3)
        disk.heal()
        file.add([61], [200], [BEGIN_MS])
        file.snapshot().run()
        self.assertEqual(disk.content(PATH), entered([[(own, BEGIN_MS) for own in (1, 21, 61)]])[1])

    @given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=30), max_size=4), st.integers(1, 4))
    def test_pages_written_together_are_those_that_were_changed(
        self, bites: list[list[int]], run_pages: int
    ) -> None:
        contents = []
        for most, fails in ((run_pages, False), (run_pages, True), (1, False)):
            disk = MemoryDisk()
            with mock.patch.object(index_file, "_RUN_PAGES", most):
                file = IndexFile(OpenFiles(disk), PATH, 10 * 1024 + 7, 200)
                file.create()
                for hashes in bites:
                    file.add(hashes, [0] * len(hashes), [BEGIN_MS] * len(hashes))
                    snapshot = file.snapshot()
                    changed = {key % (10 * 1024 + 7) // 1024 for key in hashes}
                    self.assertEqual(snapshot.pages, sorted(changed))
                    if fails:
                        file.take_back(snapshot)
                        snapshot = file.snapshot()
                    snapshot.run()
            contents.append(disk.content(PATH))
        self.assertEqual(len({*contents}), 1)
