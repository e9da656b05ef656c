"""Faults 29, 39, 40 and 41, and tables that a client could make grow: who asks for what must not be had."""

from __future__ import annotations

import zlib

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.held_pulls import HELD_BY_ONE_MAX, HELD_OF_QUEUE_MAX
from rocketmq_tx.broker.kept_table import BURST_S, WRITING_SHARE, KeptTable
from rocketmq_tx.config.settings import Settings
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.bodies import (
    ConsumerData,
    DataVersion,
    HeartbeatData,
    LockBatchRequestBody,
    MessageQueue,
    ProducerData,
    RegisterBrokerBody,
    SubscriptionGroupConfig,
    TopicConfig,
    TopicConfigSerializeWrapper,
)
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.compression import CompressionType, compress
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.headers import (
    CreateTopicRequestHeader,
    DeleteTopicRequestHeader,
    GetKVConfigRequestHeader,
    GetTopicStatsInfoRequestHeader,
    PutKVConfigRequestHeader,
    RegisterBrokerRequestHeader,
    UpdateConsumerOffsetRequestHeader,
)
from rocketmq_tx.protocol.java import string_hash
from rocketmq_tx.store.pull import GetStatus
from tests.unit.read_parts import ReadingBroker, message
from tests.unit.test_faults_bad_input import BrokerCase, pull, send
from tests.unit.test_namesrv_golden import NameServerInMemory
from tests.wire import answer_to

HOSTILE = [
    "../x",
    "..",
    "a/../../b",
    "/etc/passwd",
    "a\0b",
    "\0",
    "a\nb",
    "\x1b[2J",
    "x" * 10_240,
    "a\\b",
    "\x7f",
]
"""Names of topics and groups (fault 39)."""


