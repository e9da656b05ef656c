"""SQL92 expressions compiled once, for all the pulls and heartbeats that repeat them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocketmq_tx.errors import ExpressionError

if TYPE_CHECKING:
    from rocketmq_tx.filter import Expression

CACHED_MAX = 1000
CACHED_CHARS_MAX = 200_000
"""Of all expressions together: a compiled one takes some fifty times the memory of its text."""


class CompiledExpressions:
    """The expressions used last, and what was wrong with those that could not be compiled."""

    def __init__(self) -> None:
        self._by_text: dict[str, Expression | ExpressionError] = {}
        self._chars = 0

    def compiled(self, text: str) -> Expression:
        """Raises ExpressionError."""
        found = self._by_text.get(text)
        if found is None:
            from rocketmq_tx.filter import compile_expression  # noqa: PLC0415  (many use no SQL92)

            try:
                found = compile_expression(text)
            except ExpressionError as error:
                found = error
            self._keep(text, found)
        if isinstance(found, ExpressionError):
            raise found
        return found

    def _keep(self, text: str, found: Expression | ExpressionError) -> None:
        if len(text) > CACHED_CHARS_MAX:
            return  # it was refused for its length
        self._by_text[text] = found
        self._chars += len(text)
        while len(self._by_text) > CACHED_MAX or self._chars > CACHED_CHARS_MAX:
            oldest = next(iter(self._by_text))
            del self._by_text[oldest]
            self._chars -= len(oldest)
