"""Requests that a broker passes on to clients: replies, resets, what a consumer does."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.reset_rules import reset_offset
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.protocol.bodies import (
    ConsumerData,
    ConsumeType,
    GetConsumerStatusBody,
    HeartbeatData,
    MessageModel,
    MessageQueue,
    ProducerData,
    ResetOffsetBody,
    ResetOffsetBodyForC,
    SubscriptionData,
)
from rocketmq_tx.protocol.codes import LanguageCode, RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    ConsumeMessageDirectlyResultRequestHeader,
    GetConsumerRunningInfoRequestHeader,
    GetConsumerStatusRequestHeader,
    ReplyMessageRequestHeader,
    ResetOffsetRequestHeader,
    SendMessageRequestHeader,
    SendMessageRequestHeaderV2,
)
from rocketmq_tx.protocol.properties import decode_properties, encode_properties
from rocketmq_tx.remoting.connections import Connections
from rocketmq_tx.remoting.protocol import FrameProtocol
from rocketmq_tx.remoting.registry import Registry, Reply, serves
from tests.memory_broker import MemoryBroker
from tests.send_headers import send_header
from tests.wire import Wire

GROUP, CLIENT_ID = "cg", "10.0.0.1@1"
REPLY_TOPIC = "DefaultCluster_REPLY_TOPIC"


class ClientEnd:
    """What a client serves, remembered; `answers` replaces what it answers to the next requests."""

    def __init__(self) -> None:
        self.asked: list[tuple[Frame, Any]] = []
        self.answers: Reply | None = Reply(body=b"{}")

    @serves(
        RequestCode.RESET_CONSUMER_CLIENT_OFFSET,
        RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT,
        RequestCode.GET_CONSUMER_RUNNING_INFO,
        RequestCode.CONSUME_MESSAGE_DIRECTLY,
        RequestCode.PUSH_REPLY_MESSAGE_TO_CLIENT,
        RequestCode.NOTIFY_CONSUMER_IDS_CHANGED,
    )
    def serve(self, peer: Any, frame: Frame, header: Any) -> Reply | None:
        if frame.code != RequestCode.NOTIFY_CONSUMER_IDS_CHANGED:
            self.asked.append((frame, header))
        return self.answers


class ConnectedCase(SynchronousTestCase):
    """A broker in memory, one client connected to it, with four messages in topic Orders."""

    def setUp(self) -> None:
        self.broker = MemoryBroker()
        self.wire = Wire(self.broker.clock)
        self.client = ClientEnd()
        self.protocol = FrameProtocol(Connections(self.broker.clock, Registry(self.client)))
        self.wire.join(self.protocol, FrameProtocol(self.broker.parts.connections))
        for number in range(4):
            self.broker.send(b"%d" % number)

    def ask(self, code: int, header: Any = None, body: bytes = b"", **fields: Any) -> Frame:
        answer = self.protocol.peer.call(Frame.request(code, header, body, **fields), 30.0)
        self.wire.pump()
        return self.successResultOf(answer)

    def heartbeat(self, version: int = 407) -> None:
        beat = HeartbeatData(
            client_id=CLIENT_ID,
            producer_data_set=[ProducerData(group_name="CLIENT_INNER_PRODUCER")],
            consumer_data_set=[
                ConsumerData(
                    group_name=GROUP,
                    consume_type=ConsumeType.CONSUME_PASSIVELY,
                    message_model=MessageModel.CLUSTERING,
                    subscription_data_set=[SubscriptionData(topic="Orders", sub_string="*")],
                )
            ],
        )
        answer = self.ask(RequestCode.HEART_BEAT, body=beat.to_bytes(), version=version)
        self.assertEqual(answer.code, ResponseCode.SUCCESS)

    def make_the_log_cold(self) -> str:
        (log,) = (path for path in self.broker.disk.nodes if "commitlog/" in path)
        self.broker.disk.cold.add(log)
        return log

    def commit(self, offset: int) -> None:
        for queue_id in range(4):
            self.broker.parts.offsets.commit(GROUP, "Orders", queue_id, offset)


class ReplyTests(ConnectedCase):
    def reply(self, v2: bool = True, sys_flag: int = 0, **properties: str) -> Frame:
        kind = SendMessageRequestHeaderV2 if v2 else SendMessageRequestHeader
        code = RequestCode.SEND_REPLY_MESSAGE_V2 if v2 else RequestCode.SEND_REPLY_MESSAGE
        header = kind(
            producer_group="replier", topic=REPLY_TOPIC, default_topic="TBW102", default_topic_queue_nums=4,
            queue_id=0, sys_flag=sys_flag, born_timestamp=5, flag=3, properties=encode_properties(properties),
        )  # fmt: skip
        return self.ask(code, header, b"pong")

    def test_it_reaches_the_client_that_waits_and_is_stored(self) -> None:
        self.heartbeat()
        for v2 in (True, False):
            answer = self.reply(v2, REPLY_TO_CLIENT=CLIENT_ID, CORRELATION_ID="c1")
            self.assertEqual((answer.code, answer.remark), (ResponseCode.SUCCESS, None))
            frame, header = self.client.asked.pop()
            self.assertEqual((frame.code, frame.body), (RequestCode.PUSH_REPLY_MESSAGE_TO_CLIENT, b"pong"))
            self.assertIsInstance(header, ReplyMessageRequestHeader)
            pushed = decode_properties(header.properties)
            self.assertEqual((pushed["CORRELATION_ID"], header.flag, header.topic), ("c1", 3, REPLY_TOPIC))
            self.assertEqual(int(pushed["PUSH_REPLY_TIME"]), header.store_timestamp)
        stored = self.broker.records(REPLY_TOPIC)
        self.assertEqual([record.body for record in stored], [b"pong", b"pong"])
        self.assertEqual(stored[-1].property_map, {"REPLY_TO_CLIENT": CLIENT_ID, "CORRELATION_ID": "c1"})
        fields = answer.ext_fields or {}
        self.assertEqual(fields["msgId"], stored[-1].offset_message_id)
        self.assertEqual((fields["MSG_REGION"], fields["queueOffset"]), ("DefaultRegion", "1"))

    def test_what_cannot_be_pushed_is_said_and_stored_all_the_same(self) -> None:
        self.heartbeat()
        self.client.answers = Reply(1, "no")
        remarks = [
            self.reply().remark,
            self.reply(REPLY_TO_CLIENT="somebody").remark,
            self.reply(REPLY_TO_CLIENT=CLIENT_ID).remark,
        ]
        self.assertEqual(
            remarks,
            [
                "reply message properties[REPLY_TO_CLIENT] is null",
                "push reply message fail, channel of <somebody> not found.",
                f"push reply message to {CLIENT_ID}fail.",
            ],
        )
        self.assertEqual(len(self.broker.records(REPLY_TOPIC)), 3)

    def test_a_client_that_goes_before_it_has_answered_ends_the_wait(self) -> None:
        self.heartbeat()
        peer = self.broker.parts.reading.producers.peer_of(CLIENT_ID)
        assert peer is not None
        self.client.answers = None
        properties = encode_properties({"REPLY_TO_CLIENT": CLIENT_ID})
        header = send_header(REPLY_TOPIC, producer_group="replier", properties=properties)
        answer = self.protocol.peer.call(
            Frame.request(RequestCode.SEND_REPLY_MESSAGE_V2, header, b"late"), 30.0
        )
        self.wire.pump()
        self.assertNoResult(answer)
        self.broker.pass_time(10.1)
        self.wire.pump()
        self.assertEqual(self.successResultOf(answer).remark, f"push reply message to {CLIENT_ID}fail.")

    def test_it_need_not_be_stored(self) -> None:
        self.heartbeat()
        self.broker.settings.broker.store_reply_message_enable = False
        answer = self.reply(REPLY_TO_CLIENT=CLIENT_ID)
        self.assertEqual((answer.ext_fields or {})["msgId"], "0")
        self.assertEqual(self.broker.records(REPLY_TOPIC), [])

    def test_what_a_replier_claims_of_addresses_and_numbers_is_not_stored(self) -> None:
        self.heartbeat()
        self.reply(
            sys_flag=0x30,
            REPLY_TO_CLIENT=CLIENT_ID,
            UNIQ_KEY="U1",
            INNER_MULTI_DISPATCH="%LMQ%a",
            INNER_MULTI_QUEUE_OFFSET="77",
        )
        self.reply(REPLY_TO_CLIENT=CLIENT_ID)
        first, second = self.broker.records(REPLY_TOPIC)
        self.assertEqual((first.body, first.sys_flag, second.body), (b"pong", 0, b"pong"))
        self.assertNotIn("INNER_MULTI_QUEUE_OFFSET", first.property_map)
        found = self.broker.parts.store.query_by_key(REPLY_TOPIC, "U1", 9, 0, self.broker.now_ms())
        self.assertEqual(found.offsets, [first.commit_log_offset])

    def test_a_reply_that_was_pushed_and_cannot_be_stored_counts_as_given(self) -> None:
        """The client that asked has it; with an error the replier would send it again."""
        self.heartbeat()
        self.broker.parts.topics.ensure(REPLY_TOPIC, 1)
        self.broker.becomes(BrokerRole.SLAVE)
        answer = self.reply(REPLY_TO_CLIENT=CLIENT_ID)
        self.assertEqual((answer.code, (answer.ext_fields or {})["msgId"]), (ResponseCode.SUCCESS, "0"))
        self.assertEqual(self.reply(REPLY_TO_CLIENT="somebody").code, ResponseCode.SYSTEM_ERROR)
        self.assertEqual(self.broker.records(REPLY_TOPIC), [])

    def test_a_slave_makes_no_topic_for_a_reply(self) -> None:
        self.broker.becomes(BrokerRole.SLAVE)
        header = send_header("New")
        answer = self.ask(RequestCode.SEND_REPLY_MESSAGE_V2, header, b"x")
        self.assertEqual(answer.code, ResponseCode.TOPIC_NOT_EXIST)
        self.assertIsNone(self.broker.parts.topics.get("New"))

    def test_a_reply_stands_in_the_light_queues_that_it_may_name(self) -> None:
        self.broker = MemoryBroker(enableLmq="true", enableMultiDispatch="true")
        self.wire = Wire(self.broker.clock)
        self.protocol = FrameProtocol(Connections(self.broker.clock, Registry(self.client)))
        self.wire.join(self.protocol, FrameProtocol(self.broker.parts.connections))
        self.heartbeat()
        for named in ("%LMQ%a", "%LMQ%a,%LMQ%../b"):
            answer = self.reply(REPLY_TO_CLIENT=CLIENT_ID, INNER_MULTI_DISPATCH=named)
            self.assertEqual(answer.code, ResponseCode.SUCCESS)
        self.assertEqual(len(self.broker.records("%LMQ%a")), 1)
        self.assertEqual(len(self.broker.records(REPLY_TOPIC)), 1)

    def test_the_checks_of_a_send_come_first(self) -> None:
        header = send_header("no such topic")
        answer = self.ask(RequestCode.SEND_REPLY_MESSAGE_V2, header, b"x")
        self.assertEqual(answer.code, ResponseCode.SYSTEM_ERROR)
        self.assertIn("illegal characters", answer.remark or "")
        self.assertIn("TRACE_ON", answer.ext_fields or {})
        incomplete = Frame(RequestCode.SEND_REPLY_MESSAGE_V2, ext_fields={"b": REPLY_TOPIC})
        answer = self.protocol.peer.call(incomplete, 3.0)
        self.wire.pump()
        self.assertEqual(self.successResultOf(answer).code, ResponseCode.SYSTEM_ERROR)


class ResetTests(ConnectedCase):
    def reset(self, timestamp: int = 0, is_force: bool = False, **changes: Any) -> Frame:
        fields = {"topic": "Orders", "group": GROUP, **{k: v for k, v in changes.items() if k != "language"}}
        header = ResetOffsetRequestHeader(timestamp=timestamp, is_force=is_force, **fields)
        language = changes.get("language", LanguageCode.JAVA)
        return self.ask(RequestCode.INVOKE_BROKER_TO_RESET_OFFSET, header, language=language)

    def test_every_client_of_the_group_is_told_and_the_table_comes_back(self) -> None:
        self.heartbeat()
        self.commit(4)
        answer = self.reset()
        table = {
            MessageQueue(topic="Orders", broker_name="broker-a", queue_id=number): 0 for number in range(4)
        }
        self.assertEqual(ResetOffsetBody.from_bytes(answer.body).offset_table, table)
        frame, header = self.client.asked.pop()
        self.assertTrue(frame.is_oneway)
        self.assertEqual((header.topic, header.group, header.is_force), ("Orders", GROUP, False))
        self.assertEqual(ResetOffsetBody.from_bytes(frame.body).offset_table, table)
        self.assertEqual(self.broker.parts.offsets.query(GROUP, "Orders", 0), 4)

    def test_times_that_are_not_in_memory_are_read_in_a_thread(self) -> None:
        self.heartbeat()
        self.commit(4)
        log = self.make_the_log_cold()
        queue = MessageQueue(topic="Orders", broker_name="broker-a", queue_id=0)
        table = ResetOffsetBody.from_bytes(self.reset(timestamp=1).body).offset_table
        self.assertEqual(table[queue], 0)
        self.assertNotIn(log, self.broker.disk.cold)

    def test_only_force_moves_a_group_forward(self) -> None:
        self.heartbeat()
        self.commit(1)
        queue = MessageQueue(topic="Orders", broker_name="broker-a", queue_id=0)
        for is_force, offset in ((False, 1), (True, 4)):
            answer = self.reset(-1, is_force)
            self.assertEqual(ResetOffsetBody.from_bytes(answer.body).offset_table[queue], offset)

    def test_a_tool_in_cpp_has_clients_get_a_list(self) -> None:
        self.heartbeat()
        self.commit(4)
        self.reset(language=LanguageCode.CPP)
        frame, _ = self.client.asked.pop()
        rows = ResetOffsetBodyForC.from_bytes(frame.body).offset_table
        self.assertEqual([(row.queue_id, row.offset) for row in rows], [(n, 0) for n in range(4)])

    def test_refusals_are_in_apaches_words(self) -> None:
        said = [self.reset(topic="Nothing"), self.reset()]
        self.commit(0)
        said.append(self.reset())
        self.heartbeat(version=27)
        said.append(self.reset())
        self.assertEqual(
            [(answer.code, answer.remark) for answer in said],
            [
                (1, "[reset-offset] reset offset failed, no topic in this broker. topic=Nothing"),
                (1, f"THe consumer group <{GROUP}> not exist"),
                (
                    206,
                    "Consumer not online, so can not reset offset, "
                    f"Group: {GROUP} Topic: Orders Timestamp: 0",
                ),
                (1, "the client does not support this feature. version=27"),
            ],
        )
        self.assertEqual(self.client.asked, [])

    @given(st.integers(0, 100), st.integers(-5, 100), st.booleans())
    def test_a_target_is_never_negative_and_skips_nothing_unasked(
        self, kept: int, found: int, is_force: bool
    ) -> None:
        target = reset_offset(kept, found, is_force)
        self.assertGreaterEqual(target, 0)
        self.assertTrue(is_force or target <= kept)


class ForwardTests(ConnectedCase):
    def test_the_offsets_that_clients_hold_are_collected(self) -> None:
        self.heartbeat()
        table = {MessageQueue(topic="Orders", broker_name="broker-a", queue_id=0): 3}
        self.client.answers = Reply(body=GetConsumerStatusBody(message_queue_table=table).to_bytes())
        header = GetConsumerStatusRequestHeader(topic="Orders", group=GROUP)
        answer = self.ask(RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS, header)
        self.assertEqual(GetConsumerStatusBody.from_bytes(answer.body).consumer_table, {CLIENT_ID: table})

    def test_a_client_that_does_not_answer_well_is_left_out(self) -> None:
        self.heartbeat()
        header = GetConsumerStatusRequestHeader(topic="Orders", group=GROUP, client_addr=CLIENT_ID)
        for answers in (Reply(1, "no"), Reply(body=b"no JSON")):
            self.client.answers = answers
            answer = self.ask(RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS, header)
            self.assertEqual(GetConsumerStatusBody.from_bytes(answer.body).consumer_table, {})
        nobody = GetConsumerStatusRequestHeader(topic="Orders", group=GROUP, client_addr="else")
        answer = self.ask(RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS, nobody)
        self.assertEqual(answer.remark, f"No Any Consumer online in the consumer group: [{GROUP}]")

    def test_what_a_consumer_does_is_asked_and_its_answer_relayed(self) -> None:
        self.heartbeat()
        self.client.answers = Reply(0, "well", body=b'{"properties":{}}')
        header = GetConsumerRunningInfoRequestHeader(consumer_group=GROUP, client_id=CLIENT_ID)
        answer = self.ask(RequestCode.GET_CONSUMER_RUNNING_INFO, header)
        self.assertEqual((answer.code, answer.remark, answer.body), (0, "well", b'{"properties":{}}'))
        _, asked = self.client.asked.pop()
        self.assertEqual(asked, header)

    def test_one_message_is_tried_by_one_client(self) -> None:
        self.heartbeat()
        record = self.broker.records()[2]
        header = ConsumeMessageDirectlyResultRequestHeader(
            consumer_group=GROUP, client_id=CLIENT_ID, msg_id=record.offset_message_id
        )
        self.assertEqual(self.ask(RequestCode.CONSUME_MESSAGE_DIRECTLY, header).code, 0)
        frame, asked = self.client.asked.pop()
        self.assertEqual(asked.broker_name, "broker-a")
        self.assertIn(b"2", frame.body)
        self.assertEqual(frame.body, self.broker.parts.store.record_at(record.commit_log_offset))

    def test_a_message_that_is_not_in_memory_is_read_in_a_thread(self) -> None:
        self.heartbeat()
        record = self.broker.records()[2]
        log = self.make_the_log_cold()
        header = ConsumeMessageDirectlyResultRequestHeader(
            consumer_group=GROUP, client_id=CLIENT_ID, msg_id=record.offset_message_id
        )
        answer = self.ask(RequestCode.CONSUME_MESSAGE_DIRECTLY, header)
        self.assertEqual(answer.code, ResponseCode.SUCCESS, answer.remark)
        self.assertIn(record.body, self.client.asked.pop()[0].body)
        self.assertNotIn(log, self.broker.disk.cold)

    def test_a_client_that_is_not_there_too_old_or_silent_is_named(self) -> None:
        header = GetConsumerRunningInfoRequestHeader(consumer_group=GROUP, client_id=CLIENT_ID)
        said = [self.ask(RequestCode.GET_CONSUMER_RUNNING_INFO, header)]
        self.heartbeat(version=61)
        said.append(self.ask(RequestCode.GET_CONSUMER_RUNNING_INFO, header))
        self.heartbeat()
        self.client.answers = None
        waiting = self.protocol.peer.call(Frame.request(RequestCode.GET_CONSUMER_RUNNING_INFO, header), 30.0)
        self.wire.pump()
        self.broker.pass_time(10.1)
        self.wire.pump()
        said.append(self.successResultOf(waiting))
        self.assertEqual([answer.code for answer in said], [1, 1, 207])
        self.assertEqual(said[0].remark, f"The Consumer <{GROUP}> <{CLIENT_ID}> not online")
        self.assertIn("too low to finish, please upgrade it to V3_1_8_SNAPSHOT", said[1].remark or "")
        self.assertIn(f"consumer <{GROUP}> <{CLIENT_ID}> Timeout", said[2].remark or "")

    def test_a_message_id_that_is_none_is_refused(self) -> None:
        self.heartbeat()
        header = ConsumeMessageDirectlyResultRequestHeader(
            consumer_group=GROUP, client_id=CLIENT_ID, msg_id="no id"
        )
        self.assertEqual(self.ask(RequestCode.CONSUME_MESSAGE_DIRECTLY, header).code, 1)
