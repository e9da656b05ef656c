"""Which SQL92 expression each consumer group has for each topic: the table behind consumerFilter.json.

A heartbeat brings expressions, the newest version counts. They outlive their consumers by
`filterDataCleanTimeSpan`, dead meanwhile, since a group that comes back may pull before its heartbeat.
Facts: spec/filter.yaml (filter_data), spec/store.yaml (consumerFilter.json).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import attrs

from rocketmq_tx.broker.tag_filter import TAG_TYPES
from rocketmq_tx.errors import ExpressionError
from rocketmq_tx.protocol.bodies import (
    BloomFilterData,
    ConsumerFilterData,
    ConsumerFilterTable,
    FilterDataMapByTopic,
)
from rocketmq_tx.protocol.bodies.heartbeat import EXPRESSION_SQL92

if TYPE_CHECKING:
    from rocketmq_tx.config.broker import BrokerConfig
    from rocketmq_tx.filter import Expression
    from rocketmq_tx.protocol.bodies import SubscriptionData

LOADED_ALIVE_MS = 30_000
"""Groups of a file without a time of death count as dead since this long before the start."""

COMPILED_CHARS_PER_MS = 100
COMPILED_CHARS_BURST = 200_000
"""Compiling takes the reactor most of a microsecond a character. A heartbeat may bring megabytes of
expressions; what is over this budget waits for the group's next heartbeat."""


@attrs.define(eq=False)
class GroupFilter:
    """One group's expression for one topic; `dead_time_ms` is 0 while the group asks for it."""

    group: str
    topic: str
    expression: Expression
    client_version: int
    born_time_ms: int
    dead_time_ms: int = 0

    @property
    def is_dead(self) -> bool:
        return self.dead_time_ms >= self.born_time_ms


