"""twistd and the launchers with a stand-in for the role: banners, signals, pid files, exit codes."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from rocketmq_tx.cli.mqshutdown import USAGE
from tests.integration.processes import Child, ProcessCase

PROJECT = Path(__file__).resolve().parents[2]

# Stands in for rocketmq_tx.broker.service: what it does is told by STAND_IN.
STAND_IN = """
import os, sys, types
from twisted.application.service import Service
from rocketmq_tx.errors import StartError

class Role(Service):
    def __init__(self, announce):
        self.announce = announce
    def startService(self):
        from twisted.internet import defer, reactor, task
        if os.environ.get("STAND_IN") == "fails at once":
            return defer.fail(StartError("port 10911 is taken"))
        started = task.deferLater(reactor, 0.01, lambda: None)
        if os.environ.get("STAND_IN") == "fails":
            return started.addCallback(lambda _: defer.fail(StartError("port 10911 is taken")))
        return started.addCallback(lambda _: self.announce("The stand-in boot success."))
    def stopService(self):
        print("stopped in order", file=sys.__stdout__, flush=True)

module = types.ModuleType("rocketmq_tx.broker.service")
module.make_broker = lambda settings, reactor, announce: Role(announce)
sys.modules["rocketmq_tx.broker.service"] = module
"""

TWISTD = STAND_IN + "from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
LAUNCHER = STAND_IN + "from rocketmq_tx.cli.mqbroker import main; sys.argv[0] = 'mqbroker'; main()"

IMPATIENT = """
import signal
from rocketmq_tx.cli.foreground import run_to_end, slept

async def program(reactor):
    for _ in range(3):
        signal.raise_signal(signal.SIGINT)
    print(await slept(reactor, 60), flush=True)
    return 0

