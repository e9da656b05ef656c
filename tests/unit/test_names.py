"""Names of topics and groups are judged as Apache's broker and client judge them."""

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import names
from tests import golden


class Names(SynchronousTestCase):
    def vectors(self, function: str) -> list[dict]:
        return [line for line in golden.lines("client/util.jsonl") if line["fn"] == function]

    def test_the_broker_judges_topics_in_the_recorded_words(self) -> None:
        for line in self.vectors("brokerValidateTopic"):
            topic, expected = line["in"], line["out"]["result"]
            if expected["ok"]:
                names.check_topic(topic)
            else:
                refused = self.assertRaises(RequestRefused, names.check_topic, topic)
                self.assertEqual((refused.code, refused.remark), (expected["code"], expected["remark"]))
            if topic is not None:
                self.assertEqual(names.is_system_topic(topic), expected["isSystem"], topic)
                self.assertEqual(topic in names.SEND_FORBIDDEN_TOPICS, expected["notAllowedSend"], topic)

    def test_the_client_judges_topics_and_groups_in_the_recorded_words(self) -> None:
        for function, problem in (
            ("clientCheckTopic", names.topic_problem),
            ("clientCheckGroup", names.group_problem),
        ):
            for line in self.vectors(function):
                said = problem(line["in"])
                if "result" in line["out"]:
                    self.assertIsNone(said)
                else:
                    recorded = line["out"]["error"].partition(": ")[2].partition("\nFor more")[0]
                    self.assertEqual(said, recorded)

    def test_system_topics_are_the_recorded_ones(self) -> None:
        (line,) = self.vectors("systemTopics")
        self.assertEqual(sorted(names.SYSTEM_TOPICS), line["out"])
        self.assertEqual(sorted(names.SEND_FORBIDDEN_TOPICS), line["notAllowedSend"])

    def test_a_running_broker_reserves_more_topics(self) -> None:
        self.assertFalse(names.is_system_topic("DefaultCluster"))
        self.assertTrue(names.is_system_topic("DefaultCluster", {"DefaultCluster"}))

    def test_reserved_topics_can_neither_be_sent_to_nor_made(self) -> None:
        refused = self.assertRaises(RequestRefused, names.check_send_allowed, names.SCHEDULE_TOPIC)
        self.assertEqual(
            (refused.code, refused.remark),
            (16, "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden."),
        )
        refused = self.assertRaises(RequestRefused, names.check_not_system_topic, "TBW102")
        self.assertEqual(
            (refused.code, refused.remark), (1, "The topic[TBW102] is conflict with system topic.")
        )
        names.check_send_allowed("TopicTest")
        names.check_not_system_topic("TopicTest")

    def test_names_of_retry_dead_letter_and_reply_topics_are_the_recorded_ones(self) -> None:
        for line in self.vectors("names"):
            group = line["in"]
            made = (names.retry_topic(group), names.dlq_topic(group), names.reply_topic(group))
            self.assertEqual(made, (line["retry"], line["dlq"], line["reply"]))
            self.assertEqual(names.is_system_group(group), line["isSysConsumerGroup"])