class GroupFilters:
    """All of them, by group and topic. `compiled` raises ExpressionError; `changes` counts for the writer."""

    def __init__(
        self, config: BrokerConfig, compiled: Callable[[str], Expression], now_ms: Callable[[], int]
    ) -> None:
        self._config = config
        self._compiled = compiled
        self._now_ms = now_ms
        self._by_group: dict[str, dict[str, GroupFilter]] = {}
        self.changes = 0
        self._chars_left: float = COMPILED_CHARS_BURST
        self._counted_to_ms = now_ms()

    # -- reading -------------------------------------------------------------------------------------------

    def find(self, topic: str, group: str) -> GroupFilter | None:
        return self.of_group(group).get(topic)

    def of_group(self, group: str) -> Mapping[str, GroupFilter]:
        """By topic; for reading."""
        return self._by_group.get(group) or {}

    # -- changing ------------------------------------------------------------------------------------------

    def register(self, group: str, subscriptions: Iterable[SubscriptionData]) -> None:
        """Follows a heartbeat; an expression that cannot be compiled is not kept, and pulls are told so."""
        filtered = {
            subscription.topic: subscription
            for subscription in subscriptions
            if subscription.expression_type not in TAG_TYPES and subscription.sub_string
        }
        for subscription in filtered.values():
            self._register(group, subscription)
        self._bury(one for one in self.of_group(group).values() if one.topic not in filtered)

    def leave(self, group: str) -> None:
        """The group has no member any more."""
        self._bury(self.of_group(group).values())

    def _register(self, group: str, subscription: SubscriptionData) -> None:
        topic, version = subscription.topic, subscription.sub_version
        known = self.find(topic, group)
        if known is None:
            self._put(group, subscription)
        elif version > known.client_version:
            if subscription.sub_string == known.expression.text:
                known.client_version = version
                known.dead_time_ms = 0
                self.changes += 1
            else:
                self._put(group, subscription)
        elif version == known.client_version and known.dead_time_ms:
            known.dead_time_ms = 0
            self.changes += 1

    def _put(self, group: str, subscription: SubscriptionData) -> None:
        """Compiles; what cannot be compiled also removes the version before, which nobody wants any more."""
        topic = subscription.topic
        if not self._affords(len(subscription.sub_string)):
            return
        try:
            if subscription.expression_type != EXPRESSION_SQL92:
                raise ExpressionError(f"{subscription.expression_type} is no type of expression", 1, 1)
            expression = self._compiled(subscription.sub_string)
        except ExpressionError:
            if self.find(topic, group) is not None:
                del self._by_group[group][topic]
                self.changes += 1
            return
        self._by_group.setdefault(group, {})[topic] = GroupFilter(
            group, topic, expression, subscription.sub_version, self._now_ms()
        )
        self.changes += 1

    def _affords(self, chars: int) -> bool:
        """Counts what is compiled; False while the budget is used up."""
        now_ms = self._now_ms()
        earned = max(0, now_ms - self._counted_to_ms) * COMPILED_CHARS_PER_MS
        self._chars_left = min(COMPILED_CHARS_BURST, self._chars_left + earned)
        self._counted_to_ms = now_ms
        if self._chars_left <= 0:
            return False
        self._chars_left -= chars
        return True

    def _bury(self, filters: Iterable[GroupFilter]) -> None:
        for one in filters:
            if not one.is_dead:
                one.dead_time_ms = self._now_ms()
                self.changes += 1

    def drop_expired(self) -> None:
        """Forgets what has been dead for `filterDataCleanTimeSpan`."""
        limit_ms = self._now_ms() - self._config.filter_data_clean_time_span
        for group, by_topic in list(self._by_group.items()):
            for topic, one in list(by_topic.items()):
                if one.is_dead and one.dead_time_ms < limit_ms:
                    del by_topic[topic]
                    self.changes += 1
            if not by_topic:
                del self._by_group[group]

    # -- keeping -------------------------------------------------------------------------------------------

    def merge(self, kept: ConsumerFilterTable) -> None:
        """Takes what a file holds; all groups are dead until they come back."""
        limit_ms = self._now_ms() - LOADED_ALIVE_MS
        for topic, of_topic in kept.filter_data_by_topic.items():
            for group, data in of_topic.group_filter_data.items():
                if data.expression_type != EXPRESSION_SQL92:
                    continue
                try:
                    expression = self._compiled(data.expression or "")
                except ExpressionError:
                    continue  # Apache takes some that ours refuses; its consumers will be told at their start
                self._by_group.setdefault(group, {})[topic] = GroupFilter(
                    group,
                    topic,
                    expression,
                    data.client_version,
                    data.born_time,
                    data.dead_time or max(data.born_time, limit_ms),
                )

    def snapshot(self) -> ConsumerFilterTable:
        """The table as the file holds it; a copy, for any thread."""
        by_topic: dict[str, FilterDataMapByTopic] = {}
        for of_group in self._by_group.values():
            for one in of_group.values():
                of_topic = by_topic.setdefault(one.topic, FilterDataMapByTopic(topic=one.topic))
                of_topic.group_filter_data[one.group] = self.as_data(one)
        return ConsumerFilterTable(filter_data_by_topic=by_topic)

    def as_data(self, one: GroupFilter) -> ConsumerFilterData:
        """One of them as Apache writes it."""
        from rocketmq_tx.filter.bloom import bloom_places, bloom_size  # noqa: PLC0415  (for who has one)

        config = self._config
        size = bloom_size(config.max_error_rate_of_bloom_filter, config.expect_consumer_num_use_filter)
        return ConsumerFilterData(
            consumer_group=one.group,
            topic=one.topic,
            expression=one.expression.text,
            expression_type=EXPRESSION_SQL92,
            born_time=one.born_time_ms,
            dead_time=one.dead_time_ms,
            bloom_filter_data=BloomFilterData(bloom_places(f"{one.group}#{one.topic}", size), size.bits),
            client_version=one.client_version,
            dead=one.is_dead,
        )