raise SystemExit(run_to_end(program))
"""


class DaemonProcessCase(ProcessCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.environ = {"ROCKETMQ_RUN_DIR": str(self.folder.resolve() / "run"), "PYTHONPATH": str(PROJECT)}

    def program(self, text: str, *arguments: str, **environ: str) -> Child:
        return self.start(
            [sys.executable, "-c", text, *arguments], environ={**self.environ, **environ}, folder=self.folder
        )

    def shutdown(self, *arguments: str) -> Child:
        return self.start(
            [sys.executable, "-m", "rocketmq_tx.cli.mqshutdown", *arguments], environ=self.environ
        )


class LauncherProcessTests(DaemonProcessCase):
    async def test_it_runs_in_the_foreground_and_stops_in_order_on_sigterm(self) -> None:
        broker = self.program(LAUNCHER)
        await broker.line("The stand-in boot success.\n")
        broker.send(signal.SIGTERM)
        self.assertEqual(await broker.ended, 143)
        self.assertEqual(broker.out, "The stand-in boot success.\nstopped in order\n")

    async def test_ctrl_c_stops_in_order(self) -> None:
        broker = self.program(LAUNCHER)
        await broker.line("boot success")
        broker.send(signal.SIGINT)
        self.assertEqual(await broker.ended, 130)
        self.assertIn("stopped in order", broker.out)

    async def test_ctrl_c_pressed_three_times_ends_a_program_without_a_trace(self) -> None:
        program = self.program(IMPATIENT)
        self.assertEqual((await program.ended, program.out, program.err), (0, "False\n", ""))

    async def test_a_failing_start_is_one_sentence_and_exit_code_1(self) -> None:
        broker = self.program(LAUNCHER, STAND_IN="fails")
        self.assertEqual(await broker.ended, 1)
        self.assertEqual(broker.out, "")
        self.assertEqual(broker.err.count("port 10911 is taken"), 1)
        self.assertIn("\nmqbroker: port 10911 is taken\n", "\n" + broker.err)
        self.assertNotIn("Traceback", broker.err)

    async def test_two_brokers_of_one_folder_are_both_shut_down(self) -> None:
        brokers = [self.program(LAUNCHER) for _ in range(2)]
        for broker in brokers:
            await broker.line("boot success")
        self.assertEqual([path.name for path in self.folder.iterdir()], ["run"])
        shutdown = self.shutdown("broker")
        self.assertEqual(await shutdown.ended, 0, shutdown.out)
        for broker in brokers:
            self.assertIn(f"The mqbroker({broker.pid}) is running...\n", shutdown.out)
            self.assertIn(f"Send shutdown request to mqbroker({broker.pid}) OK\n", shutdown.out)
            self.assertIn(f"mqbroker({broker.pid}) has stopped after", shutdown.out)
            self.assertEqual(await broker.ended, 143)
        again = self.shutdown("broker")
        self.assertEqual((await again.ended, again.out), (255, "No mqbroker running.\n"))

    async def test_shutting_down_something_else_prints_the_usage(self) -> None:
        shutdown = self.shutdown("everything")
        self.assertEqual((await shutdown.ended, shutdown.out), (1, USAGE + "\n"))

    async def test_the_scripts_of_a_checkout_run_under_sh_from_anywhere(self) -> None:
        script = self.start(["/bin/sh", str(PROJECT / "bin" / "mqbroker"), "-h"], folder=self.folder)
        self.assertEqual(await script.ended, 0, script.err)
        self.assertTrue(script.out.startswith("usage: mqbroker [-c <arg>]"))


class TwistdProcessTests(DaemonProcessCase):
    async def test_in_the_foreground_the_banner_is_a_line_of_its_own(self) -> None:
        broker = self.program(TWISTD, "-n", "rocketmq-broker", "--namesrv", "127.0.0.1:9")
        await broker.line("\nThe stand-in boot success.\n")
        self.assertTrue((self.folder / "twistd.pid").exists())
        broker.send(signal.SIGTERM)
        self.assertEqual(await broker.ended, 143)
        self.assertIn("\nstopped in order\n", broker.out)
        self.assertFalse((self.folder / "twistd.pid").exists())

    async def test_a_failing_start_is_one_sentence_and_exit_code_1(self) -> None:
        broker = self.program(TWISTD, "-n", "rocketmq-broker", STAND_IN="fails")
        self.assertEqual(await broker.ended, 1)
        self.assertEqual(broker.err, "mqbroker: port 10911 is taken\n")
        self.assertNotIn("Traceback", broker.out)
        self.assertFalse((self.folder / "twistd.pid").exists())

    async def test_in_the_background_a_start_that_fails_is_seen_at_the_prompt(self) -> None:
        twistd = self.program(TWISTD, "--logfile", "twistd.log", "rocketmq-broker", STAND_IN="fails at once")
        self.assertEqual(await twistd.ended, 1)
        self.assertIn("mqbroker: port 10911 is taken", twistd.out + twistd.err)
        log = (self.folder / "twistd.log").read_text()
        self.assertIn("mqbroker: port 10911 is taken", log)
        self.assertNotIn("Traceback", log)
        self.assertFalse((self.folder / "twistd.pid").exists())

    async def test_a_bad_file_is_one_sentence_and_exit_code_1(self) -> None:
        (self.folder / "broker.conf").write_text("listenPort=abc\n")
        broker = self.program(TWISTD, "-n", "rocketmq-broker", "-c", "broker.conf")
        self.assertEqual(await broker.ended, 1)
        self.assertEqual(
            broker.err,
            "rocketmq-broker: broker.conf, line 1: listenPort = 'abc': "
            "expected a whole number from 0 to 65535\n",
        )

    async def test_twistds_own_options_work(self) -> None:
        broker = self.program(
            TWISTD,
            "-n",
            "--pidfile",
            "mine.pid",
            "--logfile",
            "mine.log",
            "--reactor",
            "poll",
            "rocketmq-broker",
        )
        await broker.line("boot success")
        self.assertEqual((self.folder / "mine.pid").read_text(), str(broker.pid))
        self.assertIn("pollreactor", (self.folder / "mine.log").read_text())
        broker.send(signal.SIGTERM)
        await broker.ended

    async def test_in_the_background_the_banner_is_in_the_log_and_mqshutdown_finds_it(self) -> None:
        twistd = self.program(TWISTD, "--logfile", "twistd.log", "rocketmq-broker")
        self.assertEqual(await twistd.ended, 0, twistd.err)
        pid = int((self.folder / "twistd.pid").read_text())
        shutdown = self.shutdown("broker")
        code = await shutdown.ended
        if code:  # do not leave it behind
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(code, 0, shutdown.out)
        self.assertIn(f"mqbroker({pid}) has stopped", shutdown.out)
        self.assertIn("The stand-in boot success.", (self.folder / "twistd.log").read_text())
