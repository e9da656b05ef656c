"""A second, slow opinion on SQL92: trees written as Apache writes them, and their value, step by step.

It follows the description in spec/filter.yaml word by word and shares only the tree with what it judges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from rocketmq_tx.filter import tree
from rocketmq_tx.filter.java_numbers import Long


class EvaluationFailed(Exception):
    """Apache throws here."""


def apache_text(node: tree.Node) -> str:  # noqa: PLR0911 - a case for each kind of node
    """`Expression.toString()` of what Apache compiles."""
    match node:
        case tree.Literal(value):
            if isinstance(value, str):
                return tree.quoted(value)
            return "NULL" if value is None else str(value).upper() if isinstance(value, bool) else str(value)
        case tree.Property(name):
            return name
        case tree.Negate(operand):
            return f"(- {apache_text(operand)})"
        case tree.Not(operand):
            return f"(NOT {apache_text(operand)})"
        case tree.And(terms) | tree.Or(terms):
            word = "&&" if isinstance(node, tree.And) else "||"
            text = apache_text(terms[0])
            for term in terms[1:]:
                text = f"({text} {word} {apache_text(term)})"
            return text
        case tree.Compare("<>", left, right):
            return f"(NOT ({apache_text(left)} == {apache_text(right)}))"
        case tree.Compare(symbol, left, right):
            return f"({apache_text(left)} {'==' if symbol == '=' else symbol} {apache_text(right)})"
        case tree.Between(operand, low, high, negated):
            parts = [apache_text(part) for part in (operand, low, high)]
            form = "(({0} < {1}) || ({0} > {2}))" if negated else "(({0} >= {1}) && ({0} <= {2}))"
            return form.format(*parts)
        case tree.In(operand, texts, negated):
            return f"{operand.name} {'NOT ' if negated else ''}IN ( {', '.join(texts)} )"
        case tree.IsNull(operand, negated):
            text = f"({apache_text(operand)} == NULL)"
            return f"(NOT {text})" if negated else text
    raise TypeError(node)


def value_of(  # noqa: PLR0911, PLR0912 - a case for each kind of node
    node: tree.Node, properties: Mapping[str, str]
) -> object:
    """The value of any part; raises EvaluationFailed."""
    match node:
        case tree.Literal(value):
            return value
        case tree.Property(name):
            return properties.get(name)
        case tree.Negate(operand):
            value = value_of(operand, properties)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            return type(value)(-value) if is_number else None  # type: ignore[operator,call-arg,arg-type]
        case tree.Not(operand):
            return negation(condition_of(operand, properties))
        case tree.And(terms) | tree.Or(terms):
            decides = isinstance(node, tree.Or)
            value = condition_of(terms[0], properties)
            for term in terms[1:]:
                if value is decides:
                    return value
                right = condition_of(term, properties)
                if right is decides:
                    value = right
                elif value is None or right is None:
                    value = None
                else:
                    value = right
            return value
        case tree.Compare("=", left, right):
            return equality(value_of(left, properties), value_of(right, properties))
        case tree.Compare("<>", left, right):
            return negation(equality(value_of(left, properties), value_of(right, properties)))
        case tree.Compare(symbol, left, right):
            return ordering(symbol, left, right, properties)
        case tree.Between(operand, low, high, False):
            low_enough = tree.Compare(">=", operand, low)
            return value_of(tree.And((low_enough, tree.Compare("<=", operand, high))), properties)
        case tree.Between(operand, low, high, True):
            below = tree.Compare("<", operand, low)
            return value_of(tree.Or((below, tree.Compare(">", operand, high))), properties)
        case tree.In(operand, texts, negated):
            text = properties.get(operand.name)
            return None if text is None else (text in texts) != negated
        case tree.IsNull(operand, negated):
            value = equality(value_of(operand, properties), None)
            return negation(value) if negated else value
    raise TypeError(node)


def condition_of(node: tree.Node, properties: Mapping[str, str]) -> object:
    """With the cast that Apache puts around a plain property."""
    value = value_of(node, properties)
    return False if isinstance(node, tree.Property) and value is not None else value


def negation(value: object) -> object:
    return None if value is None else not value


def equality(left: object, right: object) -> object:
    if (left is None) != (right is None):
        return None if left is None else False
    if left is right or (type(left) is type(right) and left == right):
        return True
    return difference(left, right) == 0


def ordering(symbol: str, left: tree.Node, right: tree.Node, properties: Mapping[str, str]) -> object:
    left_value = value_of(left, properties)
    right_value = None if left_value is None else value_of(right, properties)
    if right_value is None:
        return None
    if isinstance(left_value, str) and isinstance(right_value, str):
        left_value, right_value = double_of(left_value), double_of(right_value)
    found = difference(left_value, right_value)
    return {"<": found < 0, "<=": found <= 0, ">": found > 0, ">=": found >= 0}[symbol]


def difference(left: object, right: object) -> int:
    """Java's compareTo, after Apache's conversions."""
    kinds = type(left), type(right)
    if kinds == (bool, str):
        raise EvaluationFailed("ClassCastException")
    if str in kinds and kinds[0] is not kinds[1]:
        other = right if isinstance(left, str) else left
        convert = {bool: boolean_of, int: int_of, Long: long_of, float: double_of}[type(other)]
        left = convert(left) if isinstance(left, str) else left
        right = convert(right) if isinstance(right, str) else right
    kinds = type(left), type(right)
    if bool in kinds and kinds[0] is not kinds[1]:
        return -1
    if float in kinds:
        left, right = float(left), float(right)  # type: ignore[arg-type]
        for test in (math.isnan, lambda value: value == 0 and math.copysign(1, value) > 0):
            if left == right == 0 or test is math.isnan:
                if test(left) != test(right):
                    return 1 if test(left) else -1
                if test(left):
                    return 0
    if left == right:
        return 0
    return 1 if left > right else -1  # type: ignore[operator]


def boolean_of(text: str) -> bool:
    return text.lower() == "true"


def int_of(text: str) -> int:
    return _integer(text, 32)


def long_of(text: str) -> int:
    return _integer(text, 64)


def _integer(text: str, bits: int) -> int:
    digits = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if not digits or not all(digit in "0123456789" for digit in digits):
        raise EvaluationFailed("NumberFormatException")
    value = 0
    for digit in digits:
        value = value * 10 + ord(digit) - ord("0")
    value = -value if text.startswith("-") else value
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise EvaluationFailed("NumberFormatException")
    return value


def double_of(text: str) -> float:
    trimmed = text.strip("".join(map(chr, range(33))))
    unsigned = trimmed[1:] if trimmed[:1] in ("+", "-") else trimmed
    if unsigned in ("NaN", "Infinity"):
        return float(trimmed)
    if unsigned[-1:] in tuple("fFdD"):
        unsigned = unsigned[:-1]
    if not unsigned or not set(unsigned) <= set("0123456789.eE+-"):
        raise EvaluationFailed("NumberFormatException")
    try:
        value = float(unsigned)
    except ValueError as error:
        raise EvaluationFailed("NumberFormatException") from error
    return -value if trimmed.startswith("-") else value
