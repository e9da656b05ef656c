"""A reader for what is JSON to fastjson only: unquoted keys, objects as keys, single quotes, references.

Everything is bounded: nesting, the length of numbers, and what references expand to. Errors are
`BodyError` with the position, counted in characters from 0.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import attrs

from rocketmq_tx.errors import BodyError

MAX_DEPTH: Final = 64
MAX_NUMBER_CHARS: Final = 64
MAX_REFERENCED_VALUES: Final = 100_000
"""Most values that a document with references may expand to."""

_BLANKS = re.compile(r"[ \t\r\n\f\x08]*")
_BLANKS_AND_COMMAS = re.compile(r"[ \t\r\n\f\x08,]*")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?(?![\w.+-])")
_WHOLE_NUMBER_PAIR = re.compile(
    r"[ \t\r\n\f\x08,]*(-?[0-9]{1,19})[ \t\r\n]*:[ \t\r\n]*(-?[0-9]{1,19})[ \t\r\n]*(?=[,}])"
)
_WORD = re.compile(r"[A-Za-z_$][\w$]*")
_UP_TO_QUOTE: Final = {'"': re.compile(r'[^"\\]*'), "'": re.compile(r"[^'\\]*")}
_UNICODE_ESCAPE = re.compile(r"[0-9a-fA-F]{4}")
_ESCAPES: Final = {
    '"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r",
    "t": "\t", "v": "\v",
}  # fmt: skip
_WORDS: Final = {"true": True, "false": False, "null": None}
_PATH_STEP = re.compile(r"\.([^.\[\]]+)|\[([0-9]+)\]|\[\"([^\"]*)\"\]|\['([^']*)'\]")
_REFERENCE = "$ref"


@attrs.frozen
class ObjectKey:
    """An object that stands as a key: its pairs in the order written, all values plain."""

    pairs: tuple[tuple[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """The object as a value."""
        return dict(self.pairs)


def read_leniently(text: str) -> Any:
    """The value of a document, references resolved; BodyError when it cannot be read."""
    reader = _Reader(text)
    value = reader.document()
    return _References(value).resolved() if reader.saw_reference else value


class _Reader:
    """A walk over one text; `at` is the position of the next character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.saw_reference = False

    def document(self) -> Any:
        value = self._value(MAX_DEPTH)
        self._skip(_BLANKS)
        if self._at != len(self._text):
            raise self._error("more text after the document's end")
        return value

    def _error(self, problem: str) -> BodyError:
        return BodyError(f"character {self._at}: {problem}")

    def _skip(self, pattern: re.Pattern[str]) -> str:
        """Moves over the pattern; the character after it, empty at the end."""
        found = pattern.match(self._text, self._at)
        assert found is not None  # the patterns to skip match nothing, too
        self._at = found.end()
        return self._text[self._at : self._at + 1]

    def _value(self, depth_left: int) -> Any:
        character = self._skip(_BLANKS)
        if character in _UP_TO_QUOTE:
            return self._string(character)
        if character in ("{", "["):
            if not depth_left:
                raise self._error(f"nested deeper than {MAX_DEPTH}")
            return self._object(depth_left - 1) if character == "{" else self._array(depth_left - 1)
        word = _WORD.match(self._text, self._at)
        if word is None:
            return self._number()
        if word.group() not in _WORDS:
            raise self._error(f"{word.group()[:20]!r} is no value")
        self._at = word.end()
        return _WORDS[word.group()]

    def _array(self, depth_left: int) -> list[Any]:
        self._at += 1
        items = []
        while self._skip(_BLANKS_AND_COMMAS) != "]":
            items.append(self._value(depth_left))
            if self._skip(_BLANKS) not in (",", "]"):
                raise self._error("',' or ']' expected")
        self._at += 1
        return items

    def _object(self, depth_left: int) -> dict[Any, Any]:
        self._at += 1
        pairs: dict[Any, Any] = {}
        while True:
            # offsets by queue are most of what is not JSON, so they are read at once
            both = _WHOLE_NUMBER_PAIR.match(self._text, self._at)
            if both is not None:
                pairs[int(both[1])] = int(both[2])
                self._at = both.end()
                continue
            if self._skip(_BLANKS_AND_COMMAS) == "}":
                break
            key = self._key(depth_left)
            if self._skip(_BLANKS) != ":":
                raise self._error("':' expected")
            self._at += 1
            pairs[key] = self._value(depth_left)
            if self._skip(_BLANKS) not in (",", "}"):
                raise self._error("',' or '}' expected")
        self._at += 1
        self.saw_reference = self.saw_reference or _REFERENCE in pairs
        return pairs

    def _key(self, depth_left: int) -> Any:
        character = self._text[self._at : self._at + 1]
        if character in _UP_TO_QUOTE:
            return self._string(character)
        if character == "{":
            if not depth_left:
                raise self._error(f"nested deeper than {MAX_DEPTH}")
            start = self._at
            pairs = tuple(self._object(depth_left - 1).items())
            if any(isinstance(part, list | dict | ObjectKey) for pair in pairs for part in pair):
                self._at = start
                raise self._error("an object as key holds more than plain values")
            return ObjectKey(pairs)
        word = _WORD.match(self._text, self._at)
        if word is not None:
            self._at = word.end()
            return word.group()
        number = self._number()
        if isinstance(number, float):
            raise self._error("a fraction as key")
        return number

    def _number(self) -> int | float:
        found = _NUMBER.match(self._text, self._at)
        if found is None:
            raise self._error("a value expected" if self._at < len(self._text) else "the document ends here")
        if found.end() - found.start() > MAX_NUMBER_CHARS:
            raise self._error(f"a number of more than {MAX_NUMBER_CHARS} characters")
        whole = found.group(1) is None and found.group(2) is None
        number = int(found.group()) if whole else float(found.group())
        if not whole and not math.isfinite(number):
            raise self._error("a number out of range")
        self._at = found.end()
        return number

    def _string(self, quote: str) -> str:
        start = self._at
        up_to_quote = _UP_TO_QUOTE[quote]
        self._at += 1
        pieces = []
        while True:
            begin = self._at
            character = self._skip(up_to_quote)
            pieces.append(self._text[begin : self._at])
            self._at += 1
            if character == quote:
                break
            if not character:
                self._at = start
                raise self._error("a string without an end")
            pieces.append(self._escaped())
        return self._joined("".join(pieces), start)

    def _escaped(self) -> str:
        letter = self._text[self._at : self._at + 1]
        if letter == "u":
            digits = _UNICODE_ESCAPE.match(self._text, self._at + 1)
            if digits is None:
                raise self._error("four hexadecimal digits expected")
            self._at = digits.end()
            return chr(int(digits.group(), 16))
        if letter not in _ESCAPES:
            raise self._error("an unknown escape")
        self._at += 1
        return _ESCAPES[letter]

    def _joined(self, text: str, start: int) -> str:
        """Surrogates that were escaped one by one become one character; a lone one is refused."""
        if text.isascii():
            return text
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError as error:
            self._at = start
            raise self._error("a string with half a surrogate pair") from error


