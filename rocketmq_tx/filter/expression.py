"""A compiled expression, and how it reads the properties of a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rocketmq_tx.filter.evaluation import NotComparable, Reader, compile_tree
from rocketmq_tx.filter.parser import parse
from rocketmq_tx.filter.remembering import RawReader, compile_remembering
from rocketmq_tx.filter.tree import Node
from rocketmq_tx.protocol.properties import NAME_VALUE_SEPARATOR, PAIR_SEPARATOR, unpack_properties

_PAIR_END = PAIR_SEPARATOR.encode()
_VALUE_BEGIN = NAME_VALUE_SEPARATOR.encode()


class Expression:
    """Says of a message whether it matches: its value is true, neither false nor null nor an error."""

    def __init__(self, text: str, tree: Node) -> None:
        self.text = text
        self.tree = tree
        self.evaluate = compile_tree(tree, _mapping_reader)
        """The value (True, False, None) for a mapping of properties; raises NotComparable."""
        self._evaluate_stored = compile_remembering(tree, stored_reader, raw_reader)

    def matches(self, properties: Mapping[str, str]) -> bool:
        try:
            return self.evaluate(properties) is True
        except NotComparable:
            return False

    def matches_stored(self, stored: bytes) -> bool:
        """The same for properties as a record holds them."""
        try:
            return self._evaluate_stored(stored) is True
        except NotComparable:
            return False


def compile_expression(text: str) -> Expression:
    """Raises ExpressionError, which names the place of the first mistake."""
    return Expression(text, parse(text))


def _mapping_reader(name: str) -> Reader:
    def read(properties: Any) -> str | None:
        value: str | None = properties.get(name)
        return value

    return read


def stored_reader(name: str) -> Reader:
    """Reads one property from the stored bytes without taking the others apart.

    Of equal names the last one with a value counts (`protocol.properties.decode_properties`).
    """
    read_raw = raw_reader(name)

    def read(stored: Any) -> str | None:
        value = read_raw(stored)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    return read


def raw_reader(name: str) -> RawReader:
    """The same, but the bytes where they are the value as they stand."""
    first = name.encode() + _VALUE_BEGIN
    inner = _PAIR_END + first
    first_length, inner_length = len(first), len(inner)

    def read(stored: bytes) -> bytes | str | None:
        at = stored.rfind(inner)
        if at >= 0:
            at += inner_length
        elif stored.startswith(first):
            at = first_length
        else:
            return None
        end = stored.find(_PAIR_END, at)
        value = stored[at:end] if end >= 0 else stored[at:]
        return value or unpack_properties(stored).get(name)

    return read
