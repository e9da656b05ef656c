"""Transactions as the clients of a whole broker meet them: requests in, answers out."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.protocol.bodies import ConsumeStats, OpenTransactionList, TopicStatsTable
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    EndTransactionRequestHeader,
    GetConsumeStatsRequestHeader,
    GetMaxOffsetRequestHeader,
    GetOpenTransactionsRequestHeader,
    GetTopicStatsInfoRequestHeader,
    UpdateConsumerOffsetRequestHeader,
)
from rocketmq_tx.protocol.message_ids import decode_offset_message_id
from tests.memory_broker import MemoryBroker

COMMIT = 8


class WholeBrokerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = MemoryBroker()
        self.broker.parts.transactions.log.load(after_crash=False)
        self.assertEqual(self.broker.send(b"ordinary").code, 0)

    def send_half(self, key: str = "K1") -> Frame:
        properties = {"TRAN_MSG": "true", "PGROUP": "pg", "UNIQ_KEY": key, "TAGS": "T"}
        return self.broker.send(b"half", properties=properties, sys_flag=4)

    def commit(self, sent: Frame, key: str = "K1") -> None:
        fields = sent.ext_fields or {}
        header = EndTransactionRequestHeader(
            producer_group="pg",
            tran_state_table_offset=int(fields["queueOffset"]),
            commit_log_offset=decode_offset_message_id(fields["msgId"]).commit_log_offset,
            commit_or_rollback=COMMIT,
            msg_id=key,
        )
        self.assertEqual(self.ask(RequestCode.END_TRANSACTION, header).code, 0)

    def ask(self, code: int, header: Any, body: bytes = b"") -> Frame:
        return self.broker.ask(Frame.request(code, header, body))

    def ends(self) -> tuple[int, int, int, int]:
        """Where the real queue ends for a client, in the topic's statistics, for a group; the group's lag."""
        asked = GetMaxOffsetRequestHeader(topic="Orders", queue_id=0)
        max_offset = int((self.ask(RequestCode.GET_MAX_OFFSET, asked).ext_fields or {})["offset"])
        topic = self.ask(RequestCode.GET_TOPIC_STATS_INFO, GetTopicStatsInfoRequestHeader(topic="Orders"))
        in_topic = sum(
            each.max_offset for each in TopicStatsTable.from_bytes(topic.body).offset_table.values()
        )
        group = self.ask(RequestCode.GET_CONSUME_STATS, GetConsumeStatsRequestHeader(consumer_group="cg"))
        progress = list(ConsumeStats.from_bytes(group.body).offset_table.values())
        in_group = sum(each.broker_offset for each in progress)
        return max_offset, in_topic, in_group, in_group - sum(each.consumer_offset for each in progress)

    def test_a_half_message_counts_nowhere_in_its_topic_until_it_is_committed(self) -> None:
        read = UpdateConsumerOffsetRequestHeader(
            consumer_group="cg", topic="Orders", queue_id=0, commit_offset=1
        )
        self.ask(RequestCode.UPDATE_CONSUMER_OFFSET, read)
        self.assertEqual(self.ends(), (1, 1, 1, 0))
        sent = self.send_half()
        self.assertEqual(self.ends(), (1, 1, 1, 0))
        self.assertEqual(self.broker.bodies(), [b"ordinary"])
        self.assertEqual(self.broker.pull(offset=1).code, ResponseCode.PULL_NOT_FOUND)
        self.commit(sent)
        self.assertEqual(self.ends(), (2, 2, 2, 1))
        self.assertEqual(self.broker.bodies(), [b"ordinary", b"half"])

    def test_nor_is_it_counted_among_the_messages_put_to_its_topic(self) -> None:
        def puts(topic: str) -> int:
            self.broker.parts.statistics.look()
            return self.broker.parts.statistics.counter("TOPIC_PUT_NUMS", topic).value

        self.assertEqual(puts("Orders"), 1)
        sent = self.send_half()
        self.assertEqual((puts("Orders"), puts("RMQ_SYS_TRANS_HALF_TOPIC")), (1, 1))
        self.commit(sent)
        self.assertEqual((puts("Orders"), puts("RMQ_SYS_TRANS_OP_HALF_TOPIC")), (2, 1))

    def test_what_is_open_can_be_asked_for_by_group_and_topic(self) -> None:
        self.send_half("K1")
        self.broker.pass_time(5)
        self.commit(self.send_half("K2"), "K2")
        for header, count in (
            (GetOpenTransactionsRequestHeader(), 1),
            (GetOpenTransactionsRequestHeader(producer_group="pg", topic="Orders"), 1),
            (GetOpenTransactionsRequestHeader(producer_group="others"), 0),
        ):
            answer = self.ask(RequestCode.GET_OPEN_TRANSACTIONS, header)
            shown = OpenTransactionList.from_bytes(answer.body)
            self.assertEqual(len(shown.transactions), count)
        self.assertEqual(shown.figures["open"], 1)
        self.assertEqual(shown.figures["oldestAgeMs"], 5000)
        self.assertEqual((shown.figures["halfMessages"], shown.figures["commits"]), (2, 1))

    def test_settings_that_an_administrator_changes_count_at_once(self) -> None:
        text = "transactionTimeOut=1234\ntransactionCheckMax=2\ntransactionCheckInterval=5000\n"
        self.assertEqual(self.ask(RequestCode.UPDATE_BROKER_CONFIG, None, text.encode()).code, 0)
        rule = self.broker.parts.transactions.checks.rule()
        self.assertEqual((rule.timeout_ms, rule.checks_max), (1234, 2))
        self.assertEqual(self.broker.settings.broker.transaction_check_interval, 5000)

    def test_half_messages_are_refused_while_an_administrator_wants_none(self) -> None:
        self.assertEqual(self.send_half("K1").code, 0)
        for wanted, code in (("true", ResponseCode.NO_PERMISSION), ("false", 0)):
            text = f"rejectTransactionMessage={wanted}\n"
            self.assertEqual(self.ask(RequestCode.UPDATE_BROKER_CONFIG, None, text.encode()).code, 0)
            answer = self.send_half("K2")
            self.assertEqual(answer.code, code)
            if code:
                remark = "the broker[127.0.0.1] sending transaction message is forbidden"
                self.assertEqual(answer.remark, remark)
        self.assertEqual(len(self.broker.records("RMQ_SYS_TRANS_HALF_TOPIC")), 2)

    def test_retention_waits_until_open_transactions_have_a_copy_further_on(self) -> None:
        transactions = self.broker.parts.transactions
        (service,) = transactions.services()
        service.startService()
        self.send_half()
        end = self.broker.parts.store.written_to
        released = self.broker.parts.store_service.retention.before_deletion(end)
        self.broker.pass_time(1)
        self.successResultOf(released)
        (open_one,) = transactions.log.table
        self.assertGreaterEqual(open_one.newest.commit_log_offset, end)
        self.assertGreaterEqual(self.broker.parts.store.flushed_to, self.broker.parts.store.written_to)
        self.successResultOf(service.stopService())

    def test_a_change_of_role_reaches_transactions(self) -> None:
        transactions = self.broker.parts.transactions
        (service,) = transactions.services()
        service.startService()
        self.broker.settings.store.broker_role = BrokerRole.SLAVE
        transactions.role_changed()
        self.assertFalse(transactions.log.is_loaded)
        self.broker.settings.store.broker_role = BrokerRole.ASYNC_MASTER
        transactions.role_changed()
        self.assertTrue(transactions.log.is_loaded)
        self.successResultOf(service.stopService())
