"""Subscriptions made of expressions, by Apache's rules (FilterAPI)."""

from __future__ import annotations

from typing import Final

from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol.bodies.heartbeat import EXPRESSION_TAG, SubscriptionData
from rocketmq_tx.protocol.java import string_hash

SUBSCRIBE_ALL: Final = "*"
_TAG_SEPARATOR: Final = "||"
_BLANKS: Final = "".join(map(chr, range(33)))
"""What Java's `trim` cuts off."""


def build_subscription(
    topic: str, expression: str | None, expression_type: str | None = EXPRESSION_TAG, version: int = 0
) -> SubscriptionData:
    """What a consumer sends for an expression; `version` is the time in milliseconds.

    Tags are separated by `||`; nothing or `*` alone subscribes to all. Text of another type is kept as it
    is: the broker compiles it. MessageError when there is no tag between separators, or no SQL text.
    """
    if expression_type not in (None, EXPRESSION_TAG):
        if not expression:
            raise MessageError(f"Expression can't be null! {expression_type}")
        return SubscriptionData(topic, expression, sub_version=version, expression_type=expression_type)
    if not expression or expression == SUBSCRIBE_ALL:
        return SubscriptionData(topic, SUBSCRIBE_ALL, sub_version=version)
    tags = split_tags(expression)
    if not tags and not expression.replace(_TAG_SEPARATOR, ""):
        raise MessageError("subString split error")
    codes = list(dict.fromkeys(map(string_hash, tags)))
    return SubscriptionData(topic, expression, tags, codes, version)


def split_tags(expression: str) -> list[str]:
    """The distinct tags of an expression, in its order, blanks around them cut off."""
    pieces = (piece.strip(_BLANKS) for piece in expression.split(_TAG_SEPARATOR))
    return list(dict.fromkeys(piece for piece in pieces if piece))
