"""Promotion by hand with real processes: the command, the hand-over, the return of a former master."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

from rocketmq_tx.protocol.codes import ResponseCode
from tests.clusters import HOST, Broker, Cluster, cluster_info
from tests.integration.test_replication import TOPIC, ReplicationCase, store_of
from tests.store_compare import wait_until_equal
from tests.unit.test_docs import PROJECT
from tests.waiting import wait_until

DOCUMENT = PROJECT / "docs" / "cluster.md"


def mqpromote(broker: Broker, *options: str) -> subprocess.CompletedProcess[str]:
    """The command, as an operator calls it."""
    return subprocess.run(
        [sys.executable, "-m", "rocketmq_tx.cli.promote", f"{HOST}:{broker.port}", *options],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def route(cluster: Cluster) -> dict[int, str]:
    """Addresses by brokerId, as the NameServer tells clients."""
    text = cluster_info(cluster.namesrv_address).partition("brokerAddrs")[2].partition("}")[0]
    return {int(number): address for number, address in re.findall(r'(\d+):"([0-9.:]+)"', text)}


def log_bytes(store: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted((store / "commitlog").iterdir()))


class PromotionTests(ReplicationCase):
    def pair(self, role: str = "SYNC_MASTER", **settings: str) -> tuple[Broker, Broker]:
        master = self.master_of(brokerRole=role, **settings)
        slave = self.slave_of(**settings)
        wait_until(lambda: "following the master" in slave.process.output(), "the slave follows", 20)
        if role == "SYNC_MASTER":
            self.wait_in_sync(master)
        return master, slave

    def promoted(self, slave: Broker, *options: str) -> subprocess.CompletedProcess[str]:
        done = mqpromote(slave, *options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(f"{HOST}:{slave.port} is the master of epoch", done.stdout)
        return done

    def wait_routed(self, master: Broker, slave: Broker) -> None:
        wanted = {0: f"{HOST}:{master.port}", 1: f"{HOST}:{slave.port}"}
        wait_until(lambda: route(self.cluster) == wanted, f"{wanted} are routed", 20)

    def test_a_live_master_hands_over_under_load_and_nothing_is_lost(self) -> None:
        master, slave = self.pair()
        sent: list[int] = []

        def load() -> None:
            client = self.client(master)
            while sent[-1:] != [ResponseCode.SERVICE_NOT_AVAILABLE]:
                sent.append(client.send_message(TOPIC).code)

        sender = threading.Thread(target=load)
        sender.start()
        wait_until(lambda: len(sent) > 200, "messages flow")
        done = self.promoted(slave)
        sender.join(20)
        self.assertIn("HAND_OVER", done.stdout)
        self.assertEqual(set(sent[:-1]), {ResponseCode.SUCCESS})
        self.wait_routed(slave, master)
        wait_until_equal(store_of(slave), store_of(master))
        self.wait_in_sync(slave)
        self.assertEqual(set(self.send(slave, 100)), {0})
        wait_until_equal(store_of(slave), store_of(master))
        self.assertFalse((store_of(master) / "cut").exists())
        # and back, after a start of both with their old configurations
        for broker in (master, slave):
            broker.stop()
        slave.start()
        master.start()
        self.wait_in_sync(slave)
        self.promoted(master)
        self.wait_routed(master, slave)
        self.wait_in_sync(master)
        wait_until_equal(store_of(master), store_of(slave))

    def test_a_killed_master_is_replaced_without_force_only_where_nothing_can_be_missing(self) -> None:
        master, slave = self.pair()
        self.assertEqual(set(self.send(master, 100)), {0})
        wait_until_equal(store_of(master), store_of(slave))
        master.kill()
        asked = mqpromote(slave, "--ask")
        self.assertIn("COMPLETE", asked.stdout)
        self.assertIn("no answer", asked.stdout)
        self.promoted(slave)
        self.assertEqual(set(self.send(slave, 10)), {ResponseCode.SLAVE_NOT_AVAILABLE})
        master.start()
        self.wait_in_sync(slave)
        wait_until_equal(store_of(slave), store_of(master))

    def test_a_former_master_sets_aside_what_its_successor_has_not_and_follows(self) -> None:
        master, slave = self.pair("ASYNC_MASTER")
        self.send(master, 300)
        wait_until_equal(store_of(master), store_of(slave))
        shared = len(log_bytes(store_of(slave)).rstrip(b"\0"))
        slave.process.stop()
        self.assertEqual(set(self.send(master, 50)), {0})
        master.kill()
        before = log_bytes(store_of(master))
        end = len(before.rstrip(b"\0"))
        slave.start()
        refused = mqpromote(slave)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("not promoted: the master does not answer", refused.stderr)
        self.assertIn("--force", refused.stderr)
        self.promoted(slave, "--force")
        self.send(slave, 20)
        master.start()
        wait_until_equal(store_of(slave), store_of(master))
        self.wait_routed(slave, master)
        (kept,) = (store_of(master) / "cut").iterdir()
        start = int(kept.name.removeprefix("epoch-0-from-").removesuffix(".log"))
        self.assertTrue(shared <= start <= shared + 8, (shared, start))
        self.assertEqual(kept.read_bytes().rstrip(b"\0"), before[start:end])
        wait_until(lambda: "was cut off" in master.process.output(), "it is said what was cut")
        line = next(line for line in master.process.output().splitlines() if "was cut off" in line)
        self.assertIn(f"from={start} to=", line)
        self.assertIn("messages=50 epoch=0", line)
        self.assertEqual(log_bytes(store_of(master)), log_bytes(store_of(slave)))

    def test_the_commands_of_the_document_say_and_do_what_it_shows(self) -> None:
        text = DOCUMENT.read_text("utf-8")
        (example,) = re.findall(r"```console\n(\$ bin/mqpromote .*?)```", text, re.DOTALL)
        commands = re.findall(r"^\$ (bin/mqpromote \S+(?: --\w+)?)$", example, re.MULTILINE)
        self.assertEqual(len(commands), 2)
        master, slave = self.pair()
        self.assertEqual(set(self.send(master, 4)), {0})
        wait_until_equal(store_of(master), store_of(slave))
        shown = []
        for command in commands:
            _, address, *options = command.split()
            self.assertEqual(address, "192.0.2.2:10911")
            done = mqpromote(slave, *options)
            self.assertEqual(done.returncode, 0, done.stderr)
            shown.append(f"$ {command}\n{done.stdout}")
        printed = "".join(shown)
        for broker, name in ((master, "192.0.2.1:10911"), (slave, "192.0.2.2:10911")):
            printed = printed.replace(f"{HOST}:{broker.port}", name)
        self.assertEqual(_without_figures(printed), _without_figures(example))


def _without_figures(text: str) -> list[list[str]]:
    """Words, but for offsets: columns are as wide as addresses are."""
    return [re.sub(r"\b\d{3,}\b(?![.:])", "N", line).split() for line in text.splitlines()]
