"""Turns a tree into a function of a message's properties: true, false, or null (None).

Each part becomes a closure over the closures of its parts; nothing of an expression's text is ever executed.
Conditions have three values, and only what decides is evaluated, from left to right, since a comparison may
fail (NotComparable) and must not when Apache would not have come to it.
Facts: spec/filter.yaml (sql92: evaluation, type_conversion).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from rocketmq_tx.filter.java_numbers import (
    Long,
    NotComparable,
    Number,
    Value,
    compare,
    compare_doubles,
    negate,
    parse_boolean,
    parse_double,
    parse_int32,
    parse_int64,
)
from rocketmq_tx.filter.tree import (
    And,
    Between,
    Compare,
    In,
    IsNull,
    Literal,
    Negate,
    Node,
    Not,
    Or,
    Property,
)

Properties = Any
"""What a reader reads from: a mapping, or the stored bytes."""
Reader = Callable[[Properties], str | None]
Evaluate = Callable[[Properties], Any]
"""The value for a message. Raises NotComparable."""

_ORDERINGS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def compile_tree(tree: Node, reader: Callable[[str], Reader]) -> Evaluate:
    """The function of a whole expression; `reader` gives the function that reads a property by its name."""
    return Compiler(reader).condition(tree)


class Compiler:
    """Makes closures, the innermost first; deep only as far as the parser lets a tree be."""

    def __init__(self, reader: Callable[[str], Reader]) -> None:
        self._reader = reader
        self._makers: dict[type, Callable[[Any], Evaluate]] = {
            Literal: self._literal,
            Property: self._property,
            Negate: self._negate,
            Not: lambda node: _negation(self.condition(node.operand)),
            And: lambda node: _conjunction([self.condition(term) for term in node.terms]),
            Or: lambda node: _disjunction([self.condition(term) for term in node.terms]),
            Compare: self._compare,
            Between: self._between,
            In: self._in,
            IsNull: self._is_null,
        }

    def condition(self, node: Node) -> Evaluate:
        """A property in the place of a condition is text, so never true."""
        if not isinstance(node, Property):
            return self._value(node)
        read = self._property(node)
        return lambda properties: None if read(properties) is None else False

    def _value(self, node: Node) -> Evaluate:
        return self._makers[type(node)](node)

    def _literal(self, node: Literal) -> Evaluate:
        value = node.value
        return lambda properties: value

    def _property(self, node: Property) -> Reader:
        return self._reader(node.name)

    def _negate(self, node: Negate) -> Evaluate:
        operand = self._value(node.operand)
        return lambda properties: negate(operand(properties))

    def _in(self, node: In) -> Evaluate:
        read, texts, wanted = self._property(node.operand), frozenset(node.texts), not node.negated

        def is_in(properties: Properties) -> bool | None:
            text = read(properties)
            return None if text is None else (text in texts) is wanted

        return is_in

    def _is_null(self, node: IsNull) -> Evaluate:
        operand, wanted = self._value(node.operand), not node.negated
        return lambda properties: (operand(properties) is None) is wanted

    def _between(self, node: Between) -> Evaluate:
        """As two orderings, so that a message which one of them rejects need not be comparable with both."""
        if node.negated:
            below, above = Compare("<", node.operand, node.low), Compare(">", node.operand, node.high)
            return _disjunction([self._compare(below), self._compare(above)])
        not_below, not_above = Compare(">=", node.operand, node.low), Compare("<=", node.operand, node.high)
        return _conjunction([self._compare(not_below), self._compare(not_above)])

    def _compare(self, node: Compare) -> Evaluate:
        if node.symbol == "=":
            return self._equality(node)
        if node.symbol == "<>":
            return _negation(self._equality(node))
        left, right = _folded(node.left), _folded(node.right)
        left_number, right_number = _number(left), _number(right)
        if isinstance(left, Property) and right_number is not None:
            return _text_ordering(node.symbol, self._property(left), right_number)
        if isinstance(right, Property) and left_number is not None:
            return _text_ordering(_MIRRORED[node.symbol], self._property(right), left_number)
        return _ordering(node.symbol, self._value(left), self._value(right))

    def _equality(self, node: Compare) -> Evaluate:
        left, right = _folded(node.left), _folded(node.right)
        if isinstance(left, Property) and isinstance(right, Literal) and right.value is not None:
            return _text_equality(self._property(left), right.value)
        return _equality(self._value(left), self._value(right))


def _folded(node: Node) -> Node:
    """Signs before a number are part of it."""
    if isinstance(node, Negate):
        operand = _folded(node.operand)
        if isinstance(operand, Literal):
            return Literal(negate(operand.value))
    return node


def _number(node: Node) -> Number | None:
    """The value of a number's literal."""
    if not isinstance(node, Literal) or isinstance(node.value, (str, bool)):
        return None
    return node.value


