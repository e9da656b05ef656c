"""A store directory that goes from our broker to Apache RocketMQ 4.9.7 and back: nothing is lost on the way.

Each server has to serve, byte for byte, whatever any of them has acknowledged before, and goes on writing
behind it, after an ordered stop of the other and after a SIGKILL.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.store.read_only_disk import ReadOnlyDisk
from rocketmq_tx.store.store_files import IndexSize, StoreFiles
from rocketmq_tx.store.verify import verify
from tests.interop import toolchain
from tests.interop.store_exchange import Exchange, Ledger

SMALL = {
    "mappedFileSizeCommitLog": 65_536,
    "mappedFileSizeConsumeQueue": 6_000,
    "maxHashSlotNum": 500,
    "maxIndexNum": 400,
    "maxMessageSize": 32_768,
}
SEEDS = {
    # Apache 4.9.7 reads this spelling only; the guides' older one means the same to us.
    "mappedFileSizeConsumeQueue": 300_000,
    "mappedFileSizeCommitLog": 1 << 30,
}
QUEUE_FILE_ENTRIES = 300_000 // 20

BOTH_WAYS = (("ours", "stop"), ("apache", "kill"), ("ours", "kill"), ("apache", "stop"), ("ours", "stop"))


class StoreInterchangeTests(SynchronousTestCase):
    timeout = 600

    def setUp(self) -> None:
        toolchain.require_java()
        self.folder = Path(tempfile.mkdtemp(prefix="exchange-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def hand_around(
        self, turns: tuple[tuple[str, str], ...], keys: dict[str, int], bulk: int = 0
    ) -> Exchange:
        """Each broker in turn checks all, writes, checks again and ends as told."""
        exchange, ledger = Exchange(self.folder, dict(keys)), Ledger()
        self.addCleanup(exchange.kill)
        ended = ""
        for name, end in turns:
            with exchange.start(name) as client:
                ledger.check(client)
                if ended == "stop":
                    ledger.check_committed(client)
                ended = end
                ledger.commit(client)
                ledger.write_some(client)
                for _ in range(bulk // 100):
                    ledger.write_batch(client, "Bulk", 0, 100)
                ledger.check(client)
            if end == "stop":
                exchange.stop()
            else:
                exchange.kill()
            self.assertEqual(self.damage(exchange, keys), [], f"after the {end} of {name}")
        return exchange

    def damage(self, exchange: Exchange, keys: dict[str, int]) -> list[str]:
        """What `mqstore verify` holds against the store now."""
        index_size = IndexSize(keys.get("maxHashSlotNum", 5_000_000), keys.get("maxIndexNum", 20_000_000))
        report = verify(StoreFiles(ReadOnlyDisk(), str(exchange.store), index_size=index_size))
        self.assertTrue(report.index_looked_at)
        return [finding.sentence for finding in report.findings.kept if finding.is_damage]

    def test_small_files_go_both_ways_after_stops_and_kills(self) -> None:
        exchange = self.hand_around(BOTH_WAYS, SMALL)
        self.assertGreater(len(list((exchange.store / "commitlog").iterdir())), 4)
        self.assertGreater(len(list((exchange.store / "index").iterdir())), 1)

    def test_small_files_that_apache_began_go_both_ways(self) -> None:
        self.hand_around((("apache", "stop"), ("ours", "kill"), ("apache", "kill"), ("ours", "stop")), SMALL)

    def test_the_sizes_of_the_guides_go_both_ways_over_the_end_of_a_queue_file(self) -> None:
        exchange = self.hand_around(BOTH_WAYS, SEEDS, bulk=QUEUE_FILE_ENTRIES // 4)
        self.assertEqual(
            [file.stat().st_size for file in sorted((exchange.store / "consumequeue/Bulk/0").iterdir())],
            [300_000, 300_000],
        )
        log = exchange.store / "commitlog" / f"{0:020d}"
        self.assertEqual(log.stat().st_size, 1 << 30)
        self.assertLess(log.stat().st_blocks * 512, 64 << 20)
