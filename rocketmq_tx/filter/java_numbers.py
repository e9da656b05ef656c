"""Java's numbers: which texts are one, how two of different types compare.

A message's properties are texts; a comparison with a number reads them as Java does, or fails. Python's own
`int` and `float` take more (underscores, blanks, `inf`), so they are asked only about what Java would take.
Facts: spec/filter.yaml (sql92.type_conversion); java.lang.Integer, Long, Double.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

INT32: Final = (-(2**31), 2**31 - 1)
INT64: Final = (-(2**63), 2**63 - 1)

_SURELY_INT32_CHARS = 9
_DOUBLE = re.compile(r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fFdD]?|NaN|Infinity)")
_HEX_DOUBLE = re.compile(
    r"([+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]{1,9})[fFdD]?"
)
_BLANKS = "".join(map(chr, range(33)))
_BMP_MAX = "\uffff"


class Long(int):
    """A 64-bit integer; an `int` stands for a 32-bit one."""

    __slots__ = ()


Number = int | Long | float
Value = str | bool | int | Long | float


class NotComparable(ValueError):
    """Two values that Java cannot compare: the message does not match."""


def parse_int32(text: str) -> int:
    """As Integer.valueOf; NotComparable for every other text."""
    if len(text) <= _SURELY_INT32_CHARS and text.isascii() and text.isdigit():
        return int(text)
    return _parse_integer(text, INT32)


def parse_int64(text: str) -> int:
    """As Long.valueOf; NotComparable for every other text."""
    return _parse_integer(text, INT64)


def _parse_integer(text: str, limits: tuple[int, int]) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    # Java takes decimal digits of any script, as far as they are one 16-bit character.
    if not digits.isdecimal() or not (digits.isascii() or max(digits) <= _BMP_MAX):
        raise NotComparable(f"{text[:40]!r} is no integer")
    digits = digits.lstrip("0") or "0"
    value = int(digits) if len(digits) < 20 else limits[1] + 2
    if text[0] == "-":
        value = -value
    if not limits[0] <= value <= limits[1]:
        raise NotComparable(f"{text[:40]!r} is out of range")
    return value


def parse_double(text: str) -> float:
    """As Double.valueOf, `NaN` and hexadecimal ones included; NotComparable for every other text."""
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)  # nearly all are written so, and the pattern costs three times as much
    trimmed = text.strip(_BLANKS)
    if _DOUBLE.fullmatch(trimmed):
        return float(trimmed.rstrip("fFdD"))
    found = _HEX_DOUBLE.fullmatch(trimmed)
    if found is None:
        raise NotComparable(f"{text[:40]!r} is no number")
    try:
        return float.fromhex(found[1])
    except OverflowError:
        return -math.inf if trimmed[0] == "-" else math.inf


def parse_boolean(text: str) -> bool:
    """As Boolean.valueOf: everything that is not `true` is false."""
    return text.lower() == "true"


def negate(value: object) -> Number | None:
    """The number with the other sign; None for what is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, Long):
        return Long(-value)
    return -value if isinstance(value, (int, float)) else None


def compare(left: Value, right: Value) -> int:
    """Below, equal or above (-1, 0, 1) as Java's compareTo after conversion; what never compares is -1.

    Text is read as the type of the other side. NotComparable when that fails, or for a boolean on the left
    of a text, where Apache fails, too.
    """
    if isinstance(left, str):
        if isinstance(right, str):
            return _order(left, right)
        return compare(_as_type_of(left, right), right)
    if isinstance(left, bool) or isinstance(right, bool):
        if isinstance(left, bool) and isinstance(right, bool):
            return _order(left, right)
        if isinstance(right, str):
            raise NotComparable("a boolean on the left cannot be compared with a text")
        return -1
    if isinstance(right, str):
        right = _as_type_of(right, left)
    if isinstance(left, float) or isinstance(right, float):
        return compare_doubles(float(left), float(right))
    return _order(left, right)


def _as_type_of(text: str, other: Value) -> Value:
    if isinstance(other, bool):
        return parse_boolean(text)
    if isinstance(other, float):
        return parse_double(text)
    return parse_int64(text) if isinstance(other, Long) else parse_int32(text)


def compare_doubles(left: float, right: float) -> int:
    """As Double.compareTo: NaN is above everything and equal to itself, 0.0 is above -0.0."""
    if left == right and left:
        return 0
    return _order(_place(left), _place(right))


def _place(value: float) -> tuple[bool, float, float]:
    if math.isnan(value):
        return True, 0.0, 0.0
    return False, value, math.copysign(1.0, value)


def _order(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)
