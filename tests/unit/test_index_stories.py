"""Random stories of an index: sends, checkpoints, cuts of the log, kills, power cuts, two damages at a time.

At the end of each, every key of every message that is still in the log is found, once, and no other message
by it; or the start has said that entries are damaged and that the next one builds the index anew. A failing
story's seed stands in the message: `Story(SEED).run()` tells it again.

Not among the damages, as no start can see them without reading all entries: entries that the header counts,
a slot that leads to another slot's entry, and whatever rots after an orderly stop.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError
from rocketmq_tx.store import catching_up, derived_files, index_slots
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.layouts import CHECKPOINT_CLAIM_AT, INDEX_HEADER_BYTES, INDEX_SLOT_BYTES
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import Killed, MemoryDisk, killed_at_each_change
from tests.store_cases import NOW, message, open_store

LATER = 1 << 62
STORIES = 150
"""So many in a run, two seconds; some ten thousand with other seeds have been told."""
SLOT_COUNT_AT = 32
CHECKPOINT = "/store/checkpoint"
Damage = Callable[[random.Random, MemoryDisk, str, int], object]


def _lose_slots(choice: random.Random, disk: MemoryDisk, path: str, slots: int) -> None:
    first = choice.randrange(slots)
    count = choice.randint(1, slots - first)
    disk.spoil(path, INDEX_HEADER_BYTES + first * INDEX_SLOT_BYTES, bytes(count * INDEX_SLOT_BYTES))


def _spoil_slots(choice: random.Random, disk: MemoryDisk, path: str, slots: int) -> None:
    for _ in range(choice.randint(1, 3)):
        number = choice.choice((-1, 0, 0x7F000001, choice.randrange(50, 90)))
        at = INDEX_HEADER_BYTES + choice.randrange(slots) * INDEX_SLOT_BYTES
        disk.spoil(path, at, number.to_bytes(4, "big", signed=True))


def _spoil_slot_count(choice: random.Random, disk: MemoryDisk, path: str, slots: int) -> None:
    count = choice.choice((-1, 0, 0x7F000003))
    disk.spoil(path, SLOT_COUNT_AT, count.to_bytes(4, "big", signed=True))


def _spoil_header(choice: random.Random, disk: MemoryDisk, path: str, slots: int) -> None:
    data = choice.choice(
        (choice.randbytes(4), bytes(4), b"\xff" * 4, choice.randrange(1, 60).to_bytes(4, "big"))
    )
    disk.spoil(path, choice.randrange(0, INDEX_HEADER_BYTES, 4), data)


def _lose_file(choice: random.Random, disk: MemoryDisk, path: str, slots: int) -> None:
    disk.remove(path)


def _cut_file(choice: random.Random, disk: MemoryDisk, path: str, slots: int) -> None:
    disk.put(path, disk.content(path)[: choice.randrange(1, 200)])


def _empty_file(choice: random.Random, disk: MemoryDisk, path: str, slots: int) -> None:
    disk.put(path, bytes(len(disk.content(path))))


def _lose_claim(choice: random.Random, disk: MemoryDisk, path: str, slots: int) -> None:
    if CHECKPOINT in disk.nodes:
        disk.spoil(CHECKPOINT, CHECKPOINT_CLAIM_AT, bytes(100))


DAMAGES: tuple[Damage, ...] = (
    _lose_slots,
    _spoil_slots,
    _spoil_slot_count,
    _spoil_header,
    _lose_file,
    _cut_file,
    _empty_file,
    _lose_claim,
)


class Story:
    """One story. `told` is what happened, `sent` the topic and keys of what is in the log, by its offset."""

    def __init__(self, seed: int) -> None:
        choice = self.choice = random.Random(seed)
        self.config = {
            "mapped_file_size_commit_log": choice.choice((4096, 8192)),
            "mapped_file_size_consume_queue": 200,
            "max_index_num": choice.choice((5, 12, 40)),
            "max_hash_slot_num": choice.choice((16, 60)),
        }
        self.disk = MemoryDisk()
        self.sent: dict[int, tuple[str, tuple[str, ...]]] = {}
        self.told: list[str] = []
        self.count = 0
        self.store: MessageStore
        self.steps = (
            [self.send] * 5
            + [self.bite] * 3
            + [self.enter_keys, self.bound, self.check, self.cut]
            + [self.make_checkpoint] * 2
            + [self.half_a_checkpoint]
        )

    # -- what happens ----------------------------------------------------------------------------------------

    def run(self) -> None:
        for _ in range(self.choice.randint(2, 6)):
            self.generation()
        self.open()
        self.check()

    def generation(self) -> None:
        choice = self.choice
        self.disk.kill_at = self.disk.changes + choice.randrange(1, 60) if choice.random() < 0.8 else None
        try:
            self.open()
            for _ in range(choice.randint(1, 25)):
                step = choice.choice(self.steps)
                self.told.append(step.__name__)
                step()
            if choice.random() < 0.3:
                self.store.close(NOW + self.count)
        except Killed:
            self.told.append("killed")
        if choice.random() < 0.3:
            self.told.append("power cut")
            self.disk = self.disk.after_power_cut(choice)
        else:
            self.disk = self.disk.after_kill()
        if "/store/abort" in self.disk.nodes and choice.random() < 0.5:
            self.damage()

    def damage(self) -> None:
        paths = sorted(path for path in self.disk.nodes if "/index/" in path)
        for damage in self.choice.choices(DAMAGES, k=2):
            if paths and (self.disk.file_size(paths[-1]) or 0) > 200:
                self.told.append(damage.__name__)
                damage(self.choice, self.disk, paths[-1], self.config["max_hash_slot_num"])

    def open(self) -> None:
        self.store = open_store(self.disk, **self.config)
        self.told.append("opened")
        gone = [offset for offset in self.sent if not self.is_there(offset)]
        for offset in gone:
            del self.sent[offset]

    def is_there(self, offset: int) -> bool:
        try:
            self.store.record_at(offset)
        except StoreError:
            return False
        return True

    def send(self) -> None:
        batch = [self.make() for _ in range(self.choice.randint(1, 5))]
        placed = self.store.append_all(batch, NOW + self.count)
        self.sent |= {
            place.commit_log_offset: (each[0], each[12]) for each, place in zip(batch, placed, strict=True)
        }

    def make(self) -> NewMessage:
        choice = self.choice
        self.count += 1
        keys = [f"{choice.choice('abcd')}{choice.randrange(4)}" for _ in range(choice.choice((0, 0, 1, 2)))]
        body = bytes([self.count % 251]) * choice.randint(1, 200)
        return message(choice.choice("AB"), 0, body, unique=f"K{self.count}", keys=" ".join(keys))

    def bite(self) -> None:
        self.store.derived.write_index_bite(NOW)

    def enter_keys(self) -> None:
        self.store.derived.write_index(NOW)

    def bound(self) -> None:
        self.store.derived.bound_pending_keys(NOW)

    def make_checkpoint(self) -> None:
        self.store.derived.save_checkpoint(NOW + self.count)

    def half_a_checkpoint(self) -> None:
        """Messages come while a thread makes it."""
        job = self.store.derived.begin_checkpoint(NOW + self.count)
        self.send()
        if self.choice.random() < 0.5:
            self.enter_keys()
        job.run()
        self.store.derived.finish_checkpoint(job)

    def cut(self) -> None:
        if self.choice.random() < 0.4:
            boundary = self.store.record_boundary(
                self.choice.randint(self.store.min_offset, self.store.written_to)
            )
            kept = {offset: keys for offset, keys in self.sent.items() if offset < boundary}
            self.store.cut_tail(boundary, NOW + self.count)  # killed in between, the rest may still be there
            self.sent = kept

    # -- what has to hold ------------------------------------------------------------------------------------

    def check(self) -> None:
        wanted: dict[tuple[str, str], set[int]] = {}
        for offset, (topic, keys) in self.sent.items():
            for key in keys:
                wanted.setdefault((topic, key), set()).add(offset)
        for (topic, key), offsets in wanted.items():
            found = self.store.query_by_key(topic, key, 1000, 0, LATER).offsets
            if self.store._index.is_incomplete:
                return  # it has said so
            strange = [offset for offset in found if offset in self.sent and offset not in offsets]
            if found != sorted(set(found)) or not offsets.issubset(found) or strange:
                told = " ".join(self.told)
                raise AssertionError(f"{topic}#{key}: found {found}, wanted {sorted(offsets)}; {told}")


class Stories(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(index_slots, "_LOOKED_AT", 10)
        self.patch(index_slots, "_STEPS_BACK", 2)
        self.patch(index_slots, "_ENTERED_AGAIN", 3)
        self.patch(catching_up, "BITE_KEYS", 5)
        self.patch(derived_files, "BITES_ASIDE_MAX", 3)

    def test_every_key_is_found_whatever_two_things_have_happened_to_the_index(self) -> None:
        for seed in range(STORIES):
            try:
                Story(seed).run()
            except Exception as error:
                raise AssertionError(f"seed {seed}") from error


class Found(SynchronousTestCase):
    """The shortest of the stories that found something."""

    config = {"mapped_file_size_commit_log": 8192, "max_index_num": 12, "max_hash_slot_num": 16}

    def stored(self, messages: int) -> MemoryDisk:
        """That many messages, a key each and eleven a file, with a checkpoint, and then killed."""
        disk = MemoryDisk()
        store = open_store(disk, **self.config)
        for number in range(messages):
            store.append_all([message("T", 0, b"x", unique=f"U{number}")], NOW + number)
        store.derived.save_checkpoint(NOW)
        return disk.after_kill()

    def newest(self, disk: MemoryDisk) -> str:
        return max(path for path in disk.nodes if "/index/" in path)

    def check(self, disk: MemoryDisk, messages: int, why: str = "") -> None:
        store = open_store(disk, **self.config)
        found = [store.query_by_key("T", f"U{number}", 9, 0, LATER).offsets for number in range(messages)]
        self.assertEqual([len(offsets) for offsets in found], [1] * messages, why)

    def test_a_full_newest_file_is_looked_through_where_there_is_no_claim(self) -> None:
        disk = self.stored(11)
        disk.spoil(self.newest(disk), INDEX_HEADER_BYTES, bytes(16 * INDEX_SLOT_BYTES))
        disk.spoil(CHECKPOINT, CHECKPOINT_CLAIM_AT, bytes(100))
        self.check(disk, 11)

    def test_a_next_file_that_was_just_begun_does_not_hide_that_the_one_before_is_not_whole(self) -> None:
        disk = self.stored(11)
        disk.spoil(self.newest(disk), INDEX_HEADER_BYTES, bytes(16 * INDEX_SLOT_BYTES))
        disk.spoil(CHECKPOINT, CHECKPOINT_CLAIM_AT, bytes(100))

        def go_on(image: MemoryDisk) -> None:
            store = open_store(image, **self.config)
            store.append_all([message("T", 0, b"x", unique="U11")], NOW + 11)
            store.derived.save_checkpoint(NOW)

        for change, image in killed_at_each_change(disk, go_on):
            image = image.after_kill()
            if CHECKPOINT in image.nodes:
                image.spoil(CHECKPOINT, CHECKPOINT_CLAIM_AT, bytes(100))
            self.check(image, 11, f"killed at change {change}")

    def test_a_count_of_slots_that_fits_what_is_left_of_them_does_not_hide_the_loss(self) -> None:
        disk = self.stored(8)
        path = self.newest(disk)
        content = disk.content(path)
        places = range(INDEX_HEADER_BYTES, INDEX_HEADER_BYTES + 16 * INDEX_SLOT_BYTES, INDEX_SLOT_BYTES)
        newest = max(places, key=lambda at: content[at : at + INDEX_SLOT_BYTES])
        used = sum(any(content[at : at + INDEX_SLOT_BYTES]) for at in places)
        disk.spoil(path, newest, bytes(INDEX_SLOT_BYTES))
        disk.spoil(path, SLOT_COUNT_AT, (used - 1).to_bytes(4, "big"))
        self.check(disk, 8)

    def test_times_of_a_damaged_header_are_taken_from_the_log(self) -> None:
        for at in (0, 8):
            for data in (b"\x7f" + bytes(7), b"\xff" * 8):
                disk = self.stored(8)
                disk.spoil(self.newest(disk), at, data)
                self.check(disk, 8, f"{data!r} at {at}")

    def test_a_kill_while_files_are_removed_leaves_no_gap_before_those_that_stay(self) -> None:
        disk = self.stored(40)
        disk.remove(self.newest(disk))  # the claim does not fit any more: all are built again

        for change, image in killed_at_each_change(disk, lambda image: open_store(image, **self.config)):
            image = image.after_kill()
            image.spoil(CHECKPOINT, CHECKPOINT_CLAIM_AT, bytes(100))
            self.check(image, 40, f"killed at change {change}")

    def test_without_a_claim_a_file_that_does_not_count_takes_those_behind_it_along(self) -> None:
        for data in (b"\x7f" + bytes(7), bytes(8)):
            disk = self.stored(40)
            first = min(path for path in disk.nodes if "/index/" in path)
            if any(data):
                disk.spoil(first, 8, data)
            else:
                disk.put(first, bytes(len(disk.content(first))))
            disk.spoil(CHECKPOINT, CHECKPOINT_CLAIM_AT, bytes(100))
            self.check(disk, 40)
