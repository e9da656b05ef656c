"""Makes the tree of an expression, or says what is wrong where.

    OR < AND < = <> IS < comparisons, BETWEEN, IN < NOT + -

NOT binds tighter than comparison, as in Apache: `NOT a = 1` compares `NOT a`. Text behind a complete
expression, which Apache ignores, is an error here. Facts: spec/filter.yaml (sql92: grammar, parse_checks).

Bounded: see the four limits. Time grows with the length of the text at most.
"""

from __future__ import annotations

from typing import Final

from rocketmq_tx.filter import tokens
from rocketmq_tx.filter.tokens import END, NAME, NUMBER, TEXT, Source, Token
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
    is_boolean,
)

CHARS_MAX: Final = 65_536
DEPTH_MAX: Final = 64
"""Parentheses, signs and NOTs within one another: each costs the parser and the filter some stack."""
TERMS_MAX: Final = 1000
"""Properties and literals, without those of IN lists: a filter's time per message is bounded by them."""
CHAINED_MAX: Final = 16
"""Comparisons of comparisons without parentheses, as in `a = b = TRUE`."""

_ORDERINGS = frozenset(("<", "<=", ">", ">="))
_CONSTANTS: Final = {"TRUE": True, "FALSE": False, "NULL": None}


def parse(text: str) -> Node:
    """The tree; ExpressionError with the place of the first mistake."""
    source = Source(text)
    if len(text) > CHARS_MAX:
        raise source.error(CHARS_MAX, f"an expression may have {CHARS_MAX} characters, this has {len(text)}")
    return _Parser(source).whole()


