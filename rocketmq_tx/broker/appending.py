"""The one way by which messages enter the store: append a run, wake held pulls, wait as the settings ask.

Sends, retries, delayed deliveries and transactions all come through here, so whatever must hold for every
message (a slave takes none, a full disk refuses, nothing is acknowledged after a failed flush) holds once.
Facts: `spec/store.yaml` (put_checks_in_order, flush), `spec/processors.yaml` (put_status_to_answer).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.config.values import BrokerRole, FlushDiskType
from rocketmq_tx.errors import FlushTimeout, RequestRefused, StoreError
from rocketmq_tx.protocol.codes import ResponseCode

if TYPE_CHECKING:
    from rocketmq_tx.broker.statistics import BrokerStatistics
    from rocketmq_tx.runtime.arrivals import Arrivals
    from rocketmq_tx.runtime.group_commit import GroupCommit
    from rocketmq_tx.store.append import NewMessage, Placed
    from rocketmq_tx.store.append_alike import AlikeMessages, PlacedAlike
    from rocketmq_tx.store.batch_append import PlacedBatch, UniformBatch
    from rocketmq_tx.store.consume_queue import ConsumeQueue

# Looking a member up in its enum costs as much as three calls, and each append asks for several.
_SLAVE = BrokerRole.SLAVE
_SYNC_MASTER = BrokerRole.SYNC_MASTER
_ASYNC_MASTER = BrokerRole.ASYNC_MASTER
_ASYNC_FLUSH = FlushDiskType.ASYNC_FLUSH
_topic, _queue_id = attrgetter("topic"), attrgetter("queue_id")


class AppendStore(Protocol):
    """What is needed of `store.message_store.MessageStore`."""

    def append_all(
        self, messages: Sequence[NewMessage], now_ms: int, whole: bool = False
    ) -> list[Placed]: ...

    def append_alone(self, message: NewMessage, now_ms: int) -> tuple[int, int, int] | None: ...

    def append_alike(self, messages: AlikeMessages, now_ms: int) -> PlacedAlike | None: ...

    def append_batches(self, batches: Sequence[UniformBatch], now_ms: int) -> list[PlacedBatch]: ...

    def take_further_arrivals(self) -> set[tuple[str, int]]: ...

    def queue(self, topic: str, queue_id: int) -> ConsumeQueue | None: ...

    @property
    def queues_forgotten(self) -> int: ...


class AppendListener(Protocol):
    """What somebody does who follows a topic of the broker's own as messages come in."""

    def __call__(
        self, messages: Sequence[NewMessage], placed: Sequence[Placed], now_ms: int, /
    ) -> object: ...


class Replicas(Protocol):
    """The slaves of this broker, as far as a sender waits for them."""

    def acknowledged(self, offset: int) -> Deferred[ResponseCode]:
        """SUCCESS when the log is on a slave up to `offset`, else the SLAVE_... status that says why not."""


class NoReplicas:
    """A broker to which no slave is connected."""

    def acknowledged(self, offset: int) -> Deferred[ResponseCode]:
        return succeed(ResponseCode.SLAVE_NOT_AVAILABLE)


def unavailable(reason: str) -> RequestRefused:
    """The answer while the store takes nothing; `reason` names the directory, its use, or the role."""
    return RequestRefused(ResponseCode.SERVICE_NOT_AVAILABLE, f"service not available now. {reason}")


