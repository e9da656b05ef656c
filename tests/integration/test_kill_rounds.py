"""Rows 2 and 4 of the fault list: a whole broker is killed under load at random moments, and while it starts.

`benchmarks/kill_loop.py` does the same for as many rounds as one likes.
"""

from __future__ import annotations

import os

import attrs
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.kill_loop import Acknowledged, Lost, Summary, kill_rounds, read_back
from tests.integration.fault_parts import FaultCase

SEED_VARIABLE = "ROCKETMQ_TX_SEED"


class KillRoundTests(SynchronousTestCase):
    timeout = 300

    def rounds(self, number: int, *keys: str) -> Summary:
        seed = int(os.environ.get(SEED_VARIABLE, "0")) or int.from_bytes(os.urandom(4), "big")
        try:
            summary = kill_rounds(number, seed, keys, longest_s=0.6)
        except Lost as failure:
            self.fail(f"{SEED_VARIABLE}={seed}: {failure}")
        self.assertEqual(summary.rounds, number)
        self.assertGreater(len(summary.acknowledged), number * 10)
        return summary

    def test_five_kills_under_load_lose_nothing_acknowledged_under_sync_flush(self) -> None:
        """Rows 2 and 4: SIGKILL under load with SYNC_FLUSH, every other start killed, too."""
        summary = self.rounds(5)
        self.assertEqual(summary.starts_killed, 2)

    def test_kills_under_load_lose_nothing_acknowledged_under_async_flush(self) -> None:
        """Row 2: what the kernel has, the death of a process does not take."""
        self.rounds(2, "flushDiskType=ASYNC_FLUSH")


class TheJudgeTests(FaultCase):
    """Reading back fails when it should."""

    def test_a_message_that_is_missing_or_another_is_noticed(self) -> None:
        broker = self.broker()
        with self.client(broker) as client:
            answer = client.send_message("Faults", b"hello")
        self.assertEqual(answer.code, 0)
        there = Acknowledged("Faults", 0, 0, 0, b"hello")
        read_back(broker.port, [there])
        for wrong in (
            attrs.evolve(there, commit_log_offset=1_000_000),
            attrs.evolve(there, body=b"jello"),
            attrs.evolve(there, queue_offset=1),
        ):
            self.assertRaises(Lost, read_back, broker.port, [there, wrong])
