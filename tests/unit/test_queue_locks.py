"""Leases of queues for orderly consumers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.queue_locks import LOCK_EXPIRED_S, QueueLocks


class Leases(SynchronousTestCase):
    def setUp(self) -> None:
        self.locks = QueueLocks()

    def test_a_free_queue_is_taken_and_a_taken_one_is_not_listed(self) -> None:
        self.assertEqual(self.locks.lock("g", "one", ["q0"], 0.0), ["q0"])
        self.assertEqual(self.locks.lock("g", "two", ["q0", "q1"], 1.0), ["q1"])

    def test_its_owner_renews_a_lock(self) -> None:
        self.locks.lock("g", "one", ["q0"], 0.0)
        self.locks.lock("g", "one", ["q0"], 50.0)
        self.assertEqual(self.locks.lock("g", "two", ["q0"], LOCK_EXPIRED_S + 1), [])

    def test_a_lock_that_was_not_renewed_for_a_minute_can_be_taken_over(self) -> None:
        self.locks.lock("g", "one", ["q0"], 0.0)
        self.assertEqual(self.locks.lock("g", "two", ["q0"], LOCK_EXPIRED_S), [])
        self.assertEqual(self.locks.lock("g", "two", ["q0"], LOCK_EXPIRED_S + 0.1), ["q0"])
        self.assertEqual(self.locks.lock("g", "one", ["q0"], LOCK_EXPIRED_S + 0.2), [])

    def test_groups_do_not_lock_each_other_out(self) -> None:
        self.locks.lock("g", "one", ["q0"], 0.0)
        self.assertEqual(self.locks.lock("h", "two", ["q0"], 0.0), ["q0"])

    def test_only_the_owner_unlocks(self) -> None:
        self.locks.lock("g", "one", ["q0"], 0.0)
        self.locks.unlock("g", "two", ["q0"])
        self.assertEqual(self.locks.lock("g", "two", ["q0"], 0.0), [])
        self.locks.unlock("g", "one", ["q0", "never locked"])
        self.assertEqual(self.locks.lock("g", "two", ["q0"], 0.0), ["q0"])
        self.locks.unlock("no such group", "one", ["q0"])

    def test_expired_and_given_up_leases_take_no_memory(self) -> None:
        self.locks.lock("g", "one", ["q0"], 0.0)
        self.locks.lock("h", "one", ["q0"], 50.0)
        self.locks.lock("i", "one", [], 50.0)
        self.assertEqual(len(self.locks), 2)
        self.locks.drop_expired(LOCK_EXPIRED_S + 1)
        self.assertEqual(len(self.locks), 1)
        self.locks.unlock("h", "one", ["q0"])
        self.assertEqual(len(self.locks), 0)