class _References:
    """Puts the values that `{"$ref": "$.path"}` names in place of it.

    Only values that end before the reference does begin can be named: that rules out cycles. What
    fastjson writes for an object inside itself is refused.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        self._sizes: dict[int, int] = {}

    def resolved(self) -> Any:
        return self._visit(self._root)[0]

    def _visit(self, node: Any) -> tuple[Any, int]:
        """The node with its references replaced, and how many values it expands to."""
        if not isinstance(node, dict | list):
            return node, 1
        if isinstance(node, dict) and _REFERENCE in node:
            target = self._target(node[_REFERENCE])
            return target, self._sizes[id(target)]
        size = 1
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            node[key], child_size = self._visit(child)
            size += child_size
        if size > MAX_REFERENCED_VALUES:
            raise BodyError(f"references expand to more than {MAX_REFERENCED_VALUES} values")
        self._sizes[id(node)] = size
        return node, size

    def _target(self, path: Any) -> Any:
        node = self._root
        rest = path[1:] if isinstance(path, str) and path.startswith("$") else None
        try:
            while rest:
                step = _PATH_STEP.match(rest)
                if step is None:
                    raise LookupError(rest)
                name, index, *quoted = step.groups()
                node = node[int(index)] if index else node[name or quoted[0] or quoted[1]]
                rest = rest[step.end() :]
        except (LookupError, TypeError) as error:
            raise BodyError(f"the reference {path!r} leads nowhere") from error
        if rest is None or id(node) not in self._sizes:
            raise BodyError(f"the reference {path!r} does not name an object that came before")
        return node
