"""Decisions about sends, by values: refusals with their words, dead letters, delays, half messages."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import send_rules
from rocketmq_tx.broker.send_rules import Placement, place
from rocketmq_tx.broker.topic_rules import make_topic
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol.bodies import SubscriptionGroupConfig
from rocketmq_tx.protocol.codes import FAQ_SUFFIX
from rocketmq_tx.protocol.names import SEND_FORBIDDEN_TOPICS
from tests.unit.broker_parts import broker_settings

ILLEGAL = (
    13,
    "the message is illegal, maybe msg body or properties length not matched. "
    "msg body length limit 4194304B, msg properties length limit 32KB.",
)


class Refusals(SynchronousTestCase):
    def refused(self, code: int, remark: str, check: Any, *arguments: Any) -> None:
        error = self.assertRaises(RequestRefused, check, *arguments)
        self.assertEqual((error.code, error.remark), (code, remark))

    def test_a_broker_that_does_not_accept_yet_says_until_when(self) -> None:
        broker = broker_settings(startAcceptSendRequestTimeStamp=1000).broker
        self.refused(1, "broker unable to service, until 1000", send_rules.check_broker, broker, 999)
        send_rules.check_broker(broker, 1000)

    def test_a_broker_without_write_permission_refuses_every_topic(self) -> None:
        broker = broker_settings(brokerPermission=4).broker
        remark = "the broker[127.0.0.1] sending message is forbidden"
        self.refused(16, remark, send_rules.check_broker, broker, 0)

    def test_names_are_judged_in_apaches_order(self) -> None:
        check = send_rules.check_topic_name
        illegal = "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
        for name in (None, "", " "):
            self.refused(1, "The specified topic is blank.", check, name)
        self.refused(1, illegal, check, "a b" * 100)
        self.refused(1, "The specified topic is longer than topic max length.", check, "t" * 128)
        self.assertEqual(check("t" * 127), "t" * 127)
        for name in SEND_FORBIDDEN_TOPICS:
            self.refused(16, f"Sending message to topic[{name}] is forbidden.", check, name)

    def test_a_missing_topic_is_pointed_to_the_manual(self) -> None:
        refusal = send_rules.topic_missing("Orders")
        remark = f"topic[Orders] not exist, apply first please!{FAQ_SUFFIX}"
        self.assertEqual((refusal.code, refusal.remark), (17, remark))

    def test_a_queue_must_be_readable_or_writable(self) -> None:
        config = make_topic("ErrTopic", 4)
        self.refused(
            1,
            "request queueId[99] is illegal, TopicConfig [topicName=ErrTopic, readQueueNums=4, "
            "writeQueueNums=4, perm=RW-, topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false] "
            "Producer: 127.0.0.1:60824",
            send_rules.check_queue,
            config,
            99,
            "127.0.0.1:60824",
        )
        config.read_queue_nums = 100
        send_rules.check_queue(config, 99, "")
        send_rules.check_queue(config, -1, "")

    def test_a_topic_without_write_permission_refuses_after_the_queue_was_checked(self) -> None:
        config = make_topic("Orders", 4, perm=4)
        self.refused(
            16, "the topic[Orders] sending message is forbidden", send_rules.check_queue, config, 0, ""
        )
        error = self.assertRaises(RequestRefused, send_rules.check_queue, config, 4, "")
        self.assertEqual(error.code, 1)

    def test_properties_may_fill_their_field_and_no_more(self) -> None:
        fits = {"k": "v" * (32767 - 2)}
        self.assertEqual(len(send_rules.stored_properties(fits, 0, 4194304)), 32767)
        self.refused(*ILLEGAL, send_rules.stored_properties, {"kk": fits["k"]}, 0, 4194304)
        self.refused(*ILLEGAL, send_rules.stored_properties, {"k": "ü" * 16383}, 0, 4194304)

    def test_a_body_may_be_as_long_as_configured(self) -> None:
        self.assertEqual(send_rules.stored_properties({}, 4194304, 4194304), b"")
        self.refused(*ILLEGAL, send_rules.stored_properties, {}, 4194305, 4194304)

    def test_a_nul_in_properties_is_refused_because_recovery_would_take_it_for_damage(self) -> None:
        self.refused(
            13, "the properties hold a NUL character", send_rules.stored_properties, {"k": "\0"}, 0, 4194304
        )

    def test_a_lone_surrogate_is_stored_as_java_stores_it(self) -> None:
        self.assertEqual(send_rules.stored_properties({"k": "\ud800"}, 0, 100), b"k\x01?")


class DeadLetters(SynchronousTestCase):
    group = SubscriptionGroupConfig(group_name="orders", retry_max_times=3)

    def test_the_groups_limit_counts_reached_retries(self) -> None:
        dead = [send_rules.is_dead_letter(self.group, times, None, 407) for times in (None, 2, 3, 4)]
        self.assertEqual(dead, [False, False, True, True])

    def test_clients_from_3_4_9_on_bring_their_own_limit(self) -> None:
        self.assertTrue(send_rules.is_dead_letter(self.group, 1, 1, 121))
        self.assertFalse(send_rules.is_dead_letter(self.group, 1, 1, 120))
        self.assertFalse(send_rules.is_dead_letter(self.group, 5, 16, 407))

    def test_only_retry_topics_belong_to_a_group(self) -> None:
        self.assertEqual(send_rules.retry_group("%RETRY%orders"), "orders")
        self.assertIsNone(send_rules.retry_group("%DLQ%orders"))

    def test_a_missing_group_is_named(self) -> None:
        refusal = send_rules.group_missing("orders")
        self.assertEqual(
            (refusal.code, refusal.remark), (26, f"subscription group not exist, orders {FAQ_SUFFIX}")
        )


def placed(properties: dict[str, str], sys_flag: int = 0, **more: Any) -> Placement:
    return place("Orders", 3, sys_flag, properties, cluster="C", delay_level_max=18, **more)


class Placing(SynchronousTestCase):
    def test_an_ordinary_message_loses_wait_and_gains_its_cluster(self) -> None:
        self.assertEqual(
            placed({"TAGS": "T", "WAIT": "true"}),
            Placement("Orders", 3, 0, {"TAGS": "T", "CLUSTER": "C"}, waits=True),
        )

    def test_a_sender_waits_unless_it_says_no(self) -> None:
        waits = [placed({"WAIT": text}).waits for text in ("true", "TRUE", "false", "no")]
        self.assertEqual(waits, [True, True, False, False])
        self.assertTrue(placed({}).waits)

    def test_a_delayed_message_goes_to_the_schedule_topic_and_keeps_wait(self) -> None:
        self.assertEqual(
            placed({"DELAY": "3", "WAIT": "false"}),
            Placement(
                "SCHEDULE_TOPIC_XXXX",
                2,
                0,
                {"DELAY": "3", "WAIT": "false", "CLUSTER": "C", "REAL_TOPIC": "Orders", "REAL_QID": "3"},
                waits=False,
                delay_level=3,
            ),
        )

    def test_a_level_above_the_highest_is_clamped_and_shown_so(self) -> None:
        delayed = placed({"DELAY": "99"})
        self.assertEqual((delayed.queue_id, delayed.properties["DELAY"]), (17, "18"))

    def test_no_level_or_one_below_one_is_no_delay(self) -> None:
        for text in ("0", "-1"):
            self.assertEqual(placed({"DELAY": text}).topic, "Orders")
            self.assertEqual(placed({"DELAY": text}).properties["DELAY"], text)

    def test_a_delay_that_is_no_number_is_refused(self) -> None:
        error = self.assertRaises(RequestRefused, placed, {"DELAY": "abc"})
        self.assertEqual((error.code, error.remark), (1, 'property DELAY is not a number: "abc"'))

    def test_prepared_and_rolled_back_records_are_not_delayed(self) -> None:
        topics = [placed({"DELAY": "1"}, sys_flag=flag).topic for flag in (0, 8, 4, 12)]
        self.assertEqual(topics, ["SCHEDULE_TOPIC_XXXX"] * 2 + ["Orders"] * 2)

    def test_a_half_message_waits_in_its_own_topic_without_transaction_bits(self) -> None:
        self.assertEqual(
            placed({"TRAN_MSG": "TRUE", "PGROUP": "g"}, sys_flag=0x305),
            Placement(
                "RMQ_SYS_TRANS_HALF_TOPIC",
                0,
                0x301,
                {"TRAN_MSG": "TRUE", "PGROUP": "g", "CLUSTER": "C", "REAL_TOPIC": "Orders", "REAL_QID": "3"},
                waits=True,
            ),
        )

    def test_a_half_message_is_not_delayed_before_its_commit(self) -> None:
        half = placed({"TRAN_MSG": "true", "DELAY": "5"})
        self.assertEqual((half.topic, half.delay_level), ("RMQ_SYS_TRANS_HALF_TOPIC", 0))
        self.assertEqual((half.properties["REAL_TOPIC"], half.properties["DELAY"]), ("Orders", "5"))

    def test_half_messages_are_refused_where_that_is_configured(self) -> None:
        error = self.assertRaises(
            RequestRefused, placed, {"TRAN_MSG": "true"}, reject_transactions_of="127.0.0.1"
        )
        remark = "the broker[127.0.0.1] sending transaction message is forbidden"
        self.assertEqual((error.code, error.remark), (16, remark))
        self.assertEqual(placed({}, reject_transactions_of="127.0.0.1").topic, "Orders")

    def test_a_sender_cannot_say_how_long_our_host_fields_are(self) -> None:
        self.assertEqual(placed({}, sys_flag=0x331).sys_flag, 0x301)

    def test_the_senders_properties_are_not_changed(self) -> None:
        given_properties = {"DELAY": "99", "WAIT": "true"}
        placed(given_properties)
        self.assertEqual(given_properties, {"DELAY": "99", "WAIT": "true"})

    @given(
        properties=st.dictionaries(
            st.sampled_from(["DELAY", "TRAN_MSG", "WAIT", "TAGS", "CLUSTER", "REAL_TOPIC"]),
            st.sampled_from(["true", "false", "0", "1", "7", "-3", "100"]),
        ),
        sys_flag=st.integers(0, 0x7FF),
    )
    def test_every_message_has_exactly_one_place_and_can_find_back(
        self, properties: dict[str, str], sys_flag: int
    ) -> None:
        try:
            found = placed(properties, sys_flag)
        except RequestRefused as refusal:
            self.assertEqual(refusal.code, 1)
            return
        self.assertEqual(found.properties["CLUSTER"], "C")
        self.assertFalse(found.sys_flag & 0x30)
        if found.topic == "Orders":
            self.assertEqual((found.queue_id, found.delay_level), (3, 0))
            self.assertNotIn("WAIT", found.properties)
        else:
            self.assertEqual((found.properties["REAL_TOPIC"], found.properties["REAL_QID"]), ("Orders", "3"))
            self.assertEqual(found.properties.get("WAIT"), properties.get("WAIT"))
