"""The property files of the cluster modes, as they are, each set on one machine with its fixed ports."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from unittest import SkipTest

from rocketmq_tx.config.properties_file import entries
from rocketmq_tx.protocol.codes import ResponseCode
from tests.clusters import HOST, NAMESRV_BANNER, cluster_info
from tests.integration.fault_parts import Client
from tests.integration.from_bin import FromBinCase
from tests.ports import is_free
from tests.store_compare import wait_until_equal
from tests.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[2]
ORIGINALS = PROJECT / "tests" / "data" / "conf-003"
"""Of a user's cluster of version 4.5, unmodified: comments in Chinese, keys that 4.9 does not know."""
NAMESRV_PORT = 9876


class OneMachineTests(FromBinCase):
    """Started from a folder `bin`, in any order, as the files' relative paths want it."""

    def start_all(self, folder: Path) -> dict[str, tuple[int, Path]]:
        """(port, store) of each broker, by the name of its file; all are known to the NameServer."""
        brokers = {}
        for file in sorted(folder.glob("broker-?.properties")) + sorted(folder.glob("broker-?-s.properties")):
            keys = {entry.key: entry.value.strip() for entry in entries(file.read_text("utf-8"))}
            store = (self.root / "bin" / keys["storePathRootDir"]).resolve()
            brokers[file.stem] = (int(keys["listenPort"]), store)
        wanted = [NAMESRV_PORT, *(port + by for port, _ in brokers.values() for by in (-2, 0))]
        if not all(map(is_free, wanted)):
            raise SkipTest(f"one of the ports {wanted} is taken on this machine")
        order = [*brokers, "namesrv"]
        random.shuffle(order)
        processes = {
            name: self.launch(name, "mqnamesrv")
            if name == "namesrv"
            else self.launch(name, "mqbroker", "-c", str(folder / f"{name}.properties"))
            for name in order
        }
        for name, process in processes.items():
            process.wait_for_output(NAMESRV_BANNER if name == "namesrv" else "boot success")

        def all_known() -> bool:
            info = cluster_info(f"{HOST}:{NAMESRV_PORT}")
            return all(f':{port}"' in info for port, _ in brokers.values())

        wait_until(all_known, "all brokers are known to the NameServer", 60)
        return brokers

    def check(self, folder: Path, code_without_slave: ResponseCode = ResponseCode.SUCCESS) -> None:
        """Sends to both masters until that is answered SEND_OK; slaves then have the same store."""
        brokers = self.start_all(folder)
        for letter in "ab":
            port, store = brokers[f"broker-{letter}"]
            with Client(port) as client:

                def is_stored(client: Client = client) -> bool:
                    code = client.send_message(body=b"x" * 100).code
                    self.assertIn(code, (ResponseCode.SUCCESS, code_without_slave))
                    return code == ResponseCode.SUCCESS

                wait_until(is_stored, f"broker-{letter} stores a message")
                self.assertEqual({client.send_message(queue_id=n % 4).code for n in range(100)}, {0})
            slave = brokers.get(f"broker-{letter}-s")
            if slave is not None:
                wait_until_equal(store, slave[1])
                with Client(slave[0]) as client:
                    self.assertEqual(client.pull(0).code, ResponseCode.SUCCESS)
        self.assertEqual(
            sorted(path.name for path in (self.root / "data").iterdir()),
            sorted(store.name for _, store in brokers.values()),
        )

    def test_the_files_of_a_users_cluster_work_unmodified(self) -> None:
        self.check(ORIGINALS, ResponseCode.SLAVE_NOT_AVAILABLE)

    def test_the_files_of_two_masters_with_slaves_in_double_write_make_a_cluster(self) -> None:
        self.check(PROJECT / "conf" / "2m-2s-sync", ResponseCode.SLAVE_NOT_AVAILABLE)

    def test_the_files_of_two_masters_with_slaves_make_a_cluster(self) -> None:
        self.check(self.for_one_machine("2m-2s-async"))

    def test_the_files_of_two_masters_without_slaves_make_a_cluster(self) -> None:
        self.check(self.for_one_machine("2m-noslave"))

    def for_one_machine(self, mode: str) -> Path:
        """The files are for a machine each; `docs/cluster.md` says which lines one machine needs besides."""
        folder = self.root / mode
        folder.mkdir()
        files = [file for file in (PROJECT / "conf" / mode).iterdir() if "trace" not in file.name]
        for number, file in enumerate(sorted(files)):
            port, store = 10911 + 20 * number, f"./../data/{file.stem}"
            more = f"listenPort={port}\nstorePathRootDir={store}\nstorePathCommitLog={store}/commitlog\n"
            more += f"namesrvAddr={HOST}:{NAMESRV_PORT}\n"
            (folder / file.name).write_text(f"{file.read_text('utf-8')}\n{more}", "utf-8")
        return folder

    def test_one_master_by_the_launchers_of_the_checkout(self) -> None:
        if not all(map(is_free, (NAMESRV_PORT, 10911, 10909))):
            raise SkipTest("the usual ports are taken on this machine")
        help_text = subprocess.run(
            [PROJECT / "bin" / "mqbroker", "-h"], capture_output=True, text=True, timeout=120, check=False
        ).stdout
        self.assertIn("mqbroker", help_text)
        self.launch("namesrv", "mqnamesrv").wait_for_output(NAMESRV_BANNER)
        broker = self.launch(
            "broker", "mqbroker", "-n", f"{HOST}:{NAMESRV_PORT}", "-c", str(PROJECT / "conf" / "broker.conf")
        )
        broker.wait_for_output("boot success")
        with Client(10911) as client:
            self.assertEqual(client.send_message().code, ResponseCode.SUCCESS)
