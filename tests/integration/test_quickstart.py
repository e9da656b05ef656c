"""`bin/quickstart` and the quickstart programs, run as people run them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.internet import reactor

from rocketmq_tx.cli.quickstart_trip import Trip, receive_all, send_all
from tests.clusters import ClusterTestCase, shared_cluster
from tests.processes import ServerProcess
from tests.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[2]
QUICKSTART = [sys.executable, "-m", "rocketmq_tx.cli.quickstart"]
TOOLS = [sys.executable, "-m", "rocketmq_tx.cli.tools"]
PRODUCER = "org.apache.rocketmq.example.quickstart.Producer"
CONSUMER = "org.apache.rocketmq.example.quickstart.Consumer"
SEND_RESULT = re.compile(
    r"SendResult \[sendStatus=SEND_OK, msgId=[0-9A-F]{32,56}, offsetMsgId=[0-9A-F]{32}, "
    r"messageQueue=MessageQueue \[topic=TopicTest, brokerName=broker-a, queueId=[0-3]\], queueOffset=\d+\]"
)
RECEIVED = re.compile(
    r"ConsumeMessageThread_\d+ Receive New Messages: \[MessageExt \[queueId=\d, storeSize=\d+, .*"
    r"toString\(\)=Message\{topic='TopicTest', flag=0, properties=\{MIN_OFFSET=0, MAX_OFFSET=\d+, "
    r"CONSUME_START_TIME=\d+, .*TAGS=TagA.*\}, body=\[72, 101, 108, .*\], transactionId='null'\}\]\] $"
)


class QuickstartTests(ClusterTestCase):
    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory(prefix="quickstart-")
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)

    def children_of(self, folder: Path) -> list[int]:
        """Processes that were started with a file of the folder."""
        listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
        return [
            int(line.split()[0])
            for line in listed.splitlines()
            if f"{folder}/namesrv.properties" in line or f"{folder}/broker.properties" in line
        ]

    def run_quickstart(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*QUICKSTART, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=self.folder,
            env={**os.environ, "NAMESRV_ADDR": "nobody.invalid:1"},
        )

    def test_1000_messages_go_and_come_back_and_nothing_is_left_but_the_data(self) -> None:
        data = self.folder / "data"
        for _ in range(2):
            done = self.run_quickstart("--data", str(data))
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            lines = done.stdout.splitlines()
            self.assertEqual(len([line for line in lines if SEND_RESULT.fullmatch(line)]), 6, done.stdout)
            self.assertRegex(lines[-1], r"^1,000 messages sent in .* p99 .*: each arrived exactly once$")
            self.assertEqual(self.children_of(data), [])
        self.assertTrue((data / "store" / "commitlog").is_dir())

    def test_a_temporary_folder_is_gone_afterwards(self) -> None:
        done = self.run_quickstart()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        folder = re.search(r"data in (\S+) \(removed at the end\)", done.stdout)
        assert folder is not None
        self.assertFalse(Path(folder[1]).exists())

    def test_a_kept_cluster_serves_any_client_until_ctrl_c(self) -> None:
        data = self.folder / "data"
        process = ServerProcess("quickstart", [*QUICKSTART, "--keep", "--data", str(data)], self.folder)
        process.start()
        self.addCleanup(process.kill)
        process.wait_for_output("until Ctrl-C")
        address = re.search(r"NAMESRV_ADDR=(\S+)", process.output())
        assert address is not None
        self.assertEqual(len(self.children_of(data)), 2)

        sent = subprocess.run(
            [*TOOLS, PRODUCER],
            env={**os.environ, "NAMESRV_ADDR": address[1]},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(sent.returncode, 0, sent.stderr)
        process.stop(signal_number=signal.SIGINT)
        self.assertEqual(self.children_of(data), [])

    def test_a_folder_that_cannot_be_made_is_one_sentence(self) -> None:
        (self.folder / "file").write_text("")
        done = self.run_quickstart("--data", str(self.folder / "file" / "data"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("no data folder can be made", done.stderr)
        self.assertNotIn("Traceback", done.stderr)


class QuickstartProgramTests(ClusterTestCase):
    def setUp(self) -> None:
        self.cluster = shared_cluster()
        made = tempfile.TemporaryDirectory(prefix="quickstart-")
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)
        self.environment = {"NAMESRV_ADDR": self.cluster.namesrv_address}

    def test_the_programs_of_the_guides_print_what_apaches_print(self) -> None:
        sent = subprocess.run(
            [*TOOLS, PRODUCER],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(sent.returncode, 0, sent.stderr)
        results = sent.stdout.splitlines()
        self.assertEqual(len(results), 1000)
        self.assertTrue(all(SEND_RESULT.fullmatch(line) for line in results))

        consumer = ServerProcess("consumer", [*TOOLS, CONSUMER], self.folder, self.environment)
        consumer.start()
        self.addCleanup(consumer.kill)
        wait_until(lambda: consumer.output().count("\n") > 1000, "1,000 messages were printed")
        consumer.stop(signal_number=signal.SIGINT)

        first, *lines = consumer.output().splitlines()
        self.assertEqual(first, "Consumer Started.")
        received = [line for line in lines if RECEIVED.fullmatch(line)]
        self.assertGreaterEqual(len(received), 1000, lines[0])
        ids = {match[0] for match in map(re.compile(r"(?<=UNIQ_KEY=)[0-9A-F]+").search, received) if match}
        wanted = {line.split("msgId=")[1].split(",")[0] for line in results}
        self.assertEqual(wanted - ids, set())

    async def test_a_trip_is_exact(self) -> None:
        trip = Trip()
        seen: list[int] = []
        address = self.cluster.namesrv_address
        await send_all(trip, 50, address, reactor, lambda number, result: seen.append(number))
        await receive_all(trip, address, reactor, seen.append)
        self.assertTrue(trip.is_exact, trip.summary())
        self.assertEqual(seen[:50], list(range(50)))
        self.assertEqual(seen[-1], 50)
