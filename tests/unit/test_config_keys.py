"""Every key is declared once, completely, and as Apache names, orders and types it."""

from __future__ import annotations

import re
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config import elsewhere
from rocketmq_tx.config.broker import BrokerConfig
from rocketmq_tx.config.keys import APACHE, LIVE, keys_of
from rocketmq_tx.config.namesrv import NamesrvConfig
from rocketmq_tx.config.remoting import NettyClientConfig, NettyServerConfig
from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.config.tls import TlsConfig

CLASSES = (BrokerConfig, NettyServerConfig, NettyClientConfig, MessageStoreConfig, NamesrvConfig, TlsConfig)

# Apache writes these in a way that no rule turns into the Python name.
IRREGULAR = {"clientOnewaySemaphoreValue": "client_oneway_semaphore_value"}


def snake(name: str) -> str:
    """`brokerIP1` -> `broker_ip1`, `storePathDLedgerCommitLog` -> `store_path_dledger_commit_log`."""
    name = name.replace("DLeger", "Dleger").replace("DLedger", "Dledger").replace("dLeger", "dleger")
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


class KeyTableTests(SynchronousTestCase):
    def test_python_names_follow_from_apaches_names(self) -> None:
        for settings_class in CLASSES:
            for key in keys_of(settings_class):
                if key.origin is APACHE:
                    self.assertEqual(key.attribute, snake(key.name))

    def test_a_name_is_declared_once_within_a_part(self) -> None:
        for settings_class in CLASSES:
            names = Counter(name for key in keys_of(settings_class) for name in (key.name, *key.aliases))
            self.assertEqual([name for name, count in names.items() if count > 1], [])

    def test_names_that_are_read_nowhere_are_not_keys(self) -> None:
        names = {name for part in CLASSES for key in keys_of(part) for name in (key.name, *key.aliases)}
        self.assertEqual(names & elsewhere.NAMES, set())

    def test_every_key_is_documented_in_a_sentence(self) -> None:
        for settings_class in CLASSES:
            for key in keys_of(settings_class):
                self.assertTrue(key.doc.endswith("."), key.name)
                self.assertGreater(len(key.doc), 5, key.name)

    def test_every_default_is_a_value_that_its_type_reads_back(self) -> None:
        for settings_class in CLASSES:
            for key in keys_of(settings_class):
                self.assertEqual(key.type.parse(key.type.show(key.default)), key.default, key.name)

    def test_both_spellings_of_file_sizes_are_known(self) -> None:
        aliases = {alias for key in keys_of(MessageStoreConfig) for alias in key.aliases}
        self.assertLessEqual({"mapedFileSizeCommitLog", "mapedFileSizeConsumeQueue"}, aliases)

    def test_no_path_address_or_command_may_change_at_run_time(self) -> None:
        suspicious = re.compile(r"path|addr|dir|home|plug|ip[12]|host|port|peer|domain|file$|aclE|tls", re.I)
        allowed = {"destroyMapedFileIntervalForcibly"}
        for settings_class in CLASSES:
            for key in keys_of(settings_class):
                if key.runtime is LIVE and key.name not in allowed:
                    self.assertIsNone(
                        suspicious.search(key.name.replace("Support", "").replace("DataClean", "")), key.name
                    )


class DerivedValueTests(SynchronousTestCase):
    def test_paths_follow_from_the_root_folder(self) -> None:
        store = MessageStoreConfig(store_path_root_dir="data")
        self.assertEqual(store.commit_log_paths, ("data/commitlog",))
        self.assertEqual(store.below_root("config", "topics.json"), "data/config/topics.json")

    def test_the_commit_log_may_have_several_folders(self) -> None:
        store = MessageStoreConfig(store_path_commit_log="a, b", read_only_commit_log_store_paths="c,")
        self.assertEqual(store.commit_log_paths, ("a", "b"))
        self.assertEqual(store.read_only_commit_log_paths, ("c",))

    def test_a_queue_file_holds_whole_entries(self) -> None:
        self.assertEqual(MessageStoreConfig(mapped_file_size_consume_queue=101).consume_queue_file_bytes, 120)
        self.assertEqual(MessageStoreConfig(mapped_file_size_consume_queue=100).consume_queue_file_bytes, 100)

    def test_the_disk_ratio_keeps_its_bounds(self) -> None:
        percents = [
            MessageStoreConfig(disk_max_used_space_ratio=n).disk_max_used_space_percent for n in (0, 75, 100)
        ]
        self.assertEqual(percents, [10, 75, 95])

    def test_delay_levels_become_milliseconds(self) -> None:
        levels = MessageStoreConfig().delay_levels_ms
        self.assertEqual((len(levels), levels[0], levels[4], levels[-1]), (18, 1_000, 60_000, 7_200_000))

    def test_hours_of_deletion_are_numbers(self) -> None:
        self.assertEqual(MessageStoreConfig(delete_when="03;15").delete_hours, frozenset({3, 15}))

    def test_the_registration_period_keeps_its_bounds(self) -> None:
        periods = [
            BrokerConfig(register_name_server_period=ms).registration_period_s for ms in (1, 30_000, 999_999)
        ]
        self.assertEqual(periods, [10, 30, 60])

    def test_the_address_server_has_a_url(self) -> None:
        self.assertEqual(BrokerConfig().address_server_url, "http://jmenv.tbsite.net:8080/rocketmq/nsaddr")
        self.assertEqual(
            BrokerConfig(
                rmq_address_server_domain="a:81", rmq_address_server_sub_group="g"
            ).address_server_url,
            "http://a:81/rocketmq/g",
        )
