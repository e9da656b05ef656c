"""What a subscription by SQL92 wants, as a function of a message's stored properties; and who may have one.

The checks are those of a pull that concern filters (12 to 14 in spec/processors.yaml), in Apache's order, and
that of CHECK_CLIENT_CONFIG. A wrong expression is refused with the place of the mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from rocketmq_tx.broker.tag_filter import TAG_TYPES
from rocketmq_tx.errors import ExpressionError, RequestRefused
from rocketmq_tx.protocol import names, property_names
from rocketmq_tx.protocol.bodies.heartbeat import EXPRESSION_SQL92
from rocketmq_tx.protocol.codes import ResponseCode

if TYPE_CHECKING:
    from rocketmq_tx.broker.filter_table import GroupFilters
    from rocketmq_tx.config.broker import BrokerConfig
    from rocketmq_tx.filter import Expression
    from rocketmq_tx.protocol.bodies import SubscriptionData
    from rocketmq_tx.protocol.headers import PullMessageRequestHeader
    from rocketmq_tx.store.property_scan import Wants


class PropertyFilters:
    """Filters by properties, for pulls and for who asks about them. `compiled` raises ExpressionError."""

    def __init__(
        self, config: BrokerConfig, groups: GroupFilters, compiled: Callable[[str], Expression]
    ) -> None:
        self._config = config
        self._groups = groups
        self._compiled = compiled

    def of_inline(self, subscription: SubscriptionData) -> Wants:
        """For a subscription, not by tags, that came with the pull."""
        self._check_type(subscription)
        try:
            return self._compiled(subscription.sub_string).matches_stored
        except ExpressionError as error:
            raise RequestRefused(
                ResponseCode.SUBSCRIPTION_PARSE_FAILED, f"parse the consumer's subscription failed: {error}"
            ) from error

    def of_registered(self, header: PullMessageRequestHeader, subscription: SubscriptionData) -> Wants:
        """For a subscription, not by tags, that heartbeats brought."""
        if subscription.class_filter_mode:
            self._check_type(subscription)
        found = self._groups.find(header.topic, header.consumer_group)
        if found is None:  # 12
            raise RequestRefused(
                ResponseCode.FILTER_DATA_NOT_EXIST,
                "The broker's consumer filter data is not exist!Your expression may be wrong!",
            )
        if header.sub_version is not None and found.client_version < header.sub_version:  # 13
            raise RequestRefused(
                ResponseCode.FILTER_DATA_NOT_LATEST, "the consumer's consumer filter data not latest"
            )
        self._check_type(subscription)
        return found.expression.matches_stored

    def of_retries(self, topic: str) -> Wants | None:
        """What a group wants of its retry topic, with `filterSupportRetry`: judged by the first topic."""
        group = topic[len(names.RETRY_PREFIX) :]
        if not topic.startswith(names.RETRY_PREFIX) or not self._groups.of_group(group):
            return None
        groups, read_original_topic = self._groups, _original_topic_reader()

        def wants(stored: bytes) -> bool:
            found = groups.find(read_original_topic(stored) or "", group)
            return found is None or found.expression.matches_stored(stored)

        return wants

    def check(self, subscription: SubscriptionData) -> None:
        """Refuses a subscription that pulls would not be served with."""
        if subscription.class_filter_mode or subscription.expression_type not in TAG_TYPES:
            self._check_type(subscription)
            try:
                self._compiled(subscription.sub_string)
            except ExpressionError as error:
                raise RequestRefused(ResponseCode.SUBSCRIPTION_PARSE_FAILED, str(error)) from error

    def _check_type(self, subscription: SubscriptionData) -> None:  # 14
        """To filter classes and unknown types Apache sends everything, which nobody asked for."""
        kind = "class" if subscription.class_filter_mode else subscription.expression_type
        if kind != EXPRESSION_SQL92 or not self._config.enable_property_filter:
            raise RequestRefused(
                ResponseCode.SYSTEM_ERROR,
                f"The broker does not support consumer to filter message by {kind}",
            )


@cache
def _original_topic_reader() -> Callable[[bytes], str | None]:
    from rocketmq_tx.filter.expression import stored_reader  # noqa: PLC0415  (for who has such groups)

    return stored_reader(property_names.RETRY_TOPIC)
