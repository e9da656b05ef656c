"""The short cut for sends as Java clients write them: runs of scanned frames, stored by one append.

What the sends of one producer to one queue have in common is decided once and hangs on the scanner's route
(`Plan`), what their properties become once per property tail (`StoredTail`); a message then costs a tuple
and a few bytes. Half messages go the same way, by tails that name their real queue (`half_tails`). Whatever
is out of the ordinary - a delay, a retry, a topic that is missing or refuses - goes the general way,
`SendHandler`, in its place of the run. So this module decides nothing of its own, and all ways store and
answer the same bytes.

When topics, permissions or the answers' constant fields change, `settings_changed` drops all plans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count, groupby
from operator import attrgetter
from typing import Any, NamedTuple
from zlib import crc32

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from rocketmq_tx.broker import send_rules, timer_rules
from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.broker.half_tails import HalfTails, Plan
from rocketmq_tx.broker.send_answers import SendAnswers
from rocketmq_tx.broker.send_handler import Answer, SendHandler
from rocketmq_tx.broker.single_message import index_keys
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.broker.transaction_rules import HALF_QUEUE_ID
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.errors import MessageError, RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.alike_sends import AlikeSends
from rocketmq_tx.protocol.bodies import TopicFilterType
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode, SerializeType
from rocketmq_tx.protocol.decoder import SCANNED_SEND
from rocketmq_tx.protocol.flags import SysFlag, transaction_type
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.java import tags_code
from rocketmq_tx.protocol.properties import decode_properties, encode_properties
from rocketmq_tx.protocol.send_scan import PropertyTail, ScannedSend, SendRoute, as_frame
from rocketmq_tx.remoting.peer import Peer
from rocketmq_tx.remoting.registry import serves_runs
from rocketmq_tx.store.append import NewMessage, Placed
from rocketmq_tx.store.append_alike import AlikeMessages, PlacedAlike
from rocketmq_tx.store.consume_queue import ConsumeQueue

PLANS_MAX = 16_384
_CRC_MASK = 0x7FFFFFFF
_JSON = SerializeType.JSON
_queue: Callable[[SendRoute], Any] = attrgetter("queue")
_manner: Callable[[SendRoute], tuple[int, int, int]] = attrgetter("manner")
Way = Callable[[Peer, Sequence[ScannedSend], int, list[Answer]], int]
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


class ScannedSends:
    """Serves runs of `send_scan.ScannedSend`; `general` serves what is out of the ordinary."""

    def __init__(
        self,
        settings: BrokerSettings,
        topics: TopicTable,
        appending: Appending,
        answers: SendAnswers,
        general: SendHandler,
        now_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._planned: list[SendRoute] = []
        self._queues_forgotten = 0
        self._half_tails = HalfTails(settings.broker, self._plan_of)
        self._topics = topics
        self._appending = appending
        self._answers = answers
        self._general = general
        self._now_ms = now_ms
        topics.observers.append(lambda change: self.settings_changed())

    def settings_changed(self) -> None:
        """Topics or settings are not what they were: everything is decided anew.

        The plans are taken off the routes themselves, as sends that wait in line hold on to theirs.
        """
        self._forget_plans()
        self._half_tails.forget()
        self._answers.settings_changed()

    def _forget_plans(self) -> None:
        for route in self._planned:
            route.derived = route.queue = None
        self._planned.clear()
        self._queues_forgotten = self._appending.queues_forgotten

    @serves_runs(SCANNED_SEND)
    def send_scanned(self, peer: Peer, run: Sequence[ScannedSend]) -> list[Answer]:
        now_ms = self._now_ms()
        try:
            send_rules.check_broker(self._settings.broker, now_ms)
        except RequestRefused:
            return self._general.send_v2(peer, [as_frame(scanned) for scanned in run])
        answers: list[Answer] = []
        if len(run) == 1:
            if self._alone(peer, run[0], now_ms, answers):
                return answers
        elif isinstance(run, AlikeSends) and self._alike(peer, run, now_ms, answers):
            return answers
        done = self._ordinary(peer, run, now_ms, answers) or self._halves(peer, run, now_ms, answers)
        if done < len(run):
            for way, group in groupby(run[done:], self._way):
                some = list(group)
                done = 0 if way is None else way(peer, some, now_ms, answers)
                if done < len(some):
                    answers += self._general.send_v2(peer, [as_frame(scanned) for scanned in some[done:]])
        return answers

    def _way(self, scanned: ScannedSend) -> Way | None:
        """Which short cut the plan of its route and its properties allow, if any."""
        route, _, _, tail, _, body = scanned
        if route.derived is None:
            self._make_plan(route)
        if tail.derived is None:
            tail.derived = self._stored_tail(tail)
        body_max = self._settings.store.max_message_size
        if len(body) > body_max:
            return None
        if route.derived and tail.derived:
            return self._ordinary
        return None if self._half_tails.get(route, tail) is None else self._halves

    def _alike(self, peer: Peer, run: AlikeSends, now_ms: int, answers: list[Answer]) -> bool:
        """Stores all messages by columns; False when something about them is out of the ordinary.

        What is decided for each message elsewhere is decided here for each of their routes: a few, or as many
        as there are messages when somebody sends to many topics.
        """
        tail, bodies = run.tail, run.bodies
        if tail.derived is None:
            tail.derived = self._stored_tail(tail)
        stored: tuple[()] | StoredTail = tail.derived
        if not stored or stored.keys or len(bodies[0]) > self._settings.store.max_message_size:
            return False
        routes = dict.fromkeys(run.routes)
        queues = self._queues(routes)
        manners = set(map(_manner, routes))
        if not queues or len(manners) != 1:
            return False
        ((flag, sys_flag, reconsume_times),) = manners
        messages = AlikeMessages(
            queues, _queue_numbers(queues, run), bodies,
            [crc & _CRC_MASK for crc in map(crc32, bodies)], stored.before, run.unique_keys, stored.after,
            flag, sys_flag, run.born_timestamps, peer.packed_host, reconsume_times, stored.tags_code,
        )  # fmt: skip
        try:
            placed = self._appending.append_alike(messages, now_ms)
        except RequestRefused as refusal:
            answers += self._refused(run, refusal)
            return True
        if placed is None:
            return False
        if not run.routes[0].is_oneway:  # a flag of the frame, and their frames are alike
            queue_ids = placed.queue_ids
            if self._appending.settles_at_once or not (stored.waits or self._appending.everybody_waits):
                answers.append(self._answers.success_alike(run.opaques, queue_ids, placed))
            else:
                answers.append(self._settled_alike(run, queue_ids, placed))
        return True

    def _queues(self, routes: Iterable[SendRoute]) -> dict[ConsumeQueue, None]:
        """Those of these routes; none when one of them is out of the ordinary, or has none yet.

        They hang on the routes: with a thousand topics, looking each up by its name costs as much as writing
        its message.
        """
        if self._appending.queues_forgotten != self._queues_forgotten:
            self._forget_plans()
        queues = dict.fromkeys(map(_queue, routes))
        if None in queues:
            for route in routes:
                if route.derived is None:
                    self._make_plan(route)
                if route.derived and route.queue is None:
                    topic, queue_id, *manner = route.derived
                    route.queue, route.manner = self._appending.queue(topic, queue_id), tuple(manner)
            queues = dict.fromkeys(map(_queue, routes))
        return {} if None in queues else queues

    def _alone(self, peer: Peer, scanned: ScannedSend, now_ms: int, answers: list[Answer]) -> bool:
        """Stores an ordinary message that came alone, as `_ordinary` does, in fewer steps.

        Whoever awaits each answer pays for all that a read costs. False, and nothing is stored, when it takes
        another way: out of the ordinary, while senders wait for disk or slaves, or when it fits no segment.
        """
        route, born_timestamp, unique_key, tail, opaque, body = scanned
        if route.derived is None:
            self._make_plan(route)
        if tail.derived is None:
            tail.derived = self._stored_tail(tail)
        plan, stored, appending = route.derived, tail.derived, self._appending
        if (
            not plan
            or not stored
            or len(body) > self._settings.store.max_message_size
            or not appending.settles_at_once
        ):
            return False
        topic, queue_id, flag, sys_flag, reconsume_times = plan
        before, after, code, keys, _ = stored
        message = (
            topic, queue_id, body, crc32(body) & _CRC_MASK, before + unique_key + after, flag, sys_flag,
            born_timestamp, peer.packed_host, reconsume_times, 0, code, (unique_key.decode(), *keys),
        )  # fmt: skip
        try:
            ((offset, _, queue_offset),) = appending.append((message,), now_ms)  # type: ignore[arg-type]
        except RequestRefused as refusal:
            answers += self._refused((scanned,), refusal)
            return True
        except MessageError:
            return False
        if not route.is_oneway:
            answers.append(self._answers.success(opaque, queue_id, offset, queue_offset))
        return True

    def _ordinary(self, peer: Peer, run: Sequence[ScannedSend], now_ms: int, answers: list[Answer]) -> int:
        """Stores the messages up to the first that is not ordinary; returns their number."""
        born_host = peer.packed_host
        body_max = self._settings.store.max_message_size
        messages: list[NewMessage] = []
        for route, born_timestamp, unique_key, tail, _, body in run:
            if route.derived is None:
                self._make_plan(route)
            if tail.derived is None:
                tail.derived = self._stored_tail(tail)
            plan, stored = route.derived, tail.derived
            if not plan or not stored or len(body) > body_max:
                break
            topic, queue_id, flag, sys_flag, reconsume_times = plan
            before, after, code, keys, _ = stored
            key = unique_key.decode()
            messages.append(
                (
                    topic, queue_id, body, crc32(body) & _CRC_MASK, before + unique_key + after, flag,
                    sys_flag, born_timestamp, born_host, reconsume_times, 0, code,
                    (key, *keys) if keys else (key,),
                )  # type: ignore[arg-type]  # a plain tuple is a third cheaper than the NamedTuple
            )  # fmt: skip
        if messages:
            self._store(peer, run[: len(messages)], messages, now_ms, answers)
        return len(messages)

    def _halves(self, peer: Peer, run: Sequence[ScannedSend], now_ms: int, answers: list[Answer]) -> int:
        """Stores the messages up to the first that is no half message of this way; returns their number."""
        born_host = peer.packed_host
        body_max = self._settings.store.max_message_size
        half_tail = self._half_tails.get
        messages: list[NewMessage] = []
        waits: list[bool] = []
        for route, born_timestamp, unique_key, tail, _, body in run:
            stored = half_tail(route, tail)
            if stored is None or len(body) > body_max:
                break
            before, after, code, keys, wait, flag, sys_flag, reconsume_times = stored
            waits.append(wait)
            messages.append(
                (
                    names.TRANSACTION_HALF_TOPIC, HALF_QUEUE_ID, body, crc32(body) & _CRC_MASK,
                    before + unique_key + after, flag, sys_flag, born_timestamp, born_host,
                    reconsume_times, 0, code, (unique_key.decode(), *keys),
                )  # type: ignore[arg-type]
            )  # fmt: skip
        if messages:
            self._store(peer, run[: len(messages)], messages, now_ms, answers, waits)
        return len(messages)

    def _store(
        self,
        peer: Peer,
        sends: Sequence[ScannedSend],
        messages: list[NewMessage],
        now_ms: int,
        answers: list[Answer],
        waits: Sequence[bool] | None = None,
    ) -> None:
        """`waits` says who waits for flush and replication; None: the tails know."""
        try:
            placed = self._appending.append(messages, now_ms)
        except RequestRefused as refusal:
            answers += self._refused(sends, refusal)
        except MessageError:
            answers += self._general.send_v2(peer, [as_frame(scanned) for scanned in sends])
        else:
            answers += self._answer(sends, placed, waits)

    # -- once per route, once per tail ---------------------------------------------------------------------

    def _make_plan(self, route: SendRoute) -> None:
        if len(self._planned) >= PLANS_MAX:
            self.settings_changed()
        self._planned.append(route)
        route.derived = self._plan(route)

    def _plan(self, route: SendRoute) -> tuple[()] | Plan:
        """The plan of an ordinary route, or nothing: then the general way finds out what is to be said."""
        return () if transaction_type(route.sys_flag) else self._plan_of(route)

    def _plan_of(self, route: SendRoute) -> tuple[()] | Plan:
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

    # -- answering -----------------------------------------------------------------------------------------

    def _answer(
        self, sends: Sequence[ScannedSend], placed: Sequence[Placed], waits: Sequence[bool] | None
    ) -> list[Answer]:
        if not self._appending.settles_at_once:
            return self._answer_when_settled(sends, placed, waits)
        success = self._answers.success
        return [
            success(opaque, route.queue_id, commit_log_offset, queue_offset)
            for (route, _, _, _, opaque, _), (commit_log_offset, _, queue_offset) in zip(
                sends, placed, strict=True
            )
            if not route.is_oneway
        ]

    def _answer_when_settled(
        self, sends: Sequence[ScannedSend], placed: Sequence[Placed], waits: Sequence[bool] | None
    ) -> list[Answer]:
        """Those that do not wait now, the others together when the last of them is safe."""
        if self._appending.everybody_waits:
            waits = [True] * len(sends)
        elif waits is None:
            waits = [scanned[3].derived.waits for scanned in sends]
        oneway = [scanned[0].is_oneway for scanned in sends]
        if all(waits) and not any(oneway):
            return [self._settled(sends, placed)]
        at_once: list[Answer] = []
        waiting: list[ScannedSend] = []
        places: list[Placed] = []
        for scanned, place, wait in zip(sends, placed, waits, strict=True):
            route, _, _, _, opaque, _ = scanned
            if route.is_oneway:
                continue
            if wait:
                waiting.append(scanned)
                places.append(place)
            else:
                at_once.append(self._answers.success(opaque, route.queue_id, place[0], place[2]))
        return [*at_once, self._settled(waiting, places)] if waiting else at_once

    def _settled_alike(self, run: AlikeSends, queue_ids: list[int], placed: PlacedAlike) -> Deferred[bytes]:
        """All their answers, when the last of them is safe.

        Those of success are made while disk or slave is at work, when there is time and the messages are in
        the processor's cache. Of these nothing is kept but their opaques.
        """
        settling = self._appending.settle_to(placed.offsets.stop, len(queue_ids))
        opaques, make = run.opaques, self._answers
        success = make.success_alike(opaques, queue_ids, placed)

        def settled(status: ResponseCode) -> bytes:
            if status is ResponseCode.SUCCESS:
                return success
            found = [
                make.encode(_JSON, status, int(opaque), queue_id, [place])
                for opaque, queue_id, place in zip(opaques, queue_ids, placed.each(), strict=True)
            ]
            return b"".join(found)

        def not_settled(failure: Failure) -> bytes:
            refusal = failure.value
            if not isinstance(refusal, RequestRefused):
                failure.raiseException()
            frames = [Frame(RequestCode.SEND_MESSAGE_V2, int(opaque)) for opaque in opaques]
            return b"".join([make.refused(frame, refusal) for frame in frames])

        return settling.addCallbacks(settled, not_settled)

    def _settled(self, waiting: Sequence[ScannedSend], places: Sequence[Placed]) -> Deferred[bytes]:
        """As `_settled_alike`, for messages that are not."""
        settling = self._appending.settle(places)
        return settling.addCallbacks(
            lambda status: self._stored(waiting, places, status), self._not_settled, errbackArgs=(waiting,)
        )

    def _stored(self, sends: Sequence[ScannedSend], places: Sequence[Placed], status: ResponseCode) -> bytes:
        pairs = zip(sends, places, strict=True)
        if status is ResponseCode.SUCCESS:
            success = self._answers.success
            found = [
                success(opaque, route.queue_id, commit_log_offset, queue_offset)
                for (route, _, _, _, opaque, _), (commit_log_offset, _, queue_offset) in pairs
            ]
        else:
            encode = self._answers.encode
            found = [
                encode(SerializeType.JSON, status, opaque, route.queue_id, [place])
                for (route, _, _, _, opaque, _), place in pairs
            ]
        return b"".join(found)

    def _not_settled(self, failure: Failure, waiting: Sequence[ScannedSend]) -> bytes:
        if not isinstance(failure.value, RequestRefused):
            failure.raiseException()
        return b"".join(self._refused(waiting, failure.value))

    def _refused(self, sends: Sequence[ScannedSend], refusal: RequestRefused) -> list[bytes]:
        frames = (as_frame(scanned) for scanned in sends)
        return [self._answers.refused(frame, refusal) for frame in frames if not frame.is_oneway]


def _queue_numbers(queues: dict[ConsumeQueue, None], run: AlikeSends) -> Sequence[int]:
    """The place of each message's queue among these."""
    if len(queues) == len(run):
        return range(len(queues))
    if len(queues) == 1:
        return (0,) * len(run)
    number_of = dict(zip(queues, count(), strict=False))
    return list(map(number_of.__getitem__, map(_queue, run.routes)))
