"""What sends of one producer to one queue have in common, and those of one property tail: worked out once.

It hangs on the scanner's routes and tails, so that a message costs no look-up; when topics, permissions or
settings change, all of it is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, NamedTuple

from rocketmq_tx.broker import send_rules, timer_rules
from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.broker.half_tails import HalfTails, Plan
from rocketmq_tx.broker.single_message import index_keys
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.bodies import TopicFilterType
from rocketmq_tx.protocol.flags import SysFlag, transaction_type
from rocketmq_tx.protocol.java import tags_code
from rocketmq_tx.protocol.properties import decode_properties, encode_properties
from rocketmq_tx.protocol.send_scan import PropertyTail, SendRoute
from rocketmq_tx.store.consume_queue import ConsumeQueue

PLANS_MAX = 16_384
Manner = tuple[int, int, int]
"""What records have of their route beside its queue: flag, system flag, how often it was consumed before."""
_queue: Callable[[SendRoute], Any] = attrgetter("queue")
_manner: Callable[[SendRoute], Manner] = attrgetter("manner")
_KEY_PLACE = "\0"
"""Stands for the unique key while a tail is worked out; no scanned property can hold it."""
_SPECIAL_PROPERTIES = (
    prop.DELAY,
    prop.TRANSACTION_PREPARED,
    prop.INNER_MULTI_DISPATCH,
    *timer_rules.TIMES,
)


class StoredTail(NamedTuple):
    """The stored properties around the unique key, and what follows from them."""

    before: bytes
    after: bytes
    tags_code: int
    keys: tuple[str, ...]
    waits: bool


class SendPlans:
    """`Plan` and queue of a route, `StoredTail` of a tail; `half_tails` knows those of half messages.

    A route or a tail whose messages go the general way has `()`.
    """

    def __init__(self, settings: BrokerSettings, topics: TopicTable, appending: Appending) -> None:
        self._settings = settings
        self._topics = topics
        self._appending = appending
        self._planned: list[SendRoute] = []
        self._manners: dict[Manner, Manner] = {}
        """Those of all routes that have a queue."""
        self._queues_forgotten = 0
        self.half_tails = HalfTails(settings.broker, self._plan_of)

    def forget(self) -> None:
        """Everything is decided anew.

        The plans are taken off the routes themselves, as sends that wait in line hold on to theirs.
        """
        self._forget_plans()
        self.half_tails.forget()

    def _forget_plans(self) -> None:
        for route in self._planned:
            route.derived = route.queue = None
        self._planned.clear()
        self._manners.clear()
        self._queues_forgotten = self._appending.queues_forgotten

    def of(self, route: SendRoute, tail: PropertyTail) -> tuple[tuple[()] | Plan, tuple[()] | StoredTail]:
        """Both; from now on they hang on route and tail."""
        if route.derived is None:
            self._make(route)
        return route.derived, self.stored_tail(tail)

    def stored_tail(self, tail: PropertyTail) -> tuple[()] | StoredTail:
        if tail.derived is None:
            tail.derived = self._stored_tail(tail)
        found: tuple[()] | StoredTail = tail.derived
        return found

    def queues(self, routes: Iterable[SendRoute]) -> dict[ConsumeQueue, None]:
        """Those of these routes; none when one of them is out of the ordinary, or has none yet.

        They hang on the routes: with a thousand topics, looking each up by its name costs as much as writing
        its message.
        """
        if self._appending.queues_forgotten != self._queues_forgotten:
            self._forget_plans()
        queues = dict.fromkeys(map(_queue, routes))
        if None in queues:
            for route in dict.fromkeys(routes):
                if route.derived is None:
                    self._make(route)
                if route.derived and route.queue is None:
                    topic, queue_id, flag, sys_flag, reconsume_times = route.derived
                    manner = flag, sys_flag, reconsume_times
                    route.queue = self._appending.queue(topic, queue_id)
                    route.manner = self._manners.setdefault(manner, manner)
            queues = dict.fromkeys(map(_queue, routes))
        return {} if None in queues else queues

    def common_manner(self, routes: Iterable[SendRoute]) -> Manner | None:
        """How all of these want their messages stored; None when they do not want the same.

        Mostly all producers do, and then no route has to be asked.
        """
        if len(self._manners) == 1:
            (manner,) = self._manners
            return manner
        manners = list(map(_manner, routes))
        return manners[0] if manners.count(manners[0]) == len(manners) else None

    def _make(self, route: SendRoute) -> None:
        if len(self._planned) >= PLANS_MAX:
            self.forget()
        self._planned.append(route)
        route.derived = () if transaction_type(route.sys_flag) else self._plan_of(route)

    def _plan_of(self, route: SendRoute) -> tuple[()] | Plan:
        """The plan of an ordinary route, or nothing: then the general way finds out what is to be said."""
        header = route.header
        config = self._topics.get(route.topic)
        ordinary = (
            config is not None
            and not header.batch
            and route.queue_id >= 0
            and send_rules.retry_group(route.topic) is None
            and not names.is_light(route.topic)  # there may be too many of these
        )
        if not ordinary or config is None:
            return ()
        try:
            send_rules.check_topic_name(route.topic)
            send_rules.check_queue(config, route.queue_id, "")
        except RequestRefused:
            return ()
        multi_tags = SysFlag.MULTI_TAGS if config.topic_filter_type is TopicFilterType.MULTI_TAG else 0
        return Plan(
            route.topic,
            route.queue_id,
            header.flag,
            int(send_rules.own_sys_flag(route.sys_flag) | multi_tags),
            header.reconsume_times or 0,
        )

    def _stored_tail(self, tail: PropertyTail) -> tuple[()] | StoredTail:
        """What becomes of the properties of an ordinary message, or nothing."""
        text = b"".join((tail.before, f"{prop.UNIQ_KEY}\1{_KEY_PLACE}".encode(), tail.after)).decode()
        properties = decode_properties(text)
        if any(name in properties for name in _SPECIAL_PROPERTIES):
            return ()
        cluster = self._settings.broker.broker_cluster_name
        placement = send_rules.place("", 0, 0, properties, cluster=cluster, delay_level_max=0)
        before, _, after = encode_properties(placement.properties).encode().partition(_KEY_PLACE.encode())
        code = tags_code(properties.get(prop.TAGS))
        return StoredTail(before, after, code, index_keys(properties)[1:], placement.waits)
