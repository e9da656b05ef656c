"""A properties file either becomes settings or says in one sentence what is wrong with it."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config.given import ConfigFileMissing
from rocketmq_tx.config.host_facts import HostFacts
from rocketmq_tx.config.settings import (
    BrokerSettings,
    Settings,
    SettingsContradict,
    load_broker,
    load_namesrv,
)
from rocketmq_tx.config.values import BrokerRole, FlushDiskType, SerializeType
from rocketmq_tx.errors import ConfigError

CONF = Path(__file__).resolve().parents[2] / "conf"


class FromFile(SynchronousTestCase):
    """Writes properties files and loads them."""

    def file(self, text: str | bytes) -> Path:
        path = Path(self.mktemp())
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def broker(self, text: str | bytes) -> BrokerSettings:
        return load_broker(self.file(text))

    def complaint(self, text: str | bytes) -> str:
        return str(self.assertRaises(ConfigError, self.broker, text))

    def warning(self, text: str | bytes) -> str:
        (warning,) = self.broker(text).warnings
        return warning


class OrderTests(FromFile):
    def test_defaults_come_from_the_machine(self) -> None:
        facts = HostFacts(host_name="mao", local_address="172.27.80.1", home="/home/mao", cpu_count=8)
        settings = load_broker(facts=facts)
        self.assertEqual(settings.broker.broker_name, "mao")
        self.assertEqual(settings.broker_address, "172.27.80.1:10911")
        self.assertEqual(settings.store.store_path_root_dir, "/home/mao/store")
        self.assertEqual(settings.broker.send_message_thread_pool_nums, 4)
        self.assertEqual(settings.warnings, [])
        self.assertEqual(settings.update_file, Path("/home/mao/store/config/broker.properties"))

    def test_a_machine_without_a_name_is_the_default_broker(self) -> None:
        self.assertEqual(load_broker().broker.broker_name, "DEFAULT_BROKER")

    def test_the_file_wins_over_the_environment_and_the_command_line_over_both(self) -> None:
        environ = {"NAMESRV_ADDR": "e:1", "ROCKETMQ_HOME": "/opt/mq", "ROCKETMQ_SERIALIZE_TYPE": "ROCKETMQ"}
        file = self.file("namesrvAddr=f:2")
        self.assertEqual(load_broker(None, {}, environ).namesrv_addresses, [("e", 1)])
        self.assertEqual(load_broker(file, {}, environ).namesrv_addresses, [("f", 2)])
        settings = load_broker(file, {"namesrvAddr": "c:3"}, environ)
        self.assertEqual(settings.namesrv_addresses, [("c", 3)])
        self.assertEqual(settings.broker.rocketmq_home, "/opt/mq")
        self.assertIs(settings.client.serialize_type, SerializeType.ROCKETMQ)
        self.assertEqual(settings.update_file, file)

    def test_one_line_feeds_every_part_that_knows_its_key(self) -> None:
        settings = self.broker("writeBufferHighWaterMark=7\ncom.rocketmq.remoting.socket.sndbuf.size=8")
        self.assertEqual(settings.server.write_buffer_high_water_mark, 7)
        self.assertEqual(settings.client.write_buffer_high_water_mark, 7)
        self.assertEqual(settings.server.server_socket_snd_buf_size, 8)
        self.assertEqual(settings.client.client_socket_snd_buf_size, 8)

    def test_a_nameserver_writes_changes_to_the_file_that_it_was_given(self) -> None:
        file = self.file("listenPort=1234\nconfigStorePath=/elsewhere\nkvConfigPath=kv.json")
        settings = load_namesrv(file)
        self.assertEqual(settings.server.listen_port, 1234)
        self.assertEqual(settings.namesrv.kv_config_path, "kv.json")
        self.assertEqual(settings.update_file, file)

    def test_a_nameserver_without_a_file_has_defaults(self) -> None:
        settings = load_namesrv(environ={"NAMESRV_ADDR": "not its business"}, facts=HostFacts(home="/h"))
        self.assertEqual(settings.server.listen_port, 9876)
        self.assertEqual(settings.update_file, Path("/h/namesrv/namesrv.properties"))

    def test_files_of_a_nameserver_at_home_at_the_root_have_one_slash(self) -> None:
        settings = load_namesrv(environ={}, facts=HostFacts(home="/"))
        self.assertEqual(settings.namesrv.kv_config_path, "/namesrv/kvConfig.json")
        self.assertEqual(settings.namesrv.config_store_path, "/namesrv/namesrv.properties")

    def test_settings_in_general_have_no_parts(self) -> None:
        settings = load_broker()
        bare = Settings(settings.server, settings.client, settings.tls, settings.facts, None, [])
        self.assertRaises(NotImplementedError, lambda: bare.parts)
        self.assertRaises(NotImplementedError, lambda: bare.update_file)


class ReadingTests(FromFile):
    def test_trailing_blanks_do_not_spoil_a_number(self) -> None:
        self.assertEqual(self.broker("listenPort=20911   ").server.listen_port, 20911)

    def test_latin1_is_read_where_utf8_fails(self) -> None:
        self.assertEqual(self.broker("regionId=Köln".encode("latin-1")).broker.region_id, "Köln")
        self.assertEqual(self.broker("regionId=Köln").broker.region_id, "Köln")

    def test_both_spellings_of_a_key_are_read(self) -> None:
        self.assertEqual(self.broker("mapedFileSizeCommitLog=65536").store.mapped_file_size_commit_log, 65536)
        self.assertEqual(self.broker("enableBatchPush=false").warnings, [])

    def test_ipv6_addresses_are_advertised_in_brackets(self) -> None:
        for text in ("2001:db8::1", "[2001:db8::1]"):
            self.assertEqual(self.broker(f"brokerIP1={text}").broker_address, "[2001:db8::1]:10911")

    def test_the_ha_port_stays_unset_until_it_is_set(self) -> None:
        self.assertIsNone(self.broker("haListenPort=").store.ha_listen_port)
        self.assertEqual(self.broker("haListenPort=10942").store.ha_listen_port, 10942)

    def test_an_unset_text_may_be_written_as_nothing(self) -> None:
        self.assertIsNone(self.broker("namesrvAddr=\nhaMasterAddress=").broker.namesrv_addr)


class WarningTests(FromFile):
    def test_an_unknown_key_names_file_line_and_the_nearest_key(self) -> None:
        file = self.file("# port\nlisenPort=10911")
        self.assertEqual(
            load_broker(file).warnings,
            [f"{file}, line 2: unknown key 'lisenPort' is ignored; did you mean 'listenPort'?"],
        )

    def test_a_key_like_no_other_gets_no_advice(self) -> None:
        self.assertTrue(self.warning("xyzzy=1").endswith("line 1: unknown key 'xyzzy' is ignored"))

    def test_a_key_of_the_broker_is_unknown_to_a_nameserver(self) -> None:
        (warning,) = load_namesrv(self.file("brokerId=1")).warnings
        self.assertIn("unknown key 'brokerId'", warning)

    def test_a_key_that_is_set_twice_says_which_line_counts(self) -> None:
        self.assertTrue(
            self.warning("brokerId=0\nbrokerId=0").endswith(
                "line 2: brokerId is set again; line 1 is ignored"
            )
        )

    def test_two_spellings_of_one_key_count_as_set_twice(self) -> None:
        settings = self.broker("mapedFileSizeCommitLog=4096\nmappedFileSizeCommitLog=8192")
        self.assertEqual(settings.store.mapped_file_size_commit_log, 8192)
        self.assertEqual(len(settings.warnings), 1)

    def test_a_key_without_effect_warns_once_and_says_why(self) -> None:
        warning = self.warning("sendMessageThreadPoolNums=128")
        self.assertIn("line 1: sendMessageThreadPoolNums has no effect: one event loop", warning)

    def test_a_key_without_effect_that_asks_for_the_default_is_silent(self) -> None:
        self.assertEqual(self.broker("transferMsgByHeap=true\nenableDLegerCommitLog=false").warnings, [])

    def test_an_alias_of_two_keys_without_effect_does_not_repeat_itself(self) -> None:
        warnings = self.broker("tls.server.keyPath=a\ntls.server.keyPath=a").warnings
        self.assertEqual([w for w in warnings if "no effect" in w], warnings[1:])

    def test_a_path_that_follows_from_the_root_is_silent_when_it_agrees(self) -> None:
        self.assertEqual(self.broker("storePathRootDir=./../d\nstorePathIndex=../d/index/").warnings, [])

    def test_a_path_that_follows_from_the_root_warns_when_it_does_not_agree(self) -> None:
        warning = self.warning("storePathIndex=/fast/index\nstorePathRootDir=d")
        self.assertTrue(
            warning.endswith(
                "line 1: storePathIndex has no effect: it follows from storePathRootDir and is d/index"
            )
        )

    def test_a_key_of_older_guides_is_known(self) -> None:
        self.assertEqual(self.broker("checkTransactionMessageEnable=true").warnings, [])
        self.assertIn("half messages", self.warning("checkTransactionMessageEnable=false"))

    def test_a_master_has_broker_id_0_whatever_the_file_says(self) -> None:
        settings = self.broker("brokerRole=SYNC_MASTER\nbrokerId=5")
        self.assertEqual(settings.broker.broker_id, 0)
        self.assertEqual(
            settings.warnings, ["brokerId = 5 is ignored: brokerRole = SYNC_MASTER always has brokerId 0"]
        )


class ErrorTests(FromFile):
    def test_a_malformed_value_names_file_line_key_and_what_was_expected(self) -> None:
        file = self.file("brokerName=a\nlistenPort=abc")
        self.assertEqual(
            str(self.assertRaises(ConfigError, load_broker, file)),
            f"{file}, line 2: listenPort = 'abc': expected a whole number from 0 to 65535",
        )

    def test_an_empty_number_is_malformed(self) -> None:
        self.assertIn(
            "fileReservedTime = '': expected a whole number of at least 0",
            self.complaint("fileReservedTime="),
        )

    def test_an_unknown_role_names_the_roles(self) -> None:
        self.assertIn("expected ASYNC_MASTER, SYNC_MASTER or SLAVE", self.complaint("brokerRole=NOPE"))

    def test_a_malformed_override_names_the_command_line(self) -> None:
        error = self.assertRaises(ConfigError, load_broker, None, {"brokerId": "x"})
        self.assertEqual(str(error), "command line: brokerId = 'x': expected a whole number of at least 0")

    def test_a_malformed_environment_variable_is_named(self) -> None:
        error = self.assertRaises(ConfigError, load_broker, None, {}, {"ROCKETMQ_SERIALIZE_TYPE": "XML"})
        self.assertEqual(
            str(error),
            "environment variable ROCKETMQ_SERIALIZE_TYPE: rocketmq.serialize.type = 'XML': "
            "expected JSON or ROCKETMQ",
        )

    def test_a_malformed_escape_names_its_line(self) -> None:
        self.assertIn(
            "line 2: \\u must be followed by four hexadecimal digits", self.complaint("a=1\nregionId=\\uXY")
        )

    def test_a_missing_file_is_named(self) -> None:
        error = self.assertRaises(ConfigFileMissing, load_broker, Path("no/such.conf"))
        self.assertEqual(str(error), "no/such.conf: No such file or directory")

    def test_what_would_change_the_guarantees_refuses_the_start_and_says_what_to_do(self) -> None:
        self.assertIn("brokerRole = SYNC_MASTER", self.complaint("enableDLegerCommitLog=true"))
        self.assertIn("remove the key", self.complaint("messageStorePlugIn=org.example.Store"))
        self.assertIn("no access control", self.complaint("aclEnable=true"))
        self.assertIn("would talk in the clear", self.complaint("tls.server.mode=enforcing"))
        self.assertIn("would talk in the clear", self.complaint("useTLS=true"))

    def test_a_slave_needs_an_id_of_its_own(self) -> None:
        error = self.assertRaises(SettingsContradict, self.broker, "brokerRole=SLAVE")
        self.assertEqual(str(error), "Slave's brokerId must be > 0")

    def test_a_nameserver_address_needs_a_port(self) -> None:
        error = self.assertRaises(SettingsContradict, self.broker, "namesrvAddr=localhost")
        self.assertEqual(
            str(error),
            "The Name Server Address[localhost] illegal, please set it as follows, "
            '"127.0.0.1:9876;192.168.0.1:9876"',
        )


class ShippedFileTests(SynchronousTestCase):
    def test_every_shipped_file_loads_without_a_warning(self) -> None:
        files = sorted(CONF.rglob("*.properties")) + sorted(CONF.glob("*.conf"))
        self.assertGreaterEqual(len(files), 12)
        for file in files:
            self.assertEqual(load_broker(file).warnings, [], file)

    def test_the_two_masters_with_slaves_run_beside_each_other(self) -> None:
        names = ("broker-a", "broker-a-s", "broker-b", "broker-b-s")
        found = [load_broker(CONF / "2m-2s-sync" / f"{name}.properties") for name in names]
        self.assertEqual([s.server.listen_port for s in found], [10911, 10931, 10912, 10932])
        self.assertEqual([s.broker.broker_id for s in found], [0, 1, 0, 1])
        self.assertEqual([s.store.broker_role for s in found], [BrokerRole.SYNC_MASTER, BrokerRole.SLAVE] * 2)
        self.assertEqual(
            [s.store.flush_disk_type for s in found],
            [FlushDiskType.SYNC_FLUSH, FlushDiskType.ASYNC_FLUSH] * 2,
        )
        self.assertEqual({s.store.consume_queue_file_bytes for s in found}, {300000})
        self.assertEqual(len({s.store.store_path_root_dir for s in found}), 4)