class _Parser:
    """Recursive descent with one token of look-ahead; `depth` counts the recursions."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._tokens = source.tokens()
        self._token: Token = next(self._tokens)
        self._terms = 0
        self._chained = 0
        self._depth = 0

    def whole(self) -> Node:
        begin = self._token
        tree = self._or()
        if self._token.kind != END:
            raise self._unexpected("AND, OR, a comparison or the end")
        return self._condition(tree, begin)

    # -- levels, the weakest first -------------------------------------------------------------------------

    def _or(self) -> Node:
        begin = self._token
        node = self._and()
        if self._token.kind != "OR":
            return node
        terms = [self._condition(node, begin)]
        while self._take("OR"):
            begin = self._token
            terms.append(self._condition(self._and(), begin))
        return Or(tuple(terms))

    def _and(self) -> Node:
        begin = self._token
        node = self._equality()
        if self._token.kind != "AND":
            return node
        terms = [self._condition(node, begin)]
        while self._take("AND"):
            begin = self._token
            terms.append(self._condition(self._equality(), begin))
        return And(tuple(terms))

    def _equality(self) -> Node:
        begin = self._token
        node = self._comparison()
        links = 0
        while (kind := self._token.kind) in ("=", "<>", "IS"):
            links = self._count_link(links)
            self._advance()
            if kind == "IS":
                negated = self._take("NOT")
                self._expect("NULL", "NULL" if negated else "NULL or NOT NULL")
                node = IsNull(node, negated)
                continue
            right_begin = self._token
            right = self._comparison()
            self._check_equality(node, begin, right, right_begin)
            node = Compare(kind, node, right)
        return node

    def _comparison(self) -> Node:
        begin = self._token
        node = self._unary()
        links = 0
        while True:
            kind = self._token.kind
            if kind not in _ORDERINGS and kind not in ("NOT", "BETWEEN", "IN"):
                return node
            links = self._count_link(links)
            self._advance()
            if kind in _ORDERINGS:
                right_begin = self._token
                right = self._unary()
                self._check_number(node, begin)
                self._check_number(right, right_begin)
                node = Compare(kind, node, right)
                continue
            negated = kind == "NOT"
            if negated:
                kind = self._token.kind
                if kind not in ("BETWEEN", "IN"):
                    raise self._unexpected("BETWEEN or IN")
                self._advance()
            make = self._between if kind == "BETWEEN" else self._in
            node = make(node, begin, negated)

    def _between(self, node: Node, begin: Token, negated: bool) -> Node:
        low_begin = self._token
        low = self._unary()
        self._expect("AND", "AND")
        high_begin = self._token
        high = self._unary()
        for operand, place in ((node, begin), (low, low_begin), (high, high_begin)):
            self._check_number(operand, place)
        if isinstance(low, Literal) and isinstance(high, Literal) and low.value > high.value:  # type: ignore[operator]
            raise self._source.error(low_begin.at, "the lower end of BETWEEN is above the upper one")
        return Between(node, low, high, negated)

    def _in(self, node: Node, begin: Token, negated: bool) -> Node:
        if not isinstance(node, Property):
            raise self._source.error(begin.at, "IN needs a property on its left")
        self._expect("(", "'('")
        texts = [self._text()]
        while self._take(","):
            texts.append(self._text())
        self._expect(")", "',' or ')'")
        return In(node, tuple(texts), negated)

    def _unary(self) -> Node:
        kind = self._token.kind
        if kind not in ("NOT", "+", "-"):
            return self._primary()
        self._deeper()
        self._advance()
        begin = self._token
        operand = self._unary()
        self._depth -= 1
        if kind == "NOT":
            return Not(self._condition(operand, begin))
        return Negate(operand) if kind == "-" else operand

    def _primary(self) -> Node:
        kind, value, at = self._token
        if kind == "(":
            self._deeper()
            self._advance()
            node = self._or()
            self._expect(")", "AND, OR, a comparison or ')'")
            self._depth -= 1
            return node
        if kind == NAME:
            node = Property(str(value))
        elif kind in (TEXT, NUMBER):
            node = Literal(value)
        elif kind in _CONSTANTS:
            node = Literal(_CONSTANTS[kind])
        else:
            raise self._unexpected("a property, a text, a number, TRUE, FALSE, NULL or '('")
        self._terms += 1
        if self._terms > TERMS_MAX:
            raise self._source.error(at, f"an expression may have {TERMS_MAX} terms; IN lists count as one")
        self._advance()
        return node

    # -- tokens --------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        self._token = next(self._tokens)

    def _take(self, kind: str) -> bool:
        """Moves on if the token is of that kind."""
        if self._token.kind != kind:
            return False
        self._advance()
        return True

    def _expect(self, kind: str, wanted: str) -> None:
        if not self._take(kind):
            raise self._unexpected(wanted)

    def _text(self) -> str:
        kind, value, _ = self._token
        if kind != TEXT:
            raise self._unexpected("a text in single quotes")
        self._advance()
        return str(value)

    def _unexpected(self, wanted: str) -> Exception:
        kind, value, at = self._token
        found = kind if value is None else tokens.shown(str(value))
        return self._source.error(at, f"{wanted} was expected, not {found if kind == END else repr(found)}")

    # -- rules ---------------------------------------------------------------------------------------------

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._source.error(self._token.at, f"nested more than {DEPTH_MAX} deep")

    def _count_link(self, links: int) -> int:
        """Left operands grow by one level with each link of a chain behind the first."""
        if links:
            self._chained += 1
            if self._chained > CHAINED_MAX:
                problem = f"more than {CHAINED_MAX} comparisons of comparisons"
                raise self._source.error(self._token.at, problem)
        return links + 1

    def _condition(self, node: Node, begin: Token) -> Node:
        if not is_boolean(node) and not isinstance(node, Property):
            raise self._source.error(begin.at, "this does not result in a boolean value")
        return node

    def _check_number(self, node: Node, begin: Token) -> None:
        """Operands of orderings: numbers, or what may turn out as one."""
        is_text = isinstance(node, Literal) and isinstance(node.value, str)
        if is_text or is_boolean(node):
            raise self._source.error(begin.at, "only numbers and properties can be ordered")

    def _check_equality(self, left: Node, left_begin: Token, right: Node, right_begin: Token) -> None:
        for node, begin in ((left, left_begin), (right, right_begin)):
            if isinstance(node, Literal) and node.value is None:
                raise self._source.error(begin.at, "NULL equals nothing: IS NULL asks for it")
        both = isinstance(left, Literal) and isinstance(right, Literal)
        if both and is_boolean(left) and not is_boolean(right):
            raise self._source.error(right_begin.at, "a boolean cannot be compared with this")
