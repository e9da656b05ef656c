"""The checks of a pull in Apache's order, and what the outcome of a read means to a consumer."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.clients import ConsumerGroup
from rocketmq_tx.broker.compiled_expressions import CompiledExpressions
from rocketmq_tx.broker.filter_table import GroupFilters
from rocketmq_tx.broker.property_filters import PropertyFilters
from rocketmq_tx.broker.pull_rules import (
    Admission,
    Outcome,
    PullRules,
    ReaderRole,
    conclude,
    is_nothing_new,
    require_numbers,
    response_code,
)
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.errors import HeaderError, RequestRefused
from rocketmq_tx.protocol.bodies import (
    ConsumeFromWhere,
    ConsumeType,
    MessageModel,
    SubscriptionData,
    SubscriptionGroupConfig,
    TopicConfig,
)
from rocketmq_tx.protocol.codes import FAQ_SUFFIX, ResponseCode
from rocketmq_tx.protocol.headers import PullMessageRequestHeader
from rocketmq_tx.store.pull import GetResult, GetStatus

INLINE = 4


def header(**changes: Any) -> PullMessageRequestHeader:
    values: dict[str, Any] = {
        "consumer_group": "g",
        "topic": "t",
        "queue_id": 0,
        "queue_offset": 0,
        "max_msg_nums": 32,
        "sys_flag": 0,
        "commit_offset": 0,
        "suspend_timeout_millis": 0,
        "sub_version": 5,
    }
    return PullMessageRequestHeader(**{**values, **changes})


class Checks(SynchronousTestCase):
    """Each test breaks one rule where everything else is in order, or where more is wrong further down."""

    def setUp(self) -> None:
        self.config = BrokerConfig()
        self.config.broker_ip1 = "10.0.0.1"
        self.group = SubscriptionGroupConfig(group_name="g")
        self.topic = TopicConfig(topic_name="t", read_queue_nums=4, write_queue_nums=4, perm=6)
        self.subscription = SubscriptionData(topic="t", sub_string="*", sub_version=5)
        self.consumers = ConsumerGroup(
            "g",
            ConsumeType.CONSUME_PASSIVELY,
            MessageModel.CLUSTERING,
            ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET,
            {"t": self.subscription},
        )
        self.groups = {"g": self.group}
        self.topics = {"t": self.topic}
        self.online = {"g": self.consumers}
        compiled = CompiledExpressions().compiled
        self.group_filters = GroupFilters(self.config, compiled, lambda: 1000)
        self.filters = PropertyFilters(self.config, self.group_filters, compiled)

    def admit(self, **changes: Any) -> Admission:
        rules = PullRules(self.config, self.groups.get, self.topics.get, self.online.get, self.filters)
        return rules.admit(header(**changes), "10.0.0.9", 4711)

    def assert_refused(self, code: int, remark: str, **changes: Any) -> None:
        refusal = self.assertRaises(RequestRefused, self.admit, **changes)
        self.assertEqual((refusal.code, refusal.remark), (code, remark))

    def test_a_registered_consumer_gets_its_subscription(self) -> None:
        self.assertEqual(self.admit(), Admission(self.group, self.subscription))

    def test_a_broker_that_must_not_be_read_says_so_before_it_makes_a_group(self) -> None:
        self.config.broker_permission = 2
        asked: list[str] = []
        rules = PullRules(
            self.config,
            asked.append,  # type: ignore[arg-type]
            self.topics.get,
            self.online.get,
            self.filters,
        )
        refusal = self.assertRaises(RequestRefused, rules.admit, header(), "h", 1)
        self.assertEqual(
            (refusal.code, refusal.remark, asked),
            (16, "the broker[10.0.0.1] pulling message is forbidden", []),
        )

    def test_a_missing_group_comes_before_a_missing_topic(self) -> None:
        self.assert_refused(
            26,
            f"subscription group [none] does not exist, {FAQ_SUFFIX}",
            consumer_group="none",
            topic="none",
        )

    def test_a_group_that_is_switched_off(self) -> None:
        self.group.consume_enable = False
        self.assert_refused(16, "subscription group no permission, g", topic="none")

    def test_a_missing_topic_is_refused_by_name(self) -> None:
        self.assert_refused(17, f"topic[none] not exist, apply first please! {FAQ_SUFFIX}", topic="none")

    def test_a_topic_that_must_not_be_read_comes_before_a_wrong_queue(self) -> None:
        self.topic.perm = 2
        self.assert_refused(16, "the topic[t] pulling message is forbidden", queue_id=99)

    def test_queues_outside_the_readable_ones(self) -> None:
        for queue_id in (-1, 4, 99):
            self.assert_refused(
                1,
                f"queueId[{queue_id}] is illegal, topic:[t] topicConfig.readQueueNums:[4] "
                "consumer:[/10.0.0.9:4711]",
                queue_id=queue_id,
            )

    def test_an_inline_subscription_needs_no_registered_group(self) -> None:
        self.online.clear()
        subscription = self.admit(sys_flag=INLINE, subscription="TagA || TagB").subscription
        self.assertEqual(set(subscription.tags_set), {"TagA", "TagB"})

    def test_a_missing_or_empty_inline_subscription_means_everything(self) -> None:
        for text in (None, "", "*"):
            subscription = self.admit(sys_flag=INLINE, subscription=text).subscription
            self.assertEqual(subscription.sub_string, "*")

    def test_an_inline_subscription_of_separators_only_is_none(self) -> None:
        self.assert_refused(
            23, "parse the consumer's subscription failed", sys_flag=INLINE, subscription="||"
        )

    def test_an_empty_property_filter_is_none(self) -> None:
        self.assert_refused(
            23,
            "parse the consumer's subscription failed",
            sys_flag=INLINE,
            subscription="",
            expression_type="SQL92",
        )

    def test_an_unknown_consumer_is_refused(self) -> None:
        self.online.clear()
        self.assert_refused(24, f"the consumer's group info not exist{FAQ_SUFFIX}")

    def test_broadcasting_where_the_group_forbids_it_comes_before_the_subscription(self) -> None:
        self.group.consume_broadcast_enable = False
        self.admit()
        self.consumers.message_model = MessageModel.BROADCASTING
        self.consumers.subscriptions.clear()
        self.assert_refused(16, "the consumer group[g] can not consume by broadcast way")

    def test_a_topic_that_the_group_does_not_subscribe_to(self) -> None:
        self.consumers.subscriptions.clear()
        self.assert_refused(24, f"the consumer's subscription not exist{FAQ_SUFFIX}")

    def test_a_client_ahead_of_its_heartbeat_must_wait_for_it_and_one_behind_need_not(self) -> None:
        self.assert_refused(25, "the consumer's subscription not latest", sub_version=6)
        self.admit(sub_version=4)
        self.admit(sub_version=None)

    def subscribe(self, expression: str, version: int = 5, expression_type: str = "SQL92") -> None:
        """By heartbeat."""
        self.subscription = SubscriptionData("t", expression, [], [], version, expression_type)
        self.consumers.subscriptions["t"] = self.subscription
        self.group_filters.register("g", [self.subscription])

    def test_property_filters_must_be_switched_on(self) -> None:
        remark = "The broker does not support consumer to filter message by SQL92"
        inline = {"sys_flag": INLINE, "expression_type": "SQL92"}
        for subscription in ("a > 1", "a >"):
            self.assert_refused(1, remark, **inline, subscription=subscription)
        self.subscribe("a > 1")
        self.assert_refused(1, remark)
        self.config.enable_property_filter = True
        for admission in (self.admit(), self.admit(**inline, subscription="a > 1")):
            assert admission.wants is not None
            self.assertEqual((admission.wants(b"a\x012"), admission.wants(b"a\x011")), (True, False))

    def test_a_wrong_expression_in_a_pull_is_refused_with_the_place(self) -> None:
        self.config.enable_property_filter = True
        self.assert_refused(
            23,
            "parse the consumer's subscription failed: IN needs a property on its left (line 1, column 1)",
            sys_flag=INLINE,
            subscription="5 IN ('x')",
            expression_type="SQL92",
        )

    def test_without_filter_data_of_the_heartbeat_a_registered_filter_is_not_served(self) -> None:
        self.config.enable_property_filter = True
        remark = "The broker's consumer filter data is not exist!Your expression may be wrong!"
        self.subscribe("a >")
        self.assert_refused(27, remark)
        self.subscribe("a", expression_type="XPATH")
        self.assert_refused(27, remark)

    def test_filter_data_older_than_the_request_must_be_waited_for(self) -> None:
        self.config.enable_property_filter = True
        self.subscribe("a > 1", version=5)
        self.subscription.sub_version = 6
        self.assert_refused(28, "the consumer's consumer filter data not latest", sub_version=6)
        self.admit(sub_version=5)

    def test_types_that_nobody_knows_are_refused_instead_of_sending_everything(self) -> None:
        self.config.enable_property_filter = True
        self.assert_refused(
            1,
            "The broker does not support consumer to filter message by XPATH",
            sys_flag=INLINE,
            subscription="a",
            expression_type="XPATH",
        )

    def test_retried_messages_are_filtered_by_the_expression_of_their_topic_when_that_is_set(self) -> None:
        self.config.enable_property_filter = True
        self.subscribe("a > 1")
        self.topics["%RETRY%g"] = self.topic
        self.consumers.subscriptions["%RETRY%g"] = SubscriptionData("%RETRY%g", "*", sub_version=5)
        self.assertIsNone(self.admit(topic="%RETRY%g").wants)
        self.config.filter_support_retry = True
        wants = self.admit(topic="%RETRY%g").wants
        assert wants is not None
        self.assertTrue(wants(b"RETRY_TOPIC\x01t\x02a\x012"))
        self.assertFalse(wants(b"RETRY_TOPIC\x01t\x02a\x011"))
        self.assertTrue(wants(b"RETRY_TOPIC\x01other\x02a\x011"))
        self.assertTrue(wants(b"a\x011"))
        self.topics["%RETRY%other"] = self.topic
        inline = {"sys_flag": INLINE, "subscription": "*"}
        self.assertIsNone(self.admit(topic="%RETRY%other", **inline).wants)
        self.assertIsNone(self.admit(topic="t", **inline).wants)

    def test_filter_classes_are_refused_instead_of_sending_everything(self) -> None:
        self.subscription.class_filter_mode = True
        self.assert_refused(1, "The broker does not support consumer to filter message by class")


class NumbersThatAFlagNeeds(SynchronousTestCase):
    def test_commit_and_suspend_need_their_numbers_and_nothing_else_does(self) -> None:
        require_numbers(header(commit_offset=None, suspend_timeout_millis=None))
        for flag, change, field in (
            (1, {"commit_offset": None}, "commitOffset"),
            (2, {"suspend_timeout_millis": None}, "suspendTimeoutMillis"),
            (0, {"max_msg_nums": -1}, "maxMsgNums"),
        ):
            error = self.assertRaises(HeaderError, require_numbers, header(sys_flag=flag, **change))
            self.assertEqual(error.field, field)


def result(status: GetStatus, **changes: Any) -> GetResult:
    return attrs.evolve(GetResult(status, 0, 0, 0, b"", 0, False, 0), **changes)


MASTER = ReaderRole(slave_read_enable=False, corrects_offsets=True)


class Outcomes(SynchronousTestCase):
    def setUp(self) -> None:
        self.admission = Admission(SubscriptionGroupConfig(group_name="g"), SubscriptionData(topic="t"))

    def conclude(
        self, status: GetStatus, asked: int = 7, tested: int = 7, role: ReaderRole = MASTER
    ) -> Outcome:
        return conclude(result(status), asked, tested, self.admission, role)

    def test_every_status_has_a_code(self) -> None:
        codes = {status: response_code(status, 7) for status in GetStatus}
        self.assertEqual(
            {status.name: int(code) for status, code in codes.items()},
            {
                "FOUND": 0,
                "NO_MATCHED_MESSAGE": 20,
                "MESSAGE_WAS_REMOVING": 20,
                "OFFSET_FOUND_NULL": 19,
                "OFFSET_OVERFLOW_BADLY": 21,
                "OFFSET_OVERFLOW_ONE": 19,
                "OFFSET_TOO_SMALL": 21,
                "NO_MATCHED_LOGIC_QUEUE": 21,
                "NO_MESSAGE_IN_QUEUE": 21,
            },
        )

    def test_an_empty_queue_has_nothing_for_who_asks_from_its_start(self) -> None:
        for status in (GetStatus.NO_MESSAGE_IN_QUEUE, GetStatus.NO_MATCHED_LOGIC_QUEUE):
            self.assertEqual(response_code(status, 0), ResponseCode.PULL_NOT_FOUND)

    def test_the_remark_is_the_name_of_the_status(self) -> None:
        for status in GetStatus:
            self.assertEqual(self.conclude(status).remark, status.name)

    def test_a_held_pull_that_non_matching_messages_passed_is_sent_behind_them(self) -> None:
        self.assertEqual(
            self.conclude(GetStatus.OFFSET_OVERFLOW_ONE, asked=7, tested=9),
            Outcome(ResponseCode.PULL_RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE", 0),
        )

    def test_readers_of_old_messages_are_sent_to_a_slave_where_that_is_allowed(self) -> None:
        role = ReaderRole(slave_read_enable=True, corrects_offsets=True)
        group = SubscriptionGroupConfig(group_name="g", broker_id=3, which_broker_when_consume_slowly=1)
        admission = Admission(group, self.admission.subscription)
        for role_now, behind, broker_id in ((role, True, 1), (role, False, 3), (MASTER, True, 0)):
            outcome = conclude(result(GetStatus.FOUND, suggest_slave=behind), 7, 7, admission, role_now)
            self.assertEqual(outcome, Outcome(ResponseCode.SUCCESS, "FOUND", broker_id))

    def test_a_slave_that_may_be_behind_corrects_nobody(self) -> None:
        slave = ReaderRole(slave_read_enable=False, corrects_offsets=False)
        outcome = self.conclude(GetStatus.OFFSET_OVERFLOW_BADLY, role=slave)
        self.assertEqual(outcome, Outcome(ResponseCode.PULL_RETRY_IMMEDIATELY, "OFFSET_OVERFLOW_BADLY", 0))

    def test_a_held_pull_stays_held_only_at_the_end_of_what_was_tested(self) -> None:
        for status, next_offset, stays in (
            (GetStatus.OFFSET_OVERFLOW_ONE, 7, True),
            (GetStatus.NO_MATCHED_MESSAGE, 9, True),
            (GetStatus.NO_MATCHED_MESSAGE, 8, False),
            (GetStatus.FOUND, 9, False),
            (GetStatus.OFFSET_TOO_SMALL, 9, False),
        ):
            read = result(status, next_offset=next_offset, max_offset=9)
            self.assertEqual(is_nothing_new(read, 7), stays, status)
