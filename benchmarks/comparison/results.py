"""Kept figures: one JSON file a scenario, so that a run may be done in slices."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define

from benchmarks.comparison.declaring import Sample
from benchmarks.comparison.sides import APACHE, OURS


@define(frozen=True)
class Spread:
    """Median, least and most of some rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@define(frozen=True)
class Result:
    """The rounds of one scenario by the name of the side, and where they were taken."""

    scenario: str
    rounds: Mapping[str, Sequence[Sample]]
    facts: Mapping[str, Any]

    def values(self, side: str, key: str) -> list[float]:
        return [sample[key] for sample in self.rounds.get(side, ()) if key in sample]

    def spread(self, side: str, key: str) -> Spread | None:
        values = self.values(side, key)
        return Spread.of(values) if values else None

    def ratio(self, key: str) -> Spread | None:
        """Ours to Apache's: of the medians, with the least and the most of the rounds' own ratios."""
        ours, apache = self.values(OURS, key), self.values(APACHE, key)
        if not ours or not apache or not all(apache):
            return None
        pairs = [one / other for one, other in zip(ours, apache, strict=True)]
        return Spread(statistics.median(ours) / statistics.median(apache), min(pairs), max(pairs))


def save(folder: Path, result: Result) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "scenario": result.scenario,
        "facts": result.facts,
        "rounds": {
            side: [{key: float(f"{value:.5g}") for key, value in sample.items()} for sample in samples]
            for side, samples in result.rounds.items()
        },
    }
    path = folder / f"{result.scenario}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(folder: Path) -> dict[str, Result]:
    """All that is kept in a folder, by the scenario's name."""
    kept = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        kept[content["scenario"]] = Result(content["scenario"], content["rounds"], content["facts"])
    return kept
