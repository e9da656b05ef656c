"""What a client sends and receives, as values: packing, batching, print-outs, flow control, offsets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.client.message import Message, ReceivedMessage, decode_messages
from rocketmq_tx.client.outgoing import pack_batch, pack_message
from rocketmq_tx.client.process_queue import FlowLimits, ProcessQueue
from rocketmq_tx.client.send_result import SendResult, SendStatus
from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol.batch import decode_batch
from rocketmq_tx.protocol.bodies import MessageQueue
from rocketmq_tx.protocol.compression import decompress
from rocketmq_tx.protocol.flags import SysFlag
from rocketmq_tx.protocol.message import MessageRecord, encode_record
from rocketmq_tx.protocol.properties import decode_properties, encode_properties

MAX = 4 << 20
ID = "C0000207000700000000000000000001"


class PackingTests(SynchronousTestCase):
    def test_tags_keys_and_own_properties_are_sent_with_the_unique_id(self) -> None:
        message = Message("orders", b"x", "TagA", "k1 k2", {"colour": "red"}, flag=5, delay_level=3)
        packed = pack_message(message, ID, MAX, 4096)
        self.assertEqual(
            decode_properties(packed.properties),
            {"colour": "red", "UNIQ_KEY": ID, "WAIT": "true", "TAGS": "TagA", "KEYS": "k1 k2", "DELAY": "3"},
        )
        self.assertEqual((packed.flag, packed.sys_flag, packed.body), (5, 0, b"x"))

    def test_a_body_of_the_threshold_size_is_packed_and_a_smaller_one_is_not(self) -> None:
        large = pack_message(Message("orders", b"a" * 4096), ID, MAX, 4096)
        self.assertTrue(large.sys_flag & SysFlag.COMPRESSED)
        self.assertEqual(decompress(large.body, large.sys_flag), b"a" * 4096)
        self.assertEqual(pack_message(Message("orders", b"a" * 4095), ID, MAX, 4096).sys_flag, 0)

    def test_what_no_broker_would_take_is_refused_before_it_is_sent(self) -> None:
        for message in (
            Message("", b"x"),
            Message("no blanks", b"x"),
            Message("t" * 128, b"x"),
            Message("orders", b""),
            Message("orders", b"x" * 11),
            Message("orders", b"x", properties={"UNIQ_KEY": "mine"}),
        ):
            self.assertRaises(MessageError, pack_message, message, ID, 10, 4096)

    def test_a_batch_holds_each_message_with_its_own_id(self) -> None:
        packed = pack_batch([Message("orders", b"one", "A"), Message("orders", b"two")], ["ID1", "ID2"], MAX)
        items = decode_batch(packed.body)
        self.assertEqual([item.body for item in items], [b"one", b"two"])
        ids = [decode_properties(item.properties.decode())["UNIQ_KEY"] for item in items]
        self.assertEqual(ids, ["ID1", "ID2"])
        self.assertEqual((packed.message_id, packed.is_batch), ("ID1,ID2", True))

    def test_messages_that_do_not_belong_together_make_no_batch(self) -> None:
        one = Message("orders", b"x")
        for others in (
            [],
            [one, Message("bills", b"x")],
            [one, Message("orders", b"x", wait_stored=False)],
            [Message("orders", b"x", delay_level=1)],
            [Message("%RETRY%group", b"x")],
            [Message("orders", b"x" * 60), Message("orders", b"x" * 60)],
        ):
            self.assertRaises(MessageError, pack_batch, others, ["1"] * len(others), 100)


class PrintOutTests(SynchronousTestCase):
    def test_a_send_result_prints_as_in_apaches_quickstart(self) -> None:
        result = SendResult(
            SendStatus.SEND_OK,
            "76FBC10A4DDC60E53B9394E342180000",
            "AC1B500100002A9F0000000000000000",
            MessageQueue("TopicTest", "mao", 3),
            0,
        )
        self.assertEqual(
            str(result),
            "SendResult [sendStatus=SEND_OK, msgId=76FBC10A4DDC60E53B9394E342180000, "
            "offsetMsgId=AC1B500100002A9F0000000000000000, messageQueue=MessageQueue [topic=TopicTest, "
            "brokerName=mao, queueId=3], queueOffset=0]",
        )

    def test_a_received_message_prints_as_in_apaches_quickstart(self) -> None:
        properties = {"UNIQ_KEY": "76FBC10A4DDC60E53B9394E3457A01C5", "WAIT": "true", "TAGS": "TagA"}
        record = MessageRecord(
            "TopicTest",
            b"Hello RocketMQ 453",
            encode_properties(properties).encode() + b"\x02",  # as clients before 4.9 end it
            queue_offset=113,
            commit_log_offset=81430,
            born_timestamp=1669729922426,
            born_host=("172.27.80.1", 61263),
            store_timestamp=1669729922426,
            store_host=("172.27.80.1", 10911),
        )
        (message,) = decode_messages(encode_record(record), "mao", 0, 250)
        self.assertEqual(
            str(message),
            "MessageExt [queueId=0, storeSize=180, queueOffset=113, sysFlag=0, bornTimestamp=1669729922426, "
            "bornHost=/172.27.80.1:61263, storeTimestamp=1669729922426, storeHost=/172.27.80.1:10911, "
            "msgId=AC1B500100002A9F0000000000013E16, commitLogOffset=81430, bodyCRC=1655802458, "
            "reconsumeTimes=0, preparedTransactionOffset=0, toString()=Message{topic='TopicTest', flag=0, "
            "properties={MIN_OFFSET=0, MAX_OFFSET=250, UNIQ_KEY=76FBC10A4DDC60E53B9394E3457A01C5, WAIT=true, "
            "TAGS=TagA}, body=[72, 101, 108, 108, 111, 32, 82, 111, 99, 107, 101, 116, 77, 81, 32, 52, 53, "
            "51], transactionId='null'}]",
        )

    def test_a_retried_message_shows_the_topic_that_it_was_sent_to(self) -> None:
        record = MessageRecord("%RETRY%group", b"x", encode_properties({"RETRY_TOPIC": "orders"}).encode())
        (message,) = decode_messages(encode_record(record), "broker-a", 0, 1)
        self.assertEqual(message.topic, "orders")
        self.assertEqual(message.message_id, record.offset_message_id)


def received(offset: int, body: bytes = b"x") -> ReceivedMessage:
    return ReceivedMessage("broker-a", MessageRecord("T", body, queue_offset=offset), body, {}, 100, 0)


class ProcessQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.queue = ProcessQueue(MessageQueue("T", "broker-a", 0))

    def test_nothing_is_to_be_committed_before_the_first_message(self) -> None:
        self.assertIsNone(self.queue.commit_offset)
        self.assertFalse(self.queue.is_full(FlowLimits()))

    @given(st.lists(st.integers(0, 9), min_size=1, max_size=8, unique=True).map(sorted), st.randoms())
    def test_an_offset_is_committed_only_when_all_before_it_are_done(self, offsets: list, random) -> None:
        queue = ProcessQueue(MessageQueue("T", "broker-a", 0))
        messages = [received(offset) for offset in offsets]
        queue.put(messages)
        left = list(messages)
        while left:
            finished = left.pop(random.randrange(len(left)))
            wanted = min((message.queue_offset for message in left), default=offsets[-1] + 1)
            self.assertEqual(queue.done([finished]), wanted)
        self.assertEqual((len(queue), queue.size_bytes, queue.span), (0, 0, 0))

    def test_too_many_too_large_or_too_far_apart_make_it_full(self) -> None:
        self.queue.put([received(0, b"12345"), received(7, b"12345")])
        self.assertFalse(self.queue.is_full(FlowLimits(2, 10, 7)))
        self.assertTrue(self.queue.is_full(FlowLimits(1, 10, 7)))
        self.assertTrue(self.queue.is_full(FlowLimits(2, 9, 7)))
        self.assertTrue(self.queue.is_full(FlowLimits(2, 10, 6)))

    def test_a_dropped_queue_commits_nothing(self) -> None:
        message = received(0)
        self.queue.put([message])
        self.queue.is_dropped = True
        self.assertIsNone(self.queue.done([message]))
