"""The short cut for sends as Java clients write them: runs of scanned frames, stored by one append.

What the sends of one producer to one queue have in common is decided once and hangs on the scanner's route,
what their properties become once per property tail (`send_plans`); a message then costs a tuple and a few
bytes. Half messages go the same way, by tails that name their real queue (`half_tails`). Whatever is out of
the ordinary - a delay, a retry, a topic that is missing or refuses - goes the general way, `SendHandler`, in
its place of the run. So this module decides nothing of its own, and all ways store and answer the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count, groupby
from operator import attrgetter
from typing import Any
from zlib import crc32

from rocketmq_tx.broker import send_rules
from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.broker.scanned_answers import ScannedAnswers
from rocketmq_tx.broker.send_answers import SendAnswers
from rocketmq_tx.broker.send_handler import Answer, SendHandler
from rocketmq_tx.broker.send_plans import SendPlans
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.broker.transaction_rules import HALF_QUEUE_ID
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.errors import MessageError, RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.alike_sends import AlikeSends
from rocketmq_tx.protocol.decoder import SCANNED_SEND
from rocketmq_tx.protocol.send_scan import ScannedSend, SendRoute, as_frame
from rocketmq_tx.remoting.peer import Peer
from rocketmq_tx.remoting.registry import serves_runs
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.append_alike import AlikeMessages
from rocketmq_tx.store.consume_queue import ConsumeQueue

_CRC_MASK = 0x7FFFFFFF
_queue: Callable[[SendRoute], Any] = attrgetter("queue")
Way = Callable[[Peer, Sequence[ScannedSend], int, list[Answer]], int]


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
        self._broker_config = settings.broker
        self._store_config = settings.store
        self._plans = SendPlans(settings, topics, appending)
        self._appending = appending
        self._answers = answers
        self._answering = ScannedAnswers(appending, answers)
        self._general = general
        self._now_ms = now_ms
        topics.observers.append(lambda change: self.settings_changed())

    def settings_changed(self) -> None:
        """Topics or settings are not what they were."""
        self._plans.forget()
        self._answers.settings_changed()

    @serves_runs(SCANNED_SEND)
    def send_scanned(self, peer: Peer, run: Sequence[ScannedSend]) -> list[Answer]:
        now_ms = self._now_ms()
        try:
            send_rules.check_broker(self._broker_config, now_ms)
        except RequestRefused:
            return self._general.send_v2(peer, [as_frame(scanned) for scanned in run])
        if len(run) == 1:
            alone = self._alone(peer, run[0], now_ms)
            if alone is not None:
                return alone
        answers: list[Answer] = []
        if isinstance(run, AlikeSends) and self._alike(peer, run, now_ms, answers):
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
        if len(body) > self._store_config.max_message_size:
            return None
        if all(self._plans.of(route, tail)):
            return self._ordinary
        return None if self._plans.half_tails.get(route, tail) is None else self._halves

    def _alike(self, peer: Peer, run: AlikeSends, now_ms: int, answers: list[Answer]) -> bool:
        """Stores all messages by columns; False when something about them is out of the ordinary.

        What is decided for each message elsewhere is decided here for each of their routes: a few, or as many
        as there are messages when somebody sends to many topics.
        """
        stored, bodies = self._plans.stored_tail(run.tail), run.bodies
        if not stored or stored.keys or len(bodies[0]) > self._store_config.max_message_size:
            return False
        queues = self._plans.queues(run.routes)
        manner = self._plans.common_manner(run.routes) if queues else None
        if manner is None:
            return False
        flag, sys_flag, reconsume_times = manner
        messages = AlikeMessages(
            queues, _queue_numbers(queues, run), bodies,
            [crc & _CRC_MASK for crc in map(crc32, bodies)], stored.before, run.unique_keys, stored.after,
            flag, sys_flag, run.born_timestamps, peer.packed_host, reconsume_times, stored.tags_code,
        )  # fmt: skip
        try:
            placed = self._appending.append_alike(messages, now_ms)
        except RequestRefused as refusal:
            answers += self._answering.refused(run, refusal)
            return True
        if placed is None:
            return False
        answers += self._answering.alike(run, placed, stored.waits)
        return True

    def _alone(self, peer: Peer, scanned: ScannedSend, now_ms: int) -> list[Answer] | None:
        """Stores an ordinary message that came alone, as `_ordinary` does, in fewer steps.

        Whoever awaits each answer pays for all that a read costs. None, and nothing is stored, when it takes
        another way: out of the ordinary, while senders wait for disk or slaves, or when only that can do it.
        """
        route, born_timestamp, unique_key, tail, opaque, body = scanned
        plan, stored = route.derived, tail.derived
        if plan is None or stored is None:
            plan, stored = self._plans.of(route, tail)
        if not plan or not stored or len(body) > self._store_config.max_message_size:
            return None
        topic, queue_id, flag, sys_flag, reconsume_times = plan
        before, after, code, keys, _ = stored
        message = (
            topic, queue_id, body, crc32(body) & _CRC_MASK, before + unique_key + after, flag, sys_flag,
            born_timestamp, peer.packed_host, reconsume_times, 0, code,
            (unique_key.decode(), *keys) if keys else unique_key,
        )  # fmt: skip
        try:
            placed = self._appending.append_alone(message, now_ms)  # type: ignore[arg-type]
        except RequestRefused as refusal:
            return list(self._answering.refused((scanned,), refusal))
        if placed is None:
            return None
        commit_log_offset, _, queue_offset = placed
        if route.is_oneway:
            return []
        return [self._answers.success(opaque, queue_id, commit_log_offset, queue_offset)]

    def _ordinary(self, peer: Peer, run: Sequence[ScannedSend], now_ms: int, answers: list[Answer]) -> int:
        """Stores the messages up to the first that is not ordinary; returns their number."""
        born_host = peer.packed_host
        body_max = self._store_config.max_message_size
        messages: list[NewMessage] = []
        for route, born_timestamp, unique_key, tail, _, body in run:
            plan, stored = route.derived, tail.derived
            if plan is None or stored is None:
                plan, stored = self._plans.of(route, tail)
            if not plan or not stored or len(body) > body_max:
                break
            topic, queue_id, flag, sys_flag, reconsume_times = plan
            before, after, code, keys, _ = stored
            messages.append(
                (
                    topic, queue_id, body, crc32(body) & _CRC_MASK, before + unique_key + after, flag,
                    sys_flag, born_timestamp, born_host, reconsume_times, 0, code,
                    (unique_key.decode(), *keys) if keys else unique_key,
                )  # type: ignore[arg-type]  # a plain tuple is a third cheaper than the NamedTuple
            )  # fmt: skip
        if messages:
            self._store(peer, run[: len(messages)], messages, now_ms, answers)
        return len(messages)

    def _halves(self, peer: Peer, run: Sequence[ScannedSend], now_ms: int, answers: list[Answer]) -> int:
        """Stores the messages up to the first that is no half message of this way; returns their number."""
        born_host = peer.packed_host
        body_max = self._store_config.max_message_size
        half_tail = self._plans.half_tails.get
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
            answers += self._answering.refused(sends, refusal)
        except MessageError:
            answers += self._general.send_v2(peer, [as_frame(scanned) for scanned in sends])
        else:
            answers += self._answering.each(sends, placed, waits)


def _queue_numbers(queues: dict[ConsumeQueue, None], run: AlikeSends) -> Sequence[int]:
    """The place of each message's queue among these."""
    if len(queues) == len(run):
        return range(len(queues))
    if len(queues) == 1:
        return (0,) * len(run)
    number_of = dict(zip(queues, count(), strict=False))
    return list(map(number_of.__getitem__, map(_queue, run.routes)))
