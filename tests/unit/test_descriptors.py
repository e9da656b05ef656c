"""What file descriptors connections may have, and which are kept for files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.remoting.connections import Connections
from rocketmq_tx.remoting.descriptors import DescriptorReserve, kept_of, next_descriptor
from rocketmq_tx.remoting.listener import FrameServerFactory
from rocketmq_tx.remoting.registry import Registry
from rocketmq_tx.store.segments import BESIDE_FILES, open_files_max

MANY = 60


class DescriptorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.limit: int | None = 100
        self.following: int | None = 74
        self.freed = 0
        self.times_made_room = 0
        self.wanted = 25
        self.reserve = DescriptorReserve(
            self.clock, lambda: self.wanted, self.make_room, lambda: self.limit, lambda: self.following
        )

    def make_room(self) -> None:
        self.times_made_room += 1
        assert self.following is not None
        self.following -= self.freed

    def test_what_the_store_may_hold_open_is_kept_and_some_but_not_most(self) -> None:
        limits = (40, 64, 100, 1024, 20_000, 65_536)
        self.assertEqual([kept_of(limit, 0) for limit in limits], [20, 32, 50, 424, 5024, 8216])
        self.assertEqual([kept_of(1024, wanted) for wanted in (1, 300, 5000)], [1, 300, 512])

    @given(st.integers(2, 1 << 20), st.integers(0, 1 << 21))
    def test_connections_may_always_have_half_of_them(self, limit: int, wanted: int) -> None:
        self.assertTrue(0 < kept_of(limit, wanted) <= limit // 2)

    @given(st.integers(64, 1 << 20))
    def test_all_files_of_the_store_fit_into_what_is_kept(self, limit: int) -> None:
        self.assertLessEqual(open_files_max(limit) + BESIDE_FILES, kept_of(limit, 0))

    def test_connections_that_fit_beside_the_files_are_taken_wherever_the_numbers_are(self) -> None:
        self.following = 99
        self.assertFalse(self.reserve.is_reached(50))
        self.assertTrue(self.reserve.is_reached(51))
        self.assertEqual(self.times_made_room, 1)

    def test_connections_do_not_get_the_last_ones(self) -> None:
        self.assertFalse(self.reserve.is_reached(MANY))
        self.following = 75
        self.assertTrue(self.reserve.is_reached(MANY))
        self.wanted = 10
        self.assertFalse(self.reserve.is_reached(MANY))
        self.following = None
        self.assertTrue(self.reserve.is_reached(MANY))

    def test_files_that_nobody_needs_make_room_once_a_second(self) -> None:
        self.following, self.freed = 80, 10
        self.assertFalse(self.reserve.is_reached(MANY))
        self.following = 80
        self.assertTrue(self.reserve.is_reached(MANY))
        self.clock.advance(1)
        self.assertFalse(self.reserve.is_reached(MANY))
        self.assertEqual(self.times_made_room, 2)

    def test_where_there_is_no_limit_nothing_is_kept(self) -> None:
        self.limit, self.following = None, 1 << 20
        self.assertFalse(self.reserve.is_reached(MANY))

    def test_the_next_number_is_the_lowest_that_is_free(self) -> None:
        with open("/dev/null", "rb") as file:
            free = next_descriptor()
            assert free is not None
            self.assertNotEqual(free, file.fileno())
            with open("/dev/null", "rb") as another:
                self.assertEqual(another.fileno(), free)

    def test_a_connection_too_many_is_refused_with_one_line_a_minute(self) -> None:
        connections = Connections(self.clock, Registry(), reserve=self.reserve)
        self.patch(connections, "open", range(MANY))
        factory = FrameServerFactory(connections)
        self.assertIsNotNone(factory.buildProtocol(None))
        self.following = 75
        with capturedLogs() as lines:
            for _ in range(5):
                self.assertIsNone(factory.buildProtocol(None))
        self.assertEqual(len([line for line in lines if "refused" in line["log_format"]]), 1)
