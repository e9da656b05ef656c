"""The short cut for sends as Java clients write them: runs of scanned frames, stored by one append.

What the sends of one producer to one queue have in common is decided once and hangs on the scanner's route
(`Plan`), what their properties become once per property tail (`StoredTail`); a message then costs a tuple
and a few bytes. Whatever is out of the ordinary - a delay, a half message, a retry, a topic that is missing
or refuses - goes the general way, `SendHandler`, in its place of the run. So this module decides nothing of
its own, and both ways store and answer the same bytes.

When topics, permissions or the answers' constant fields change, `settings_changed` drops all plans.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple
from zlib import crc32

from twisted.python.failure import Failure

from rocketmq_tx.broker import send_rules
from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.broker.send_answers import SendAnswers
from rocketmq_tx.broker.send_handler import Answer, SendHandler
from rocketmq_tx.broker.single_message import index_keys
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.errors import MessageError, RequestRefused
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.bodies import TopicFilterType
from rocketmq_tx.protocol.codes import ResponseCode, SerializeType
from rocketmq_tx.protocol.decoder import SCANNED_SEND
from rocketmq_tx.protocol.flags import SysFlag, transaction_type
from rocketmq_tx.protocol.java import tags_code
from rocketmq_tx.protocol.properties import decode_properties, encode_properties
from rocketmq_tx.protocol.send_scan import PropertyTail, ScannedSend, SendRoute, SendScanner, as_frame
from rocketmq_tx.remoting.peer import Peer
from rocketmq_tx.remoting.registry import serves_runs
from rocketmq_tx.store.append import NewMessage, Placed

_CRC_MASK = 0x7FFFFFFF
_KEY_PLACE = "\0"
"""Stands for the unique key while a tail is worked out; no scanned property can hold it."""
_SPECIAL_PROPERTIES = (prop.DELAY, prop.TRANSACTION_PREPARED, prop.INNER_MULTI_DISPATCH)


class Plan(NamedTuple):
    """How the messages of a route are stored; empty routes (`()`) go the general way."""

    topic: str
    queue_id: int
    flag: int
    sys_flag: int
    reconsume_times: int
    is_oneway: bool


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
        scanner: SendScanner,
        topics: TopicTable,
        appending: Appending,
        answers: SendAnswers,
        general: SendHandler,
        now_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._scanner = scanner
        self._topics = topics
        self._appending = appending
        self._answers = answers
        self._general = general
        self._now_ms = now_ms
        topics.observers.append(lambda change: self.settings_changed())

    def settings_changed(self) -> None:
        """Topics or settings are not what they were: everything is decided anew."""
        self._scanner.forget_routes()
        self._answers.settings_changed()

    @serves_runs(SCANNED_SEND)
    def send_scanned(self, peer: Peer, run: list[ScannedSend]) -> list[Answer]:
        now_ms = self._now_ms()
        try:
            send_rules.check_broker(self._settings.broker, now_ms)
        except RequestRefused:
            return self._general.send_v2(peer, [as_frame(scanned) for scanned in run])
        answers: list[Answer] = []
        done = 0
        while done < len(run):
            count = self._ordinary(peer, run, done, now_ms, answers)
            done += count
            if done < len(run):
                answers += self._general.send_v2(peer, [as_frame(run[done])])
                done += 1
        return answers

    def _ordinary(
        self, peer: Peer, run: list[ScannedSend], start: int, now_ms: int, answers: list[Answer]
    ) -> int:
        """Stores the messages from `start` up to the first that is not ordinary; returns their number."""
        born_host = peer.packed_host
        body_max = self._settings.store.max_message_size
        messages: list[NewMessage] = []
        asked: list[tuple[int, bool, bool]] = []
        for route, born_timestamp, unique_key, tail, opaque, body in run[start:] if start else run:
            plan = route.derived
            if plan is None:
                plan = route.derived = self._plan(route)
            stored = tail.derived
            if stored is None:
                stored = tail.derived = self._stored_tail(tail)
            if not plan or not stored or len(body) > body_max:
                break
            topic, queue_id, flag, sys_flag, reconsume_times, is_oneway = plan
            before, after, code, keys, waits = stored
            key = unique_key.decode()
            messages.append(
                (
                    topic, queue_id, body, crc32(body) & _CRC_MASK, before + unique_key + after, flag,
                    sys_flag, born_timestamp, born_host, reconsume_times, 0, code,
                    (key, *keys) if keys else (key,),
                )  # type: ignore[arg-type]  # a plain tuple is a third cheaper than the NamedTuple
            )  # fmt: skip
            asked.append((opaque, is_oneway, waits))
        if messages:
            self._store(peer, run[start : start + len(messages)], messages, asked, now_ms, answers)
        return len(messages)

    def _store(
        self,
        peer: Peer,
        sends: list[ScannedSend],
        messages: list[NewMessage],
        asked: list[tuple[int, bool, bool]],
        now_ms: int,
        answers: list[Answer],
    ) -> None:
        try:
            placed = self._appending.append(messages, now_ms)
        except RequestRefused as refusal:
            answers += self._refused(sends, refusal)
        except MessageError:
            answers += self._general.send_v2(peer, [as_frame(scanned) for scanned in sends])
        else:
            answers += self._answer(sends, messages, asked, placed)

    # -- once per route, once per tail ---------------------------------------------------------------------

    def _plan(self, route: SendRoute) -> tuple[()] | Plan:
        """The plan of an ordinary route, or nothing: then the general way finds out what is to be said."""
        header = route.header
        config = self._topics.get(route.topic)
        ordinary = (
            config is not None
            and not header.batch
            and route.queue_id >= 0
            and not transaction_type(route.sys_flag)
            and send_rules.retry_group(route.topic) is None
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
            route.is_oneway,
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
        self,
        sends: Sequence[ScannedSend],
        messages: Sequence[NewMessage],
        asked: Sequence[tuple[int, bool, bool]],
        placed: Sequence[Placed],
    ) -> list[Answer]:
        if self._appending.settles_at_once:
            success = self._answers.success
            return [
                success(opaque, message[1], place[0], place[2])
                for (opaque, is_oneway, _), message, place in zip(asked, messages, placed, strict=True)
                if not is_oneway
            ]
        return self._answer_when_settled(sends, messages, asked, placed)

    def _answer_when_settled(
        self,
        sends: Sequence[ScannedSend],
        messages: Sequence[NewMessage],
        asked: Sequence[tuple[int, bool, bool]],
        placed: Sequence[Placed],
    ) -> list[Answer]:
        """Those that do not wait now, the others together when the last of them is safe."""
        at_once: list[Answer] = []
        places: list[tuple[int, int, Placed]] = []
        waiting: list[ScannedSend] = []
        encode = self._answers.encode
        for scanned, (opaque, is_oneway, waits), message, place in zip(
            sends, asked, messages, placed, strict=True
        ):
            if is_oneway:
                continue
            if waits:
                waiting.append(scanned)
                places.append((opaque, message[1], place))
            else:
                at_once.append(self._answers.success(opaque, message[1], place[0], place[2]))
        if not waiting:
            return at_once

        def settled(status: ResponseCode) -> bytes:
            return b"".join(
                [
                    encode(SerializeType.JSON, status, opaque, queue, [place])
                    for opaque, queue, place in places
                ]
            )

        def failed(failure: Failure) -> bytes:
            if not isinstance(failure.value, RequestRefused):
                failure.raiseException()
            return b"".join(self._refused(waiting, failure.value))

        return [*at_once, self._appending.settle([places[-1][2]]).addCallbacks(settled, failed)]

    def _refused(self, sends: Sequence[ScannedSend], refusal: RequestRefused) -> list[bytes]:
        frames = (as_frame(scanned) for scanned in sends)
        return [self._answers.refused(frame, refusal) for frame in frames if not frame.is_oneway]
