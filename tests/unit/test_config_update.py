"""Changes while running: an allow-list, all or nothing, comments kept (faults.md, row 40)."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config.keys import keys_of
from rocketmq_tx.config.settings import BrokerSettings, load_broker, load_namesrv
from rocketmq_tx.config.update import apply_update, prepare_update
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import RequestRefused
from tests import golden


class UpdateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.settings = load_broker()

    def refusal(self, body: str | bytes, settings: BrokerSettings | None = None) -> tuple[int, str]:
        data = body.encode() if isinstance(body, str) else body
        error = self.assertRaises(RequestRefused, apply_update, settings or self.settings, data)
        return error.code, error.remark

    def test_a_live_key_changes_at_once_and_keeps_the_comments_of_the_file(self) -> None:
        before = b"# open\nautoCreateTopicEnable = true\n# end\n"
        update = apply_update(self.settings, b"autoCreateTopicEnable=false\nfileReservedTime=48\n", before)
        self.assertFalse(self.settings.broker.auto_create_topic_enable)
        self.assertEqual(self.settings.store.file_reserved_time, 48)
        self.assertEqual(update.changed, {"autoCreateTopicEnable": "false", "fileReservedTime": "48"})
        self.assertEqual(
            update.file_data, b"# open\nautoCreateTopicEnable = false\n# end\nfileReservedTime=48\n"
        )

    def test_nothing_happens_before_it_is_applied(self) -> None:
        update = prepare_update(self.settings, b"brokerPermission=4")
        self.assertEqual(self.settings.broker.broker_permission, 6)
        update.apply()
        self.assertEqual(self.settings.broker.broker_permission, 4)

    def test_what_is_set_already_is_no_change(self) -> None:
        update = apply_update(self.settings, b"flushDiskType=ASYNC_FLUSH\nlistenPort=10911", b"x")
        self.assertEqual((update.changed, update.file_data), ({}, b"x"))

    def test_an_empty_request_changes_nothing(self) -> None:
        self.assertEqual(apply_update(self.settings, b"").changed, {})

    def test_every_key_that_is_not_on_the_list_is_refused_by_name(self) -> None:
        for part, key in list(self.settings.declared()):
            if key.changeable:
                continue
            code, remark = self.refusal(f"{key.name}={_another(getattr(part, key.attribute), key.name)}")
            self.assertEqual(code, 16, key.name)
            self.assertIn(key.name, remark)

    def test_paths_and_addresses_stay(self) -> None:
        for name in ("storePathRootDir", "namesrvAddr", "brokerIP1", "haMasterAddress", "rocketmqHome"):
            self.assertEqual(
                self.refusal(f"{name}=192.0.2.66:1" if name != "brokerIP1" else f"{name}=192.0.2.66"),
                (16, f"{name} cannot be changed while running: set it in the configuration file and restart"),
            )

    def test_one_refused_key_refuses_the_whole_request(self) -> None:
        code, remark = self.refusal("autoCreateTopicEnable=false\nlistenPort=1\nbrokerName=x\nnope=1")
        self.assertEqual(code, 16)
        for name in ("listenPort", "brokerName", "nope"):
            self.assertIn(name, remark)
        self.assertTrue(self.settings.broker.auto_create_topic_enable)

    def test_an_unknown_key_is_refused_with_the_nearest_one(self) -> None:
        self.assertEqual(
            self.refusal("autoCreateTopicEnabled=false"),
            (16, "autoCreateTopicEnabled is not a known key, did you mean autoCreateTopicEnable?"),
        )

    def test_a_key_without_effect_says_so(self) -> None:
        self.assertIn("no thread pools", self.refusal("sendMessageThreadPoolNums=3")[1])

    def test_a_malformed_value_says_what_was_expected(self) -> None:
        self.assertEqual(
            self.refusal("brokerPermission=rw"),
            (1, "request: brokerPermission = 'rw': expected a whole number from 0 to 7"),
        )

    def test_what_is_no_properties_text_is_refused(self) -> None:
        self.assertEqual(self.refusal(b"\xff\xfe"), (1, "string2Properties error"))
        self.assertEqual(self.refusal("a=\\u12"), (1, "string2Properties error"))

    def test_master_roles_can_be_exchanged(self) -> None:
        apply_update(self.settings, b"brokerRole=SYNC_MASTER")
        self.assertIs(self.settings.store.broker_role, BrokerRole.SYNC_MASTER)

    def test_nobody_becomes_a_slave_or_a_master_by_request(self) -> None:
        self.assertEqual(
            self.refusal("brokerRole=SLAVE"),
            (16, "brokerRole cannot change from ASYNC_MASTER to SLAVE while running"),
        )
        slave = load_broker(None, {"brokerRole": "SLAVE", "brokerId": "1"})
        self.assertEqual(self.refusal("brokerRole=SYNC_MASTER", slave)[0], 16)

    def test_the_encoding_of_the_file_is_kept_while_it_can_be(self) -> None:
        latin = "# Köln\n".encode("latin-1")
        self.assertEqual(
            apply_update(self.settings, b"regionId=Ulm", latin).file_data, latin + b"regionId=Ulm\n"
        )
        self.assertEqual(
            apply_update(self.settings, "regionId=\u6240".encode(), latin).file_data,
            "# Köln\nregionId=\u6240\n".encode(),
        )

    def test_one_key_of_two_parts_is_changed_in_both(self) -> None:
        self.assertEqual(self.refusal("writeBufferHighWaterMark=5")[1].count("writeBufferHighWaterMark"), 1)

    def test_the_updates_of_the_recordings_are_taken(self) -> None:
        before = golden.path("config/broker-conf-before-update.properties")
        settings = load_broker(before)
        body = b"sendMessageThreadPoolNums=2\nflushDiskType=ASYNC_FLUSH\n"
        update = apply_update(settings, body, before.read_bytes())
        self.assertEqual(update.file_data, before.read_bytes())


class NamesrvUpdateTests(SynchronousTestCase):
    def test_its_own_paths_are_refused_in_apaches_words(self) -> None:
        settings = load_namesrv()
        for name in ("kvConfigPath", "configStorePath"):
            error = self.assertRaises(RequestRefused, apply_update, settings, f"{name}=/x".encode())
            self.assertEqual((error.code, error.remark), (16, "Can not update config path"))

    def test_order_messages_can_be_switched(self) -> None:
        settings = load_namesrv()
        apply_update(settings, b"orderMessageEnable=true")
        self.assertTrue(settings.namesrv.order_message_enable)

    def test_apaches_own_update_of_a_nameserver_is_taken(self) -> None:
        before = golden.path("config/namesrv-conf-before-update.properties")
        settings = load_namesrv(before)
        self.assertEqual(apply_update(settings, b"clusterTest=false\n", b"").changed, {})

    def test_of_a_brokers_keys_it_knows_none(self) -> None:
        error = self.assertRaises(RequestRefused, apply_update, load_namesrv(), b"brokerPermission=4")
        self.assertEqual(error.code, 16)

    def test_a_file_is_never_written_here(self) -> None:
        settings = load_namesrv(None)
        apply_update(settings, b"orderMessageEnable=true")
        self.assertFalse(Path(settings.update_file).exists())
        self.assertTrue(any(key.changeable for key in keys_of(type(settings.namesrv))))


def _another(value: object, name: str) -> str:
    """Text for a value other than the present one that the key's type reads."""
    if isinstance(value, bool):
        return str(not value).lower()
    if isinstance(value, int):
        return str(value + 1)
    special = {
        "flushDiskType": "SYNC_FLUSH",
        "rocketmq.serialize.type": "ROCKETMQ",
        "tls.server.mode": "disabled",
        "messageDelayLevel": "1s",
        "namesrvAddr": "127.0.0.1:1",
        "haListenPort": "1",
    }
    return special.get(name, "another")
