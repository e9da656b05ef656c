"""The launchers take Apache's options, print its texts and exit with its codes (golden config/boot.jsonl)."""

from __future__ import annotations

import configparser
import contextlib
import io
import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.logger import LogLevel, capturedLogs
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import service
from rocketmq_tx.cli import (
    broker_maker,
    host,
    logs,
    mqbroker,
    mqnamesrv,
    namesrv_maker,
    roles,
    tools,
    twistd_exit,
)
from rocketmq_tx.cli.run_files import run_folder
from rocketmq_tx.errors import ConfigError
from tests import golden

LAUNCHERS = {
    "org.apache.rocketmq.broker.BrokerStartup": mqbroker.LAUNCHER,
    "org.apache.rocketmq.namesrv.NamesrvStartup": mqnamesrv.LAUNCHER,
}


class LauncherCase(SynchronousTestCase):
    def setUp(self) -> None:
        for name in ("NAMESRV_ADDR", "ROCKETMQ_HOME", "ROCKETMQ_SERIALIZE_TYPE"):
            if name in os.environ:
                self.patch(os, "environ", {k: v for k, v in os.environ.items() if k != name})

    def launch(self, launcher: Any, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a launcher that does not get as far as serving."""
        with captured() as (out, err):
            code = launcher.main(arguments)
        return code, out.getvalue(), err.getvalue()

    def file(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)


@contextlib.contextmanager
def captured() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


class RecordedStartTests(LauncherCase):
    """Starts of Apache's launchers that ended by themselves."""

    def replay(self, name: str) -> tuple[dict[str, Any], tuple[int, str, str]]:
        (boot,) = [line for line in golden.lines("config/boot.jsonl") if line["name"] == name]
        arguments = list(boot["args"])
        for text in boot["configFiles"].values():
            arguments[arguments.index("-c") + 1] = self.file(text)
        return boot, self.launch(LAUNCHERS[boot["mainClass"]], *arguments)

    def test_help_is_apaches_word_for_word(self) -> None:
        for name in ("broker -h", "namesrv -h"):
            boot, (code, out, err) = self.replay(name)
            self.assertEqual((code, out, err), (0, boot["stdout"], ""), name)

    def test_an_unknown_option_prints_the_help_and_exits_with_1(self) -> None:
        boot, (code, out, err) = self.replay("broker unknown option")
        self.assertEqual((code, out), (1, boot["stdout"]))
        self.assertEqual(err, "mqbroker: No such option '-x'.\n")

    def test_a_missing_file_is_one_sentence_and_apaches_code(self) -> None:
        for name in ("broker -c missing file", "namesrv -c missing file"):
            boot, (code, out, err) = self.replay(name)
            self.assertEqual((code, out), (boot["exitCode"], boot["stdout"]))
            self.assertRegex(err, r"^mq\w+: /nonexistent.conf: No such file or directory\n$")

    def test_contradictions_are_said_in_apaches_words(self) -> None:
        for name in ("broker slave with brokerId 0", "broker bad namesrvAddr"):
            boot, (code, out, err) = self.replay(name)
            self.assertEqual((code, out.strip(), err), (boot["exitCode"], boot["stdout"].strip(), ""), name)

    def test_what_apache_ignores_is_refused_by_name(self) -> None:
        for name, word in (
            ("broker role bogus", "brokerRole"),
            ("broker unknown key and bad number", "listenPort"),
        ):
            _, (code, out, err) = self.replay(name)
            self.assertEqual((code, out), (1, ""))
            self.assertIn(f"{word} = ", err)
            self.assertEqual(err.count("\n"), 1)


class PrintOutTests(LauncherCase):
    def test_printing_all_settings_needs_no_home(self) -> None:
        code, out, _ = self.launch(mqbroker.LAUNCHER, "-p", "-n", "127.0.0.1:9876")
        self.assertEqual(code, 0)
        self.assertIn("\nnamesrvAddr=127.0.0.1:9876\n", out)
        self.assertIn("\nlistenPort=10911\n", out)

    def test_the_important_ones_are_fewer(self) -> None:
        code, out, _ = self.launch(mqbroker.LAUNCHER, "-m")
        self.assertEqual((code, len(out.splitlines())), (0, 35))

    def test_long_options_work(self) -> None:
        file = self.file("brokerName=broker-c")
        code, out, _ = self.launch(mqbroker.LAUNCHER, f"--configFile={file}", "--printConfigItem")
        self.assertEqual(code, 0)
        self.assertIn("brokerName=broker-c\n", out)

    def test_what_is_odd_goes_to_stderr(self) -> None:
        file = self.file("noSuchKey=1")
        _, out, err = self.launch(mqbroker.LAUNCHER, "-c", file, "-m")
        self.assertNotIn("noSuchKey", out)
        self.assertIn("unknown key 'noSuchKey'", err)

    def test_a_nameserver_says_that_it_read_its_file(self) -> None:
        file = self.file("listenPort=9877")
        code, out, _ = self.launch(mqnamesrv.LAUNCHER, "-c", file, "-n", "ignored", "-p")
        self.assertEqual(code, 0)
        self.assertEqual(out.splitlines()[0], f"load config properties file OK, {file}")
        self.assertIn("listenPort=9877", out)
        self.assertIn(f"configStorePath={file}", out)

    def test_a_nameserver_prints_important_settings_too(self) -> None:
        code, out, _ = self.launch(mqnamesrv.LAUNCHER, "-m")
        self.assertEqual(code, 0)
        self.assertIn("kvConfigPath=", out)


class LogLevelTests(SynchronousTestCase):
    def events(self, level: str | None) -> str:
        out = io.StringIO()
        observer = logs.observer(out, {"ROCKETMQ_LOG_LEVEL": level} if level else {})
        for each in (LogLevel.debug, LogLevel.info, LogLevel.error):
            observer({"log_level": each, "log_format": each.name, "log_namespace": "x", "log_time": 0.0})
        return out.getvalue()

    def test_levels_below_the_wanted_one_are_left_out(self) -> None:
        self.assertEqual([self.events(level).count("\n") for level in (None, "debug", "ERROR")], [2, 3, 1])

    def test_an_unknown_level_names_the_known_ones(self) -> None:
        error = self.assertRaises(ConfigError, self.events, "loud")
        self.assertIn("expected one of debug, info", str(error))


class MakerTests(LauncherCase):
    """The twistd side: refusals come before anything starts."""

    def refusal(self, maker: Any, *arguments: str) -> str:
        options = maker.Options()
        options.parseOptions(list(arguments))
        self.patch(twistd_exit, "prepare_reactor", lambda reactor: None)
        return str(self.assertRaises(SystemExit, maker.makeService, options).code)

    def test_a_bad_file_is_one_sentence(self) -> None:
        for maker, name in ((broker_maker, "rocketmq-broker"), (namesrv_maker, "rocketmq-namesrv")):
            file = self.file("listenPort=abc")
            self.assertEqual(
                self.refusal(maker, "--config", file),
                f"{name}: {file}, line 1: listenPort = 'abc': expected a whole number from 0 to 65535",
            )

    def test_a_bad_address_is_one_sentence(self) -> None:
        self.assertIn("The Name Server Address[here] illegal", self.refusal(broker_maker, "-n", "here"))

    def test_an_unknown_option_is_a_usage_error(self) -> None:
        self.assertRaises(usage.UsageError, namesrv_maker.Options().parseOptions, ["-n", "a:1"])

    def test_good_options_make_a_service_that_has_not_started(self) -> None:
        for maker in (broker_maker, namesrv_maker):
            self.patch(twistd_exit, "prepare_reactor", lambda reactor: None)
            self.patch(twistd_exit, "exit_with_code_of", lambda daemon: None)
            options = maker.Options()
            options.parseOptions([])
            self.assertFalse(maker.makeService(options).running)


class RoleTests(LauncherCase):
    def warnings(self, namesrv_addr: str | None) -> list[str]:
        self.patch(service, "make_broker", lambda *_, **__: None)
        with capturedLogs() as events:
            roles.broker_service(mqbroker.load(None, namesrv_addr), None, lambda _: None)
        return [event["log_format"] for event in events if event["log_level"] is LogLevel.warn]

    def test_a_broker_that_nobody_can_find_says_so(self) -> None:
        (warning,) = self.warnings(None)
        self.assertIn("no NameServer is set", warning)
        self.assertEqual(self.warnings("127.0.0.1:9876"), [])


class InstalledCommandTests(SynchronousTestCase):
    def test_no_command_has_a_name_that_another_package_may_have(self) -> None:
        setup = configparser.ConfigParser()
        setup.read(Path(__file__).parents[2] / "setup.cfg", "utf-8")
        lines = setup["options.entry_points"]["console_scripts"].split("\n")
        names = [line.partition(" = ")[0] for line in lines if line]
        self.assertIn("mqbroker", names)
        self.assertEqual([name for name in names if not name.startswith("mq")], [])


class ToolsTests(SynchronousTestCase):
    def test_a_class_runs_its_program_with_the_other_arguments(self) -> None:
        seen: list[list[str]] = []
        module = ModuleType("programs")
        module.producer = seen.append  # type: ignore[attr-defined]
        self.patch(tools, "PROGRAMS", {"Producer": ("programs", "producer")})
        sys.modules["programs"] = module
        self.addCleanup(sys.modules.pop, "programs")
        self.assertEqual(tools.run(["Producer", "-x"]), 0)
        self.assertEqual(seen, [["-x"]])

    def test_an_unknown_class_names_the_known_ones(self) -> None:
        with captured() as (out, err):
            self.assertEqual(tools.run(["org.example.Main"]), 1)
        self.assertEqual(out.getvalue(), "")
        self.assertIn("no program is known as org.example.Main", err.getvalue())
        self.assertIn("org.apache.rocketmq.example.quickstart.Consumer", err.getvalue())

    def test_without_a_class_the_usage_is_printed(self) -> None:
        with captured() as (out, _):
            self.assertEqual((tools.run([]), tools.run(["-h"])), (1, 0))
        self.assertIn("usage: tools CLASS", out.getvalue())


class HostTests(SynchronousTestCase):
    def test_a_user_whom_nobody_knows_is_at_home_at_the_root(self) -> None:
        self.patch(os, "environ", {})
        self.patch(pwd, "getpwuid", {}.__getitem__)  # as the engine of a container starts it: KeyError
        self.assertEqual(host.collect_host_facts().home, "/")
        self.assertEqual(str(run_folder(os.environ)), "/.rocketmq_tx/run")

    def test_facts_of_this_machine_are_collected_without_the_network(self) -> None:
        facts = host.collect_host_facts()
        self.assertTrue(facts.host_name)
        self.assertGreaterEqual(facts.cpu_count, 1)
        self.assertGreater(facts.physical_memory_bytes, 1 << 20)
        self.assertNotIn("::1", host.local_addresses())

    def test_a_source_that_fails_leaves_the_others(self) -> None:
        def broken() -> list[str]:
            raise OSError

        self.patch(host, "_interface_addresses", broken)
        self.patch(host, "_routed_addresses", lambda: ["10.0.0.5", "fe80::1"])
        self.assertEqual(host.local_addresses(), ["10.0.0.5"])
