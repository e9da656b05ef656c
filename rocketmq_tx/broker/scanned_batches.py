"""The short cut for batches as Java clients write them, whose messages differ in body and unique key only.

What the batches of one producer to one queue have in common is decided once (`_Plan`), what becomes of their
messages' properties once for each text around the keys (`BatchTails`); the messages go to the store as
columns. Whatever is out of the ordinary goes the general way, `SendHandler`, in its place of the run. So this
module decides nothing of its own, and both ways store and answer the same bytes.

When topics or settings change, `settings_changed` drops all plans.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple
from zlib import crc32

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from rocketmq_tx.broker import send_rules
from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.broker.batch_messages import KEY_BYTES_MAX, BatchTails, SharedProperties, is_too_large
from rocketmq_tx.broker.send_answers import SendAnswers
from rocketmq_tx.broker.send_handler import Answer, SendHandler
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.config.settings import BrokerSettings
from rocketmq_tx.errors import MessageError, RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.batch_columns import read_columns
from rocketmq_tx.protocol.batch_scan import BatchRoute, ScannedBatch, as_frame
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.decoder import SCANNED_BATCH
from rocketmq_tx.protocol.flags import transaction_type
from rocketmq_tx.remoting.peer import Peer
from rocketmq_tx.remoting.registry import serves_runs
from rocketmq_tx.store.batch_append import PlacedBatch, UniformBatch

PLANS_MAX = 16_384
_CRC_MASK = 0x7FFFFFFF


class _Plan(NamedTuple):
    """How the batches of a route are stored."""

    topic: str
    queue_id: int
    sys_flag: int
    reconsume_times: int
    shared: SharedProperties


_Send = tuple[ScannedBatch, UniformBatch, bool]
"""A batch, the same as the store takes it, and whether its sender waits."""
_Stored = tuple[ScannedBatch, PlacedBatch]
_new_tuple = tuple.__new__


class ScannedBatches:
    """Serves runs of `batch_scan.ScannedBatch`; `general` serves what is out of the ordinary."""

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
        self._topics = topics
        self._appending = appending
        self._answers = answers
        self._general = general
        self._tails = BatchTails()
        self._now_ms = now_ms
        self._plans: dict[BatchRoute, _Plan | None] = {}
        topics.observers.append(lambda change: self.settings_changed())

    def settings_changed(self) -> None:
        """Topics or settings are not what they were: everything is decided anew."""
        self._plans.clear()

    @serves_runs(SCANNED_BATCH)
    def send_scanned(self, peer: Peer, run: list[ScannedBatch]) -> list[Answer]:
        now_ms = self._now_ms()
        try:
            send_rules.check_broker(self._settings.broker, now_ms)
        except RequestRefused:
            return self._general.send_batch(peer, [as_frame(scanned) for scanned in run])
        answers: list[Answer] = []
        sends: list[_Send] = []
        for scanned in run:
            plan = self._plan(scanned.route)
            batch = None if plan is None else self._uniform(scanned, plan, peer.packed_host)
            if plan is not None and batch is not None:
                sends.append((scanned, batch, plan.shared.waits))
                continue
            if sends:
                self._store(peer, sends, now_ms, answers)
                sends = []
            answers += self._general.send_batch(peer, [as_frame(scanned)])
        if sends:
            self._store(peer, sends, now_ms, answers)
        return answers

    def _uniform(self, scanned: ScannedBatch, plan: _Plan, born_host: bytes) -> UniformBatch | None:
        """The messages as the store takes them; None for what has to go the general way."""
        _, born_timestamp, _, body = scanned
        columns = read_columns(body)
        if columns is None:
            return None
        topic, queue_id, sys_flag, reconsume_times, shared = plan
        flag, bodies, before, keys, after = columns
        max_message_size = self._settings.store.max_message_size
        if is_too_large(body, len(bodies), topic, shared, max_message_size):
            return None
        tail = self._tails.plain((before, after, shared.appended), max_message_size)
        joined_keys = b"".join(keys)
        if tail is None or len(keys[0]) > KEY_BYTES_MAX or not joined_keys.isalnum():
            return None
        body_crcs = [crc32(body) & _CRC_MASK for body in bodies]
        return _new_tuple(
            UniformBatch,
            (
                topic, queue_id, bodies, body_crcs, tail.before, keys, joined_keys, tail.after, flag,
                sys_flag, born_timestamp, born_host, reconsume_times, tail.tags_code,
            ),
        )  # fmt: skip

    # -- once per route ------------------------------------------------------------------------------------

    def _plan(self, route: BatchRoute) -> _Plan | None:
        try:
            return self._plans[route]
        except KeyError:
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()
            plan = self._plans[route] = self._plan_of(route)
            return plan

    def _plan_of(self, route: BatchRoute) -> _Plan | None:
        """The plan of an ordinary route; without one the general way finds out what is to be said."""
        header = route.header
        config = self._topics.get(header.topic)
        ordinary = (
            config is not None
            and header.batch
            and header.queue_id >= 0
            and not transaction_type(header.sys_flag)
            and not names.is_light(header.topic)  # there may be too many of these
            and header.topic not in self._appending.listeners
        )
        if not ordinary or config is None:
            return None
        try:
            send_rules.check_topic_name(header.topic)
            send_rules.check_queue(config, header.queue_id, "")
            shared = SharedProperties.of(header.properties, self._settings.broker.broker_cluster_name)
        except RequestRefused:
            return None
        if shared.delays or shared.names_queues:
            return None
        sys_flag = send_rules.own_sys_flag(header.sys_flag)
        return _Plan(header.topic, header.queue_id, sys_flag, header.reconsume_times or 0, shared)

    # -- storing and answering -----------------------------------------------------------------------------

    def _store(self, peer: Peer, sends: Sequence[_Send], now_ms: int, answers: list[Answer]) -> None:
        try:
            placed = self._appending.append_batches([batch for _, batch, _ in sends], now_ms)
        except RequestRefused as refusal:
            frames = [as_frame(scanned) for scanned, _, _ in sends if not scanned.route.is_oneway]
            answers += [self._answers.refused(frame, refusal) for frame in frames]
            return
        except MessageError:
            answers += self._general.send_batch(peer, [as_frame(scanned) for scanned, _, _ in sends])
            return
        everybody_waits, settles_at_once = self._appending.everybody_waits, self._appending.settles_at_once
        waiting: list[_Stored] = []
        for (scanned, _, waits), place in zip(sends, placed, strict=True):
            if scanned.route.is_oneway:
                continue
            if settles_at_once or not (waits or everybody_waits):
                answers.append(self._stored(ResponseCode.SUCCESS, scanned, place))
            else:
                waiting.append((scanned, place))
        if waiting:
            answers.append(self._settled(waiting))

    def _stored(self, status: ResponseCode, scanned: ScannedBatch, place: PlacedBatch) -> bytes:
        queue_id = scanned.route.header.queue_id
        return self._answers.batch(status, scanned.opaque, queue_id, place.offsets, place.queue_offset)

    def _settled(self, waiting: Sequence[_Stored]) -> Deferred[bytes]:
        """All their answers, when the last of them is safe."""

        def settled(status: ResponseCode) -> bytes:
            return b"".join([self._stored(status, *stored) for stored in waiting])

        def failed(failure: Failure) -> bytes:
            if not isinstance(failure.value, RequestRefused):
                failure.raiseException()
            refusal = failure.value
            return b"".join([self._answers.refused(as_frame(scanned), refusal) for scanned, _ in waiting])

        return self._appending.settle([place.last for _, place in waiting]).addCallbacks(settled, failed)
