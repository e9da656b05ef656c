"""The hot path keeps its budget: counted steps, which no busy machine changes, against recorded ones."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.hot_path_cost import EXPECTED, version

ROOT = Path(__file__).parents[2]
MAY_DIFFER = 0.2
RECORD = "python -m tests.hot_path_cost --record"


@cache
def counted() -> dict[str, dict[str, float]]:
    """Counted in a process of its own: nothing else is traced there, and nothing was loaded before."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.hot_path_cost"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


class HotPathCost(SynchronousTestCase):
    def setUp(self) -> None:
        self.kept = json.loads(EXPECTED.read_text())
        self.found = counted()

    def assert_kept(self, name: str) -> None:
        counted_with = [text for text, kept in self.kept.items() if name in kept]
        known = version() in counted_with
        newest = max(counted_with, key=lambda text: [*map(int, text.split("."))])
        # a Python that nobody counted with yet compiles to somewhat other opcodes
        may_differ = MAY_DIFFER if known else 2 * MAY_DIFFER
        for what, expected in self.kept[version() if known else newest][name].items():
            found = self.found[name][what]
            self.assertLessEqual(
                found, expected * (1 + may_differ), f"{name}: {what} went up from {expected}"
            )
            self.assertGreaterEqual(
                found,
                expected * (1 - may_differ),
                f"{name}: {what} went down from {expected}; keep it so by `{RECORD}`",
            )

    def test_a_send_among_many_costs_what_it_did(self) -> None:
        self.assert_kept("pipelined send")

    def test_a_send_among_many_to_many_topics_costs_what_it_did(self) -> None:
        self.assert_kept("pipelined send to many topics")

    def test_a_lonely_send_costs_what_it_did(self) -> None:
        self.assert_kept("lonely send")

    def test_a_pulled_message_costs_what_it_did(self) -> None:
        self.assert_kept("pull of 32")

    def test_a_message_of_a_scanned_pull_costs_what_it_did(self) -> None:
        self.assert_kept("scanned pulls of 32")

    def test_a_request_that_is_served_the_general_way_costs_what_it_did(self) -> None:
        self.assert_kept("lonely request")
        self.assert_kept("pipelined request")

    def test_a_handler_that_need_not_wait_costs_what_it_did(self) -> None:
        self.assert_kept("lonely look-up")

    def test_a_message_of_a_batch_costs_a_small_part_of_a_lonely_one(self) -> None:
        lonely, member = self.found["lonely send"], self.found["batch of 32"]
        for what in ("opcodes a message", "C calls a message"):
            self.assertLess(member[what] * 4, lonely[what])
        self.assertLess(member["opcodes a message"], 200)
        self.assertEqual((member["log writes a read"], member["log reads a read"]), (1, 0))

    def test_a_read_full_of_sends_is_one_write_to_the_log(self) -> None:
        self.assertEqual(self.found["pipelined send"]["log writes a read"], 1)
        self.assertEqual(self.found["pipelined send"]["log reads a read"], 0)

    def test_a_double_write_costs_little_more_than_an_asynchronous_one(self) -> None:
        """9 % of the opcodes, and as much of the calls; no read and no write."""
        simple, double = (self.found[f"pipelined send to {role}_MASTER"] for role in ("ASYNC", "SYNC"))
        for what in ("opcodes a message", "C calls a message"):
            self.assertLess(double[what], simple[what] * 1.12)
        for what in ("log writes a read", "log reads a read"):
            self.assertEqual(double[what], simple[what])

    def test_messages_of_a_queue_that_lie_together_are_one_read_of_the_log(self) -> None:
        self.assertEqual(self.found["pull of 32"]["log reads a read"], 1)
        self.assertEqual(self.found["pull of 32"]["log writes a read"], 0)

    def test_a_send_leaves_nothing_in_memory(self) -> None:
        self.assertLess(self.found["memory"]["blocks kept by a send"], 0.5)
