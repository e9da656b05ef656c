"""The parts of an expression as a tree, and its text.

A property in the place of a condition (operand of AND, OR, NOT, or the whole expression) counts as one, with
Apache's meaning: null when it is missing, else false. Facts: spec/filter.yaml (sql92.grammar).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs


@attrs.frozen
class Literal:
    """A text, a number (a `Long` for 64 bits), TRUE, FALSE, or NULL (None)."""

    value: str | int | float | bool | None


@attrs.frozen
class Property:
    """The message's property of that name."""

    name: str


@attrs.frozen
class Negate:
    """A minus sign."""

    operand: Node


@attrs.frozen
class Not:
    operand: Node


@attrs.frozen
class And:
    terms: tuple[Node, ...]


@attrs.frozen
class Or:
    terms: tuple[Node, ...]


@attrs.frozen
class Compare:
    """`symbol` is one of = <> < <= > >=."""

    symbol: str
    left: Node
    right: Node


@attrs.frozen
class Between:
    """From `low` to `high`, both included; `negated`: outside of that."""

    operand: Node
    low: Node
    high: Node
    negated: bool = False


@attrs.frozen
class In:
    """One of the texts, or none of them."""

    operand: Property
    texts: tuple[str, ...]
    negated: bool = False


@attrs.frozen
class IsNull:
    operand: Node
    negated: bool = False


Node = Literal | Property | Negate | Not | And | Or | Compare | Between | In | IsNull
CONDITIONS = (Not, And, Or, Compare, Between, In, IsNull)


def is_boolean(node: Node) -> bool:
    """Does it yield a boolean or null by its form? (A property does not, but may stand for one.)"""
    if isinstance(node, Literal):
        return node.value is None or isinstance(node.value, bool)
    return isinstance(node, CONDITIONS)


def property_names(node: Node) -> list[str]:
    """Names of the properties in it, each once."""
    names: dict[str, None] = {}
    left: list[Node] = [node]
    while left:
        part = left.pop()
        if isinstance(part, Property):
            names[part.name] = None
            continue
        for field in attrs.fields(type(part)):
            value = getattr(part, field.name)
            left += [one for one in (value if isinstance(value, tuple) else (value,)) if attrs.has(type(one))]
    return list(names)


def to_text(node: Node) -> str:
    """An expression that parses to this tree."""
    return _TEXTS[type(node)](node)


def _operand(node: Node) -> str:
    return to_text(node) if isinstance(node, (Literal, Property)) else f"({to_text(node)})"


def quoted(text: str) -> str:
    """The literal of a text."""
    return "'" + text.replace("'", "''") + "'"


def _literal(node: Literal) -> str:
    value = node.value
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "NULL", True: "TRUE", False: "FALSE"}[value]
    return repr(value)


def _in(node: In) -> str:
    texts = ", ".join(map(quoted, node.texts))
    return f"{_operand(node.operand)} {_not(node)}IN ({texts})"


def _between(node: Between) -> str:
    operands = map(_operand, (node.operand, node.low, node.high))
    return "{} {}BETWEEN {} AND {}".format(next(operands), _not(node), *operands)


def _not(node: In | Between | IsNull) -> str:
    return "NOT " if node.negated else ""


_TEXTS: dict[type, Callable[[Any], str]] = {
    Literal: _literal,
    Property: lambda node: node.name,
    Negate: lambda node: f"- {_operand(node.operand)}",
    Not: lambda node: f"NOT {_operand(node.operand)}",
    And: lambda node: " AND ".join(map(_operand, node.terms)),
    Or: lambda node: " OR ".join(map(_operand, node.terms)),
    Compare: lambda node: f"{_operand(node.left)} {node.symbol} {_operand(node.right)}",
    Between: _between,
    In: _in,
    IsNull: lambda node: f"{_operand(node.operand)} IS {_not(node)}NULL",
}