class NameTests(BrokerCase):
    """Fault 39: what is no name is refused before anything is made of it."""

    def setUp(self) -> None:
        super().setUp()
        self.ask(send())
        self.ask(pull())
        self.request(RequestCode.HEART_BEAT, None, heartbeat("good").to_bytes())
        self.before = self.state()

    def state(self) -> tuple[object, ...]:
        """All that a name could have left its mark on."""
        parts = self.broker.parts
        return (
            set(parts.topics.configs()),
            set(parts.groups.configs()),
            set(parts.offsets.snapshot().offset_table),
            set(parts.store.queues()),
            set(parts.disk.nodes),  # type: ignore[attr-defined]
        )

    def assertRefused(self, answer: Frame, name: str, *codes: int) -> None:
        self.assertIn(answer.code, codes or (1,), name)
        self.assertEqual(self.state(), self.before, name)

    def test_a_send_to_what_is_no_name_is_refused(self) -> None:
        for hostile in HOSTILE:
            for topic in (hostile, names.RETRY_PREFIX + hostile, names.DLQ_PREFIX + hostile):
                self.assertRefused(self.ask(send(topic)), topic)
                self.assertRefused(self.ask(send(topic, reconsume_times=99)), topic)
            frame = send(default_topic=hostile, topic="Unknown")
            self.assertRefused(self.ask(frame), hostile, 17)

    def test_topics_made_and_deleted_by_request(self) -> None:
        for hostile in HOSTILE:
            header = CreateTopicRequestHeader(
                topic=hostile, default_topic="TBW102", read_queue_nums=1, write_queue_nums=1, perm=6,
                topic_filter_type="SINGLE_TAG", order=False,
            )  # fmt: skip
            answer = self.request(RequestCode.UPDATE_AND_CREATE_TOPIC, header)
            self.assertRefused(answer, hostile)
            deletion = DeleteTopicRequestHeader(topic=hostile)
            self.assertRefused(self.request(RequestCode.DELETE_TOPIC_IN_BROKER, deletion), hostile)

    def test_groups_of_heartbeats_get_neither_settings_nor_a_retry_topic(self) -> None:
        for hostile in HOSTILE:
            answer = self.request(RequestCode.HEART_BEAT, None, heartbeat(hostile).to_bytes())
            self.assertRefused(answer, hostile, 0)

    def test_a_group_by_what_is_no_name_is_not_made(self) -> None:
        for hostile in [*HOSTILE, "", " "]:
            body = SubscriptionGroupConfig(group_name=hostile).to_bytes()
            answer = self.request(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, None, body)
            self.assertRefused(answer, hostile)

    def test_a_pull_of_what_is_no_name_is_refused(self) -> None:
        for hostile in HOSTILE:
            self.assertRefused(self.ask(pull(topic=hostile)), hostile, 17)
            self.assertRefused(self.ask(pull(consumer_group=hostile, sys_flag=1 | 4)), hostile, 26)

    def test_an_offset_of_what_is_no_name_is_not_kept(self) -> None:
        for hostile in HOSTILE:
            for topic, group in ((hostile, "good"), ("Faults", hostile)):
                header = UpdateConsumerOffsetRequestHeader(
                    consumer_group=group, topic=topic, queue_id=0, commit_offset=1
                )
                self.assertRefused(self.request(RequestCode.UPDATE_CONSUMER_OFFSET, header), hostile)

    def test_questions_about_them_make_nothing(self) -> None:
        for hostile in HOSTILE:
            for code in (
                RequestCode.QUERY_CONSUMER_OFFSET, RequestCode.GET_MAX_OFFSET, RequestCode.GET_MIN_OFFSET,
                RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, RequestCode.GET_EARLIEST_MSG_STORETIME,
                RequestCode.GET_CONSUMER_LIST_BY_GROUP, RequestCode.QUERY_MESSAGE,
                RequestCode.GET_TOPIC_STATS_INFO, RequestCode.GET_CONSUME_STATS,
                RequestCode.QUERY_TOPIC_CONSUME_BY_WHO, RequestCode.QUERY_CONSUME_QUEUE,
            ):  # fmt: skip
                fields = {
                    "topic": hostile, "consumerGroup": hostile, "key": hostile, "queueId": "0",
                    "timestamp": "0", "maxNum": "1",
                    "beginTimestamp": "0", "endTimestamp": "1", "index": "0", "count": "1",
                }  # fmt: skip
                self.ask(Frame(code, 1, ext_fields=fields))
                self.assertEqual(self.state(), self.before, (code, hostile))

    def test_queue_locks_do_not_outlive_their_lease(self) -> None:
        for hostile in HOSTILE:
            body = LockBatchRequestBody(hostile, "c", [MessageQueue(hostile, hostile, -1)])
            self.assertRefused(self.request(RequestCode.LOCK_BATCH_MQ, None, body.to_bytes()), hostile, 0)
        self.broker.clock.advance(61)
        self.broker.parts.reading._locks.drop_expired()
        self.assertEqual(len(self.broker.parts.reading._locks.locks), 0)

    def test_names_that_other_clients_use_are_taken(self) -> None:
        for name in ("my.group", "组", "a b", "%LMQ%x", "g" * 255):
            self.assertIsNone(names.group_refusal(name), name)


def heartbeat(group: str) -> HeartbeatData:
    return HeartbeatData("c", [ProducerData(group)], [ConsumerData(group)])


class NameServerNameTests(SynchronousTestCase):
    def test_keys_and_values_are_texts_in_one_file_and_never_paths(self) -> None:
        """Fault 39."""
        namesrv = NameServerInMemory(self)
        wire, client = namesrv.connect()
        for hostile in HOSTILE:
            header = PutKVConfigRequestHeader(namespace=hostile, key=hostile, value=hostile)
            self.assertEqual(
                answer_to(wire, client, Frame.request(RequestCode.PUT_KV_CONFIG, header)).code, 0
            )
            question = GetKVConfigRequestHeader(namespace=hostile, key=hostile)
            answer = answer_to(wire, client, Frame.request(RequestCode.GET_KV_CONFIG, question))
            self.assertEqual((answer.ext_fields or {}).get("value"), hostile)


