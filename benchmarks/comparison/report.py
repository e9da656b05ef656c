"""The Markdown table of all results that are kept, and which bars they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.comparison.declaring import Row, Scenario
from benchmarks.comparison.results import Result, Spread
from benchmarks.comparison.sides import APACHE, OURS

OTHERS_SHOWN = 0.15
"""Cores that others kept busy: with more the figures are to be read with care."""
BEGIN, END = "<!-- compare: begin -->", "<!-- compare: end -->"


def verdict(row: Row, ratio: Spread | None, ours: Spread | None) -> str:
    """Whether the median holds the row's bar: "yes", "NO", or nothing where there is nothing to compare."""
    found = ratio if row.bar_on == "ratio" else ours
    if row.bar is None or found is None:
        return ""
    holds = found.median >= row.bar if row.better == "higher" else found.median <= row.bar
    return "yes" if holds else "NO"


def bar_text(row: Row) -> str:
    if row.bar is None:
        return ""
    sign = ">=" if row.better == "higher" else "<="
    goal = f" (goal {row.goal:g})" if row.goal else ""
    return f"{'ours ' if row.bar_on == 'ours' else ''}{sign} {row.bar:g}{goal}"


def rows(scenarios: Sequence[Scenario], kept: Mapping[str, Result]) -> Iterator[tuple[Scenario, Row, Result]]:
    """Every row that has figures, in the order of the table of scenarios."""
    for scenario in scenarios:
        result = kept.get(scenario.name)
        if result is not None:
            for row in scenario.rows:
                if result.values(OURS, row.key) or result.values(APACHE, row.key):
                    yield scenario, row, result


def markdown(scenarios: Sequence[Scenario], kept: Mapping[str, Result]) -> str:
    """All of it, without a heading."""
    lines = [
        "Figures are medians with least and most of the rounds; the ratio is of the medians, its spread",
        "that of the rounds' own ratios. CPU is what the broker's process used for a message.",
        "",
        *_machines(kept),
        "",
        "| scenario | unit | ours | Apache 4.9.7 | ours / Apache's | bar | held | CPU us, ours / Apache's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for scenario, row, result in rows(scenarios, kept):
        ours, apache = result.spread(OURS, row.key), result.spread(APACHE, row.key)
        ratio = result.ratio(row.key)
        cells = [
            scenario.title + (f": {row.title}" if row.title else ""),
            row.unit, _shown(ours), _shown(apache), _shown(ratio, ratio=True), bar_text(row),
            verdict(row, ratio, ours), _cpu(result),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    notes = [f"- {one.title}: {one.note}" for one in scenarios if one.note and one.name in kept]
    refused = list(_refused(scenarios, kept))
    disturbed = list(_disturbed(scenarios, kept))
    for heading, content in (
        ("Notes:", notes),
        ("Refused or failed:", refused),
        ("Other processes used the machine meanwhile, in the median of the rounds:", disturbed),
    ):
        if content:
            lines += ["", heading, "", *content]
    return "\n".join(lines) + "\n"


def inserted(document: str, table: str) -> str:
    """The document with the table between its two marks."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, f"the document has no {BEGIN} and {END}"
    return f"{before}{begin}\n{table}{end}{after}"


def _machines(kept: Mapping[str, Result]) -> list[str]:
    """One line for each machine and day on which figures were taken, with how long the rounds were."""
    lines: dict[str, list[str]] = {}
    for result in kept.values():
        facts = result.facts
        line = (
            f"{facts['date']}: {facts['cores']} cores of {facts['processor']}, {facts['memory_gib']} GiB, "
            f"{facts['kernel']}, Python {facts['python']}, Twisted {facts['twisted']}, Java {facts['java']}; "
            f"{len(next(iter(result.rounds.values())))} rounds of {facts['seconds']:g} s, "
            f"Apache warmed up for {facts['warm_up_s']:g} s"
            + (f", load and servers at nice {facts['nice']}" if facts.get("nice") else "")
        )
        lines.setdefault(line, []).append(result.scenario)
    if len(lines) == 1:
        return [f"{line}." for line in lines]
    return [f"- {line}: {', '.join(names)}" for line, names in lines.items()]


def _shown(spread: Spread | None, ratio: bool = False) -> str:
    if spread is None:
        return ""
    median, least, most = (_number(value, ratio) for value in (spread.median, spread.least, spread.most))
    return f"**{median}** ({least} - {most})" if ratio else f"{median} ({least} - {most})"


def _number(value: float, ratio: bool = False) -> str:
    if ratio:
        return f"{value:.2f}"
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def _cpu(result: Result) -> str:
    ours, apache = result.spread(OURS, "cpu_us"), result.spread(APACHE, "cpu_us")
    return " / ".join(f"{spread.median:.3g}" for spread in (ours, apache) if spread is not None)


def _disturbed(scenarios: Sequence[Scenario], kept: Mapping[str, Result]) -> Iterator[str]:
    for scenario in scenarios:
        if scenario.name in kept:
            result = kept[scenario.name]
            cores = [spread.median for side in (OURS, APACHE) if (spread := result.spread(side, "others"))]
            if cores and max(cores) > OTHERS_SHOWN:
                shown = " and ".join(f"{one:.2f}" for one in cores)
                yield f"- {scenario.title}: {shown} cores"


def _refused(scenarios: Sequence[Scenario], kept: Mapping[str, Result]) -> Iterator[str]:
    for scenario in scenarios:
        if scenario.name in kept:
            for side in (OURS, APACHE):
                failed = sum(kept[scenario.name].values(side, "failed"))
                if failed:
                    yield f"- {scenario.title}, {side}: {failed:,.0f} in all rounds together"
