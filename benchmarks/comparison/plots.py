"""The ratios with their spread as pictures; matplotlib is the extra `benchmarks`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

try:
    import matplotlib
    from matplotlib import pyplot
except ImportError:
    pyplot = None  # type: ignore[assignment]
else:
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "rocketmq_tx"  # the same figures make the same file

from benchmarks.comparison import report
from benchmarks.comparison.declaring import Row, Scenario
from benchmarks.comparison.results import Result, Spread

HELD, NOT_HELD, NO_BAR = "#2a7f62", "#c0392b", "#5d6d7e"
COLOURS = {"yes": HELD, "NO": NOT_HELD, "": NO_BAR}


def draw(path: Path, scenarios: Sequence[Scenario], kept: Mapping[str, Result]) -> bool:
    """Writes one SVG with a line for each row that has a ratio; False without matplotlib."""
    if pyplot is None:
        return False
    lines = [
        (_label(scenario, row), row, ratio)
        for scenario, row, result in report.rows(scenarios, kept)
        if (ratio := result.ratio(row.key)) is not None
    ]
    figure, axes = pyplot.subplots(figsize=(10, 1.2 + 0.32 * len(lines)), layout="constrained")
    for place, (_, row, ratio) in enumerate(lines):
        _line(axes, -place, row, ratio)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks([-place for place in range(len(lines))], [label for label, _, _ in lines], fontsize=8)
    axes.set_ylim(-len(lines) + 0.4, 0.6)
    ticks = [0.05, 0.1, 0.2, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8)
    axes.minorticks_off()
    axes.grid(axis="x", linewidth=0.3)
    axes.set_title("ours / Apache 4.9.7: median, least and most of the rounds; | is the bar", fontsize=10)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return True


def _line(axes, place: int, row: Row, ratio: Spread) -> None:
    colour = COLOURS[report.verdict(row, ratio, None)] if row.bar_on == "ratio" else NO_BAR
    axes.plot([ratio.least, ratio.most], [place, place], color=colour, linewidth=2, alpha=0.5)
    axes.plot([ratio.median], [place], marker="o" if row.better == "higher" else "s", color=colour)
    if row.bar is not None and row.bar_on == "ratio":
        axes.plot([row.bar], [place], marker="|", markersize=12, color="black")


def _label(scenario: Scenario, row: Row) -> str:
    better = "" if row.better == "higher" else " (less is better)"
    return f"{scenario.name}{f', {row.title}' if row.title else ''}{better}"