class SettingsTests(BrokerCase):
    """Fault 40: what would write files, run commands or point paths elsewhere is not on the list."""

    POINT_ELSEWHERE = (
        "storePathRootDir", "storePathCommitLog", "rocketmqHome", "namesrvAddr", "brokerIP1", "brokerIP2",
        "haMasterAddress", "messageStorePlugIn", "listenPort", "bindAddress", "aclEnable",
        "fetchNamesrvAddrByAddressServer", "enableDLegerCommitLog", "dLegerPeers", "tls.server.certPath",
    )  # fmt: skip

    def update(self, text: str) -> Frame:
        return self.request(RequestCode.UPDATE_BROKER_CONFIG, None, text.encode())

    def snapshot(self) -> tuple[dict[str, object], set[str]]:
        settings = self.broker.parts.settings
        return values_of(settings), set(self.broker.parts.disk.nodes)  # type: ignore[attr-defined]

    def test_every_key_that_is_not_on_the_list_is_refused_and_nothing_is_written(self) -> None:
        before = self.snapshot()
        for part, key in list(self.broker.parts.settings.declared()):
            if not key.changeable:
                for value in ("/tmp/elsewhere", "1", "2", "true", "false", "192.0.2.66:1", "SYNC_FLUSH"):
                    answer = self.update(f"{key.name}={value}")
                    present = key.type.show(getattr(part, key.attribute))
                    if answer.code == 0:
                        self.assertEqual(value, present, f"{key.name} was changed")
                    self.assertIn(answer.code, (0, 1, 16))
        self.assertEqual(self.snapshot(), before)

    def test_keys_that_point_elsewhere_are_none_of_the_list(self) -> None:
        changeable = {key.name for _, key in self.broker.parts.settings.declared() if key.changeable}
        self.assertEqual(changeable & set(self.POINT_ELSEWHERE), set())
        suspicious = [
            name
            for name in changeable
            if any(
                word in name.lower()
                for word in ("path", "dir", "home", "addr", "host", "ip1", "plugin", "class")
            )
        ]
        self.assertEqual(suspicious, [])

    def test_no_value_brings_a_second_key_into_the_file(self) -> None:
        before = self.snapshot()
        for text in (
            "regionId=a\\nstorePathRootDir=/x", "regionId=a\\u000astorePathRootDir=/x", "regionId=a\\rb=1",
            "regionId=\\u0000", "regionId=\\u2028x=1", "regionId=" + "x" * 10_240,
        ):  # fmt: skip
            self.assertEqual(self.update(text).code, 1, text[:40])
        self.assertEqual(self.snapshot(), before)

    def test_one_refused_key_among_good_ones_changes_nothing(self) -> None:
        before = self.snapshot()
        self.assertEqual(self.update("brokerPermission=4\nstorePathRootDir=/x\n").code, 16)
        self.assertEqual(self.snapshot(), before)

    def test_requests_that_would_run_something_are_not_known(self) -> None:
        for code in (RequestCode.REGISTER_FILTER_SERVER, RequestCode.REGISTER_MESSAGE_FILTER_CLASS):
            self.assertEqual(self.request(code, None, b"/bin/sh").code, 3)


class NameServerSettingsTests(SynchronousTestCase):
    def test_every_key_that_is_not_on_the_list_is_refused(self) -> None:
        """Fault 40."""
        namesrv = NameServerInMemory(self)
        wire, client = namesrv.connect()
        before = values_of(namesrv.settings)
        for part, key in list(namesrv.settings.declared()):
            if key.changeable:
                continue
            for value in ("/tmp/elsewhere", "1", "2", "true", "false"):
                frame = Frame.request(RequestCode.UPDATE_NAMESRV_CONFIG, None, f"{key.name}={value}".encode())
                answer = answer_to(wire, client, frame)
                if answer.code == 0:
                    self.assertEqual(value, key.type.show(getattr(part, key.attribute)))
        self.assertEqual((values_of(namesrv.settings), namesrv.changed), (before, []))


def values_of(settings: Settings) -> dict[str, object]:
    return {key.name: getattr(part, key.attribute) for part, key in settings.declared()}


