"""Print-outs and dumps say what Apache's say, in Apache's order."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config.host_facts import HostFacts
from rocketmq_tx.config.listing import all_lines, dump, important_lines
from rocketmq_tx.config.settings import BrokerSettings, load_broker, load_namesrv
from tests import golden

HOME = "/var/rocketmq-golden/home"
FACTS = HostFacts(host_name="golden-host", local_address="192.0.2.10", home=HOME, cpu_count=2)

# Decided otherwise: see docs/differences.md. The bit map's length is computed at start by Apache.
DECIDED = {
    "haListenPort=10912": "haListenPort=",
    "bitMapLengthConsumeQueueExt=112": "bitMapLengthConsumeQueueExt=64",
}


def broker(**overrides: str) -> BrokerSettings:
    return load_broker(None, overrides, {"ROCKETMQ_HOME": HOME}, FACTS)


def recorded(name: str) -> list[str]:
    """What Apache's launcher printed."""
    (boot,) = [line for line in golden.lines("config/boot.jsonl") if line["name"] == name]
    return [DECIDED.get(line, line) for line in boot["stdout"].splitlines()]


class PrintOutTests(SynchronousTestCase):
    def test_all_settings_print_as_apaches_and_ours_follow(self) -> None:
        expected = recorded("broker -p")
        printed = all_lines(broker())
        self.assertEqual(printed[: len(expected)], expected)
        self.assertIn("bindAddress=0.0.0.0", printed[len(expected) :])

    def test_important_settings_print_as_apaches(self) -> None:
        self.assertEqual(important_lines(broker()), recorded("broker -m"))

    def test_a_secret_is_never_shown(self) -> None:
        printed = all_lines(broker(**{"tls.server.keyPassword": "swordfish"}))
        self.assertIn("tls.server.keyPassword=(hidden)", printed)
        self.assertIn("tls.client.keyPassword=", printed)


class DumpTests(SynchronousTestCase):
    def lines(self, name: str) -> list[str]:
        lines = golden.path(name).read_text().splitlines()
        return [DECIDED.get(line, line) for line in lines if not line.startswith("haListenPort")]

    def test_a_broker_without_configuration_answers_apaches_defaults(self) -> None:
        expected = self.lines("config/broker-defaults.properties")
        dumped = dump(broker(namesrvAddr="127.0.0.1:9876"))
        self.assertTrue(dumped.endswith("\n"))
        ours = set(dumped.splitlines()) - set(expected)
        self.assertEqual(set(expected) - set(dumped.splitlines()), set())
        self.assertEqual(len(dumped.splitlines()), len(expected) + len(ours))
        apaches = {line.partition("=")[0] for line in expected}
        self.assertEqual({line.partition("=")[0] for line in ours} & apaches, set())

    def test_a_nameserver_without_configuration_answers_apaches_defaults(self) -> None:
        expected = set(self.lines("config/namesrv-defaults.properties"))
        settings = load_namesrv(None, {}, {"ROCKETMQ_HOME": HOME}, FACTS)
        self.assertEqual(expected - set(dump(settings).splitlines()), set())

    def test_a_configured_broker_answers_what_apache_answers(self) -> None:
        file = golden.path("config/broker-conf-before-update.properties")
        settings = load_broker(file, {}, {"ROCKETMQ_HOME": HOME}, FACTS)
        expected = set(self.lines("config/broker-conf-after-update.properties"))
        self.assertEqual(expected - set(dump(settings).splitlines()), set())

    def test_tls_stays_at_home(self) -> None:
        self.assertNotIn("tls.", dump(broker(**{"tls.server.keyPath": "/k"})))

    def test_what_is_not_set_is_left_out(self) -> None:
        self.assertNotIn("haMasterAddress", dump(broker()))
