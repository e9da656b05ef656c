"""Messages that consumers hand back: retried later and later, then dead letters (CONSUMER_SEND_MSG_BACK)."""

from __future__ import annotations

import random
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import retry_rules
from rocketmq_tx.broker.delay_rules import delivered
from rocketmq_tx.errors import MessageError, RequestRefused, StoreError
from rocketmq_tx.protocol.bodies import SubscriptionGroupConfig
from rocketmq_tx.protocol.codes import FAQ_SUFFIX, RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import GetMaxOffsetRequestHeader
from rocketmq_tx.protocol.message import MessageRecord, decode_record, encode_record
from rocketmq_tx.protocol.properties import pack_properties
from tests.memory_broker import MemoryBroker

RETRY, DLQ, SCHEDULE = "%RETRY%cg", "%DLQ%cg", "SCHEDULE_TOPIC_XXXX"
DELAYS_MS = (1000, 5000, 10_000, 30_000)


class SendBackCase(SynchronousTestCase):
    keys: dict[str, Any] = {}

    def setUp(self) -> None:
        self.broker = MemoryBroker(**self.keys)
        self.broker.send(b"first", properties={"TAGS": "T", "KEYS": "k", "UNIQ_KEY": "U", "a": "b"}, flag=7)
        (self.record,) = self.broker.records()

    def group(self, **settings: Any) -> None:
        self.broker.parts.groups.put(SubscriptionGroupConfig(group_name="cg", **settings))

    def refusal(self, *arguments: Any, **fields: Any) -> tuple[int, str | None]:
        answer = self.broker.send_back(*arguments, **fields)
        return answer.code, answer.remark

    def handed_back(self, record: MessageRecord | None = None, **fields: Any) -> MessageRecord:
        """What is stored next, at once or in the schedule."""
        answer = self.broker.send_back(record or self.record, **fields)
        self.assertEqual((answer.code, answer.remark), (0, None))
        everything = self.broker.records(SCHEDULE) + self.broker.records(RETRY) + self.broker.records(DLQ)
        return max(everything, key=lambda each: each.commit_log_offset)


