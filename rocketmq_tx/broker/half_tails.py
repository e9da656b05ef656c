"""What half messages become on their short cut: worked out once for each route and property tail.

Their stored properties name the real topic and queue, so, unlike those of other messages, they depend on the
route as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rocketmq_tx.broker import send_rules, timer_rules
from rocketmq_tx.broker.single_message import index_keys
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.flags import SysFlag, transaction_type
from rocketmq_tx.protocol.java import tags_code
from rocketmq_tx.protocol.properties import decode_properties, encode_properties
from rocketmq_tx.protocol.send_scan import PropertyTail, SendRoute

HALF_TAILS_MAX = 4096
_KEY_PLACE = "\0"
"""Stands for the unique key; no scanned property can hold it."""
_OUT_OF_THE_ORDINARY = (prop.DELAY, prop.INNER_MULTI_DISPATCH, *timer_rules.TIMES)


class Plan(NamedTuple):
    """How the messages of a route are stored; empty routes (`()`) go the general way."""

    topic: str
    queue_id: int
    flag: int
    sys_flag: int
    reconsume_times: int


class HalfTail(NamedTuple):
    """How half messages of a route with these properties are stored."""

    before: bytes
    after: bytes
    tags_code: int
    keys: tuple[str, ...]
    waits: bool
    flag: int
    sys_flag: int
    reconsume_times: int


class HalfTails:
    """Remembers them. `plan_of` is the plan of a route by everything but its transaction bits."""

    def __init__(self, broker: BrokerConfig, plan_of: Callable[[SendRoute], tuple[()] | Plan]) -> None:
        self._broker = broker
        self._plan_of = plan_of
        self._known: dict[tuple[SendRoute, PropertyTail], HalfTail | None] = {}

    def get(self, route: SendRoute, tail: PropertyTail) -> HalfTail | None:
        """None when it is no half message, or one that only the general way knows how to answer."""
        if transaction_type(route.sys_flag) != SysFlag.TRANSACTION_PREPARED:
            return None
        try:
            return self._known[route, tail]
        except KeyError:
            if len(self._known) >= HALF_TAILS_MAX:
                self._known.clear()  # tails that hold keys never come again
            found = self._known[route, tail] = self._make(route, tail)
            return found

    def forget(self) -> None:
        """Topics or settings changed."""
        self._known.clear()

    def _make(self, route: SendRoute, tail: PropertyTail) -> HalfTail | None:
        text = b"".join((tail.before, f"{prop.UNIQ_KEY}\1{_KEY_PLACE}".encode(), tail.after)).decode()
        properties = decode_properties(text)
        plan = self._plan_of(route)
        if not plan or self._broker.reject_transaction_message:
            return None
        if any(name in properties for name in _OUT_OF_THE_ORDINARY):
            return None
        placement = send_rules.place(
            plan.topic,
            plan.queue_id,
            plan.sys_flag,
            properties,
            cluster=self._broker.broker_cluster_name,
            delay_level_max=0,
        )
        if placement.topic != names.TRANSACTION_HALF_TOPIC:
            return None
        before, _, after = encode_properties(placement.properties).encode().partition(_KEY_PLACE.encode())
        code = tags_code(properties.get(prop.TAGS))
        return HalfTail(
            before, after, code, index_keys(properties)[1:], placement.waits, plan.flag,
            int(placement.sys_flag), plan.reconsume_times,
        )  # fmt: skip
