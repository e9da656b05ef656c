"""Apache's `mqadmin statsAll` against our broker: what was sent and pulled a moment ago is on the screen."""

from __future__ import annotations

import subprocess
from pathlib import Path

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.headers import UpdateConsumerOffsetRequestHeader
from tests.clusters import ClusterTestCase
from tests.integration.fault_parts import Client, pull_header
from tests.interop import toolchain
from tests.waiting import wait_until

TOPIC, GROUP = "Counted", "counting"
SAMPLED_S = 30
"""Counters are looked at every ten seconds."""


class StatsAllTests(ClusterTestCase):
    def setUp(self) -> None:
        toolchain.require_java()

    def test_rates_of_topics_and_groups_are_shown(self) -> None:
        cluster = self.own_cluster()
        with Client(cluster.broker().port) as client:
            for number in range(40):
                self.assertEqual(client.send_message(TOPIC, b"%d" % number).code, 0)
            answer = client.ask(RequestCode.PULL_MESSAGE, pull_header(TOPIC, 0, 0, consumer_group=GROUP))
            self.assertEqual(answer.code, 0)
            commit = UpdateConsumerOffsetRequestHeader(
                consumer_group=GROUP, topic=TOPIC, queue_id=0, commit_offset=32
            )
            client.ask(RequestCode.UPDATE_CONSUMER_OFFSET, commit)
            client.send_message(
                f"%RETRY%{GROUP}"
            )  # the tool asks for its route before it asks how far they are
        shown: list[str] = []

        def both_are_counted() -> bool:
            shown[:] = self.stats_all(cluster.namesrv_address, cluster.folder)
            return len(shown) == 7 and float(shown[3]) > 0 and float(shown[4]) > 0

        wait_until(both_are_counted, "statsAll shows rates", timeout_s=SAMPLED_S)
        topic, group, behind, _, _, sent, pulled = shown
        self.assertEqual((topic, group, behind, sent, pulled), (TOPIC, GROUP, "8", "40", "32"))

    def stats_all(self, namesrv: str, folder: Path) -> list[str]:
        """The columns of the topic's line."""
        (folder / "conf").mkdir(exist_ok=True)
        (folder / "conf" / "logback_tools.xml").write_text("<configuration/>\n")
        command = [
            "java", "-Xmx128m", "-XX:TieredStopAtLevel=1", f"-Duser.home={folder}",
            f"-Drocketmq.home.dir={folder}", "-cp", toolchain.apache_class_path(),
            "org.apache.rocketmq.tools.command.MQAdminStartup", "statsAll", "-n", namesrv, "-t", TOPIC,
        ]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        lines = [line.split() for line in ran.stdout.splitlines() if line.startswith(TOPIC)]
        return lines[0] if lines else []
