"""The producer of transactions against a broker in memory: what it sends, and what it answers."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.client import (
    LocalState,
    Message,
    ReceivedMessage,
    TransactionProducer,
    TransactionResult,
)
from rocketmq_tx.errors import CallRefused, MessageError
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import CheckTransactionStateRequestHeader, EndTransactionRequestHeader
from rocketmq_tx.protocol.message import MessageRecord, encode_record
from tests.unit.fake_cluster import NAMESRV, FakeCluster, over_the_wire


class Listener:
    """Answers what the test says; an exception is raised."""

    def __init__(self) -> None:
        self.answer: Any = LocalState.COMMIT
        self.executed: list[str] = []
        self.checked: list[str] = []

    async def execute(self, message: Message, message_id: str) -> LocalState:
        self.executed.append(message_id)
        return await self._said()

    async def check(self, message: ReceivedMessage) -> LocalState:
        self.checked.append(message.message_id)
        return await self._said()

    async def _said(self) -> LocalState:
        if isinstance(self.answer, Exception):
            raise self.answer
        return await self.answer if isinstance(self.answer, Deferred) else self.answer


class Pushed:
    """A connection that keeps what is sent on it."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def push(self, frame: Frame) -> None:
        self.frames.append(over_the_wire(frame))


class TransactionProducerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = FakeCluster()
        self.listener = Listener()
        self.broker: Any = self.cluster.broker
        self.broker._serve_end_transaction = lambda frame, header: None
        self.producer = TransactionProducer(
            "payments", NAMESRV, self.listener, self.cluster.clock, environment=self.cluster.environment()
        )
        self.producer.startService()

    def send(self, **more: Any) -> Deferred[TransactionResult]:
        return self.producer.send_in_transaction(Message("orders", b"paid", tags="TagA", **more))

    def ends(self) -> list[EndTransactionRequestHeader]:
        return self.broker.requests(RequestCode.END_TRANSACTION)  # type: ignore[no-any-return]

    def test_a_half_message_says_so_and_the_end_names_its_place(self) -> None:
        result = self.successResultOf(self.send())
        (record,) = [record for queue in self.broker.topics["orders"] for record in queue]
        self.assertEqual(record.sys_flag, 4)
        properties = record.property_map
        self.assertEqual((properties["TRAN_MSG"], properties["PGROUP"]), ("true", "payments"))
        self.assertEqual(self.listener.executed, [properties["UNIQ_KEY"]])
        (end,) = self.ends()
        self.assertEqual(
            (end.producer_group, end.commit_log_offset, end.tran_state_table_offset, end.commit_or_rollback),
            ("payments", record.commit_log_offset, record.queue_offset, 8),
        )
        self.assertEqual((end.msg_id, end.from_transaction_check), (properties["UNIQ_KEY"], False))
        self.assertEqual(result.state, LocalState.COMMIT)

    def test_each_state_has_its_number(self) -> None:
        for state, number in ((LocalState.ROLLBACK, 12), (LocalState.UNKNOWN, 0)):
            self.listener.answer = state
            self.assertEqual(self.successResultOf(self.send()).state, state)
            self.assertEqual(self.ends()[-1].commit_or_rollback, number)

    def test_work_that_raises_leaves_the_transaction_open(self) -> None:
        self.listener.answer = KeyError("no such account")
        self.assertEqual(self.successResultOf(self.send()).state, LocalState.UNKNOWN)
        self.assertEqual(self.ends()[-1].commit_or_rollback, 0)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_the_work_may_take_its_time(self) -> None:
        self.listener.answer = Deferred()
        sending = self.send()
        self.assertNoResult(sending)
        self.assertEqual(self.ends(), [])
        self.listener.answer.callback(LocalState.COMMIT)
        self.successResultOf(sending)
        self.assertEqual(len(self.ends()), 1)

    def test_nothing_is_executed_when_the_half_message_is_not_stored(self) -> None:
        self.broker.refuses = (ResponseCode.MESSAGE_ILLEGAL, "too long")
        self.failureResultOf(self.send(), CallRefused)
        self.failureResultOf(self.send(delay_level=3), MessageError)
        self.assertEqual((self.listener.executed, self.ends()), ([], []))

    def test_a_half_message_that_may_get_lost_is_rolled_back(self) -> None:
        stored = self.broker._stored

        def less_safe(*arguments: Any) -> Frame:
            answer: Frame = stored(*arguments)
            return attrs.evolve(answer, code=int(ResponseCode.FLUSH_DISK_TIMEOUT))

        self.broker._stored = less_safe
        result = self.successResultOf(self.send())
        self.assertEqual((result.state, self.listener.executed), (LocalState.ROLLBACK, []))
        self.assertEqual(self.ends()[-1].commit_or_rollback, 12)

    def test_it_is_known_to_the_broker_before_it_sends_and_when_it_joins(self) -> None:
        self.successResultOf(self.send())
        codes = [code for code, _ in self.broker.seen]
        self.assertLess(codes.index(RequestCode.HEART_BEAT), codes.index(RequestCode.SEND_MESSAGE_V2))
        self.broker.add_topic("bills", 2)
        self.successResultOf(self.producer.join("bills"))
        self.assertEqual(codes.count(RequestCode.HEART_BEAT), 1)

    def test_a_lost_end_is_no_failure(self) -> None:
        self.listener.answer = Deferred()
        sending = self.send()
        self.cluster.down.add(self.broker.address)
        self.listener.answer.callback(LocalState.COMMIT)
        self.assertEqual(self.successResultOf(sending).state, LocalState.COMMIT)

    def check(self, group: str = "payments", code: int = RequestCode.CHECK_TRANSACTION_STATE) -> list[Frame]:
        record = MessageRecord("orders", b"paid", f"UNIQ_KEY\x01K1\x02PGROUP\x01{group}".encode())
        header = CheckTransactionStateRequestHeader(
            tran_state_table_offset=7, commit_log_offset=900, msg_id="K1", transaction_id="K1"
        )
        frame = over_the_wire(Frame.request(code, header, encode_record(record), oneway=True))
        pushed: Any = Pushed()
        for answer in self.cluster.registries[-1].serve(pushed, frame.code, [frame]):
            if isinstance(answer, Deferred):
                self.assertEqual(self.successResultOf(answer), b"")
        frames: list[Frame] = pushed.frames
        return frames

    def test_a_check_is_answered_on_its_connection(self) -> None:
        (answer,) = self.check()
        end = EndTransactionRequestHeader.from_ext_fields(answer.ext_fields)
        self.assertEqual(
            (end.commit_log_offset, end.tran_state_table_offset, end.commit_or_rollback), (900, 7, 8)
        )
        self.assertEqual((end.from_transaction_check, end.msg_id, end.transaction_id), (True, "K1", "K1"))
        self.assertTrue(answer.is_oneway)
        self.assertEqual(self.listener.checked, ["K1"])

    def test_a_check_that_fails_answers_unknown_with_the_reason(self) -> None:
        self.listener.answer = ValueError("the database is away")
        (answer,) = self.check()
        end = EndTransactionRequestHeader.from_ext_fields(answer.ext_fields)
        self.assertEqual(end.commit_or_rollback, 0)
        self.assertEqual(answer.remark, "ValueError: the database is away")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_check_for_another_group_is_ignored(self) -> None:
        self.assertEqual(self.check("others"), [])
