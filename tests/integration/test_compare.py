"""The command that compares us with Apache runs, keeps its figures and makes its report of them."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.comparison import report
from benchmarks.comparison.declaring import Row
from benchmarks.comparison.results import Result, Spread, load, save
from benchmarks.comparison.scenarios import BY_NAME, SCENARIOS

COMPARE = Path(__file__).parents[2] / "benchmarks" / "compare"
FACTS = {
    "date": "2026-01-01", "cores": 2, "processor": "P", "memory_gib": 8, "kernel": "Linux 6",
    "python": "3.11", "twisted": "26", "java": "17", "seconds": 1.0, "warm_up_s": 60.0,
}  # fmt: skip


def samples(cpu_us: float, *rates: float) -> list[dict[str, float]]:
    return [{"rate": rate, "cpu_us": cpu_us} for rate in rates]


class CompareTests(SynchronousTestCase):
    timeout = 120

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="compare-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_short_rounds_of_our_own_side_give_figures_and_a_table(self) -> None:
        names = ["raw-send", "raw-pull", "start-up"]
        wanted = [argument for name in names for argument in ("--scenario", name)]
        how = ["--rounds", "2", "--seconds", "0.1", "--warm-up", "0", "--out", str(self.folder)]
        done = subprocess.run(
            [str(COMPARE), "--only", "ours", *wanted, *how], capture_output=True, text=True, check=False
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        kept = load(self.folder)
        self.assertEqual(set(kept), set(names))
        for name, result in kept.items():
            values = result.values("ours", BY_NAME[name].rows[0].key)
            self.assertEqual(len(values), 2)
            self.assertGreater(min(values), 0)
            self.assertEqual(sum(result.values("ours", "failed")), 0)
        table = (self.folder / "README.md").read_text("utf-8")
        self.assertIn(BY_NAME["raw-pull"].title, table)

    def test_what_was_kept_in_slices_makes_one_table_with_verdicts(self) -> None:
        slow, fast = samples(9, 100, 120, 110), samples(5, 220, 200, 210)
        save(self.folder, Result("raw-send", {"ours": fast, "apache": slow}, FACTS))
        save(self.folder, Result("raw-pull", {"ours": slow, "apache": fast}, FACTS))
        lines = report.markdown(SCENARIOS, load(self.folder)).splitlines()
        [send] = [line for line in lines if line.startswith(f"| {BY_NAME['raw-send'].title}")]
        [pull] = [line for line in lines if line.startswith(f"| {BY_NAME['raw-pull'].title}")]
        self.assertIn("| **1.91** (1.67 - 2.20) | >= 1.5 (goal 2) | yes | 5 / 9 |", send)
        self.assertIn("| **0.52** (0.45 - 0.60) | >= 1 (goal 1.3) | NO | 9 / 5 |", pull)

    def test_a_bar_may_be_on_our_own_figure(self) -> None:
        row = Row("growth", "times", "lower", bar=1.1, bar_on="ours")
        self.assertEqual(report.verdict(row, Spread(0.5, 0.5, 0.5), Spread(1.2, 1.0, 1.3)), "NO")
        self.assertEqual(report.verdict(row, None, Spread(1.05, 1.0, 1.3)), "yes")

    def test_every_scenario_has_a_name_of_its_own(self) -> None:
        self.assertEqual(len(BY_NAME), len(SCENARIOS))

    def test_the_table_that_is_kept_is_made_of_the_figures_beside_it(self) -> None:
        results = COMPARE.parent / "results"
        kept = load(results)
        self.assertTrue(kept)
        self.assertLessEqual(set(kept), set(BY_NAME))
        table = report.markdown(SCENARIOS, kept)
        for document in (results / "README.md", COMPARE.parents[1] / "docs" / "performance.md"):
            self.assertIn(table, document.read_text("utf-8"))
        self.assertTrue(ElementTree.parse(results / "ratios.svg").getroot().tag.endswith("svg"))
        for path in results.glob("*.json"):
            self.assertEqual(path.stem, json.loads(path.read_text("utf-8"))["scenario"])
