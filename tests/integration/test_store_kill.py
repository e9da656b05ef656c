"""A real process is killed while it writes: what it has acknowledged is there at the next start."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreLocked
from rocketmq_tx.protocol.message import decode_record
from rocketmq_tx.store.os_disk import platform_disk
from tests.store_cases import NOW, open_store

WRITER = """
import itertools, sys
from rocketmq_tx.store.os_disk import platform_disk
from tests.store_cases import NOW, message, open_store

store = open_store(platform_disk(), sys.argv[1])
print("ready", flush=True)
for n in itertools.count():
    batch = [message("T", n % 3, b"%d.%d " % (n, m) + b"x" * (n % 900), unique=f"U{n}.{m}") for m in range(5)]
    placed = store.append_all(batch, NOW + n, n % 4 == 0)
    print(*[place.commit_log_offset for place in placed], flush=True)
    if n % 7 == 0:
        (store.derived.write_all if n % 21 else store.derived.save_checkpoint)(NOW + n)
"""
ROUNDS = 5


class KillTests(SynchronousTestCase):
    def test_nothing_acknowledged_is_lost_over_several_kills(self) -> None:
        """Row 2 of the faults."""
        root = str(Path(self.mktemp()).absolute())
        choice = random.Random(11)
        acknowledged: list[int] = []
        for _ in range(ROUNDS):
            writer = subprocess.Popen(
                [sys.executable, "-c", WRITER, root],
                stdout=subprocess.PIPE,
                cwd=Path(__file__).parents[2],
                text=True,
            )
            assert writer.stdout is not None
            try:
                self.assertEqual(writer.stdout.readline(), "ready\n")
                self.assertRaises(StoreLocked, open_store, platform_disk(), root)
                for _ in range(choice.randint(50, 400)):
                    acknowledged += map(int, writer.stdout.readline().split())
            finally:
                writer.kill()
                rest = writer.stdout.read()
                writer.wait()
                writer.stdout.close()
            # The last line may have been cut off by the kill.
            for line in rest.splitlines(keepends=True):
                if line.endswith("\n"):
                    acknowledged += map(int, line.split())
            self.check(root, acknowledged)

    def check(self, root: str, acknowledged: list[int]) -> None:
        notices: list[str] = []
        store = open_store(platform_disk(), root, notices=notices)
        self.addCleanup(store.close, NOW)
        self.assertEqual(notices, [])
        for offset in acknowledged:
            record = decode_record(store.record_at(offset), check_crc=True)
            entry = store.entry_at("T", record.queue_id, record.queue_offset)
            assert entry is not None
            self.assertEqual(entry[0], offset)
        found = store.query_by_key("T", "U0.3", 32, 0, 1 << 62)
        self.assertIn(acknowledged[3], found.offsets)
        store.close(NOW)
