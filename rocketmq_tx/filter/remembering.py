"""Expressions over stored properties that remember what they found about the values of a property.

Messages have most of their properties in common values, so that a look into a table mostly does. Each
condition that depends on one property only is a function of its value; what stands above several is evaluated
as ever, so that nothing is looked at that does not decide.
"""

from __future__ import annotations

from collections.abc import Callable

from rocketmq_tx.filter.evaluation import (
    Compiler,
    Evaluate,
    NotComparable,
    Properties,
    Reader,
    compile_tree,
)
from rocketmq_tx.filter.tree import Node, property_names

RawReader = Callable[[bytes], "bytes | str | None"]
"""Reads a property from the stored bytes, as bytes (UTF-8) or as text."""
REMEMBERED_MAX = 500
"""Of so many values a condition remembers what it is for them."""
REMEMBERED_BYTES_MAX = 64
"""Longer values are looked at each time."""


def compile_remembering(
    tree: Node, reader: Callable[[str], Reader], raw_reader: Callable[[str], RawReader]
) -> Evaluate:
    """As `compile_tree`, for stored bytes."""
    return _RememberingCompiler(reader, raw_reader).condition(tree)


class _RememberingCompiler(Compiler):
    """Compiles parts that depend on one property as functions of its value."""

    def __init__(self, reader: Callable[[str], Reader], raw_reader: Callable[[str], RawReader]) -> None:
        super().__init__(reader)
        self._raw_reader = raw_reader

    def condition(self, node: Node) -> Evaluate:
        names = property_names(node)
        if len(names) != 1:
            return super().condition(node)
        return _remembered(self._raw_reader(names[0]), compile_tree(node, lambda name: _itself))


def _itself(value: Properties) -> str | None:
    text: str | None = value
    return text


def _remembered(read: RawReader, evaluate: Evaluate) -> Evaluate:
    found: dict[bytes | str | None, bool | NotComparable | None] = {}

    def look(stored: Properties) -> bool | None:
        value = read(stored)
        result = found[value] if value in found else judge(value)
        if result.__class__ is NotComparable:
            raise NotComparable
        return result  # type: ignore[return-value]

    def judge(value: bytes | str | None) -> bool | NotComparable | None:
        result: bool | NotComparable | None
        try:
            result = evaluate(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)
        except NotComparable:
            result = NotComparable()
        if value is None or len(value) <= REMEMBERED_BYTES_MAX:
            if len(found) >= REMEMBERED_MAX:
                found.clear()
            found[value] = result
        return result

    return look
