"""Java properties files: reading with line numbers, and rewriting that keeps comments and order.

The format is that of `java.util.Properties`, with two kindnesses: trailing blanks of a value do not
belong to it, and a file may be UTF-8 (tried first) as well as Latin-1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import attrs

_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_BLANKS = " \t\f"
_LINE_END = re.compile(r"\r\n|\r|\n")


class MalformedEscape(ValueError):
    r"""A \u escape without four hexadecimal digits; `line` is where."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"\\u must be followed by four hexadecimal digits, not {text!r}")
        self.line = line


@attrs.frozen
class Entry:
    """One key with its value. `first_line` and `last_line` count from 1; they differ in continued lines."""

    key: str
    value: str
    first_line: int
    last_line: int
    #: The text up to the value: indentation, key as written, separator.
    head: str


def decode(data: bytes) -> tuple[str, str]:
    """The text of a file and the name of its encoding."""
    try:
        return data.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        return data.decode("latin-1"), "latin-1"


def entries(text: str) -> list[Entry]:
    """All entries in order, a repeated key as often as it stands there. Raises MalformedEscape."""
    return list(_entries(_LINE_END.split(text)))


def rewrite(text: str, changes: Mapping[str, str], aliases: Mapping[str, str] | None = None) -> str:
    """The text with new values for some keys; everything else stays as it was, comments included.

    A key that stands there several times is changed where it counts, in its last place. One that does not
    stand there is added at the end. `aliases` maps other spellings in the file to the names in `changes`.
    """
    line_end = (_LINE_END.search(text) or [_default_line_end()])[0]
    lines = _LINE_END.split(text)
    places = {(aliases or {}).get(entry.key, entry.key): entry for entry in _entries(lines)}
    present = sorted((key for key in changes if key in places), key=lambda key: -places[key].first_line)
    for key in present:  # from the bottom up, so that line numbers above stay true
        entry = places[key]
        lines[entry.first_line - 1 : entry.last_line] = [entry.head + escape_value(changes[key])]
    if lines[-1]:
        lines.append("")
    for key, value in changes.items():
        if key not in places:
            lines.insert(len(lines) - 1, f"{_escape_key(key)}={escape_value(value)}")
    return line_end.join(lines)


def escape_value(value: str) -> str:
    """A value written so that Java, and we, read the same text again."""
    written = value.replace("\\", "\\\\").replace("\t", "\\t").replace("\f", "\\f")
    written = written.replace("\n", "\\n").replace("\r", "\\r")
    return "\\" + written if written.startswith(" ") else written


def _default_line_end() -> str:
    return "\n"


def _escape_key(key: str) -> str:
    return re.sub(r"([\s:=#!\\])", r"\\\1", key)


def _entries(lines: list[str]) -> Iterator[Entry]:
    number = 0
    while number < len(lines):
        first = number
        logical = lines[number]
        number += 1
        content = logical.lstrip(_BLANKS)
        if not content or content[0] in "#!":
            continue
        while _continues(logical) and number < len(lines):
            logical = logical[:-1] + lines[number].lstrip(_BLANKS)
            number += 1
        if _continues(logical):
            logical = logical[:-1]
        yield _entry(logical, first + 1, number)


def _continues(line: str) -> bool:
    """An odd number of backslashes at the end joins the next line."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _entry(logical: str, first_line: int, last_line: int) -> Entry:
    start = len(logical) - len(logical.lstrip(_BLANKS))
    end = start
    while end < len(logical) and logical[end] not in "=:" + _BLANKS:
        end += 2 if logical[end] == "\\" else 1
    value_start = end
    separator_seen = False
    while value_start < len(logical):
        character = logical[value_start]
        if character in "=:" and not separator_seen:
            separator_seen = True
        elif character not in _BLANKS:
            break
        value_start += 1
    head = logical[:value_start]
    if value_start == end:
        head += "="
    return Entry(
        key=_unescape(logical[start:end], first_line),
        value=_unescape(_without_trailing_blanks(logical[value_start:]), first_line),
        first_line=first_line,
        last_line=last_line,
        head=head,
    )


def _without_trailing_blanks(text: str) -> str:
    """Drops blanks at the end, but not one that a backslash protects."""
    stripped = text.rstrip()
    return stripped + text[len(stripped) : len(stripped) + 1] if _continues(stripped) else stripped


def _unescape(text: str, line: int) -> str:
    if "\\" not in text:
        return text
    parts: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character != "\\" or position == len(text):
            parts.append(character)
            continue
        character = text[position]
        position += 1
        if character == "u":
            digits = text[position : position + 4]
            if not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
                raise MalformedEscape(line, digits)
            parts.append(chr(int(digits, 16)))
            position += 4
        else:
            parts.append(_ESCAPES.get(character, character))
    # Java writes characters beyond the first plane as two escapes.
    return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
