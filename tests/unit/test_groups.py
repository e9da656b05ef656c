"""The subscription group table: groups at start, creation on first use, persistence."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker.groups import SubscriptionGroupTable
from rocketmq_tx.protocol.bodies import SubscriptionGroupConfig, SubscriptionGroupWrapper
from tests import golden
from tests.unit.broker_parts import MemoryFile, broker_settings


def group_table(file: MemoryFile | None = None, **keys: Any) -> SubscriptionGroupTable:
    return SubscriptionGroupTable(broker_settings(**keys).broker, file or MemoryFile(), lambda: 1700000000000)


class Groups(SynchronousTestCase):
    def test_an_empty_broker_has_the_groups_that_apache_has(self) -> None:
        recorded = SubscriptionGroupWrapper.from_bytes(
            golden.path("config/broker-all-subscription-groups.json").read_bytes()
        )
        self.assertEqual(dict(group_table().configs()), recorded.subscription_group_table)

    def test_an_unknown_group_is_made_on_first_use_and_kept(self) -> None:
        file = MemoryFile()
        table = group_table(file)
        self.assertIsNone(table.get("orders"))
        self.assertEqual(table.find("orders"), SubscriptionGroupConfig(group_name="orders"))
        table.find("orders")
        self.assertEqual((table.data_version.counter, len(file.saved)), (1, 1))
        again = group_table(file)
        again.load()
        self.assertEqual(again.configs(), table.configs())

    def test_without_automatic_creation_only_groups_of_the_broker_itself_are_made(self) -> None:
        table = group_table(autoCreateSubscriptionGroup=False)
        self.assertIsNone(table.find("orders"))
        self.assertIsNotNone(table.find("CID_RMQ_SYS_TRANS"))

    def test_a_group_without_a_name_is_never_made(self) -> None:
        self.assertIsNone(group_table().find(""))

    def test_settings_are_replaced_and_deleted(self) -> None:
        table = group_table()
        table.put(SubscriptionGroupConfig(group_name="orders", retry_max_times=3))
        found = table.find("orders")
        self.assertEqual(found and found.retry_max_times, 3)
        self.assertTrue(table.delete("orders"))
        self.assertFalse(table.delete("orders"))
        self.assertIsNone(table.get("orders"))
        self.assertEqual(table.data_version.counter, 2)

    def test_the_file_has_the_shape_that_apache_writes(self) -> None:
        file = MemoryFile()
        group_table(file).find("orders")
        kept = json.loads(file.saved[-1])
        self.assertEqual(kept["dataVersion"], {"counter": 1, "timestamp": 1700000000000})
        self.assertEqual(
            kept["subscriptionGroupTable"]["orders"],
            {
                "brokerId": 0,
                "consumeBroadcastEnable": True,
                "consumeEnable": True,
                "consumeFromMinEnable": True,
                "groupName": "orders",
                "notifyConsumerIdsChangedEnable": True,
                "retryMaxTimes": 16,
                "retryQueueNums": 1,
                "whichBrokerWhenConsumeSlowly": 1,
            },
        )

    def test_a_table_that_could_not_be_written_is_written_later(self) -> None:
        file = MemoryFile()
        table = group_table(file)
        file.broken = True
        table.find("orders")
        file.broken = False
        table.save_again()
        self.assertEqual(len(file.saved), 1)