def _parser_for(value: object) -> Callable[[str], Any]:
    """What reads a text that is to be compared with the value."""
    if isinstance(value, bool):
        return parse_boolean
    if isinstance(value, float):
        return parse_double
    return parse_int64 if isinstance(value, Long) else parse_int32


# -- conditions --------------------------------------------------------------------------------------------


def _negation(condition: Evaluate) -> Evaluate:
    def negation(properties: Properties) -> bool | None:
        value = condition(properties)
        return None if value is None else not value

    return negation


def _conjunction(terms: Sequence[Evaluate]) -> Evaluate:
    def conjunction(properties: Properties) -> bool | None:
        result: bool | None = True
        for term in terms:
            value = term(properties)
            if value is False:
                return False
            if value is None:
                result = None
        return result

    return conjunction


def _disjunction(terms: Sequence[Evaluate]) -> Evaluate:
    def disjunction(properties: Properties) -> bool | None:
        result: bool | None = False
        for term in terms:
            value = term(properties)
            if value is True:
                return True
            if value is None:
                result = None
        return result

    return disjunction


# -- comparisons -------------------------------------------------------------------------------------------


def _text_ordering(symbol: str, read: Reader, number: Number) -> Evaluate:
    """A property against a number, by far the most frequent comparison."""
    parse, holds = _parser_for(number), _ORDERINGS[symbol]
    of_nan = symbol in (">", ">=")

    def ordering(properties: Properties) -> bool | None:
        text = read(properties)
        if text is None:
            return None
        value = parse(text)
        # Java's NaN is above every number, Python's is on neither side of any.
        return holds(value, number) if value == value else of_nan  # noqa: PLR0124

    return ordering


def _text_equality(read: Reader, wanted: Value) -> Evaluate:
    """A property against a literal."""
    parse = None if isinstance(wanted, str) else _parser_for(wanted)

    def equality(properties: Properties) -> bool | None:
        text = read(properties)
        if text is None:
            return None
        return text == wanted if parse is None else bool(parse(text) == wanted)

    return equality


def _ordering(symbol: str, left: Evaluate, right: Evaluate) -> Evaluate:
    holds = _ORDERINGS[symbol]

    def ordering(properties: Properties) -> bool | None:
        left_value = left(properties)
        if left_value is None:
            return None
        right_value = right(properties)
        if right_value is None:
            return None
        if isinstance(left_value, str) and isinstance(right_value, str):
            return holds(compare_doubles(parse_double(left_value), parse_double(right_value)), 0)
        return holds(compare(left_value, right_value), 0)

    return ordering


def _equality(left: Evaluate, right: Evaluate) -> Evaluate:
    def equality(properties: Properties) -> bool | None:
        return equal(left(properties), right(properties))

    return equality


def equal(left: Value | None, right: Value | None) -> bool | None:
    """Null on the left alone is null, on the right alone false; two nulls are equal."""
    if left is None:
        return True if right is None else None
    return False if right is None else compare(left, right) == 0


__all__ = ["Compiler", "Evaluate", "NotComparable", "Reader", "compile_tree", "equal"]