class ExpansionTests(SynchronousTestCase):
    """Fault 41: compressed bodies that expand without end."""

    def test_a_registration_that_expands_without_end_is_refused_and_its_sender_stays_connected(self) -> None:
        namesrv = NameServerInMemory(self)
        wire, client = namesrv.connect()
        many = TopicConfigSerializeWrapper(
            {f"t{number}": TopicConfig(f"t{number}", 4, 4, 6) for number in range(3)}, DataVersion(1, 1)
        )
        good = RegisterBrokerBody(many).to_compressed()
        bombs = [
            zlib.compress(bytes(128 << 20), 9),
            zlib.compress(zlib.compress(bytes(128 << 20), 9) * 20, 9),
            zlib.compress(b"\x7f\xff\xff\xff" * 4, 9),
            good[:-3],
            b"no zlib at all",
        ]
        for bomb in bombs:
            header = RegisterBrokerRequestHeader(
                broker_name="b", broker_addr="10.0.0.1:1", cluster_name="c", ha_server_addr="10.0.0.1:2",
                broker_id=0, compressed=True, body_crc32=zlib.crc32(bomb) & 0x7FFFFFFF,
            )  # fmt: skip
            answer = answer_to(wire, client, Frame.request(RequestCode.REGISTER_BROKER, header, bomb))
            self.assertEqual(answer.code, 1)
            self.assertIn("RegisterBrokerBody", answer.remark or "")
        self.assertEqual(namesrv.routes.topics(), [])


class CompressedMessageTests(BrokerCase):
    def test_a_broker_stores_compressed_messages_as_they_come(self) -> None:
        """Fault 41: nothing is expanded here."""
        bomb = compress(bytes(64 << 20), CompressionType.ZLIB)
        self.assertEqual(self.ask(send(body=bomb, sys_flag=CompressionType.ZLIB.sys_flag)).code, 0)
        self.assertEqual([record.body for record in self.messages()], [bomb])