class Retrying(SendBackCase):
    def test_it_waits_in_the_schedule_ten_seconds_first_and_longer_each_time(self) -> None:
        record = self.record
        for tries, seconds in enumerate((10, 30, 60, 120)):
            stored = self.handed_back(record)
            self.assertEqual((stored.topic, stored.queue_id), (SCHEDULE, 2 + tries))
            self.assertEqual(stored.property_map["DELAY"], str(3 + tries))
            self.assertEqual(stored.reconsume_times, tries + 1)
            self.broker.pass_time(seconds - 0.01)
            self.assertEqual(len(self.broker.records(RETRY)), tries)
            self.broker.pass_time(0.02)
            record = self.broker.records(RETRY)[-1]
            self.assertEqual(record.reconsume_times, tries + 1)

    def test_a_level_that_the_consumer_names_counts(self) -> None:
        self.assertEqual(self.handed_back(level=5).queue_id, 4)
        self.assertEqual(self.handed_back(level=99).queue_id, 17)
        self.assertEqual(self.broker.records(SCHEDULE)[-1].property_map["DELAY"], "18")

    def test_everything_that_it_was_is_kept(self) -> None:
        stored = self.handed_back()
        same = ("body", "flag", "born_timestamp", "born_host", "body_crc", "sys_flag", "store_host")
        for name in same:
            self.assertEqual(getattr(stored, name), getattr(self.record, name), name)
        self.assertEqual(
            stored.property_map,
            {
                "TAGS": "T", "KEYS": "k", "UNIQ_KEY": "U", "a": "b", "CLUSTER": "GoldenCluster", "DELAY": "3",
                "WAIT": "false", "RETRY_TOPIC": "Orders", "REAL_TOPIC": RETRY, "REAL_QID": "0",
                "ORIGIN_MESSAGE_ID": self.record.offset_message_id,
            },
        )  # fmt: skip

    def test_its_first_topic_and_id_stay_however_often_it_comes_back(self) -> None:
        self.handed_back(level=1)
        self.broker.pass_time(1)
        (again,) = self.broker.records(RETRY)
        stored = self.handed_back(again)
        self.assertEqual(stored.property_map["RETRY_TOPIC"], "Orders")
        self.assertEqual(stored.property_map["ORIGIN_MESSAGE_ID"], self.record.offset_message_id)

    def test_the_same_message_may_come_back_twice(self) -> None:
        self.handed_back(level=1)
        self.handed_back(level=1)
        self.broker.pass_time(1)
        self.assertEqual(self.broker.bodies(RETRY), [b"first", b"first"])

    def test_a_retry_is_spread_over_the_queues_that_consumers_read(self) -> None:
        self.group(retry_queue_nums=8)
        self.patch(random, "randrange", lambda count: count - 1)
        self.handed_back(level=1)
        self.broker.pass_time(1)
        self.assertEqual(self.broker.records(RETRY)[0].queue_id, 7)
        self.group(retry_queue_nums=16)  # the topic was made with 8, more are read by nobody
        self.handed_back(level=1)
        self.broker.pass_time(1)
        self.assertEqual({record.queue_id for record in self.broker.records(RETRY)}, {7})

    def test_the_retry_topic_is_made_when_it_is_missing(self) -> None:
        self.group(retry_queue_nums=3)
        self.handed_back(unit_mode=True)
        topic = self.broker.parts.topics.get(RETRY)
        assert topic is not None
        self.assertEqual((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (3, 3, 6))
        self.assertEqual(topic.topic_sys_flag, 2)

    def test_a_message_of_a_transaction_can_be_tried_again(self) -> None:
        properties = pack_properties({"TRAN_MSG": "true", "PGROUP": "pg"})
        committed = attrs.evolve(self.record, sys_flag=8, properties=properties)
        message = retry_rules.handed_back(committed, RETRY, 0, 2, 5, DELAYS_MS)
        self.assertEqual((message.topic, message.sys_flag, message.tags_code), (SCHEDULE, 8, 5005))


class DeadLetters(SendBackCase):
    def test_after_its_retries_it_is_a_dead_letter(self) -> None:
        self.group(retry_max_times=1)
        self.handed_back(level=1)
        self.broker.pass_time(1)
        (again,) = self.broker.records(RETRY)
        stored = self.handed_back(again)
        self.assertEqual((stored.topic, stored.queue_id, stored.reconsume_times), (DLQ, 0, 2))
        self.assertEqual(stored.property_map["DELAY"], "0")
        self.assertEqual(stored.property_map["RETRY_TOPIC"], "Orders")

    def test_its_queue_is_made_readable_and_writable(self) -> None:
        self.handed_back(level=-1)
        topic = self.broker.parts.topics.get(DLQ)
        assert topic is not None
        self.assertEqual((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (1, 1, 6))
        self.assertEqual(self.broker.pull(DLQ).code, 0)

    def test_a_consumer_may_give_a_message_up_at_once(self) -> None:
        self.assertEqual(self.handed_back(level=-1).topic, DLQ)

    def test_newer_clients_say_how_often_older_ones_leave_it_to_the_group(self) -> None:
        for version, topic in ((121, DLQ), (120, SCHEDULE)):
            self.assertEqual(self.handed_back(max_reconsume_times=0, version=version).topic, topic)
        self.group(retry_max_times=0)
        for limit, topic in ((None, DLQ), (16, SCHEDULE)):
            self.assertEqual(self.handed_back(max_reconsume_times=limit).topic, topic)

    def test_no_delay_is_left_of_what_is_diverted_on_its_way_to_the_retry_topic(self) -> None:
        """The client's second way: it sends a copy to the retry topic by itself."""
        properties = {"RETRY_TOPIC": "Orders", "DELAY": "3", "ORIGIN_MESSAGE_ID": "X"}
        fields = {"reconsume_times": 16, "max_reconsume_times": 16}
        answer = self.broker.send(b"copy", RETRY, properties=properties, **fields)
        self.assertEqual(answer.code, 0)
        (stored,) = self.broker.records(DLQ)
        self.assertEqual((stored.property_map["DELAY"], stored.reconsume_times), ("0", 16))

    def test_a_retry_of_what_was_a_transaction_is_none_again(self) -> None:
        """Clients before 4.6.1 leave the mark on the copies that they send by themselves."""
        properties = {"RETRY_TOPIC": "Orders", "DELAY": "3", "TRAN_MSG": "true", "PGROUP": "pg"}
        for tries in (1, 16):
            fields = {"reconsume_times": tries, "max_reconsume_times": 16, "sys_flag": 4}
            self.assertEqual(self.broker.send(b"%d" % tries, RETRY, properties=properties, **fields).code, 0)
        self.broker.pass_time(10)
        self.assertEqual((self.broker.bodies(RETRY), self.broker.bodies(DLQ)), ([b"1"], [b"16"]))

    def test_the_own_way_of_the_client_is_delayed_as_well(self) -> None:
        properties = {"RETRY_TOPIC": "Orders", "DELAY": "3"}
        self.broker.send(b"copy", RETRY, properties=properties, reconsume_times=1, max_reconsume_times=16)
        self.broker.pass_time(10)
        (stored,) = self.broker.records(RETRY)
        self.assertEqual((stored.body, stored.reconsume_times), (b"copy", 1))


class Refusing(SendBackCase):
    def test_an_unknown_group_is_refused_when_groups_are_not_made(self) -> None:
        self.broker.settings.broker.auto_create_subscription_group = False
        remark = f"subscription group not exist, cg {FAQ_SUFFIX}"
        self.assertEqual(self.refusal(self.record), (26, remark))
        self.assertEqual(self.refusal(0, group=""), (26, f"subscription group not exist,  {FAQ_SUFFIX}"))
        self.assertIsNone(self.broker.parts.topics.get(RETRY))

    def test_a_group_is_made_by_its_first_request_otherwise(self) -> None:
        self.assertEqual(self.refusal(self.record), (0, None))
        self.assertIsNotNone(self.broker.parts.groups.get("cg"))

    def test_a_broker_without_write_permission_refuses(self) -> None:
        self.broker.settings.broker.broker_permission = 4
        self.assertEqual(
            self.refusal(self.record), (16, "the broker[127.0.0.1] sending message is forbidden")
        )

    def test_a_group_without_retry_queues_wants_no_retries(self) -> None:
        for number in (0, -1):
            self.group(retry_queue_nums=number)
            self.assertEqual(self.refusal(self.record), (0, None))
        self.assertEqual(self.broker.records(SCHEDULE), [])

    def test_a_retry_topic_without_write_permission_refuses(self) -> None:
        topic = self.broker.parts.topics.ensure(RETRY, 1)
        self.broker.parts.topics.put(attrs.evolve(topic, perm=4))
        remark = "the topic[%RETRY%cg] sending message is forbidden"
        self.assertEqual(self.refusal(self.record), (16, remark))

    def test_a_place_without_a_message_is_told(self) -> None:
        for offset in (5, 999_999_999, -1):
            self.assertEqual(self.refusal(offset), (1, f"look message by offset failed, {offset}"))

    def test_missing_fields_are_named(self) -> None:
        fields = {"group": "cg", "delayLevel": "0"}
        answer = self.broker.ask(Frame(RequestCode.CONSUMER_SEND_MSG_BACK, 1, ext_fields=fields))
        self.assertEqual(
            (answer.code, answer.remark), (1, "ConsumerSendMsgBackRequestHeader.offset: is missing")
        )

    def test_a_store_that_takes_nothing_says_so(self) -> None:
        self.broker.parts.store.refuse("disk full", "the disk of /store is 96 % full")
        code, remark = self.refusal(self.record)
        self.assertEqual(code, 1)
        self.assertIn("SERVICE_NOT_AVAILABLE", remark or "")
        self.assertIn("96 % full", remark or "")

    def test_a_slave_takes_nothing(self) -> None:
        """Nor does it make a group or a topic for it, which its master does not know."""
        slave = MemoryBroker(self.broker.disk.after_kill(), brokerRole="SLAVE", brokerId=1)
        versions = [table.data_version for table in (slave.parts.topics, slave.parts.groups)]
        for record in (self.record, 5):
            answer = slave.send_back(record, max_reconsume_times=0)
            self.assertEqual(answer.code, 1)
            self.assertIn("SERVICE_NOT_AVAILABLE", answer.remark or "")
            self.assertIn("is a slave", answer.remark or "")
        self.assertEqual([slave.parts.topics.get(name) for name in (RETRY, DLQ)], [None, None])
        self.assertIsNone(slave.parts.groups.get("cg"))
        self.assertEqual([table.data_version for table in (slave.parts.topics, slave.parts.groups)], versions)

    def test_properties_that_leave_no_room_are_told(self) -> None:
        record = attrs.evolve(self.record, properties=b"k\x01" + b"v" * 32_700)
        with self.assertRaises(RequestRefused) as caught:
            retry_rules.handed_back(record, RETRY, 0, 1, 0, DELAYS_MS)
        self.assertEqual((caught.exception.code, caught.exception.remark), (1, "PROPERTIES_SIZE_EXCEEDED"))

    def test_a_record_that_cannot_be_read_is_answered_as_missing(self) -> None:
        def fail(*arguments: object) -> bytes:
            raise StoreError("Input/output error")

        self.patch(self.broker.parts.store, "record_at", fail)
        self.assertEqual(self.refusal(self.record)[0], 1)


class OnDiskFirst(SendBackCase):
    keys = {"flushDiskType": "SYNC_FLUSH"}

    def test_the_consumer_is_answered_when_the_retry_is_on_disk(self) -> None:
        """It commits its offset then, and after a power cut nobody else would bring the message back."""
        self.handed_back(level=1)
        store = self.broker.parts.store
        self.assertEqual(store.flushed_to, store.written_to)

    def test_a_disk_that_does_not_answer_in_time_is_told(self) -> None:
        """It may come twice then; the consumer keeps it, so it comes once at least."""
        late = succeed(ResponseCode.FLUSH_DISK_TIMEOUT)
        self.patch(self.broker.parts.appending, "settle", lambda placed: late)
        self.assertEqual(self.refusal(self.record), (1, "FLUSH_DISK_TIMEOUT"))

    def test_a_slave_that_is_late_is_no_matter_of_the_consumer(self) -> None:
        for status in (ResponseCode.FLUSH_SLAVE_TIMEOUT, ResponseCode.SLAVE_NOT_AVAILABLE):
            self.patch(self.broker.parts.appending, "settle", lambda placed, s=status: succeed(s))
            self.assertEqual(self.refusal(self.record), (0, None))

    def test_a_copy_that_no_segment_holds_is_refused(self) -> None:
        def fail(*arguments: object) -> None:
            raise MessageError("a record of 70000 bytes does not fit")

        self.patch(self.broker.parts.appending, "append", fail)
        self.assertEqual(
            self.refusal(self.record)[1], "MESSAGE_ILLEGAL: a record of 70000 bytes does not fit"
        )

    def test_what_is_evicted_again_and_again_is_read_all_the_same(self) -> None:
        self.patch(self.broker.parts.store, "warm", lambda error: None)
        self.broker.disk.cold.update(path for path in self.broker.disk.nodes if "commitlog" in path)
        self.assertEqual(self.handed_back(level=1).body, b"first")

    def test_cold_bytes_are_read_in_a_thread(self) -> None:
        self.broker.disk.cold.update(path for path in self.broker.disk.nodes if "commitlog" in path)
        self.assertEqual(self.handed_back(level=1).body, b"first")
        self.assertFalse(any("commitlog" in path for path in self.broker.disk.cold))


class GroupSettings(SendBackCase):
    def test_a_group_that_may_not_consume_is_told(self) -> None:
        self.group(consume_enable=False)
        answer = self.broker.pull()
        self.assertEqual((answer.code, answer.remark), (16, "subscription group no permission, cg"))

    def test_which_broker_to_ask_when_slow_is_the_groups_choice(self) -> None:
        broker = MemoryBroker(slaveReadEnable=True, accessMessageInMemoryMaxRatio=0)
        broker.send()
        for which in (1, 2):
            broker.parts.groups.put(
                SubscriptionGroupConfig(group_name="cg", which_broker_when_consume_slowly=which)
            )
            answer = broker.pull()
            self.assertEqual((answer.ext_fields or {})["suggestWhichBrokerId"], str(which))

    def test_an_unknown_group_may_not_pull_when_groups_are_not_made(self) -> None:
        self.broker.settings.broker.auto_create_subscription_group = False
        answer = self.broker.pull(group="nobody")
        remark = f"subscription group [nobody] does not exist, {FAQ_SUFFIX}"
        self.assertEqual((answer.code, answer.remark), (26, remark))

    def test_a_dead_letter_counts_in_its_queue(self) -> None:
        self.handed_back(level=-1)
        header = GetMaxOffsetRequestHeader(topic=DLQ, queue_id=0)
        answer = self.broker.ask(Frame.request(RequestCode.GET_MAX_OFFSET, header))
        self.assertEqual((answer.ext_fields or {})["offset"], "1")


class Arithmetic(SynchronousTestCase):
    @given(st.integers(0, 40), st.integers(0, 40), st.binary(max_size=40))
    def test_what_comes_back_is_the_message_with_one_try_more(
        self, tries: int, level: int, body: bytes
    ) -> None:
        record = decode_record(
            encode_record(MessageRecord("Orders", body, b"TAGS\x01T", reconsume_times=tries, flag=3))
        )
        chosen = retry_rules.retry_level(record, level)
        self.assertEqual(chosen, level or 3 + tries)
        message = retry_rules.handed_back(record, RETRY, 1, chosen, 100, DELAYS_MS)
        at = min(chosen, len(DELAYS_MS)) - 1
        self.assertEqual((message.topic, message.queue_id), (SCHEDULE, at))
        self.assertEqual(message.tags_code, 100 + DELAYS_MS[at])
        waiting = attrs.evolve(
            record,
            topic=message.topic,
            properties=message.properties,
            reconsume_times=message.reconsume_times,
        )
        again = delivered(waiting)
        self.assertEqual((again.topic, again.queue_id, again.body), (RETRY, 1, body))
        self.assertEqual((again.reconsume_times, again.flag), (tries + 1, 3))

    def test_tries_that_no_message_can_have_had_stop_no_retry(self) -> None:
        """The count comes with the send: a producer may claim any."""
        for claimed, times, topic in (
            (-4, -3, RETRY),
            (-(2**31), 1 - 2**31, RETRY),
            (2**31 - 1, 2**31 - 1, SCHEDULE),
        ):
            record = MessageRecord("Orders", reconsume_times=claimed)
            level = retry_rules.retry_level(record, 0)
            message = retry_rules.handed_back(record, RETRY, 0, level, 100, DELAYS_MS)
            self.assertEqual((message.reconsume_times, message.topic), (times, topic))

    def test_without_any_level_a_retry_comes_at_once(self) -> None:
        message = retry_rules.handed_back(MessageRecord("Orders"), RETRY, 1, 3, 100, ())
        self.assertEqual((message.topic, message.queue_id, message.tags_code), (RETRY, 1, 0))