class Appending:
    """`append` stores, `settle` says when and with which status the messages may be acknowledged.

    `appended` is called after each append, before anybody is answered. `listeners` hear of appends with
    messages of their topic: of the whole append, after held pulls were answered.
    """

    def __init__(
        self,
        config: MessageStoreConfig,
        store: AppendStore,
        flushes: GroupCommit,
        arrivals: Arrivals,
        appended: Callable[[], object] = lambda: None,
        replicas: Replicas | None = None,
        statistics: BrokerStatistics | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._flushes = flushes
        self._arrivals = arrivals
        self._appended = appended
        self._replicas = NoReplicas() if replicas is None else replicas
        self._statistics = statistics
        self.listeners: dict[str, AppendListener] = {}
        self.everybody_waits = False
        """With autoFailover: for the replicas, as a master of any kind, and with WAIT=false as well."""

    def check_role(self) -> None:
        """RequestRefused on a slave; for who changes something else before it appends."""
        if self._config.broker_role is _SLAVE:
            raise unavailable("This broker is a slave, messages are put to its master.")

    def append(self, messages: Sequence[NewMessage], now_ms: int, whole: bool = False) -> list[Placed]:
        """Stores all or nothing, and answers pulls that wait for them: once for each queue, after the append.

        With `whole` they are one batch and stay in one segment. `messages` is not empty. Raises
        RequestRefused when the store takes nothing, MessageError for a message that fits no segment.
        """
        self._check_may_append()
        try:
            placed = self._store.append_all(messages, now_ms, whole)
        except StoreError as error:
            raise unavailable(str(error)) from error
        self._appended()
        statistics, listeners = self._statistics, self.listeners
        queues: Collection[tuple[str, int]]
        if len(messages) == 1:  # as from a sender who awaits each answer
            queues = (messages[0][:2],)
            if statistics is not None:
                statistics.put_alike(messages[0][0], 1, placed[0][1])
        else:
            queues = {message[:2] for message in messages}
            if statistics is not None:
                one_topic = len(queues) == 1 or len({topic for topic, _ in queues}) == 1
                statistics.put(messages, placed, whole, one_topic)
        notify = self._arrivals.notify
        for topic, queue_id in queues:
            notify(topic, queue_id)
            if topic in listeners:
                listeners[topic](messages, placed, now_ms)
        if self._config.enable_multi_dispatch:
            for topic, queue_id in self._store.take_further_arrivals():
                notify(topic, queue_id)
        return placed

    def append_alone(self, message: NewMessage, now_ms: int) -> tuple[int, int, int] | None:
        """As `append` for one message whose sender need not wait: where it stands (`Placed`), in fewer steps.

        None, and nothing is stored, when it is not so, or only `append` can do it or say what is wrong.
        Raises RequestRefused as that does.
        """
        config, topic = self._config, message[0]
        if (
            config.broker_role is not _ASYNC_MASTER
            or config.flush_disk_type is not _ASYNC_FLUSH
            or config.enable_multi_dispatch
            or self.everybody_waits
            or self._flushes.failure is not None
            or topic in self.listeners
        ):
            return None
        try:
            placed = self._store.append_alone(message, now_ms)
        except StoreError as error:
            raise unavailable(str(error)) from error
        if placed is None:
            return None
        self._appended()
        if self._statistics is not None:
            self._statistics.put_alike(topic, 1, placed[1])
        self._arrivals.notify(topic, message[1])
        return placed

    def append_alike(self, messages: AlikeMessages, now_ms: int) -> PlacedAlike | None:
        """The same by columns; None when only `append` can do it. Raises RequestRefused as that does."""
        topics = list(map(_topic, messages.queues))
        if self._config.enable_multi_dispatch or not self.listeners.keys().isdisjoint(topics):
            return None
        self._check_may_append()
        try:
            placed = self._store.append_alike(messages, now_ms)
        except StoreError as error:
            raise unavailable(str(error)) from error
        if placed is None:
            return None
        self._appended()
        statistics, messages_count = self._statistics, len(placed.offsets)
        if statistics is not None:
            if isinstance(placed.topics, str):
                statistics.put_alike(placed.topics, messages_count, messages_count * placed.size)
            else:
                statistics.put_each(placed.topics, placed.size)
        self._arrivals.notify_all(topics, map(_queue_id, messages.queues))
        return placed

    def queue(self, topic: str, queue_id: int) -> ConsumeQueue | None:
        """For `append_alike`, as `StoredMessages.queue`."""
        return self._store.queue(topic, queue_id)

    @property
    def queues_forgotten(self) -> int:
        """When it changes, queues may not be what they were."""
        return self._store.queues_forgotten

    def _check_may_append(self) -> None:
        self.check_role()
        if self._flushes.failure is not None:
            raise unavailable(f"The disk failed: {self._flushes.failure}")

    def append_batches(self, batches: Sequence[UniformBatch], now_ms: int) -> list[PlacedBatch]:
        """As `append` does with each of some batches, by columns and one write; nobody listens to them."""
        self._check_may_append()
        try:
            placed = self._store.append_batches(batches, now_ms)
        except StoreError as error:
            raise unavailable(str(error)) from error
        self._appended()
        statistics, notify = self._statistics, self._arrivals.notify
        if statistics is not None:
            for batch, place in zip(batches, placed, strict=True):
                statistics.put_batch(batch.topic, len(place.offsets), place.size)
        for topic, queue_id in {batch[:2] for batch in batches}:
            notify(topic, queue_id)
        return placed

    @property
    def settles_at_once(self) -> bool:
        """True when no sender has to wait: asynchronous flush and no synchronous replication."""
        if self.everybody_waits:
            return False
        config = self._config
        return config.flush_disk_type is _ASYNC_FLUSH and config.broker_role is not _SYNC_MASTER

    def settle(self, placed: Sequence[Placed]) -> Deferred[ResponseCode]:
        """Fires with the status for the last of `placed`, and thereby for all of them: see `settle_to`."""
        commit_log_offset, size, _ = placed[-1]
        return self.settle_to(commit_log_offset + size, len(placed))

    def settle_to(self, end: int, messages: int) -> Deferred[ResponseCode]:
        """Fires with the status for so many messages, the last of which ends at that offset of the log.

        The status is SUCCESS, FLUSH_DISK_TIMEOUT, SLAVE_NOT_AVAILABLE or FLUSH_SLAVE_TIMEOUT; a bad one of
        the slave wins over a bad one of the disk. Fails with RequestRefused when the disk failed.
        """
        if self._config.broker_role is not _SYNC_MASTER and not self.everybody_waits:
            return self._flushed(end, messages)
        if self._config.flush_disk_type is _ASYNC_FLUSH:
            return self._replicas.acknowledged(end)
        on_disk = self._flushed(end, messages)
        on_slave = self._replicas.acknowledged(end)
        return on_disk.addCallback(lambda disk: on_slave.addCallback(lambda slave: slave or disk))

    def _flushed(self, end: int, messages: int) -> Deferred[ResponseCode]:
        if self._config.flush_disk_type is _ASYNC_FLUSH:
            return succeed(ResponseCode.SUCCESS)
        waiting = self._flushes.durable(end, self._config.sync_flush_timeout / 1000, messages)
        return waiting.addCallbacks(lambda _: ResponseCode.SUCCESS, _flush_failed)


def _flush_failed(failure: Failure) -> ResponseCode:
    if failure.check(FlushTimeout):
        return ResponseCode.FLUSH_DISK_TIMEOUT
    failure.trap(StoreError)
    raise unavailable(f"The message may be lost, flushing it failed: {failure.value}")
