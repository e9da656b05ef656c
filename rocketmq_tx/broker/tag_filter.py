"""Filters by tag: does a consume queue entry's tags code belong to a subscription?

A tags code is Java's hash of the message's tag, so two tags may share one; the consumer compares the text
again (spec/filter.yaml, broker_match). None stands for the filter that lets everything through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rocketmq_tx.protocol.bodies.heartbeat import EXPRESSION_TAG
from rocketmq_tx.store.tag_codes import TagCodes

if TYPE_CHECKING:
    from rocketmq_tx.protocol.bodies import SubscriptionData

TagMatch = Callable[[int], bool]

TAG_TYPES = frozenset((None, "", EXPRESSION_TAG))
"""Types of subscriptions by tags; the others are filtered by the properties of messages."""
ALL_TAGS = frozenset((None, "", "*"))
CACHED_FILTERS_MAX = 10_000
"""One for each topic of each group is the normal need; more are made again."""
CACHED_CHARS_MAX = 1000
"""Longer expressions are built each time: the cache must not become a way to fill our memory."""


class TagFilters:
    """Filters of subscriptions, each built once.

    Kept by the identity of the subscription object: a heartbeat with a newer version brings a new object,
    and the entry holds its object, so that no other can get the same identity.
    """

    def __init__(self) -> None:
        self._built: dict[int, tuple[SubscriptionData, TagMatch | None]] = {}

    def of(self, subscription: SubscriptionData) -> TagMatch | None:
        entry = self._built.get(id(subscription))
        if entry is not None:
            return entry[1]
        matches = build_tag_filter(subscription)
        if len(subscription.sub_string or "") <= CACHED_CHARS_MAX:
            if len(self._built) >= CACHED_FILTERS_MAX:
                self._built.clear()
            self._built[id(subscription)] = (subscription, matches)
        return matches


def build_tag_filter(subscription: SubscriptionData) -> TagMatch | None:
    if subscription.sub_string in ALL_TAGS or subscription.expression_type not in TAG_TYPES:
        return None
    return TagCodes(subscription.code_set)
