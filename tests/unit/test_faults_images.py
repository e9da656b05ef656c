"""Rows 3, 13, 14 and 15 of the faults: images of disks as power cuts and rot leave them, by the thousand.

Each image is opened, must serve everything that was flushed, and nothing that was never appended; closed in
order, it must then be sound in the eyes of `mqstore verify`, which holds log, queues and index against each
other with code of its own. A failure names the seed and the image. ROCKETMQ_TX_IMAGES asks for more of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.message import decode_record
from rocketmq_tx.store.file_layouts import CheckpointTimes
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.store_files import IndexSize, StoreFiles
from rocketmq_tx.store.verify import VerifyReport, verify
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, message, open_store
from tests.unit.test_store_crash import SEGMENT, SMALL, Workload, served

IMAGES = int(os.environ.get("ROCKETMQ_TX_IMAGES", "20000"))
"""Images of power cuts: these take half a minute."""
SEED = int(os.environ.get("ROCKETMQ_TX_SEED", "0")) or random.randrange(1 << 32)
STEPS = 30
LOG = "/store/commitlog/"
PROPERTIES_BYTES = len("UNIQ_KEY=K12")
INDEX_SIZE = IndexSize(500, SMALL["max_index_num"])


class ImageCase(SynchronousTestCase):
    def found(self, store: MessageStore) -> dict[int, tuple[str, int, int, bytes]]:
        """Everything served, by its place in the log; each queue's numbers only go up."""
        found = {}
        for (topic, queue_id), records in served(store).items():
            numbers = [record.queue_offset for record in records]
            self.assertEqual(numbers, sorted(set(numbers)))
            for record in records:
                found[record.commit_log_offset] = (topic, queue_id, record.queue_offset, record.body)
        return found

    def check(self, image: MemoryDisk, work: Workload, kept_to: int) -> VerifyReport:
        """Opens the image: all acknowledged below `kept_to` is there, and nothing that was never sent."""
        store = open_store(image, **SMALL)
        found = self.found(store)
        for offset, wanted in work.acknowledged.items():
            if offset < kept_to:
                self.assertEqual(found.get(offset), wanted)
        for offset, got in found.items():
            self.assertEqual(got, work.acknowledged.get(offset))
        store.close(NOW)
        return self.sound(image)

    def sound(self, image: MemoryDisk) -> VerifyReport:
        """What is withheld in the log may be damaged; queues and index may not."""
        report = verify(StoreFiles(image, "/store", index_size=INDEX_SIZE))
        derived = [
            finding.sentence
            for finding in report.findings.kept
            if finding.is_damage
            and "is damaged" not in finding.sentence
            and "are no record" not in finding.sentence
        ]
        self.assertEqual(derived, [])
        return report


class PowerCutTests(ImageCase):
    def test_every_image_between_syncs_keeps_what_was_flushed(self) -> None:
        """Row 3: unsynced writes lost in any subset, names in the order in which they changed."""
        images = seed = 0
        while images < IMAGES:
            seed += 1
            for step, work in self.stages(SEED + seed):
                choice = random.Random(f"{SEED + seed} {step}")
                for cut in range(4):
                    images += 1
                    try:
                        self.check(work.disk.after_power_cut(choice), work, work.flushed_to)
                    except BaseException:
                        print(f"ROCKETMQ_TX_SEED={SEED}: workload {SEED + seed}, step {step}, cut {cut}")
                        raise
        print(f"{images} images of power cuts, {seed} workloads, ROCKETMQ_TX_SEED={SEED}")

    def stages(self, seed: int) -> Iterator[tuple[int, Workload]]:
        """The workload after each of its steps."""
        work = Workload(MemoryDisk(), seed)
        store = open_store(work.disk, **SMALL)
        for step in range(STEPS):
            work.step(store)
            work.flushed_to = store.flushed_to
            yield step, work


class TailTests(ImageCase):
    """Row 13: whatever stands where the last record was torn."""

    def written(self) -> tuple[MemoryDisk, Workload, int, int]:
        """(disk as a kill leaves it, what was sent, where the last record is, its size)."""
        work = Workload(MemoryDisk(), 13)
        store = open_store(work.disk, **SMALL)
        for _ in range(12):
            (placed,) = store.append_all([work.make()], NOW + work.count)
            record = store.record_at(placed.commit_log_offset)
            self.remember(work, record)
        store.derived.write_all(NOW)
        return work.disk, work, placed.commit_log_offset, placed.size

    def remember(self, work: Workload, data: bytes) -> None:
        record = decode_record(data)
        work.acknowledged[record.commit_log_offset] = (
            record.topic, record.queue_id, record.queue_offset, record.body,
        )  # fmt: skip

    def test_a_tail_torn_at_any_byte_with_anything_behind_it_is_cut(self) -> None:
        disk, work, last, size = self.written()
        start = last - last % SEGMENT
        path = f"{LOG}{start:020d}"
        whole = disk.content(path)
        choice = random.Random(13)
        for cut in range(size):
            kept = whole[: last - start + cut]
            old = whole[: SEGMENT - len(kept)]
            for name, behind in (
                ("zeros", bytes(SEGMENT - len(kept))),
                ("ones", b"\xff" * (SEGMENT - len(kept))),
                ("noise", choice.randbytes(SEGMENT - len(kept))),
                ("older records", old.ljust(SEGMENT - len(kept), b"\0")),
            ):
                image = disk.after_kill()
                image.put(path, kept + behind)
                why = f"cut after {cut} of {size} bytes, {name} behind"
                try:
                    report = self.check(image, work, last)
                except BaseException:
                    print(why)
                    raise
                self.assertTrue(report.is_clean, why)
                if cut < size - PROPERTIES_BYTES or name == "zeros":
                    self.assertEqual(report.log_end_offset, last, why)
                else:  # no checksum covers properties: text in the place of text is taken for them
                    self.assertIn(report.log_end_offset, (last, last + size), why)

    def test_a_wrong_checksum_is_cut_at_the_end_and_withheld_before_another(self) -> None:
        disk, work, last, size = self.written()
        path = f"{LOG}{last - last % SEGMENT:020d}"
        body_at = last % SEGMENT + 84 + 5
        image = disk.after_kill()
        image.spoil(path, body_at, bytes([image.content(path)[body_at] ^ 1]))
        self.assertEqual(self.check(image, work, last).log_end_offset, last)

        image = disk.after_kill()
        following = open_store(image, **SMALL)
        (placed,) = following.append_all([message("A", 0, b"x", unique="x")], NOW + 100)
        self.remember(work, following.record_at(placed.commit_log_offset))
        image = image.after_kill()
        image.spoil(path, body_at, bytes([image.content(path)[body_at] ^ 1]))
        report = self.check(image, work, last)
        self.assertEqual(
            [finding.sentence for finding in report.findings.kept if finding.is_damage],
            [f"the record at {last} ({size} bytes) is damaged"],
        )
        self.assertEqual(report.log_end_offset, placed.commit_log_offset + placed.size)


