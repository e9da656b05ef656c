"""A broker's transactions around a real store on a disk in memory: no sockets, no threads, no real time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.broker.check_actions import CheckActions
from rocketmq_tx.broker.clients import ClientConnection, Producers
from rocketmq_tx.broker.end_transactions import EndTransactions
from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.broker.producer_choice import ProducerChoice
from rocketmq_tx.broker.put_backs import PutBacks
from rocketmq_tx.broker.send_request import SendRequest
from rocketmq_tx.broker.single_message import single_message
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.broker.transaction_checks import TransactionChecks
from rocketmq_tx.broker.transaction_log import TransactionLog
from rocketmq_tx.broker.transaction_replay import HALF, OP
from rocketmq_tx.broker.transaction_requests import TransactionRequests
from rocketmq_tx.broker.transaction_rules import check_rule
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame
from rocketmq_tx.protocol.headers import (
    CheckTransactionStateRequestHeader,
    EndTransactionRequestHeader,
    SendMessageRequestHeader,
)
from rocketmq_tx.protocol.message import MessageRecord, decode_records
from rocketmq_tx.protocol.message_ids import pack_host
from rocketmq_tx.runtime.arrivals import Arrivals
from rocketmq_tx.runtime.group_commit import GroupCommit
from rocketmq_tx.runtime.watermark import Watermark
from rocketmq_tx.store.append import NewMessage, Placed
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import MemoryDisk
from tests.unit.broker_parts import MemoryFile, broker_settings

STARTED_MS = 1_795_239_400_000
STORE_HOST = pack_host("127.0.0.1", 28911)
BORN_HOST = pack_host("192.0.2.10", 50000)
COMMIT, ROLLBACK, UNKNOWN = 8, 12, 0
GROUP, TOPIC = "payments", "orders"
GIVEN_UP = ("TRANS_CHECK_MAX_TIME_TOPIC", 0)


class AtOnce:
    """A thread that has done its work when it is asked."""

    def run(self, call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return execute(call, *arguments)

    def abandon(self) -> None:
        """Nothing runs."""


class ProducerPeer:
    """A connected producer that keeps what it is asked."""

    def __init__(self) -> None:
        self.is_open = True
        self.asked: list[Frame] = []

    def push(self, frame: Frame) -> None:
        assert self.is_open
        self.asked.append(frame)

    def take(self) -> list[tuple[CheckTransactionStateRequestHeader, MessageRecord]]:
        """What came since the last time."""
        taken, self.asked = self.asked, []
        return [
            (
                CheckTransactionStateRequestHeader.from_ext_fields(frame.ext_fields),
                decode_records(frame.body)[0],
            )
            for frame in taken
        ]


class Bench:
    """One run of a broker; `next_run` starts another on the same disk, or on what is left of it."""

    def __init__(
        self,
        disk: MemoryDisk | None = None,
        clock: Clock | None = None,
        offsets: ConsumerOffsets | None = None,
        **keys: Any,
    ) -> None:
        self.disk = disk or MemoryDisk()
        self.clock = clock or Clock()
        self.offsets = offsets or ConsumerOffsets()
        self.clock_error_ms = 0
        self.keys = {
            "transactionTimeOut": 6000,
            "transactionCheckInterval": 60_000,
            "transactionCheckMax": 3,
            "mappedFileSizeCommitLog": 1 << 20,
            "storePathRootDir": "/store",
            "maxHashSlotNum": 500,
            "maxIndexNum": 2000,
            **keys,
        }
        self.settings = broker_settings(**self.keys)
        self.store = MessageStore(self.settings.store, self.disk, STORE_HOST)
        report = self.store.open(self.now_ms())
        self.flushes = GroupCommit(self.store, Watermark(self.clock), [AtOnce()], self.clock)
        self.appending = Appending(self.settings.store, self.store, self.flushes, Arrivals(self.clock))
        self.topics = TopicTable(self.settings.broker, MemoryFile(), self.now_ms, self.clock)
        self.producers = Producers()
        off = execute
        self.log = TransactionLog(
            self.store, self.appending, self.flushes, self.offsets, STORE_HOST, self.now_ms
        )
        self.choice = ProducerChoice(self.producers, self.clock.seconds)
        actions = CheckActions(self.store, self.appending, self.log, self.topics, self.choice, off)
        rule = partial(check_rule, self.settings)
        self.put_backs = PutBacks(
            self.store, self.appending, self.flushes, self.log, actions, rule, self.clock, self.now_ms
        )
        self.checks = TransactionChecks(
            self.settings, self.log, self.topics, self.choice, actions, self.put_backs, rule, self.clock,
            self.now_ms,
        )  # fmt: skip
        self.requests = TransactionRequests(self.store, self.appending, self.log, self.checks, self.now_ms)
        self.ends = EndTransactions(
            self.settings.store, self.store, self.appending, self.log, self.now_ms, off, self.checks.answered
        )
        self.log.load(after_crash=not report.clean)
        self.checks.start()

    def now_ms(self) -> int:
        return STARTED_MS + round(self.clock.seconds() * 1000) + self.clock_error_ms

    # -- producers -----------------------------------------------------------------------------------------

    def connect(self, group: str = GROUP) -> ProducerPeer:
        peer = ProducerPeer()
        self.register(group, peer)
        return peer

    def register(self, group: str, peer: Any) -> None:
        self.producers.register(group, ClientConnection(peer, f"client-{id(peer)}", 0, 407, 0.0, 0))

    def disconnect(self, peer: Any) -> None:
        peer.is_open = False
        self.producers.forget(peer)

    def send(
        self,
        key: str | None,
        body: bytes = b"paid",
        group: str = GROUP,
        born_ms: int | None = None,
        queue_id: int = 1,
        flag: int = 5,
        **properties: str,
    ) -> Placed:
        """A half message, as the send path stores it."""
        return self.append(self.half(key, body, group, born_ms, queue_id, flag, **properties))

    def half(
        self,
        key: str | None,
        body: bytes = b"paid",
        group: str = GROUP,
        born_ms: int | None = None,
        queue_id: int = 1,
        flag: int = 5,
        **properties: str,
    ) -> NewMessage:
        pairs = {"TRAN_MSG": "true", "PGROUP": group, "WAIT": "true", "TAGS": "TagA", **properties}
        if key is not None:
            pairs["UNIQ_KEY"] = key
        header = SendMessageRequestHeader(
            producer_group=group,
            topic=TOPIC,
            queue_id=queue_id,
            sys_flag=4,
            born_timestamp=self.now_ms() if born_ms is None else born_ms,
            flag=flag,
            properties="\x02".join(f"{name}\x01{value}" for name, value in pairs.items()),
            reconsume_times=2,
        )
        message, _ = single_message(
            SendRequest(TOPIC, queue_id, header, body, BORN_HOST), self.now_ms(),
            dead_letter_topic=None, broker=self.settings.broker, store=self.settings.store, filter_type=None,
        )  # fmt: skip
        return message

    def append(self, *messages: NewMessage) -> Placed:
        return self.appending.append(messages, self.now_ms())[0]

    def end(self, place: Any, decision: int, group: str = GROUP, key: str = "m") -> tuple[int, str | None]:
        """(code, remark) of the answer; `place` has a commit_log_offset and a queue_offset."""
        (answer,) = self.answers([self.end_frame(place, decision, group, key)])
        return answer.code, answer.remark

    def end_frame(self, place: Any, decision: int, group: str = GROUP, key: str = "m") -> Frame:
        header = EndTransactionRequestHeader(
            producer_group=group,
            tran_state_table_offset=place.queue_offset,
            commit_log_offset=place.commit_log_offset,
            commit_or_rollback=decision,
            msg_id=key,
        )
        return Frame.request(RequestCode.END_TRANSACTION, header)

    def answers(self, run: list[Frame]) -> list[Frame]:
        peer: Any = None
        answers: list[bytes] = []
        for answer in self.ends.end(peer, run):
            if isinstance(answer, bytes):
                answers.append(answer)
            else:
                answer.addCallback(answers.append)
        return [decode_frame(answer[4:]) for answer in answers]

    # -- time ----------------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Ticks each second, as the broker does."""
        while seconds > 0:
            step = min(1.0, seconds)
            self.clock.advance(step)
            self.tick()
            seconds -= step

    def tick(self) -> None:
        done = self.checks.tick()
        if done is not None:
            failures: list[Any] = []
            done.addErrback(failures.append)
            while not done.called:
                self.clock.advance(0)
            if failures:
                failures[0].raiseException()

    def delete_oldest_segment(self) -> bool:
        """As retention does it; False while there is only one."""
        self.flushes.flush(self.store.written_to)
        self.clock.advance(0)
        oldest = self.store.expiry.oldest()
        if oldest is None:
            return False
        released = Deferred.fromCoroutine(self.put_backs.release(oldest.end))
        while not released.called:
            self.clock.advance(0)
        failures: list[Any] = []
        released.addErrback(failures.append)
        if failures:
            failures[0].raiseException()
        self.store.expiry.drop(oldest)
        job = self.store.expiry.begin_removal()
        job.run()
        self.store.expiry.finish_removal(job)
        self.store.expiry.condemn_derived()
        return True

    # -- what there is -------------------------------------------------------------------------------------

    def queue(self, topic: str, queue_id: int, from_offset: int = 0) -> list[MessageRecord]:
        records: list[MessageRecord] = []
        begin, end = self.store.queue_offsets(topic, queue_id)
        offset = max(begin, from_offset)
        while offset < end:
            found = self.store.get_messages(topic, queue_id, offset, 32, may_block=True)
            records += decode_records(found.body)
            offset = found.next_offset
        return records

    def delivered(self) -> Counter[bytes]:
        """How often each body stands in the real topic."""
        return Counter(record.body for record in self.queue(TOPIC, 1))

    def half_topic(self) -> list[MessageRecord]:
        return self.queue(*HALF)

    def ops(self) -> list[bytes]:
        return [record.body for record in self.queue(*OP)]

    def given_up(self) -> list[bytes]:
        return [record.body for record in self.queue(*GIVEN_UP)]

    def open_keys(self) -> list[str]:
        return [each.unique_key for each in self.log.table]

    # -- another run ---------------------------------------------------------------------------------------

    def next_run(self, disk: MemoryDisk | None = None, offsets: ConsumerOffsets | None = None) -> Bench:
        """After a clean stop; with a `disk`, or the offsets of a file, after a crash that left these."""
        if disk is None and offsets is None:
            done = self.log.keep_last_progress(1.0)
            assert done is None or done.called
            self.store.close(self.now_ms())
        left = self.disk.after_kill() if disk is None and offsets is not None else disk
        kept = ConsumerOffsets()
        kept.merge((offsets or self.offsets).snapshot())
        return type(self)(left or self.disk, self.clock, kept, **self.keys)
