"""When a checkpoint is worth it before its time."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.store.early_checkpoints import (
    AFTER_FAILURE_S,
    LITTLE_BYTES,
    MUCH_BYTES,
    PAUSE_TIMES,
    QUEUES_A_SECOND,
    EarlyCheckpoints,
)


class EarlyOnes(SynchronousTestCase):
    def setUp(self) -> None:
        self.early = EarlyCheckpoints()

    def test_nothing_new_is_never_worth_one(self) -> None:
        self.assertFalse(any(self.early.is_due(0, float(second)) for second in range(100)))

    def test_much_is_worth_one_at_once(self) -> None:
        self.assertFalse(self.early.is_due(MUCH_BYTES - 1, 1.0))
        self.assertTrue(self.early.is_due(MUCH_BYTES, 2.0))

    def test_what_has_come_is_worth_one_once_no_more_comes(self) -> None:
        more = LITTLE_BYTES + 1
        asked = [(LITTLE_BYTES, 1.0), (more, 1.5), (more, 2.4), (more, 2.5)]
        self.assertEqual([self.early.is_due(*each) for each in asked], [False, False, False, True])
        self.early.made(2.5, 2.5)
        self.assertFalse(any(self.early.is_due(LITTLE_BYTES - 1, 3.0 + second) for second in range(3)))

    def test_they_take_a_fifth_of_the_time_at_most(self) -> None:
        self.early.made(10.0, 10.5)
        self.assertFalse(self.early.is_due(MUCH_BYTES, 12.4))
        self.assertTrue(self.early.is_due(MUCH_BYTES, 12.5))

    def test_where_many_queues_were_written_the_next_one_comes_so_late_that_writing_them_is_a_small_part(
        self,
    ) -> None:
        for queues, pause_s in (
            (4000, 4000 / QUEUES_A_SECOND),
            (100, 0.5 * PAUSE_TIMES),
            (0, 0.5 * PAUSE_TIMES),
        ):
            self.early.made(10.0, 10.5, queues)
            self.assertFalse(self.early.is_due(MUCH_BYTES, 10.4 + pause_s), queues)
            self.assertTrue(self.early.is_due(MUCH_BYTES, 10.5 + pause_s), queues)

    def test_one_that_failed_is_not_tried_again_at_once(self) -> None:
        self.early.failed(5.0)
        self.assertFalse(self.early.is_due(MUCH_BYTES, 4.9 + AFTER_FAILURE_S))
        self.assertTrue(self.early.is_due(MUCH_BYTES, 5.0 + AFTER_FAILURE_S))
