"""What a scenario is: one declaration of what is measured, on which servers, and which bar it has to hold."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import define, field

from benchmarks.comparison.java_load import JavaLoad
from benchmarks.comparison.sides import Servers, Side

Sample = Mapping[str, float]
"""What one round on one side gave: a figure by the key of each row; besides `cpu_us` and `failed`."""


@define(frozen=True)
class Row:
    """One figure of a scenario. A bar is on the ratio ours / Apache's, or on our own figure."""

    key: str
    unit: str
    better: Literal["higher", "lower"]
    bar: float | None = None
    goal: float | None = None
    bar_on: Literal["ratio", "ours"] = "ratio"
    title: str = ""
    """After the scenario's, when it has several rows."""


@define
class Stage:
    """What the scenarios of a group share while their servers run."""

    stores: Path
    """Folder of the big stores, each made when it is first asked for."""
    closing: contextlib.ExitStack
    java: JavaLoad | None = None
    kept: dict[Any, Any] = field(factory=dict)
    """What scenarios keep from one round to the next: frames, topics that exist already."""

    def kept_until_the_end(self, prefix: str) -> str:
        """A temporary folder that goes with the group."""
        return self.closing.enter_context(tempfile.TemporaryDirectory(prefix=prefix))

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` gave the first time."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]


@define(frozen=True)
class Turn:
    """One round on one side."""

    name: str
    number: int
    """0 is the one that is not counted."""
    seconds: float
    stage: Stage
    running: Side | None = None
    messages: int = 0
    """Of the scenarios about many messages."""

    @property
    def side(self) -> Side:
        assert self.running is not None, "this scenario starts its servers itself"
        return self.running

    @property
    def java(self) -> JavaLoad:
        assert self.stage.java is not None, "this group has no Java client"
        return self.stage.java


@define(frozen=True)
class Group:
    """Scenarios that are measured on the same running servers, after one warm-up."""

    name: str
    servers: Servers | None
    """None: its scenarios start servers of their own, a fresh one each round."""
    warm_up: Callable[[Turn], object] | None = None
    """Loads one side for `seconds`."""
    java: bool = False


@define(frozen=True)
class Scenario:
    name: str
    title: str
    group: Group
    rows: tuple[Row, ...]
    measure: Callable[[Turn], Sample]
    note: str = ""
    once: bool = False
    """One round is enough, and none is thrown away: it is long, and nothing in it depends on chance."""
