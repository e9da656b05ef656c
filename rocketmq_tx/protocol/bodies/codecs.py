"""Codecs of JSON's values, which read as tolerantly as fastjson does (`spec/bodies.yaml` fastjson_rules).

Numbers and booleans may be texts, enums may be ordinals. What a field cannot take is a `BodyError` with the
path to it.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from rocketmq_tx.errors import BodyError


class Unreadable(BodyError):
    """A value that its field cannot take; collects the path on its way up."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self._problem = problem
        self._path = path

    def within(self, step: str) -> Unreadable:
        separator = "." if self._path and not self._path.startswith("[") else ""
        return Unreadable(self._problem, f"{step}{separator}{self._path}")


class Codec(NamedTuple):
    """How values of one annotation are read (they are never None) and written."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


def as_it_is(value: Any) -> Any:
    """Writes what JSON has by itself."""
    return value


def shown(value: object) -> str:
    """The value in a sentence."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def read_int(bits: int, value: object) -> int:
    """A signed number of so many bits."""
    if isinstance(value, str):
        try:
            value = int(value) if len(value) <= 20 else value
        except ValueError:
            pass
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unreadable(f"a whole number expected, not {shown(value)}")
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise Unreadable(f"{value} does not fit {bits} bits")
    return value


def _read_float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Unreadable(f"a number expected, not {shown(value)}")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise Unreadable(f"a number expected, not {shown(value)}") from None


def _read_bool(value: object) -> bool:
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower(), value)
    if value in (0, 1):  # True and False are among them
        return bool(value)
    raise Unreadable(f"true or false expected, not {shown(value)}")


def _read_str(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise Unreadable(f"a text expected, not {shown(value)}")


PLAIN: dict[Any, Callable[[Any], Any]] = {
    int: functools.partial(read_int, 64),
    float: _read_float,
    bool: _read_bool,
    str: _read_str,
}
"""How values of these types are read; they are written as they are."""


def read_enum(kind: type[enum.Enum], value: object) -> enum.Enum | None:
    """A constant by name or ordinal; a name that this version does not know is None, as in Apache."""
    if isinstance(value, str):
        return kind.__members__.get(value)
    members = list(kind)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(members):
        return members[value]
    raise Unreadable(f"a name of {kind.__name__} expected, not {shown(value)}")


def items_codec(kind: Callable[..., Any], item: Codec) -> Codec:
    """Arrays, as a list or a tuple."""

    def read(value: object) -> Any:
        if not isinstance(value, list):
            raise Unreadable(f"an array expected, not {shown(value)}")
        found = []
        for index, element in enumerate(value):
            if element is None:
                raise Unreadable("null in an array", f"[{index}]")
            try:
                found.append(item.read(element))
            except Unreadable as problem:
                raise problem.within(f"[{index}]") from None
        return kind(found)

    return Codec(read, lambda value: kind(item.write(element) for element in value))


def dict_codec(key: Codec, item: Codec) -> Codec:
    """Objects whose keys are values, too; nulls are left out."""

    def read(value: object) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise Unreadable(f"an object expected, not {shown(value)}")
        found = {}
        for name, element in value.items():
            if element is not None:
                try:
                    found[key.read(name)] = item.read(element)
                except Unreadable as problem:
                    raise problem.within(f"[{shown(name)}]") from None
        return found

    return Codec(
        read, lambda value: {key.write(name): item.write(element) for name, element in value.items()}
    )
