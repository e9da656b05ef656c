"""JSON as Apache's brokers and clients write it (fastjson 1.2.69) and read it.

What they write is not always JSON: integer keys stand without quotes and objects stand as keys. Facts:
`spec/bodies.yaml` fastjson_rules, and the files and frames recorded from Apache.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import orjson

from rocketmq_tx.errors import BodyError
from rocketmq_tx.protocol.fastjson_reader import ObjectKey, read_leniently

__all__ = ["MAX_VALUES", "ObjectKey", "dumps", "java_double", "loads"]

MAX_VALUES: Final = 2_000_000
"""Most values in one document: it can cost sixty times its size in memory and three microseconds a value."""


def loads(data: bytes | str, max_values: int = MAX_VALUES) -> Any:
    """The value of a document; BodyError with the position when it cannot be read or is too large.

    Besides JSON: unquoted keys (integers become `int`), objects as keys (`ObjectKey`), single quotes,
    repeated and trailing commas, and references to values that came before. Lone surrogates are refused.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(raw) > max_values and raw.count(b",") + raw.count(b"{") + raw.count(b"[") > max_values:
        raise BodyError(f"more than {max_values} values in {len(raw)} bytes")
    if b'"$ref"' not in raw:
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            pass  # perhaps only fastjson's kind of JSON; the other reader says where it goes wrong
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BodyError(f"byte {error.start}: no UTF-8") from error
    return read_leniently(text)


def dumps(value: Any, *, quoted_keys: bool = False, pretty: bool = False) -> bytes:
    """The document as fastjson writes it by default.

    A `dict` is a bean or a map, written in its order, pairs without a value (None) left out; its keys are
    `str`, `int` (unquoted) or `ObjectKey` (bare object). `pretty` is the form of configuration files:
    tabs, no line breaks between pairs whose keys are no strings, nor in a `tuple` (a Java array; a `list` is
    a Java List). `quoted_keys` is the form of routes
    for clients since 4.9.4: all keys quoted, sorted, everything beyond ASCII as `\\uXXXX`.
    """
    writer = _Writer(quoted_keys, pretty)
    writer.write(value)
    return "".join(writer.parts).encode()


# -- texts and numbers -------------------------------------------------------------------------------------

_SHORT_ESCAPES: Final = {
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
    '"': '\\"',
    "\\": "\\\\",
}
_SPECIAL = re.compile('[\x00-\x1f"\\\\\x7f-\x9f\u2028\u2029\ud800-\udfff]')
_SPECIAL_FOR_BROWSERS = re.compile('[^\x20-\x7e]|["/\\\\]')


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    short = _SHORT_ESCAPES.get(character)
    if short is not None:
        return short
    if character == "/":
        return "\\/"
    units = character.encode("utf-16-be", "surrogatepass").hex().upper()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _quote(text: str) -> str:
    return f'"{_SPECIAL.sub(_escape, text)}"'


def _quote_for_browsers(text: str) -> str:
    return f'"{_SPECIAL_FOR_BROWSERS.sub(_escape, text)}"'


def java_double(value: float) -> str:
    """`Double.toString`: always with a fraction, scientific from 1e7 up and below 1e-3."""
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(float(value))
    sign, digits, exponent = Decimal(repr(float(value))).normalize().as_tuple()
    assert isinstance(exponent, int)  # infinities and NaN do not come here
    first, *rest = digits
    fraction = "".join(map(str, rest)) or "0"
    return f"{'-' if sign else ''}{first}.{fraction}E{len(rest) + exponent}"


# -- structure ---------------------------------------------------------------------------------------------


class _Writer:
    """Appends the pieces of one document to `parts`."""

    def __init__(self, quoted_keys: bool, pretty: bool) -> None:
        self.parts: list[str] = []
        self._quoted_keys = quoted_keys
        self._pretty = pretty
        self._indent = 0
        self._quote: Callable[[str], str] = _quote_for_browsers if quoted_keys else _quote

    def write(self, value: Any) -> None:
        if isinstance(value, str):
            self.parts.append(self._quote(value))
        elif value is None:
            self.parts.append("null")
        elif isinstance(value, bool):
            self.parts.append("true" if value else "false")
        elif isinstance(value, int):
            self.parts.append(str(int(value)))
        elif isinstance(value, float):
            self.parts.append(java_double(value) if math.isfinite(value) else "null")
        elif isinstance(value, dict):
            self._write_pairs(self._ordered(value))
        elif isinstance(value, list):
            self._write_items(value)
        elif isinstance(value, tuple):
            self._write_array(value)
        else:
            raise TypeError(f"{type(value).__name__} has no place in a document")

    def _ordered(self, value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
        pairs = [(key, item) for key, item in value.items() if item is not None]
        if self._quoted_keys:
            pairs.sort(key=lambda pair: _sort_key(pair[0]))
        return pairs

    def _write_pairs(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        parts = self.parts
        parts.append("{")
        self._indent += 1
        separator = ""
        for key, value in pairs:
            parts.append(separator)
            separator = ","
            if isinstance(key, str):
                self._new_line()
                parts.append(self._quote(key))
            elif isinstance(key, ObjectKey):
                self._write_pairs(key.pairs)
            else:
                parts.append(f'"{key}"' if self._quoted_keys else str(key))
            parts.append(":")
            self.write(value)
        self._indent -= 1
        if separator:
            self._new_line()
        parts.append("}")

    def _write_items(self, items: Iterable[Any]) -> None:
        parts = self.parts
        parts.append("[")
        self._indent += 1
        separator = ""
        for item in items:
            parts.append(separator)
            separator = ","
            self._new_line()
            self.write(item)
        self._indent -= 1
        if separator:
            self._new_line()
        parts.append("]")

    def _write_array(self, items: Iterable[Any]) -> None:
        separator = "["
        for item in items:
            self.parts.append(separator)
            separator = ","
            self.write(item)
        self.parts.append("]" if separator == "," else "[]")

    def _new_line(self) -> None:
        if self._pretty:
            self.parts.append("\n" + "\t" * self._indent)


def _sort_key(key: Any) -> Any:
    """Java's order: numbers by value, strings by UTF-16 units (surrogates before U+E000 and up)."""
    return key if isinstance(key, int) else str(key).encode("utf-16-be", "surrogatepass")
