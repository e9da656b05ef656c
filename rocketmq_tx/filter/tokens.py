"""Cuts the text of an expression into tokens, one at a time, each by one look at its characters.

Facts: spec/filter.yaml (sql92.tokens). Nothing is read ahead, so a text that is wrong early costs little,
however long it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from rocketmq_tx.errors import ExpressionError
from rocketmq_tx.filter.java_numbers import Long

END: Final = "the end"
NAME: Final = "a property"
TEXT: Final = "a text"
NUMBER: Final = "a number"
KEYWORDS: Final = frozenset(("NOT", "AND", "OR", "BETWEEN", "IN", "TRUE", "FALSE", "NULL", "IS"))
_OPERAND_ENDS: Final = frozenset((NAME, TEXT, NUMBER, "TRUE", "FALSE", "NULL", ")"))

_BLANKS = re.compile(r"[ \t\n\r\f]+")
_TOKEN = re.compile(
    r"""
    (?P<float>     (?: [0-9]+\.[0-9]* | \.[0-9]+ ) (?:[eE][+-]?[0-9]+)? | [0-9]+[eE][+-]?[0-9]+ )
    | (?P<integer> (?:0|[1-9][0-9]*) [lL]? )
    | (?P<name>    [a-zA-Z_$][a-zA-Z0-9_$]* )
    | (?P<text>    '[^']*(?:''[^']*)*' )
    | (?P<symbol>  <>|<=|>=|[=<>(),+-] )
    """,
    re.VERBOSE,
)
_INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1
_INT64_DIGITS = 19
_SHOWN_CHARS_MAX = 40


class Token(NamedTuple):
    """`kind` is END, NAME, TEXT, NUMBER, or the keyword (upper case) or symbol itself; `at` is its place."""

    kind: str
    value: str | int | float | None
    at: int


class Source:
    """The text, and where in it something is wrong."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._last_line_end = max(text.rfind("\n"), text.rfind("\r"))

    def error(self, at: int, problem: str) -> ExpressionError:
        """Names the place as line and column, from 1."""
        line_start = self.text.rfind("\n", 0, at) + 1
        line = self.text.count("\n", 0, line_start) + 1
        return ExpressionError(problem, line, at - line_start + 1)

    def tokens(self) -> Iterator[Token]:
        """All tokens and then END for ever; raises ExpressionError where no token begins."""
        at = 0
        previous = ""
        text = self.text
        while True:
            at = self._past_blanks(at, previous)
            if at >= len(text):
                yield Token(END, None, len(text))
                continue
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._no_token(at)
            token = self._token(found)
            previous = token.kind
            yield token
            at = found.end()

    def _past_blanks(self, at: int, previous: str) -> int:
        """Behind blanks and comments.

        A comment by two minus signs needs the end of its line, else they are signs of a number; where no
        sign can stand, behind an operand, it may also end the text.
        """
        text = self.text
        while True:
            blanks = _BLANKS.match(text, at)
            if blanks is not None:
                at = blanks.end()
            if text.startswith("--", at):
                if at < self._last_line_end:
                    ends = [end for end in (text.find("\n", at), text.find("\r", at)) if end >= 0]
                    at = min(ends) + 1
                elif previous in _OPERAND_ENDS:
                    return len(text)
                else:
                    return at
            elif text.startswith("/*", at):
                end = text.find("*/", at + 2)
                if end < 0:
                    raise self.error(at, "a comment that begins here has no end")
                at = end + 2
            else:
                return at

    def _token(self, found: re.Match[str]) -> Token:
        text, at = found.group(), found.start()
        kind = found.lastgroup
        if kind == "symbol":
            return Token(text, None, at)
        if kind == "name":
            word = text.upper()
            return Token(word, None, at) if word in KEYWORDS else Token(NAME, text, at)
        if kind == "text":
            return Token(TEXT, text[1:-1].replace("''", "'"), at)
        if kind == "integer":
            return Token(NUMBER, self._integer(text, at), at)
        return Token(NUMBER, self._float(text, at), at)

    def _integer(self, text: str, at: int) -> int:
        digits = text.rstrip("lL")
        value = int(digits) if len(digits) <= _INT64_DIGITS else _INT64_MAX + 1
        if value > _INT64_MAX:
            raise self.error(at, f"{shown(digits)} is more than 64 bits hold")
        return value if value <= _INT32_MAX else Long(value)

    def _float(self, text: str, at: int) -> float:
        value = float(text)
        if value in (0.0, float("inf")):
            raise self.error(at, f"{shown(text)} is zero or out of range, which Apache does not take either")
        return value

    def _no_token(self, at: int) -> ExpressionError:
        character = self.text[at]
        if character == "'":
            return self.error(at, "a text that begins here has no closing quote")
        return self.error(at, f"{character!r} has no meaning")


def shown(text: str) -> str:
    """A piece of the expression for an error's sentence, cut to a readable length."""
    return text if len(text) <= _SHOWN_CHARS_MAX else f"{text[:_SHOWN_CHARS_MAX]}..."
