"""Light queues as clients see them: names without settings, held pulls, offsets, limits, other settings."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.light_offsets import with_light_groups_apart
from rocketmq_tx.broker.topic_rules import make_topic
from rocketmq_tx.protocol.batch import BatchItem, encode_batch
from rocketmq_tx.protocol.bodies import (
    ConsumerOffsetSerializeWrapper,
    LmqConsumerOffsetSerializeWrapper,
)
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.decoder import FrameDecoder
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.headers import (
    DeleteTopicRequestHeader,
    EndTransactionRequestHeader,
    GetMaxOffsetRequestHeader,
    GetMinOffsetRequestHeader,
    PullMessageRequestHeader,
    QueryConsumerOffsetRequestHeader,
    UpdateConsumerOffsetRequestHeader,
)
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.protocol.properties import decode_properties
from tests.memory_broker import MemoryBroker
from tests.send_headers import send_header
from tests.unit.broker_parts import FakePeer

ON = {"enableLmq": "true", "enableMultiDispatch": "true"}
A, B, GROUP = "%LMQ%a", "%LMQ%b", "%LMQ%client-1"
NAMED = {"INNER_MULTI_DISPATCH": f"{A},{B}", "UNIQ_KEY": "U1"}
SUSPEND_AND_SUBSCRIPTION = 2 | 4


class LightCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = MemoryBroker(**ON)

    def named(self, body: bytes = b"hello", named: str = f"{A},{B}", **fields: Any) -> Frame:
        properties = {"UNIQ_KEY": "U1", "INNER_MULTI_DISPATCH": named, **fields.pop("properties", {})}
        return self.broker.send(body, properties=properties, **fields)

    def max_offset(self, topic: str) -> int:
        header = GetMaxOffsetRequestHeader(topic=topic, queue_id=0)
        answer = self.broker.ask(Frame.request(RequestCode.GET_MAX_OFFSET, header))
        return int((answer.ext_fields or {})["offset"])

    def commit(self, group: str, topic: str, offset: int, queue_id: int = 0) -> None:
        header = UpdateConsumerOffsetRequestHeader(
            consumer_group=group, topic=topic, queue_id=queue_id, commit_offset=offset
        )
        self.assertEqual(self.broker.ask(Frame.request(RequestCode.UPDATE_CONSUMER_OFFSET, header)).code, 0)

    def committed(self, group: str, topic: str, queue_id: int = 0) -> int:
        header = QueryConsumerOffsetRequestHeader(consumer_group=group, topic=topic, queue_id=queue_id)
        answer = self.broker.ask(Frame.request(RequestCode.QUERY_CONSUMER_OFFSET, header))
        return int((answer.ext_fields or {})["offset"])


class DispatchTests(LightCase):
    def test_a_message_is_pulled_from_each_light_queue_that_it_names(self) -> None:
        answer = self.named(b"one", queue_id=2)
        self.assertEqual((answer.code, (answer.ext_fields or {})["queueId"]), (0, "2"))
        for topic in (A, B):
            pulled = self.broker.pull(topic, group=GROUP)
            (record,) = decode_records(pulled.body)
            self.assertEqual((record.body, record.topic, record.queue_id), (b"one", "Orders", 2))
            self.assertEqual(decode_properties(record.properties.decode())["INNER_MULTI_QUEUE_OFFSET"], "0,0")
            self.assertEqual((pulled.ext_fields or {})["nextBeginOffset"], "1")
            self.assertEqual(self.max_offset(topic), 1)
        first = GetMinOffsetRequestHeader(topic=A, queue_id=0)
        answer = self.broker.ask(Frame.request(RequestCode.GET_MIN_OFFSET, first))
        self.assertEqual((answer.ext_fields or {})["offset"], "0")

    def test_members_of_a_batch_are_dispatched_by_their_own_properties(self) -> None:
        forged = "INNER_MULTI_QUEUE_OFFSET\x0177\2"
        items = [
            BatchItem(0, b"one", f"INNER_MULTI_DISPATCH\1{A}\2{forged}".encode()),
            BatchItem(0, b"two", forged.encode()),
            BatchItem(0, b"three", f"INNER_MULTI_DISPATCH\1{B},{A}".encode()),
        ]
        header = send_header("Orders", batch=True)
        answer = self.broker.ask(Frame.request(RequestCode.SEND_BATCH_MESSAGE, header, encode_batch(items)))
        self.assertEqual(answer.code, 0, answer.remark)
        told = [one.property_map.get("INNER_MULTI_QUEUE_OFFSET") for one in self.broker.records()]
        self.assertEqual(told, ["0", None, "0,1"])
        self.assertEqual(self.broker.bodies(A), [b"one", b"three"])

    def test_a_delayed_message_reaches_its_light_queues_when_its_time_has_come(self) -> None:
        self.named(b"later", properties={"DELAY": "1"})
        self.assertEqual(self.broker.bodies(A), [])
        self.broker.pass_time(1.2)
        self.assertEqual(self.broker.bodies(A), [b"later"])
        self.assertEqual(self.max_offset(A), 1)

    def test_a_message_with_a_delivery_time_reaches_its_light_queues_then(self) -> None:
        self.named(b"later", properties={"TIMER_DELAY_SEC": "5"})
        self.assertEqual(self.broker.bodies(A), [])
        self.broker.pass_time(10)
        self.assertEqual(self.broker.bodies(A), [b"later"])

    def test_a_half_message_reaches_its_light_queues_by_its_commit(self) -> None:
        answer = self.named(b"half", properties={"TRAN_MSG": "true", "PGROUP": "pg"}, sys_flag=4)
        self.assertEqual(self.broker.bodies(A), [])
        (half,) = self.broker.records("RMQ_SYS_TRANS_HALF_TOPIC")
        header = EndTransactionRequestHeader(
            producer_group="pg", tran_state_table_offset=int((answer.ext_fields or {})["queueOffset"]),
            commit_log_offset=half.commit_log_offset, commit_or_rollback=8, from_transaction_check=False,
            msg_id="U1", transaction_id="U1",
        )  # fmt: skip
        self.broker.ask(Frame.request(RequestCode.END_TRANSACTION, header))
        self.assertEqual(self.broker.bodies(A), [b"half"])

    def test_a_message_handed_back_comes_again_in_its_retry_topic_only(self) -> None:
        self.named(b"nack")
        (record,) = self.broker.records()
        self.assertEqual(self.broker.send_back(record).code, 0)
        self.broker.pass_time(11)
        (again,) = self.broker.records("%RETRY%cg")
        self.assertNotIn("INNER_MULTI_QUEUE_OFFSET", again.property_map)
        self.assertEqual(self.max_offset(A), 1)

    def test_a_killed_broker_has_them_again(self) -> None:
        for number in range(5):
            self.named(b"%d" % number)
        self.broker = self.broker.killed()
        self.assertEqual(self.broker.bodies(B), [b"%d" % number for number in range(5)])
        self.named(b"5")
        self.assertEqual(len(self.broker.bodies(B)), 6)

    def test_it_can_be_switched_while_the_broker_runs(self) -> None:
        self.broker.settings.store.enable_multi_dispatch = False
        self.named(b"one")
        self.assertEqual(self.max_offset(A), 0)
        self.broker.settings.store.enable_multi_dispatch = True
        self.named(b"two")
        self.assertEqual(self.broker.bodies(A), [b"two"])

    def test_numbers_that_a_producer_claims_are_not_stored(self) -> None:
        broker = MemoryBroker()
        for key in ("U1", "U2"):
            broker.send(properties={**NAMED, "UNIQ_KEY": key, "INNER_MULTI_QUEUE_OFFSET": "7,7"})
        for record in broker.records():
            self.assertNotIn("INNER_MULTI_QUEUE_OFFSET", record.property_map)
            self.assertEqual(record.property_map["INNER_MULTI_DISPATCH"], f"{A},{B}")


class RefusalTests(LightCase):
    def test_names_that_are_no_queues_of_clients_are_refused(self) -> None:
        for named in ("../x", "a/b", "%DLQ%g", "%RETRY%g", "SCHEDULE_TOPIC_XXXX", f"{A},,{B}", "x" * 200):
            answer = self.named(named=named)
            self.assertEqual(answer.code, ResponseCode.MESSAGE_ILLEGAL, named)
            self.assertIn("where no message may be dispatched", answer.remark or "")
        self.assertEqual(self.broker.bodies(), [])

    def test_a_topic_that_is_not_there_is_refused(self) -> None:
        answer = self.named(named="Nobody")
        self.assertEqual(answer.code, ResponseCode.MESSAGE_ILLEGAL)
        self.assertIn("[Nobody], which is neither a light queue nor a topic", answer.remark or "")
        self.broker.send(topic="Audit", properties={"UNIQ_KEY": "U0"})
        self.assertEqual(self.named(b"also", named="Audit").code, 0)
        self.assertEqual(self.broker.bodies("Audit"), [b"hello", b"also"])

    def test_the_message_that_would_make_too_many_light_queues_is_refused(self) -> None:
        self.broker.settings.store.max_lmq_consume_queue_num = 3
        self.assertEqual(self.named().code, 0)
        self.assertEqual(self.named(named=f"{A},%LMQ%c").code, 0)
        answer = self.named(named=f"{A},%LMQ%d")
        self.assertEqual(answer.code, ResponseCode.SYSTEM_ERROR)
        self.assertIn("there are 3 light queues, the message would make 1 more", answer.remark or "")
        self.assertEqual(self.named(named=f"{A},{B},%LMQ%c").code, 0)
        self.assertEqual(len(self.broker.bodies(A)), 3)

    def test_a_message_sent_straight_to_one_light_queue_too_many_is_refused(self) -> None:
        self.broker = MemoryBroker(**ON, maxLmqConsumeQueueNum="1")
        self.assertEqual(self.broker.send(topic=A, properties={"UNIQ_KEY": "U1"}).code, 0)
        self.assertEqual(self.broker.send(topic=A, properties={"UNIQ_KEY": "U2"}).code, 0)
        refused = self.broker.send(topic=B, properties={"UNIQ_KEY": "U3"})
        self.assertEqual(refused.code, ResponseCode.SYSTEM_ERROR)
        self.assertIn("maxLmqConsumeQueueNum is 1", refused.remark or "")
        self.assertEqual((len(self.broker.bodies(A)), self.broker.bodies(B)), (2, []))

    def test_a_batch_that_would_make_too_many_light_queues_is_refused(self) -> None:
        self.broker = MemoryBroker(**ON, maxLmqConsumeQueueNum="2")
        header = send_header("Orders", batch=True)
        for wanted, code in ((3, ResponseCode.SYSTEM_ERROR), (2, ResponseCode.SUCCESS)):
            names = [f"INNER_MULTI_DISPATCH\1%LMQ%{number}".encode() for number in range(wanted)]
            items = encode_batch([BatchItem(0, b"x", name) for name in (*names, names[0])])
            answer = self.broker.ask(Frame.request(RequestCode.SEND_BATCH_MESSAGE, header, items))
            self.assertEqual(answer.code, code, answer.remark)

    def test_what_has_to_wait_is_refused_when_there_will_be_no_room_for_its_numbers(self) -> None:
        """When its time comes nobody is left to be told, and an acknowledged message would be gone."""
        for waiting in ({"DELAY": "1"}, {"TIMER_DELAY_SEC": "1"}, {"TRAN_MSG": "true", "PGROUP": "pg"}):
            codes = []
            for size in range(32_767, 32_400, -10):
                answer = self.named(b"long", properties={"long": "x" * size, **waiting})
                codes.append(answer.code)
            self.assertEqual(set(codes), {ResponseCode.SUCCESS, ResponseCode.MESSAGE_ILLEGAL})
            self.broker.pass_time(2)
            if "PGROUP" not in waiting:
                self.assertEqual(len(self.broker.bodies()), codes.count(ResponseCode.SUCCESS))
                self.assertEqual(self.broker.bodies(A), self.broker.bodies())
            self.broker = MemoryBroker(**ON)


class NameTests(LightCase):
    def test_light_topics_need_no_settings_and_leave_none(self) -> None:
        self.assertEqual(self.broker.pull(A, group=GROUP).code, ResponseCode.PULL_NOT_FOUND)
        self.assertEqual(self.broker.send(b"direct", topic=A).code, 0)
        self.assertEqual(self.broker.bodies(A), [b"direct"])
        self.broker.parts.topics.put(make_topic(A, 8))
        self.assertEqual(self.broker.parts.topics.get(A).read_queue_nums, 1)  # type: ignore[union-attr]
        self.assertEqual(self.broker.pull(A, queue_id=1, group=GROUP).code, ResponseCode.SYSTEM_ERROR)
        self.assertNotIn(A, self.broker.parts.topics.configs())
        self.assertNotIn(GROUP, self.broker.parts.groups.configs())

    def test_a_direct_send_and_a_dispatch_share_the_numbers(self) -> None:
        self.broker.send(b"1", topic=A, properties={"UNIQ_KEY": "U"})
        self.named(b"2")
        self.broker.send(b"3", topic=A, properties={"UNIQ_KEY": "U"})
        self.assertEqual(self.broker.bodies(A), [b"1", b"2", b"3"])

    def test_settings_of_a_light_group_are_not_kept(self) -> None:
        groups = self.broker.parts.groups
        config = groups.find(GROUP)
        assert config is not None
        config.consume_enable = False
        groups.put(config)
        found = groups.get(GROUP)
        assert found is not None
        self.assertTrue(found.consume_enable)

    def test_without_the_setting_light_names_are_like_others(self) -> None:
        broker = MemoryBroker(autoCreateTopicEnable="false")
        self.assertEqual(broker.pull(A, group=GROUP).code, ResponseCode.TOPIC_NOT_EXIST)
        self.assertIn(GROUP, broker.parts.groups.configs())

    def test_a_deleted_light_topic_begins_anew(self) -> None:
        self.named(b"old")
        header = DeleteTopicRequestHeader(topic=A)
        answer = self.broker.ask(Frame.request(RequestCode.DELETE_TOPIC_IN_BROKER, header))
        self.assertEqual(answer.code, 0)
        self.named(b"new")
        self.assertEqual(self.broker.bodies(A), [b"new"])
        self.assertEqual(self.broker.bodies(B), [b"old", b"new"])

    def test_cleaning_unused_topics_keeps_light_queues(self) -> None:
        self.named()
        self.broker.ask(Frame.request(RequestCode.CLEAN_UNUSED_TOPIC))
        self.assertEqual(self.max_offset(A), 1)


class HeldPullTests(LightCase):
    def hold(self, topic: str) -> Deferred[bytes]:
        header = PullMessageRequestHeader(
            consumer_group=GROUP, topic=topic, queue_id=0, queue_offset=self.max_offset(topic),
            max_msg_nums=32, sys_flag=SUSPEND_AND_SUBSCRIPTION, commit_offset=0,
            suspend_timeout_millis=15_000, subscription="*", sub_version=0,
        )  # fmt: skip
        frame = encode_frame(Frame.request(RequestCode.PULL_MESSAGE, header))
        ((code, run),) = FrameDecoder().feed(frame)
        (answer,) = self.broker.parts.connections.registry.serve(FakePeer(), code, run)  # type: ignore[arg-type]
        assert isinstance(answer, Deferred)
        return answer

    def test_a_dispatched_message_wakes_exactly_who_waits_for_its_light_queues(self) -> None:
        waiting, other = self.hold(A), self.hold("%LMQ%other")
        self.named(b"wake")
        ((_, (answer,)),) = FrameDecoder().feed(self.successResultOf(waiting))
        assert isinstance(answer, Frame)
        self.assertEqual([one.body for one in decode_records(answer.body)], [b"wake"])
        self.assertNoResult(other)

    def test_a_held_pull_wakes_when_a_delayed_message_is_delivered(self) -> None:
        self.named(b"later", properties={"DELAY": "1"})
        waiting = self.hold(A)
        self.broker.pass_time(1.2)
        self.assertIn(b"later", self.successResultOf(waiting))


class OffsetTests(LightCase):
    def test_offsets_of_light_groups_are_kept_in_apaches_file(self) -> None:
        self.named()
        self.commit(GROUP, A, 1)
        self.commit("cg", "Orders", 5, queue_id=3)
        self.broker.stop()
        kept = LmqConsumerOffsetSerializeWrapper.from_bytes(
            self.broker.disk.content("/store/config/lmqConsumerOffset.json")
        )
        self.assertEqual(kept.lmq_offset_table, {f"{A}@{GROUP}": 1})
        self.assertEqual(kept.offset_table, {"Orders@cg": {3: 5}})
        self.assertIsNone(self.broker.disk.file_size("/store/config/consumerOffset.json"))
        self.broker = MemoryBroker(self.broker.disk, **ON)
        self.assertEqual((self.committed(GROUP, A), self.committed("cg", "Orders", 3)), (1, 5))

    def test_a_store_that_had_no_light_groups_keeps_its_offsets(self) -> None:
        self.broker = MemoryBroker()
        self.commit("cg", "Orders", 7)
        self.broker = self.broker.restarted(**ON)
        self.assertEqual(self.committed("cg", "Orders"), 7)

    def test_a_light_group_in_a_topic_of_several_queues_loses_none(self) -> None:
        self.commit(GROUP, "Orders", 4, queue_id=0)
        self.commit(GROUP, "Orders", 5, queue_id=1)
        self.broker = self.broker.restarted()
        self.assertEqual([self.committed(GROUP, "Orders", queue_id) for queue_id in (0, 1)], [4, 5])

    def test_names_with_an_at_sign_are_told_apart(self) -> None:
        self.commit(GROUP, "%LMQ%me@example", 9)
        self.broker = self.broker.restarted()
        self.assertEqual(self.committed(GROUP, "%LMQ%me@example"), 9)

    def test_only_light_groups_stand_apart(self) -> None:
        table = ConsumerOffsetSerializeWrapper(
            offset_table={"T@g": {0: 1}, f"{A}@g": {0: 2}, f"T@{GROUP}": {0: 3}}
        )
        apart = with_light_groups_apart(table)
        self.assertEqual(apart.lmq_offset_table, {f"T@{GROUP}": 3})
        self.assertEqual(apart.offset_table, {"T@g": {0: 1}, f"{A}@g": {0: 2}})
