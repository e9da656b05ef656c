"""Pulls, heartbeats and tools with SQL92 subscriptions, on brokers in memory."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.topic_rules import make_topic
from rocketmq_tx.protocol import bodies
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.headers import (
    PullMessageRequestHeader,
    QueryConsumeQueueRequestHeader,
    UnregisterClientRequestHeader,
)
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.protocol.properties import pack_properties
from tests.replay import ReplayedBroker
from tests.unit.read_parts import NOW_MS, ReadingBroker, decoded, message

SUBSCRIPTION_PARSE_FAILED = 23


def with_properties(body: bytes, **properties: str) -> Any:
    return message(body=body)._replace(properties=pack_properties(properties))


def bodies_of(answer: Frame) -> list[bytes]:
    return [record.body for record in decode_records(answer.body)]


class PullCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = ReadingBroker(self.mktemp(), enablePropertyFilter=True)
        self.addCleanup(self.broker.store.close, NOW_MS)
        self.sql = {"expressionType": "SQL92", "subscription": "a > 1 AND b IS NULL"}

    def send(self, *values: int, **more: str) -> None:
        self.broker.append([with_properties(b"%d" % value, a=str(value), **more) for value in values])


class Pulls(PullCase):
    def test_only_messages_whose_properties_match_are_answered(self) -> None:
        self.send(1, 2, 3)
        self.send(4, b="x")
        self.broker.append([with_properties(b"not comparable", a="many"), with_properties(b"none")])
        answer = self.broker.pull(**self.sql)
        self.assertEqual((answer.code, answer.remark, bodies_of(answer)), (0, "FOUND", [b"2", b"3"]))
        self.assertEqual(answer.ext_fields["nextBeginOffset"], "6")

    def test_when_none_matches_the_consumer_goes_on_behind_them(self) -> None:
        self.send(0, 1)
        answer = self.broker.pull(**self.sql)
        self.assertEqual((answer.code, answer.ext_fields["nextBeginOffset"]), (20, "2"))

    def test_a_wrong_expression_is_refused_with_its_place_and_gets_no_message(self) -> None:
        self.send(5)
        answer = self.broker.pull(expressionType="SQL92", subscription="a >>> 3 and")
        self.assertEqual((answer.code, answer.body), (SUBSCRIPTION_PARSE_FAILED, b""))
        self.assertIn("(line 1, column 4)", answer.remark)

    def test_a_held_pull_stays_held_until_a_message_matches(self) -> None:
        waiting = self.broker.hold(0, **self.sql)
        self.send(0)
        self.send(1, 1)
        self.assertNoResult(waiting)
        self.send(7)
        answer = decoded(self.successResultOf(waiting))
        self.assertEqual((answer.code, bodies_of(answer)), (0, [b"7"]))
        self.assertEqual(answer.ext_fields["nextBeginOffset"], "4")

    def test_a_held_pull_that_nothing_matched_ends_in_time_behind_what_it_saw(self) -> None:
        waiting = self.broker.hold(0, **self.sql)
        self.send(0, 1)
        self.broker.clock.advance(15)
        answer = decoded(self.successResultOf(waiting))
        self.assertEqual((answer.code, answer.ext_fields["nextBeginOffset"]), (20, "2"))

    def test_switching_the_filter_off_answers_what_is_held_at_its_next_look(self) -> None:
        waiting = self.broker.hold(0, **self.sql)
        self.broker.settings.broker.enable_property_filter = False
        self.send(0)
        answer = decoded(self.successResultOf(waiting))
        self.assertEqual(answer.code, 1)


class WholeBroker(SynchronousTestCase):
    """By requests alone."""

    def setUp(self) -> None:
        self.broker = ReplayedBroker()
        self.broker.parts.settings.broker.enable_property_filter = True
        self.broker.parts.topics.put(make_topic("t", 1))
        self.append(*range(4))

    def append(self, *values: int) -> None:
        stored = [with_properties(b"%d" % value, a=str(value)) for value in values]
        self.broker.parts.appending.append(stored, NOW_MS)

    def ask(self, code: int, header: Any = None, body: bytes = b"") -> Frame:
        *_, answer = self.broker.serve(encode_frame(Frame.request(code, header, body)))
        return answer

    def beat(self, expression: str, version: int = 5, topic: str = "t") -> None:
        subscription = bodies.SubscriptionData(
            topic, expression, sub_version=version, expression_type="SQL92"
        )
        group = bodies.ConsumerData("g", subscription_data_set=[subscription])
        data = bodies.HeartbeatData("c", consumer_data_set=[group])
        self.assertEqual(self.ask(RequestCode.HEART_BEAT, body=data.to_bytes()).code, 0)

    def pull(self, version: int = 5) -> Frame:
        header = PullMessageRequestHeader(
            consumer_group="g", topic="t", queue_id=0, queue_offset=0, max_msg_nums=32, sys_flag=0,
            commit_offset=0, suspend_timeout_millis=0, sub_version=version, expression_type="SQL92",
        )  # fmt: skip
        return self.ask(RequestCode.PULL_MESSAGE, header)

    def check(self, expression: str, kind: str = "SQL92") -> Frame:
        subscription = bodies.SubscriptionData("t", expression, expression_type=kind)
        request = bodies.CheckClientRequestBody("c", "g", subscription)
        return self.ask(RequestCode.CHECK_CLIENT_CONFIG, body=request.to_bytes())

    def test_a_registered_expression_decides_what_is_pulled_and_may_change(self) -> None:
        self.beat("a > 1")
        self.assertEqual(bodies_of(self.pull()), [b"2", b"3"])
        self.beat("a < 1", version=6)
        self.assertEqual(bodies_of(self.pull(6)), [b"0"])
        self.assertEqual(self.pull(7).code, 25)
        self.beat("a <", version=7)
        self.assertEqual(self.pull(7).code, 27)

    def test_the_filter_of_a_group_that_left_waits_for_its_return(self) -> None:
        self.beat("a > 1")
        self.ask(
            RequestCode.UNREGISTER_CLIENT,
            UnregisterClientRequestHeader(client_id="c", producer_group=None, consumer_group="g"),
        )
        table = self.broker.parts.reading._filter_file._filters
        self.assertTrue(table.find("t", "g").is_dead)
        self.beat("a > 1")
        self.assertFalse(table.find("t", "g").is_dead)
        self.assertEqual(bodies_of(self.pull()), [b"2", b"3"])

    def test_a_client_is_told_at_its_start_whether_its_expression_is_right(self) -> None:
        self.assertEqual(self.check("a > 1").code, 0)
        self.assertEqual(self.check("*", "TAG").code, 0)
        answer = self.check("a >>> 3 and")
        self.assertEqual(answer.code, SUBSCRIPTION_PARSE_FAILED)
        self.assertIn("not '>' (line 1, column 4)", answer.remark)
        self.assertEqual(self.check("").code, SUBSCRIPTION_PARSE_FAILED)
        self.assertEqual(self.check("a", "XPATH").code, 1)
        self.broker.parts.settings.broker.enable_property_filter = False
        answer = self.check("a > 1")
        self.assertEqual(
            (answer.code, answer.remark),
            (1, "The broker does not support consumer to filter message by SQL92"),
        )
        self.assertEqual(self.check("*", "TAG").code, 0)

    def test_tools_see_the_expression_and_which_entries_pass(self) -> None:
        self.beat("a > 1")
        header = QueryConsumeQueueRequestHeader(topic="t", queue_id=0, index=0, count=10, consumer_group="g")
        body = self.ask(RequestCode.QUERY_CONSUME_QUEUE, header).body
        shown = bodies.QueryConsumeQueueResponseBody.from_bytes(body)
        self.assertEqual([entry.eval for entry in shown.queue_data], [False, False, True, True])
        assert shown.filter_data is not None
        data = json.loads(shown.filter_data)
        self.assertEqual((data["expression"], data["consumerGroup"], data["dead"]), ("a > 1", "g", False))
        self.assertIn("\n\t", shown.filter_data)
        self.beat("a >", version=6)
        body = self.ask(RequestCode.QUERY_CONSUME_QUEUE, header).body
        shown = bodies.QueryConsumeQueueResponseBody.from_bytes(body)
        self.assertEqual([entry.eval for entry in shown.queue_data], [False] * 4)
        self.assertEqual(shown.filter_data, "null")

    def test_an_expression_that_does_not_fit_is_refused_quickly(self) -> None:
        self.assertIn("nested more than", self.check("(" * 10_000).remark)
        self.assertIn("65536 characters", self.check("a = 1 OR " * 100_000).remark)
