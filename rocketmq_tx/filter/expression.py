"""A compiled expression, and how it reads the properties of a message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rocketmq_tx.filter.evaluation import NotComparable, Reader, compile_tree
from rocketmq_tx.filter.parser import parse
from rocketmq_tx.filter.remembering import (
    REMEMBERED_BYTES_MAX,
    REMEMBERED_MAX,
    RawReader,
    compile_remembering,
)
from rocketmq_tx.filter.tree import Node, property_names
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
        names = list(property_names(tree))
        self.matches_stored = _matching(names[0], self._is_true) if len(names) == 1 else self._is_true
        """The same as `matches` for properties as a record holds them."""

    def matches(self, properties: Mapping[str, str]) -> bool:
        try:
            return self.evaluate(properties) is True
        except NotComparable:
            return False

    def _is_true(self, stored: bytes) -> bool:
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


def _matching(name: str, is_true: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """What `is_true` says where one property decides, remembered for each of its values.

    Every message that is looked at comes here: so this reads as `raw_reader` does, without a call.
    """
    inner = _PAIR_END + name.encode() + _VALUE_BEGIN
    length = len(inner)
    found: dict[bytes, bool] = {}

    def matches(stored: bytes) -> bool:
        at = stored.rfind(inner)
        if at < 0:
            return is_true(stored)
        at += length
        end = stored.find(_PAIR_END, at)
        value = stored[at:end] if end >= 0 else stored[at:]
        verdict = found.get(value)
        if verdict is None:
            verdict = is_true(stored)
            if 0 < len(value) <= REMEMBERED_BYTES_MAX:  # of no value an earlier one of that name counts
                if len(found) >= REMEMBERED_MAX:
                    found.clear()
                found[value] = verdict
        return verdict

    return matches