class CheckpointTests(ImageCase):
    def test_any_checkpoint_and_a_stale_abort_file_lead_to_a_right_start(self) -> None:
        """Row 14: missing, future, garbage, older, of another store; an abort file after a clean end."""
        for seed in range(12):
            work = Workload(MemoryDisk(), SEED + seed)
            checkpoints = []
            store = open_store(work.disk, **SMALL)
            for _ in range(40):
                work.step(store)
                if "/store/checkpoint" in work.disk.nodes:
                    checkpoints.append(work.disk.content("/store/checkpoint"))
            killed = work.disk.after_kill()
            store.close(NOW)
            closed = work.disk.after_kill()
            closed.put("/store/abort", b"")
            other = Workload(MemoryDisk(), SEED + 1000 + seed)
            other.run(25)
            for name, content in self.variants(checkpoints, other.disk, random.Random(SEED + seed)):
                for ended, disk in (("killed", killed), ("closed, abort left", closed)):
                    image = disk.after_kill()
                    if content is None:
                        image.remove("/store/checkpoint")
                    else:
                        image.put("/store/checkpoint", content)
                    try:
                        self.assertTrue(self.check(image, work, 1 << 60).is_clean)
                    except BaseException:
                        print(f"ROCKETMQ_TX_SEED={SEED}: workload {SEED + seed}, {ended}, checkpoint {name}")
                        raise

    def variants(
        self, own: list[bytes], other: MemoryDisk, choice: random.Random
    ) -> Iterator[tuple[str, bytes | None]]:
        yield "missing", None
        yield "empty", b""
        yield "zeros", bytes(4096)
        yield "garbage", choice.randbytes(4096)
        for name, time in (("future", 1 << 62), ("negative", -5), ("now", NOW + 3500)):
            times = {"commit_log_ms": time, "queues_ms": time, "index_ms": time}
            yield name, CheckpointTimes.build(times).ljust(4096, b"\0")
        if own:
            yield "older", choice.choice(own)
        if "/store/checkpoint" in other.nodes:
            yield "of another store", other.content("/store/checkpoint")


class DerivedTests(ImageCase):
    def test_queues_and_index_in_any_state_are_right_after_a_start(self) -> None:
        """Row 15: missing, short, zeros, garbage, or ahead of the log, after a kill."""
        for seed in range(150):
            work = Workload(MemoryDisk(), SEED + seed)
            work.run(30)
            image = work.disk.after_kill()
            choice = random.Random(SEED + seed)
            paths = [path for path in image.nodes if "/consumequeue/" in path or "/index/" in path]
            said = []
            for path in choice.sample(paths, min(len(paths), choice.randint(1, 3))):
                content = image.content(path)
                what, damaged = self.damage(content, "/index/" in path, choice)
                said.append(f"{path} {what}")
                if damaged is None:
                    image.remove(path)
                else:
                    image.put(path, damaged)
            image.remove("/store/checkpoint")
            try:
                self.assertTrue(self.check(image, work, 1 << 60).is_clean)
            except BaseException:
                print(f"ROCKETMQ_TX_SEED={SEED}: workload {SEED + seed}, {said}")
                raise

    def damage(self, content: bytes, is_index: bool, choice: random.Random) -> tuple[str, bytes | None]:
        """What became of a file; None when it is gone."""
        used = len(content.rstrip(b"\0"))
        used += -used % 20
        ahead = (1 << 40).to_bytes(8, "big") + (100).to_bytes(4, "big") + bytes(8)
        results: dict[str, bytes | None] = {
            "missing": None,
            "short": content[: choice.randrange(len(content))],
            "empty": b"",
            "zeros": bytes(len(content)),
            "garbage": choice.randbytes(len(content)),
        }
        if not is_index and used < len(content):
            results["ahead"] = content[:used] + ahead + content[used + 20 :]
        kind = choice.choice(list(results))
        return kind, results[kind]
