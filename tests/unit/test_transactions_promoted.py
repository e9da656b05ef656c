"""Transactions that are open while a slave takes over: the new master asks, and ends them once."""

from __future__ import annotations

from collections import Counter

from rocketmq_tx.protocol.bodies import HeartbeatData, ProducerData
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    CheckTransactionStateRequestHeader,
    EndTransactionRequestHeader,
    SendMessageResponseHeader,
)
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.protocol.message_ids import decode_offset_message_id
from rocketmq_tx.protocol.properties import encode_properties
from rocketmq_tx.remoting.peer import Peer
from rocketmq_tx.remoting.registry import serves
from tests.send_headers import send_header
from tests.simulator.world import BrokerNode
from tests.unit.test_role_change_simulated import FIRST, SECOND, PromotionCase

COMMIT, ROLLBACK = 8, 12
GROUP, TOPIC = "payments", "Paid"
CHECKS = {"transactionCheckInterval": 2000, "transactionTimeOut": 1000}
KEYS = {"committed": COMMIT, "rolled-back": ROLLBACK, "open-1": COMMIT, "open-2": ROLLBACK}


class Decisions:
    """What a producer answers to a check: the places that it was asked about, by the message's key."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, EndTransactionRequestHeader]] = []

    @serves(RequestCode.CHECK_TRANSACTION_STATE)
    def check(self, peer: Peer, frame: Frame, header: CheckTransactionStateRequestHeader) -> None:
        (half,) = decode_records(frame.body)
        key = half.body.decode()
        end = _end(key, header.tran_state_table_offset or 0, header.commit_log_offset or 0)
        end.from_transaction_check = True
        self.asked.append((key, end))


def _end(key: str, queue_offset: int, commit_log_offset: int) -> EndTransactionRequestHeader:
    return EndTransactionRequestHeader(
        producer_group=GROUP,
        tran_state_table_offset=queue_offset,
        commit_log_offset=commit_log_offset,
        commit_or_rollback=KEYS[key],
        msg_id=key,
    )


class PromotedTransactionTests(PromotionCase):
    def connect_to(self, node: BrokerNode) -> None:
        beat = HeartbeatData(client_id="p", producer_data_set=[ProducerData(group_name=GROUP)]).to_bytes()
        self.answered(node, Frame.request(RequestCode.HEART_BEAT, None, beat))

    def answered(self, node: BrokerNode, frame: Frame) -> Frame:
        answer = self.client.ask(node.address, frame)
        self.assertTrue(self.world.run_until(lambda: answer.called, 10))
        result = self.successResultOf(answer)
        self.assertEqual(result.code, 0, result.remark)
        return result

    def half(self, node: BrokerNode, key: str) -> EndTransactionRequestHeader:
        """Sends a half message; what ends it."""
        header = send_header(
            TOPIC,
            producer_group=GROUP,
            default_topic_queue_nums=1,
            sys_flag=4,
            born_timestamp=self.world.now_ms(),
            properties=encode_properties({"UNIQ_KEY": key, "TRAN_MSG": "true", "PGROUP": GROUP}),
        )
        answer = self.answered(node, Frame.request(RequestCode.SEND_MESSAGE_V2, header, key.encode()))
        sent = SendMessageResponseHeader.from_ext_fields(answer.ext_fields)
        return _end(key, sent.queue_offset, decode_offset_message_id(sent.msg_id).commit_log_offset)

    def end(self, node: BrokerNode, header: EndTransactionRequestHeader) -> None:
        self.answered(node, Frame.request(RequestCode.END_TRANSACTION, header))

    def take_checks(self) -> list[tuple[str, EndTransactionRequestHeader]]:
        taken, self.decisions.asked = self.decisions.asked, []
        return taken

    def delivered(self, node: BrokerNode) -> Counter[bytes]:
        found = node.store.get_messages(TOPIC, 0, 0, 32, may_block=True)
        return Counter(record.body for record in decode_records(found.body))

    def begin_transactions(self) -> dict[str, EndTransactionRequestHeader]:
        self.begin(**CHECKS)
        self.decisions = Decisions()
        self.client.caller.connections.registry.add(self.decisions)
        self.connect_to(self.first)
        ends = {key: self.half(self.first, key) for key in KEYS}
        for key in ("committed", "rolled-back"):
            self.end(self.first, ends[key])
        self.wait_equal(self.first, self.second)
        return ends

    def check_by_second(self) -> None:
        """The producer finds the new master, is asked about what is open and ends it there."""
        self.connect_to(self.second)
        self.world.run(8)
        checks = self.take_checks()
        self.assertEqual({key for key, _ in checks}, {"open-1", "open-2"})
        for _, header in dict(checks).items():
            self.end(self.second, header)
        self.world.run(10)
        self.assertEqual(self.take_checks(), [])
        self.assertEqual(self.delivered(self.second), {b"committed": 1, b"open-1": 1})

    def test_a_master_that_hands_over_asks_no_more_and_its_successor_asks_and_ends(self) -> None:
        self.begin_transactions()
        self.assertEqual(self.verdict(self.promote(self.second)), "HAND_OVER")
        self.world.run(10)
        self.take_checks()  # what the first had asked before
        self.world.run(10)
        self.assertEqual(self.take_checks(), [])
        self.check_by_second()
        self.wait_equal(self.first, self.second)
        self.promote(self.first)
        self.connect_to(self.first)
        self.world.run(10)
        self.assertEqual(self.take_checks(), [], "it was master before, and asks about what has ended since")

    def test_after_a_kill_the_producer_ends_at_the_new_master_what_it_began_at_the_old_one(self) -> None:
        ends = self.begin_transactions()
        self.first.kill()
        self.assertEqual(self.verdict(self.promote(self.second)), "COMPLETE")
        self.end(self.second, ends["open-1"])
        self.end(self.second, ends["open-2"])
        self.connect_to(self.second)
        self.world.run(10)
        self.assertEqual(self.take_checks(), [])
        self.assertEqual(self.delivered(self.second), {b"committed": 1, b"open-1": 1})

    def test_after_a_kill_the_new_master_asks_about_what_is_open(self) -> None:
        self.begin_transactions()
        self.first.kill()
        self.promote(self.second)
        self.check_by_second()
        self.first.start()
        self.world.run(10)
        self.wait_equal(self.first, self.second)
        self.promote(self.first)
        self.world.run(10)
        self.assertEqual(self.delivered(self.first), {b"committed": 1, b"open-1": 1})
        self.assertEqual(self.take_checks(), [])

    def test_an_end_that_was_cut_away_with_its_master_is_asked_for_again(self) -> None:
        """The commit of a master that could not tell its slave any more; with force that was said."""
        ends = self.begin_transactions()
        self.world.network.partition(FIRST, SECOND)
        self.world.run(25)
        answer = self.client.ask(
            self.first.address, Frame.request(RequestCode.END_TRANSACTION, ends["open-1"])
        )
        answer.addErrback(lambda _: None)
        self.world.run(5)
        self.assertIn(b"open-1", self.delivered(self.first))
        self.first.kill()
        self.promote(self.second, force=True)
        self.take_checks()
        self.check_by_second()
        self.world.network.heal()
        self.first.start()
        self.world.run(20)
        self.wait_equal(self.first, self.second)
        self.assertEqual(self.delivered(self.first), {b"committed": 1, b"open-1": 1})