class ClaimTests(SynchronousTestCase):
    def test_of_two_brokers_with_one_name_the_later_wins_and_one_warning_names_both_addresses(self) -> None:
        """Fault 29."""
        namesrv = NameServerInMemory(self)
        wire, client = namesrv.connect()
        said: list[str] = []
        observer = lambda event: said.append((event.get("log_format") or "").format(**event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for _ in range(20):
            for address in ("10.0.0.1:1", "10.0.0.2:2"):
                header = RegisterBrokerRequestHeader(
                    broker_name="b",
                    broker_addr=address,
                    cluster_name="c",
                    ha_server_addr=address,
                    broker_id=0,
                )
                answer_to(wire, client, Frame.request(RequestCode.REGISTER_BROKER, header))
                self.assertEqual(
                    namesrv.routes.cluster_info().broker_addr_table["b"].broker_addrs, {0: address}
                )
        claims = [line for line in said if "10.0.0.1:1" in line and "10.0.0.2:2" in line]
        self.assertEqual(len(claims), 1)
        namesrv.clock.advance(60)
        answer_to(wire, client, registration_again())
        self.assertEqual(len([line for line in said if "10.0.0.1:1" in line and "10.0.0.2:2" in line]), 2)


def registration_again() -> Frame:
    header = RegisterBrokerRequestHeader(
        broker_name="b", broker_addr="10.0.0.1:1", cluster_name="c", ha_server_addr="", broker_id=0
    )
    return Frame.request(RequestCode.REGISTER_BROKER, header)


class SlowFile:
    """Its writes take time, in proportion to what is written."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock = clock
        self.seconds = seconds
        self.saved: list[bytes] = []

    def load(self, parse: object) -> None:
        return None

    def save(self, data: bytes) -> None:
        self.clock.rightNow += self.seconds
        self.saved.append(data)


class TableTests(SynchronousTestCase):
    """A hostile client that makes topics or groups without end must not make everybody wait for the disk."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.file = SlowFile(self.clock, 0.01)
        self.changes = 0
        self.table = KeptTable(self.file, lambda: b"%d" % self.changes, self.clock)

    def change(self, times: int = 1) -> None:
        for _ in range(times):
            self.changes += 1
            self.table.save()

    def test_a_few_changes_are_on_the_disk_before_they_are_answered(self) -> None:
        for _ in range(10):
            self.change()
            self.assertEqual(self.file.saved[-1], b"%d" % self.changes)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_changes_in_one_turn_are_written_together(self) -> None:
        self.change(3000)
        self.assertLess(len(self.file.saved), BURST_S / 0.01 + 4)
        self.clock.advance(1)
        self.assertEqual(self.file.saved[-1], b"3000")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_writing_takes_no_more_than_its_share_of_the_time(self) -> None:
        for _ in range(10_000):
            self.change()
            self.clock.advance(0.001)
        writing_s = len(self.file.saved) * 0.01
        self.assertLess(writing_s, self.clock.seconds() * WRITING_SHARE * 1.1 + BURST_S)
        self.assertGreater(writing_s, self.clock.seconds() * WRITING_SHARE * 0.5)

    def test_what_waits_is_written_at_an_orderly_stop(self) -> None:
        self.change(3000)
        self.table.save_now()
        self.assertEqual(self.file.saved[-1], b"3000")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        number = len(self.file.saved)
        self.table.save_now()
        self.assertEqual(len(self.file.saved), number)


class BoundTests(BrokerCase):
    def test_pulls_of_a_queue_beyond_a_bound_are_answered_instead_of_held(self) -> None:
        """Fault 20: each message that comes would have to be offered to all of them."""
        self.ask(send())
        answers = self.broker.serve(encode_frame(pull(1, sys_flag=2 | 4)) * (HELD_OF_QUEUE_MAX + 7))
        self.assertEqual([answer.code for answer in answers], [19] * 7)
        self.assertEqual(len(self.broker.parts.reading._held), HELD_OF_QUEUE_MAX)
        self.broker.connect()
        self.assertEqual(len(self.broker.parts.reading._held), 0)

    def test_pulls_of_a_connection_beyond_a_bound_are_answered_instead_of_held(self) -> None:
        """Fault 20."""
        header = CreateTopicRequestHeader(
            topic="Wide", default_topic="TBW102", read_queue_nums=65_536, write_queue_nums=1, perm=6,
            topic_filter_type="SINGLE_TAG", order=False,
        )  # fmt: skip
        create = encode_frame(Frame.request(RequestCode.UPDATE_AND_CREATE_TOPIC, header))
        self.broker.serve(create, 1.0)
        many = b"".join(
            encode_frame(pull(0, "Wide", queue_id=number, sys_flag=2 | 4))
            for number in range(HELD_BY_ONE_MAX + 7)
        )
        self.assertEqual([answer.code for answer in self.broker.serve(many)], [19] * 7)
        self.assertEqual(len(self.broker.parts.reading._held), HELD_BY_ONE_MAX)
        self.broker.connect()
        self.assertEqual(len(self.broker.parts.reading._held), 0)

    def test_topics_have_a_bounded_number_of_queues(self) -> None:
        for reads, writes in ((65_537, 1), (2**31 - 1, 1), (1, 2**31 - 1)):
            header = CreateTopicRequestHeader(
                topic="Wide", default_topic="TBW102", read_queue_nums=reads, write_queue_nums=writes, perm=6,
                topic_filter_type="SINGLE_TAG", order=False,
            )  # fmt: skip
            self.assertEqual(self.request(RequestCode.UPDATE_AND_CREATE_TOPIC, header).code, 1)
        question = GetTopicStatsInfoRequestHeader(topic="Wide")
        self.assertEqual(self.request(RequestCode.GET_TOPIC_STATS_INFO, question).code, 17)


class ScanTests(SynchronousTestCase):
    def test_a_pull_that_wants_all_messages_of_a_tag_nobody_uses_looks_at_a_bounded_number(self) -> None:
        broker = ReadingBroker(self.mktemp())
        broker.append([message(tag="used") for _ in range(40_000)])
        result = broker.store.get_messages("t", 0, 0, 2**31 - 1, lambda code: code == string_hash("unused"))
        self.assertIs(result.status, GetStatus.NO_MATCHED_MESSAGE)
        self.assertEqual((result.next_offset, result.max_offset), (32_000, 40_000))
        broker.store.close(0)
