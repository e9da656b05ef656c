"""Sends end to end in memory: encoded requests in, what was stored and the encoded answers out."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import half_tails, send_plans
from rocketmq_tx.broker.appending import Appending
from rocketmq_tx.broker.groups import SubscriptionGroupTable
from rocketmq_tx.broker.scanned_batches import ScannedBatches
from rocketmq_tx.broker.scanned_sends import ScannedSends
from rocketmq_tx.broker.send_answers import SendAnswers
from rocketmq_tx.broker.send_handler import SendHandler
from rocketmq_tx.broker.topic_rules import make_topic
from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.errors import StoreError, StoreUnavailable
from rocketmq_tx.protocol.batch import BatchItem, encode_batch
from rocketmq_tx.protocol.bodies import SubscriptionGroupConfig, TopicFilterType
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.decoder import RESPONSE_RUN, SCANNED_SEND, FrameDecoder
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.headers import SendMessageRequestHeader, SendMessageRequestHeaderV2
from rocketmq_tx.protocol.java import crc32, string_hash
from rocketmq_tx.protocol.message_ids import offset_message_id
from rocketmq_tx.protocol.send_scan import SendScanner
from rocketmq_tx.remoting.registry import Registry
from rocketmq_tx.runtime.arrivals import Arrivals
from rocketmq_tx.runtime.group_commit import GroupCommit
from rocketmq_tx.runtime.watermark import Watermark
from rocketmq_tx.store.append import NewMessage
from tests.unit.broker_parts import BROKER_PORT, FakePeer, FakeStore, HeldRunner, MemoryFile, broker_settings

NOW_MS = 1700000000000
KEY = "7F00000100002A139A550A9AAB0C0000"


class Broker:
    """The sending half of a broker around a store in memory; `receive` is what a connection would do."""

    def __init__(self, **keys: Any) -> None:
        self.clock = Clock()
        self.settings = broker_settings(**keys)
        self.topics = TopicTable(self.settings.broker, MemoryFile(), lambda: NOW_MS)
        self.groups = SubscriptionGroupTable(self.settings.broker, MemoryFile(), lambda: NOW_MS)
        self.store = FakeStore()
        self.arrivals = Arrivals(self.clock)
        self.disk = HeldRunner()
        self.flushes = GroupCommit(self.store, Watermark(self.clock), [self.disk], self.clock)
        self.appending = Appending(self.settings.store, self.store, self.flushes, self.arrivals)
        self.scanner = SendScanner()
        answers = SendAnswers(self.settings)
        general = SendHandler(
            self.settings, self.topics, self.groups, self.appending, answers, lambda: NOW_MS
        )
        self.scanned = ScannedSends(
            self.settings, self.topics, self.appending, answers, general, lambda: NOW_MS
        )
        batches = ScannedBatches(self.settings, self.topics, self.appending, answers, general, lambda: NOW_MS)
        self.registry = Registry(general, self.scanned, batches)
        self.topics.put(make_topic("Orders", 4))
        self.run_codes: list[int] = []

    def receive(self, *frames: Frame | bytes, scan: bool = True) -> list[bytes | Deferred[bytes]]:
        """Answers to everything that one read brought."""
        decoder = FrameDecoder(scanner=self.scanner if scan else None)
        data = b"".join(frame if isinstance(frame, bytes) else encode_frame(frame) for frame in frames)
        answers: list[bytes | Deferred[bytes]] = []
        for code, run in decoder.feed(data):
            self.run_codes.append(code)
            answers += self.registry.serve(FakePeer(), code, run)  # type: ignore[arg-type]
        return answers


def decoded(answers: list[bytes | Deferred[bytes]]) -> list[Frame]:
    """The frames of answers that are all there."""
    data = b"".join(answer for answer in answers if isinstance(answer, bytes))
    return [frame for code, run in FrameDecoder().feed(data) for frame in run if code == RESPONSE_RUN]


def send_frame(
    code: int = RequestCode.SEND_MESSAGE_V2,
    body: bytes = b"body",
    opaque: int = 7,
    oneway: bool = False,
    **fields: Any,
) -> Frame:
    """A send to `Orders`, queue 1; keyword arguments replace fields of its header."""
    header_class = (
        SendMessageRequestHeader if code == RequestCode.SEND_MESSAGE else SendMessageRequestHeaderV2
    )
    values: dict[str, Any] = {
        "producer_group": "pg",
        "topic": "Orders",
        "default_topic": "TBW102",
        "default_topic_queue_nums": 4,
        "queue_id": 1,
        "sys_flag": 0,
        "born_timestamp": 1699999999999,
        "flag": 0,
        "properties": f"UNIQ_KEY\x01{KEY}\x02WAIT\x01true\x02TAGS\x01TagA",
        "reconsume_times": 0,
        **fields,
    }
    return Frame.request(code, header_class(**values), body, opaque=opaque, oneway=oneway)


def java_frame(number: int = 0, body: bytes = b"body", opaque: int = 7, **texts: str) -> bytes:
    """The same as a Java client writes it, so that it can be scanned."""
    fields = {
        "a": "pg", "b": "Orders", "c": "TBW102", "d": "4", "e": "1", "f": "0", "g": "1699999999999", "h": "0",
        "i": f"UNIQ_KEY\\u0001{KEY[:-4]}{number:04X}\\u0002WAIT\\u0001true\\u0002TAGS\\u0001TagA",
        "j": "0", "k": "false", "m": "false", "n": "broker-a", **texts,
    }  # fmt: skip
    ext_fields = ",".join(f'"{key}":"{value}"' for key, value in fields.items())
    header = (
        f'{{"code":310,"extFields":{{{ext_fields}}},"flag":0,"language":"JAVA","opaque":{opaque},'
        '"serializeTypeCurrentRPC":"JSON","version":407}'
    ).encode()
    return (4 + len(header) + len(body)).to_bytes(4, "big") + len(header).to_bytes(4, "big") + header + body


class SendCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = Broker()

    def answer(self, *frames: Frame | bytes) -> Frame:
        (found,) = decoded(self.broker.receive(*frames))
        return found

    def stored(self) -> NewMessage:
        (message,) = self.broker.store.messages
        return message


class Storing(SendCase):
    def test_a_message_is_stored_as_it_was_sent(self) -> None:
        self.answer(send_frame(flag=5, reconsume_times=2, sys_flag=0x301))
        self.assertEqual(
            self.stored(),
            NewMessage(
                "Orders",
                1,
                b"body",
                crc32(b"body"),
                f"UNIQ_KEY\x01{KEY}\x02TAGS\x01TagA\x02CLUSTER\x01GoldenCluster".encode(),
                5,
                0x301,
                1699999999999,
                FakePeer.packed_host,
                2,
                0,
                string_hash("TagA"),
                (KEY,),
            ),
        )
        self.assertEqual(self.broker.store.store_times_ms, [NOW_MS])

    def test_the_answer_names_id_queue_and_offset(self) -> None:
        for expected_offset in (0, 1):
            answer = self.answer(send_frame(opaque=123))
            self.assertEqual((answer.code, answer.opaque, answer.remark), (0, 123, None))
            self.assertEqual(
                answer.ext_fields,
                {
                    "queueId": "1",
                    "TRACE_ON": "true",
                    "MSG_REGION": "DefaultRegion",
                    "msgId": offset_message_id(
                        "127.0.0.1", BROKER_PORT, expected_offset * (self.broker.store.written_to // 2)
                    )
                    if expected_offset
                    else offset_message_id("127.0.0.1", BROKER_PORT, 0),
                    "queueOffset": str(expected_offset),
                },
            )

    def test_long_and_short_header_keys_mean_the_same(self) -> None:
        self.broker.receive(send_frame(RequestCode.SEND_MESSAGE), send_frame(RequestCode.SEND_MESSAGE_V2))
        first, second = self.broker.store.messages
        self.assertEqual(first, second)

    def test_a_run_is_stored_by_one_append_and_answered_in_order(self) -> None:
        frames = [send_frame(opaque=number, queue_id=number % 4) for number in range(20)]
        answers = decoded(self.broker.receive(*frames, scan=False))
        self.assertEqual(self.broker.store.calls, [(20, False)])
        self.assertEqual([answer.opaque for answer in answers], list(range(20)))

    def test_one_that_is_refused_does_not_touch_the_others(self) -> None:
        frames = [send_frame(opaque=1), send_frame(opaque=2, queue_id=99), send_frame(opaque=3)]
        answers = decoded(self.broker.receive(*frames, scan=False))
        self.assertEqual([(answer.opaque, answer.code) for answer in answers], [(1, 0), (2, 1), (3, 0)])
        self.assertEqual(len(self.broker.store.messages), 2)

    def test_a_record_that_fits_no_segment_is_refused_alone(self) -> None:
        self.broker.store.body_max = 10
        frames = [send_frame(opaque=1), send_frame(opaque=2, body=b"x" * 11), send_frame(opaque=3)]
        for scan in (False, True):
            answers = decoded(self.broker.receive(*frames, scan=scan))
            self.assertEqual([(answer.opaque, answer.code) for answer in answers], [(1, 0), (2, 13), (3, 0)])

    def test_oneway_sends_are_stored_and_not_answered(self) -> None:
        self.assertEqual(self.broker.receive(send_frame(oneway=True), scan=False), [])
        self.assertEqual(self.broker.receive(send_frame(oneway=True, queue_id=99)), [])
        self.assertEqual(len(self.broker.store.messages), 1)

    def test_queue_minus_one_lets_the_broker_choose(self) -> None:
        for _ in range(20):
            answer = self.answer(send_frame(queue_id=-1))
            assert answer.ext_fields is not None
            chosen = int(answer.ext_fields["queueId"])
            self.assertEqual(self.broker.store.messages[-1].queue_id, chosen)
            self.assertIn(chosen, range(4))

    def test_an_empty_body_is_a_message(self) -> None:
        self.assertEqual(self.answer(send_frame(body=b"")).code, 0)
        self.assertEqual(self.stored().body_crc, 0)

    def test_keys_are_indexed_after_the_unique_key(self) -> None:
        self.answer(send_frame(properties=f"KEYS\x01a  b\x02UNIQ_KEY\x01{KEY}"))
        self.assertEqual(self.stored().keys, (KEY, "a", "b"))

    def test_a_topic_for_many_tags_marks_its_messages(self) -> None:
        config = make_topic("Orders", 4)
        config.topic_filter_type = TopicFilterType.MULTI_TAG
        self.broker.topics.put(config)
        self.broker.receive(send_frame(), java_frame())
        self.assertEqual([message.sys_flag for message in self.broker.store.messages], [2, 2])

    def test_a_held_pull_is_tried_after_the_append_once_for_a_run(self) -> None:
        tried: list[int] = []

        def try_again() -> bool:
            tried.append(len(self.broker.store.messages))
            return False

        self.broker.arrivals.hold("Orders", 1, 30, try_again, lambda: None)
        self.broker.receive(java_frame(1), java_frame(2), java_frame(3))
        self.assertEqual(tried, [3])
        self.broker.arrivals.release_all()


class Diverting(SendCase):
    def test_a_delayed_message_is_due_a_level_after_its_store_time(self) -> None:
        answer = self.answer(send_frame(properties="DELAY\x013\x02TAGS\x01T"))
        message = self.stored()
        self.assertEqual((message.topic, message.queue_id), ("SCHEDULE_TOPIC_XXXX", 2))
        self.assertEqual(message.tags_code, NOW_MS + 10_000)
        assert answer.ext_fields is not None
        self.assertEqual(answer.ext_fields["queueId"], "1")

    def test_a_half_message_is_counted_in_the_half_topic(self) -> None:
        self.answer(send_frame(queue_id=0))
        answer = self.answer(send_frame(sys_flag=4, properties="TRAN_MSG\x01true\x02PGROUP\x01pg"))
        assert answer.ext_fields is not None
        self.assertEqual(answer.ext_fields["queueOffset"], "0")
        self.assertEqual(self.broker.store.messages[-1].topic, "RMQ_SYS_TRANS_HALF_TOPIC")

    def test_a_retry_of_a_known_group_goes_to_its_retry_topic(self) -> None:
        self.assertEqual(self.answer(send_frame(topic="%RETRY%cg", queue_id=0, reconsume_times=15)).code, 0)
        self.assertEqual(self.stored().topic, "%RETRY%cg")

    def test_a_retry_too_many_goes_to_the_dead_letters_at_once(self) -> None:
        answer = self.answer(
            send_frame(topic="%RETRY%cg", queue_id=0, reconsume_times=16, properties="DELAY\x0118")
        )
        message = self.stored()
        self.assertEqual((message.topic, message.queue_id, message.reconsume_times), ("%DLQ%cg", 0, 16))
        self.assertEqual(self.broker.topics.get("%DLQ%cg"), make_topic("%DLQ%cg", 1))
        self.assertIn(b"DELAY\x010", message.properties)
        assert answer.ext_fields is not None
        self.assertEqual(answer.ext_fields["queueId"], "0")

    def test_the_limit_of_the_group_is_asked(self) -> None:
        self.broker.groups.put(SubscriptionGroupConfig(group_name="cg", retry_max_times=1))
        self.answer(send_frame(topic="%RETRY%cg", queue_id=0, reconsume_times=1))
        self.assertEqual(self.stored().topic, "%DLQ%cg")

    def test_a_retry_of_an_unknown_group_is_refused(self) -> None:
        self.broker.settings.broker.auto_create_subscription_group = False
        answer = self.answer(send_frame(topic="%RETRY%cg", queue_id=0))
        self.assertEqual(answer.code, 26)
        self.assertEqual(self.broker.store.messages, [])


ITEMS = [
    BatchItem(0, b"one", f"KEYS\x01k1\x02UNIQ_KEY\x01{KEY}\x02WAIT\x01true\x02TAGS\x01T".encode()),
    BatchItem(1, b"two", b""),
    BatchItem(2, b"three", b"a\x01b\x02"),
]


def batch_frame(body: bytes | None = None, **fields: Any) -> Frame:
    values = {"properties": "WAIT\x01true", "batch": True, **fields}
    return send_frame(RequestCode.SEND_BATCH_MESSAGE, encode_batch(ITEMS) if body is None else body, **values)


class Batches(SendCase):
    def test_a_batch_is_stored_as_messages_of_one_queue_and_one_segment(self) -> None:
        answer = self.answer(batch_frame(queue_id=2))
        self.assertEqual(self.broker.store.calls, [(3, True)])
        messages = self.broker.store.messages
        self.assertEqual([message.queue_id for message in messages], [2, 2, 2])
        self.assertEqual([message.flag for message in messages], [0, 1, 2])
        self.assertEqual([message.keys for message in messages], [(KEY, "k1"), (), ()])
        shared = b"WAIT\x01true\x02CLUSTER\x01GoldenCluster"
        self.assertEqual(
            [message.properties for message in messages],
            [ITEMS[0].properties + b"\x02" + shared, shared, b"a\x01b\x02" + shared],
        )
        assert answer.ext_fields is not None
        ids = answer.ext_fields["msgId"].split(",")
        self.assertEqual((len(ids), answer.ext_fields["queueOffset"]), (3, "0"))

    def test_the_header_says_what_is_a_batch_not_the_code(self) -> None:
        body = encode_batch(ITEMS)
        self.answer(batch_frame(batch=False))
        self.assertEqual(self.stored().body, body)
        self.answer(send_frame(body=body, batch=True))
        self.assertEqual(len(self.broker.store.messages), 4)

    def test_neighbours_of_a_batch_keep_their_order(self) -> None:
        frames = [
            send_frame(opaque=1),
            send_frame(body=encode_batch(ITEMS), batch=True),
            send_frame(opaque=3),
        ]
        self.broker.receive(*frames)
        self.assertEqual(self.broker.store.calls, [(1, False), (3, True), (1, False)])

    def test_delays_and_transactions_are_not_for_batches(self) -> None:
        for fields in ({"properties": "DELAY\x011"}, {"sys_flag": 4}, {"sys_flag": 8}):
            self.assertEqual(self.answer(batch_frame(**fields)).code, ResponseCode.MESSAGE_ILLEGAL)
        self.assertEqual(self.answer(batch_frame(properties="DELAY\x010")).code, 0)

    def test_a_batch_has_the_size_limit_of_a_message(self) -> None:
        self.broker.settings.store.max_message_size = len(encode_batch(ITEMS)) - 1
        self.assertEqual(self.answer(batch_frame()).code, ResponseCode.MESSAGE_ILLEGAL)

    def test_properties_must_still_fit_with_those_of_the_batch(self) -> None:
        item = BatchItem(0, b"x", b"k\x01" + b"v" * 32740)
        self.assertEqual(self.answer(batch_frame(encode_batch([item]))).code, ResponseCode.MESSAGE_ILLEGAL)

    def test_a_torn_or_empty_batch_is_refused(self) -> None:
        for body in (b"", b"garbage", encode_batch(ITEMS)[:-1]):
            self.assertEqual(self.answer(batch_frame(body)).code, ResponseCode.SYSTEM_ERROR)
        self.assertEqual(self.broker.store.messages, [])

    def test_a_batch_to_a_retry_topic_is_an_ordinary_one(self) -> None:
        self.assertEqual(self.answer(batch_frame(topic="%RETRY%cg", queue_id=0, reconsume_times=99)).code, 0)
        self.assertEqual({message.topic for message in self.broker.store.messages}, {"%RETRY%cg"})


class Refusing(SendCase):
    def test_refusals_carry_region_and_trace_switch(self) -> None:
        answer = self.answer(send_frame(topic="a b"))
        self.assertEqual(answer.ext_fields, {"TRACE_ON": "true", "MSG_REGION": "DefaultRegion"})

    def test_the_name_is_judged_before_missing_numbers(self) -> None:
        answer = self.answer(Frame(RequestCode.SEND_MESSAGE, 1))
        self.assertEqual((answer.code, answer.remark), (1, "The specified topic is blank."))

    def test_a_missing_number_is_named(self) -> None:
        frame = send_frame()
        assert frame.ext_fields is not None
        del frame.ext_fields["e"]
        answer = self.answer(frame)
        self.assertEqual((answer.code, answer.remark), (1, "SendMessageRequestHeaderV2.e: is missing"))

    def test_what_apache_takes_without_is_taken(self) -> None:
        """No producer group, no properties, none of the fields that only some versions send."""
        for code, kept in (
            (RequestCode.SEND_MESSAGE, {"topic", "queueId", "sysFlag", "bornTimestamp", "flag"}),
            (RequestCode.SEND_MESSAGE_V2, {"b", "e", "f", "g", "h"}),
        ):
            frame = send_frame(code)
            frame.ext_fields = {
                name: value for name, value in (frame.ext_fields or {}).items() if name in kept
            }
            self.assertEqual(self.answer(frame).code, ResponseCode.SUCCESS, code)

    def test_a_store_that_takes_nothing_says_why(self) -> None:
        self.broker.store.error = StoreUnavailable("the disk of /data/store is 96 % full")
        for frame in (send_frame(), batch_frame(), java_frame()):
            answer = self.answer(frame)
            self.assertEqual(answer.code, ResponseCode.SERVICE_NOT_AVAILABLE)
            remark = "service not available now. the disk of /data/store is 96 % full"
            self.assertEqual(answer.remark, remark)

    def test_a_slave_takes_no_messages(self) -> None:
        """Nor does it make a topic for them, which its master does not know."""
        broker = Broker(brokerRole="SLAVE", brokerId=1)
        version = broker.topics.data_version
        for frame in (send_frame(), java_frame(), send_frame(topic="%RETRY%cg", reconsume_times=99)):
            (answer,) = decoded(broker.receive(frame))
            self.assertEqual(answer.code, ResponseCode.SERVICE_NOT_AVAILABLE)
            self.assertIn("is a slave", answer.remark or "")
        self.assertEqual(broker.store.messages, [])
        self.assertEqual(broker.topics.data_version, version)


class WaitingForTheDisk(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = Broker(flushDiskType="SYNC_FLUSH", syncFlushTimeout=5000)

    def results(self, answers: list[bytes | Deferred[bytes]]) -> list[Frame]:
        return decoded(
            [self.successResultOf(each) if isinstance(each, Deferred) else each for each in answers]
        )

    def waiting(self, answers: list[bytes | Deferred[bytes]]) -> list[Deferred[bytes]]:
        return [answer for answer in answers if isinstance(answer, Deferred)]

    def test_a_run_waits_once_and_is_answered_when_it_is_on_disk(self) -> None:
        for frames in (
            [java_frame(1, opaque=1), java_frame(2, opaque=2)],
            [send_frame(opaque=1), send_frame(opaque=2)],
        ):
            answers = self.broker.receive(*frames)
            (waits,) = self.waiting(answers)
            self.assertNoResult(waits)
            self.broker.disk.finish()
            self.assertEqual([(f.opaque, f.code) for f in self.results(answers)], [(1, 0), (2, 0)])

    def test_who_does_not_wait_is_answered_at_once(self) -> None:
        no_wait = f"UNIQ_KEY\\u0001{KEY}\\u0002WAIT\\u0001false"
        answers = self.broker.receive(java_frame(1, opaque=1), java_frame(2, opaque=2, i=no_wait))
        self.assertEqual([frame.opaque for frame in decoded(answers)], [2])
        self.broker.disk.finish()
        self.assertEqual([frame.opaque for frame in self.results(answers)], [2, 1])

    def test_a_slow_disk_is_told_as_such(self) -> None:
        answers = self.broker.receive(java_frame(opaque=1), batch_frame(opaque=2))
        self.broker.clock.pump([1] * 5)
        found = [(frame.opaque, frame.code, frame.remark) for frame in self.results(answers)]
        self.assertEqual(found, [(1, 10, None), (2, 10, None)])

    def test_a_failed_flush_acknowledges_nothing_and_refuses_what_follows(self) -> None:
        answers = self.broker.receive(java_frame(), send_frame(queue_id=2, properties=None))
        self.broker.disk.fail(StoreError("fdatasync: Input/output error"))
        self.assertEqual([frame.code for frame in self.results(answers)], [14, 14])
        (answer,) = self.results(self.broker.receive(java_frame()))
        self.assertEqual(answer.code, 14)
        self.assertIn("Input/output error", answer.remark or "")

    def test_oneway_sends_wait_for_nothing(self) -> None:
        self.assertEqual(self.broker.receive(send_frame(oneway=True)), [])
        self.broker.flushes.stop()

    def test_a_synchronous_master_without_slave_says_so(self) -> None:
        broker = Broker(brokerRole="SYNC_MASTER")
        answers = broker.receive(java_frame())
        self.assertEqual([frame.code for frame in self.results(answers)], [11])


class TheShortCut(SendCase):
    """Runs of scanned frames do what the general way does, only faster."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(random, "randrange", lambda count: count - 1)  # who is asked for queue -1 always agrees

    def test_java_frames_are_scanned(self) -> None:
        self.broker.receive(java_frame(1), java_frame(2))
        self.assertEqual(self.broker.run_codes, [SCANNED_SEND])
        self.assertEqual(self.broker.store.calls, [(2, False)])

    def test_a_changed_topic_is_noticed(self) -> None:
        self.assertEqual(self.answer(java_frame()).code, 0)
        self.broker.topics.put(make_topic("Orders", 4, perm=4))
        self.assertEqual(self.answer(java_frame()).code, ResponseCode.NO_PERMISSION)
        self.broker.topics.put(make_topic("Orders", 1))
        self.assertEqual(self.answer(java_frame()).code, ResponseCode.SYSTEM_ERROR)
        self.broker.topics.delete("Orders")
        self.assertEqual(self.answer(java_frame(c="Nowhere")).code, ResponseCode.TOPIC_NOT_EXIST)

    def test_a_change_is_noticed_by_sends_that_were_read_before(self) -> None:
        self.broker.receive(java_frame())
        (run,) = FrameDecoder(scanner=self.broker.scanner).feed(java_frame())
        self.broker.topics.put(make_topic("Orders", 4, perm=4))
        (answer,) = decoded(self.broker.registry.serve(FakePeer(), *run))  # type: ignore[arg-type]
        self.assertEqual(answer.code, ResponseCode.NO_PERMISSION)

    def test_plans_are_bounded(self) -> None:
        self.patch(send_plans, "PLANS_MAX", 2)
        for number in range(5):
            self.assertEqual(self.answer(java_frame(a=f"pg{number}")).code, 0)
        self.assertEqual(len(self.broker.store.messages), 5)

    def test_a_changed_broker_permission_is_noticed(self) -> None:
        self.assertEqual(self.answer(java_frame()).code, 0)
        self.broker.settings.broker.broker_permission = 4
        self.assertEqual(self.answer(java_frame()).code, ResponseCode.NO_PERMISSION)

    def test_a_changed_region_is_noticed(self) -> None:
        self.answer(java_frame())
        self.broker.settings.broker.region_id = "50%d"
        self.broker.settings.broker.trace_on = False
        self.broker.scanned.settings_changed()
        fields = self.answer(java_frame()).ext_fields or {}
        self.assertEqual((fields["MSG_REGION"], fields["TRACE_ON"]), ("50%d", "false"))

    def test_special_messages_keep_their_place_in_a_run(self) -> None:
        delayed = f"UNIQ_KEY\\u0001{KEY}\\u0002DELAY\\u00011"
        frames = [java_frame(1, opaque=1), java_frame(2, opaque=2, i=delayed), java_frame(3, opaque=3)]
        answers = decoded(self.broker.receive(*frames))
        self.assertEqual([frame.opaque for frame in answers], [1, 2, 3])
        topics = [message.topic for message in self.broker.store.messages]
        self.assertEqual(topics, ["Orders", "SCHEDULE_TOPIC_XXXX", "Orders"])

    def test_specials_in_a_row_are_stored_by_one_append(self) -> None:
        delayed = f"UNIQ_KEY\\u0001{KEY}\\u0002DELAY\\u00011"
        texts: list[dict[str, str]] = [{}, {"i": delayed}, {"i": delayed}, {}, {}]
        frames = [java_frame(number, opaque=number, **fields) for number, fields in enumerate(texts)]
        answers = decoded(self.broker.receive(*frames))
        self.assertEqual([frame.opaque for frame in answers], [0, 1, 2, 3, 4])
        self.assertEqual(self.broker.store.calls, [(1, False), (2, False), (2, False)])

    def test_an_unknown_topic_is_made_by_its_first_message(self) -> None:
        frames = [java_frame(number, b="New", opaque=number) for number in range(3)]
        answers = decoded(self.broker.receive(*frames))
        self.assertEqual([frame.code for frame in answers], [0, 0, 0])
        self.assertIsNotNone(self.broker.topics.get("New"))

    @given(
        st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "b": st.sampled_from(
                        ["Orders", "New", "%RETRY%cg", "ReadOnly", "SELF_TEST_TOPIC", "a b"]
                    ),
                    "e": st.sampled_from(["0", "3", "4", "99", "-1"]),
                    "f": st.sampled_from(["0", "1", "4", "8", "769", "816"]),
                    "g": st.sampled_from(["0", "1", "1700000000000"]),
                    "h": st.sampled_from(["0", "7", "-7"]),
                    "j": st.sampled_from(["0", "3", "16"]),
                    "k": st.sampled_from(["false", "true"]),
                    "m": st.sampled_from(["false", "true"]),
                    "i": st.sampled_from(
                        [
                            "",
                            "TAGS\\u0001T",
                            f"UNIQ_KEY\\u0001{KEY}",
                            f"UNIQ_KEY\\u0001{KEY}\\u0002TAGS\\u0001",
                            f"KEYS\\u0001a b\\u0002UNIQ_KEY\\u0001{KEY}\\u0002WAIT\\u0001false",
                            f"KEYS\\u0001a\\u0002KEYS\\u0001b\\u0002UNIQ_KEY\\u0001{KEY}\\u0002TAGS\\u0001ü",
                            f"x\\u0002UNIQ_KEY\\u0001{KEY}\\u0002noseparator\\u0002CLUSTER\\u0001mine",
                            f"UNIQ_KEY\\u0001{KEY}\\u0002DELAY\\u00012",
                            f"UNIQ_KEY\\u0001{KEY}\\u0002DELAY\\u0001abc",
                            f"UNIQ_KEY\\u0001{KEY}\\u0002TRAN_MSG\\u0001true",
                            f"UNIQ_KEY\\u0001{KEY}\\u0002UNIQ_KEY\\u0001other",
                        ]
                    ),
                },
            ),
            min_size=1,
            max_size=8,
        )
    )
    def test_both_ways_store_and_answer_the_same(self, sends: list[dict[str, str]]) -> None:
        brokers = Broker(), Broker()
        found = []
        for broker, scan in zip(brokers, (True, False), strict=True):
            broker.topics.put(make_topic("ReadOnly", 4, perm=4))
            frames = [java_frame(number, opaque=number, **texts) for number, texts in enumerate(sends)]
            found.append((broker.receive(*frames, scan=scan), broker.store.messages))
        self.assertEqual(found[0][1], found[1][1])
        self.assertEqual(b"".join(found[0][0]), b"".join(found[1][0]))  # type: ignore[arg-type]

    def half_frames(self) -> list[bytes]:
        tails = (
            "",
            "\\u0002TAGS\\u0001T",
            "\\u0002KEYS\\u0001a b",
            "\\u0002WAIT\\u0001false",
            "\\u0002DELAY\\u00013",
        )
        half = f"TRAN_MSG\\u0001true\\u0002PGROUP\\u0001pg\\u0002UNIQ_KEY\\u0001{KEY}"
        texts = [{"f": "4", "i": half + tail, "e": str(number)} for number, tail in enumerate(tails)]
        odd = [
            {"f": "4"},
            {"i": half},
            {"f": "5", "i": half},
            {"f": "4", "i": half, "b": "ReadOnly"},
            {"e": "-1"},
        ]
        return [
            java_frame(number, opaque=number, **each) for number, each in enumerate([*texts, *odd, *texts])
        ]

    def test_half_messages_take_a_short_cut_that_does_the_same(self) -> None:
        for keys in ({}, {"rejectTransactionMessage": True}, {"flushDiskType": "SYNC_FLUSH"}):
            found = []
            for scan in (True, False):
                broker = Broker(**keys)
                broker.topics.put(make_topic("ReadOnly", 4, perm=4))
                answers = decoded(broker.receive(*self.half_frames(), scan=scan))
                answers.sort(key=lambda frame: frame.opaque)
                found.append(
                    ([(frame.opaque, frame.code, frame.remark) for frame in answers], broker.store.messages)
                )
            self.assertEqual(found[0], found[1], keys)

    def test_half_messages_in_a_row_are_stored_by_one_append(self) -> None:
        self.broker.receive(*self.half_frames()[:3])
        self.assertEqual(self.broker.store.calls, [(3, False)])
        self.assertEqual({message[0] for message in self.broker.store.messages}, {"RMQ_SYS_TRANS_HALF_TOPIC"})

    def test_a_changed_mind_about_transactions_is_noticed(self) -> None:
        frame = self.half_frames()[0]
        self.assertEqual(self.answer(frame).code, 0)
        self.broker.settings.broker.reject_transaction_message = True
        self.broker.scanned.settings_changed()
        self.assertEqual(self.answer(frame).code, ResponseCode.NO_PERMISSION)

    def test_tails_of_half_messages_are_bounded(self) -> None:
        self.patch(half_tails, "HALF_TAILS_MAX", 2)
        for frame in self.half_frames()[:3] * 2:
            self.assertEqual(self.answer(frame).code, 0)


class BinaryHeaders(SendCase):
    def test_an_answer_comes_in_the_serialization_of_its_request(self) -> None:
        for topic, code in (("Orders", 0), ("a b", 1)):
            frame = send_frame(topic=topic)
            frame.serialize = type(frame.serialize)(1)
            answer = self.answer(frame)
            self.assertEqual((answer.code, answer.serialize), (code, frame.serialize))
