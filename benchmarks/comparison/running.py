"""Runs scenarios: groups them by their servers, warms those up, and lets the sides take turns."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import define

from benchmarks.comparison import machine
from benchmarks.comparison.declaring import Group, Sample, Scenario, Stage, Turn
from benchmarks.comparison.java_load import JavaLoad
from benchmarks.comparison.results import Result
from benchmarks.comparison.sides import APACHE, Side, running

OURS_WARM_UP_S = 5.0
"""Enough for what has no JIT: connections, caches, the first files."""
OTHERS_MAX = 0.15
"""Cores that other processes may keep busy during a round; with more it is measured again."""
REST_S = 0.3
"""Between two turns: what a server still does behind the answers is over."""


@define(frozen=True)
class Options:
    sides: Sequence[str]
    rounds: int
    seconds: float
    warm_up_s: float
    messages: int
    attempts: int
    stores: Path


def run(scenarios: Sequence[Scenario], options: Options, say: Callable[[str], None]) -> Iterator[Result]:
    """The result of each scenario as soon as it is there."""
    by_group: dict[str, list[Scenario]] = {}
    for scenario in scenarios:
        by_group.setdefault(scenario.group.name, []).append(scenario)
    for members in by_group.values():
        yield from _run_group(members[0].group, members, options, say)


def _run_group(
    group: Group, scenarios: Sequence[Scenario], options: Options, say: Callable[[str], None]
) -> Iterator[Result]:
    with contextlib.ExitStack() as stack:
        sides: dict[str, Side] = {}
        if group.servers is not None:
            sides = stack.enter_context(running(options.sides, group.servers))
        java = stack.enter_context(JavaLoad()) if group.java else None
        stage = Stage(options.stores, stack, java)
        if os.nice(0) < 0:
            machine.take_precedence([os.getpid(), *machine.children(os.getpid())])
        for name, side in sides.items():
            if stage.java:
                stage.java.open(side)
            warm_up_s = options.warm_up_s if name == APACHE else min(OURS_WARM_UP_S, options.warm_up_s)
            if group.warm_up and warm_up_s:
                say(f"{group.name}: warming {name} up for {warm_up_s:g} s")
                group.warm_up(Turn(name, 0, warm_up_s, stage, side))
        for scenario in scenarios:
            yield _run_scenario(scenario, sides, stage, options, say)


def _run_scenario(
    scenario: Scenario, sides: dict[str, Side], stage: Stage, options: Options, say: Callable[[str], None]
) -> Result:
    rounds: dict[str, list[Sample]] = {name: [] for name in options.sides}
    for number in [1] if scenario.once else range(options.rounds + 1):
        order = list(options.sides) if number % 2 else list(reversed(options.sides))
        for name in order:
            turn = Turn(name, number, options.seconds, stage, sides.get(name), options.messages)
            sample = _undisturbed(scenario, turn, options.attempts, say)
            say(f"{scenario.name} {number or 'not counted'} {name}: {_shown(sample)}")
            if number:
                rounds[name].append(sample)
            time.sleep(REST_S)
    facts = {**machine.facts(), "seconds": options.seconds, "warm_up_s": options.warm_up_s}
    return Result(scenario.name, rounds, facts)


def _undisturbed(scenario: Scenario, turn: Turn, attempts: int, say: Callable[[str], None]) -> Sample:
    """A round during which others left the processors alone; the last of a few attempts at worst."""
    for attempt in range(1 if scenario.once or not turn.number else attempts):
        sample, others = machine.cores_used_by_others(lambda: scenario.measure(turn))
        if others <= OTHERS_MAX:
            break
        say(f"{scenario.name} {turn.number} {turn.name}: others used {others:.2f} cores ({attempt + 1})")
    return {**sample, "others": others}


def _shown(sample: Sample) -> str:
    return ", ".join(f"{key} {value:,.5g}" for key, value in itertools.islice(sample.items(), 8))
