"""The topic table: what is there at start, what a send creates, what is kept and told."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.topic_rules import inherited_topic, make_topic
from rocketmq_tx.broker.topics import TopicChange, TopicTable
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.bodies import TopicConfig, TopicConfigSerializeWrapper, TopicFilterType
from rocketmq_tx.protocol.flags import Perm
from tests import golden
from tests.unit.broker_parts import MemoryFile, broker_settings


def topic_table(file: MemoryFile | None = None, **keys: Any) -> TopicTable:
    return TopicTable(broker_settings(**keys).broker, file or MemoryFile(), lambda: 1700000000000)


class TopicsAtStart(SynchronousTestCase):
    def test_an_empty_broker_has_the_topics_that_apache_has(self) -> None:
        recorded = TopicConfigSerializeWrapper.from_bytes(
            golden.path("config/broker-all-topic-config.json").read_bytes()
        )
        table = topic_table(brokerName="golden-host", brokerClusterName="DefaultCluster")
        self.assertEqual(dict(table.configs()), recorded.topic_config_table)
        self.assertEqual(table.data_version.counter, recorded.data_version.counter)

    def test_without_automatic_creation_there_is_no_template_topic(self) -> None:
        self.assertIsNone(topic_table(autoCreateTopicEnable=False).get("TBW102"))

    def test_the_trace_topic_is_made_when_tracing_is_on(self) -> None:
        table = topic_table(traceTopicEnable=True, msgTraceTopicName="MyTrace")
        self.assertEqual(table.get("MyTrace"), make_topic("MyTrace", 1))
        self.assertIn("MyTrace", table.own_system_topics())
        self.assertNotIn("MyTrace", topic_table(msgTraceTopicName="MyTrace").own_system_topics())

    def test_cluster_and_broker_topic_only_inherit_when_they_are_switched_off(self) -> None:
        table = topic_table(clusterTopicEnable=False, brokerTopicEnable=False)
        for name in ("GoldenCluster", "broker-a"):
            config = table.get(name)
            assert config is not None
            self.assertEqual(config.perm, 1)

    def test_names_from_the_settings_are_reserved(self) -> None:
        own = topic_table().own_system_topics()
        for name in ("TBW102", "GoldenCluster", "broker-a", "GoldenCluster_REPLY_TOPIC", "rmq_sys_foo"):
            self.assertRaises(RequestRefused, names.check_not_system_topic, name, own)
        names.check_not_system_topic("TopicTest", own)


class TopicsForSends(SynchronousTestCase):
    def test_an_unknown_topic_is_made_after_its_template(self) -> None:
        table = topic_table()
        self.assertEqual(table.for_send("Orders", "TBW102", 4, False), make_topic("Orders", 4))
        self.assertEqual(table.for_send("Many", "TBW102", 16, False), make_topic("Many", 8))
        self.assertEqual(table.data_version.counter, 2)

    def test_a_known_topic_is_left_as_it_is(self) -> None:
        table = topic_table()
        table.put(make_topic("Orders", 3))
        self.assertEqual(table.for_send("Orders", "TBW102", 16, True), make_topic("Orders", 3))

    def test_automatic_creation_that_is_off_leaves_the_template_alone(self) -> None:
        settings = broker_settings()
        table = TopicTable(settings.broker, MemoryFile(), lambda: 0)
        template = table.get("TBW102")
        settings.broker.auto_create_topic_enable = False
        self.assertIsNone(table.for_send("Orders", "TBW102", 4, False))
        self.assertEqual(table.get("TBW102"), template)
        settings.broker.auto_create_topic_enable = True
        self.assertIsNotNone(table.for_send("Orders", "TBW102", 4, False))

    def test_a_template_must_exist_and_be_inheritable(self) -> None:
        table = topic_table()
        self.assertIsNone(table.for_send("Orders", "Nowhere", 4, False))
        self.assertIsNone(table.for_send("Orders", "SELF_TEST_TOPIC", 4, False))
        self.assertIsNone(table.for_send("Orders", None, 4, False))

    def test_a_retry_topic_is_made_without_a_template(self) -> None:
        table = topic_table(autoCreateTopicEnable=False)
        self.assertEqual(table.for_send("%RETRY%group", None, 4, False), make_topic("%RETRY%group", 1))

    def test_unit_mode_marks_topics_and_retry_topics_differently(self) -> None:
        table = topic_table()
        flags = [table.for_send(name, "TBW102", 4, True) for name in ("Orders", "%RETRY%group")]
        self.assertEqual([topic and topic.topic_sys_flag for topic in flags], [1, 2])

    @given(
        wanted=st.integers(-(2**31), 2**31 - 1),
        queues=st.integers(-5, 100),
        perm=st.integers(0, 15),
        kind=st.sampled_from(TopicFilterType),
    )
    def test_what_is_inherited_never_exceeds_the_template(
        self, wanted: int, queues: int, perm: int, kind: TopicFilterType
    ) -> None:
        template = TopicConfig("T", queues, queues, perm, kind)
        made = inherited_topic("New", template, wanted, False, auto_create=True)
        if not perm & Perm.INHERIT:
            self.assertIsNone(made)
            return
        assert made is not None
        self.assertEqual(made.read_queue_nums, made.write_queue_nums)
        self.assertTrue(0 <= made.write_queue_nums <= max(queues, 0))
        self.assertEqual(made.perm, perm - Perm.INHERIT)
        self.assertIs(made.topic_filter_type, kind)


class TopicChanges(SynchronousTestCase):
    def test_each_change_is_written_down_before_it_is_told(self) -> None:
        file = MemoryFile()
        table = topic_table(file)
        told: list[tuple[TopicChange, int]] = []
        table.observers.append(lambda change: told.append((change, len(file.saved))))
        table.put(make_topic("Orders", 4))
        table.delete("Orders")
        self.assertEqual(
            told, [(TopicChange((make_topic("Orders", 4),)), 1), (TopicChange(deleted=("Orders",)), 2)]
        )

    def test_deleting_an_unknown_topic_changes_nothing(self) -> None:
        table = topic_table()
        self.assertFalse(table.delete("Orders"))
        self.assertEqual(table.data_version.counter, 0)

    def test_what_was_kept_is_there_after_a_restart(self) -> None:
        file = MemoryFile()
        before = topic_table(file)
        before.put(TopicConfig("Orders", 3, 5, 4, TopicFilterType.MULTI_TAG, 1, True))
        after = topic_table(file)
        after.load()
        self.assertEqual(after.configs(), before.configs())
        self.assertEqual(after.data_version, before.data_version)

    def test_the_file_has_the_shape_that_apache_writes(self) -> None:
        file = MemoryFile()
        topic_table(file).put(make_topic("Orders", 4))
        text = file.saved[-1].decode()
        self.assertTrue(
            text.startswith('{\n\t"dataVersion":{\n\t\t"counter":1,\n\t\t"timestamp":1700000000000\n')
        )
        self.assertEqual(json.loads(text)["topicConfigTable"]["Orders"]["topicFilterType"], "SINGLE_TAG")

    def test_a_table_that_could_not_be_written_is_written_later(self) -> None:
        file = MemoryFile()
        table = topic_table(file)
        file.broken = True
        table.put(make_topic("Orders", 4))
        self.assertIsNotNone(table.get("Orders"))
        file.broken = False
        table.save_again()
        table.save_again()
        self.assertEqual(len(file.saved), 1)
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_order_flags_follow_the_name_server(self) -> None:
        table = topic_table()
        table.put(make_topic("Orders", 4))
        table.set_order_topics({"Orders", "Unknown"})
        config = table.get("Orders")
        self.assertTrue(config is not None and config.order)
        version = table.data_version
        table.set_order_topics({"Orders"})
        self.assertEqual(table.data_version, version)
        table.set_order_topics(())
        config = table.get("Orders")
        self.assertFalse(config is not None and config.order)

    def test_a_topic_that_is_needed_is_made_once(self) -> None:
        table = topic_table()
        self.assertEqual(table.ensure("%DLQ%group", 1), make_topic("%DLQ%group", 1))
        table.ensure("%DLQ%group", 5)
        self.assertEqual(table.data_version.counter, 1)

    def test_touching_gives_a_new_version_only(self) -> None:
        table = topic_table()
        before = dict(table.configs())
        table.touch()
        self.assertEqual((table.data_version.counter, dict(table.configs())), (1, before))
