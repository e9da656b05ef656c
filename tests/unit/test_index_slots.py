"""The slots of an index file that a crash has left are looked through, and made good, after the start."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.store import catching_up, index_slots
from rocketmq_tx.store.index_file import IndexFile
from rocketmq_tx.store.index_slots import SlotReading
from rocketmq_tx.store.layouts import (
    INDEX_ENTRY_BYTES,
    INDEX_HEADER_BYTES,
    INDEX_SLOT_BYTES,
)
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.segments import OpenFiles
from tests.memory_disk import Killed, MemoryDisk, killed_at_each_change
from tests.store_cases import NOW, message, open_store

PATH = "/index/20260101000000000"
SLOTS, ENTRIES = 40, 60
ENTRIES_AT = INDEX_HEADER_BYTES + SLOTS * INDEX_SLOT_BYTES
HASHES = st.lists(st.integers(1, 2**31 - 1) | st.integers(1, 50), max_size=30)
LATER = 1 << 62


def file_with(disk: MemoryDisk, hashes: list[int], *, first: int = 0) -> IndexFile:
    """A new file with these, message by message, all of it on the disk."""
    file = IndexFile(OpenFiles(disk), PATH, SLOTS, ENTRIES)
    file.create()
    add(file, hashes, first)
    file.snapshot().run()
    return file


def add(file: IndexFile, hashes: list[int], first: int = 0) -> None:
    file.add(hashes, range(first * 100, (first + len(hashes)) * 100, 100), [NOW] * len(hashes))


def read_later(disk: MemoryDisk) -> tuple[IndexFile, int]:
    """The file as a start takes it, looked through; and how many bites that took."""
    file = IndexFile(OpenFiles(disk), PATH, SLOTS, ENTRIES)
    file.load()
    file.read_slots_later()
    bites = 1
    while file.read_on():
        bites += 1
    return file, bites


def chain(file: IndexFile, key_hash: int) -> list[int]:
    """Numbers that messages of that hash have."""
    found, number = [], file.newest(key_hash, True)
    while 0 < number < file.index_count:
        found_hash, offset, _, number = file.entry(number, True)
        if found_hash == key_hash:
            found.append(offset // 100)
    return found


def slot_at(slot: int) -> int:
    return INDEX_HEADER_BYTES + slot * INDEX_SLOT_BYTES


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(index_slots, "_LOOKED_AT", 7)
        self.patch(index_slots, "_ENTERED_AGAIN", 3)

    @given(HASHES, HASHES, st.binary(min_size=SLOTS, max_size=SLOTS))
    def test_slots_of_entries_that_the_header_does_not_count_go_back_whichever_were_written(
        self, counted: list[int], further: list[int], which: bytes
    ) -> None:
        """A checkpoint writes slots, then the header: a kill in between leaves any of the slots."""
        disk = MemoryDisk()
        file = file_with(disk, counted)
        wanted = disk.content(PATH)[:ENTRIES_AT]
        add(file, further, len(counted))
        file.snapshot().run()
        ahead = disk.content(PATH)
        disk.spoil(PATH, 0, wanted)
        for slot, written in enumerate(which):
            if written % 2:
                disk.spoil(PATH, slot_at(slot), ahead[slot_at(slot) : slot_at(slot + 1)])
        again, bites = read_later(disk)
        self.assertEqual((bites, again.is_mended), (-(-SLOTS // 7), False))
        again.snapshot().run()
        self.assertEqual(disk.content(PATH)[:ENTRIES_AT], wanted)

    @given(HASHES.filter(bool), HASHES, st.data())
    def test_a_damaged_table_is_made_again_from_the_entries_as_it_was(
        self, counted: list[int], further: list[int], data: st.DataObject
    ) -> None:
        disk = MemoryDisk()
        file = file_with(disk, counted)
        wanted = disk.content(PATH)[:ENTRIES_AT]
        used = [slot for slot in range(SLOTS) if any(wanted[slot_at(slot) : slot_at(slot + 1)])]
        add(file, further, len(counted))  # their entries stand behind
        lost = data.draw(st.lists(st.sampled_from(used), min_size=1, unique=True))
        for slot in lost:
            disk.spoil(PATH, slot_at(slot), bytes(INDEX_SLOT_BYTES))
        again, _ = read_later(disk)
        self.assertEqual((again.is_mended, again.lacks_entries), (True, False))
        for number, key_hash in enumerate(counted):
            self.assertIn(number, chain(again, key_hash))
        again.snapshot().run()
        self.assertEqual(disk.content(PATH)[:ENTRIES_AT], wanted)

    def test_numbers_that_no_slot_can_have_and_chains_of_others_are_damage(self) -> None:
        """The latter: another start has entered other keys behind the header, and was killed as well."""
        disk = MemoryDisk()
        file = file_with(disk, [1, 2, 1])
        wanted = disk.content(PATH)[:ENTRIES_AT]
        add(file, [2, 1], 3)
        file.snapshot().run()
        ahead = disk.content(PATH)
        disk.spoil(PATH, 0, wanted)
        disk.spoil(PATH, slot_at(1), ahead[slot_at(1) : slot_at(3)])
        entries = ENTRIES_AT + 4 * INDEX_ENTRY_BYTES
        for damage in (
            lambda image: image.spoil(PATH, slot_at(1), b"\xff" * 4),
            # The entries that slots 1 and 2 name, but written by somebody else, for one another.
            lambda image: image.spoil(
                PATH,
                entries,
                ahead[entries + INDEX_ENTRY_BYTES : entries + 2 * INDEX_ENTRY_BYTES]
                + ahead[entries : entries + INDEX_ENTRY_BYTES],
            ),
        ):
            image = disk.after_kill()
            damage(image)
            again, _ = read_later(image)
            self.assertEqual((again.is_mended, again.lacks_entries), (True, False))
            again.snapshot().run()
            self.assertEqual(image.content(PATH)[:ENTRIES_AT], wanted)

    def test_slots_are_led_back_over_long_chains_some_steps_at_a_time(self) -> None:
        self.patch(index_slots, "_STEPS_BACK", 4)
        disk = MemoryDisk()
        file = file_with(disk, [1, 2, 3])
        wanted = disk.content(PATH)[:ENTRIES_AT]
        add(file, [1] * 20 + [2] * 21, 3)
        file.snapshot().run()
        disk.spoil(PATH, 0, wanted[:INDEX_HEADER_BYTES])
        steps = []
        again = IndexFile(OpenFiles(disk), PATH, SLOTS, ENTRIES)
        again.load()
        again.read_slots_later()
        entry = SlotReading._entry
        reads: list[int] = []
        self.patch(SlotReading, "_entry", lambda *args: (reads.append(1), entry(*args))[1])
        left = True
        while left:
            left = again.read_on()
            steps.append(len(reads))
            reads.clear()
        self.assertEqual((max(steps), sum(steps)), (4, 41 + 2))
        again.snapshot().run()
        self.assertEqual((disk.content(PATH)[:ENTRIES_AT], again.is_mended), (wanted, False))

    def test_entries_that_were_never_written_are_no_damage(self) -> None:
        disk = MemoryDisk()
        file_with(disk, [1, 2])
        wanted = disk.content(PATH)[:ENTRIES_AT]
        disk.spoil(PATH, slot_at(5), (7).to_bytes(4, "big"))
        again, _ = read_later(disk)
        self.assertFalse(again.is_mended)
        again.snapshot().run()
        self.assertEqual(disk.content(PATH)[:ENTRIES_AT], wanted)

    def test_wrong_links_between_entries_are_made_good_and_wrong_entries_are_told(self) -> None:
        for at, lacks in ((16, False), (0, True), (4, True), (12, True)):  # link, hash, offset, seconds
            for number in (1, 2, 5):
                disk = MemoryDisk()
                file_with(disk, [1, 41, 1, 2, 81])
                wanted = disk.content(PATH)
                disk.spoil(PATH, slot_at(1), bytes(4))
                disk.spoil(PATH, ENTRIES_AT + number * INDEX_ENTRY_BYTES + at, b"\xff" * 4)
                again, _ = read_later(disk)
                self.assertEqual((again.is_mended, again.lacks_entries), (True, lacks), (at, number))
                again.snapshot().run()
                if not lacks:
                    self.assertEqual(disk.content(PATH), wanted)

    @settings(max_examples=40, deadline=None)
    @given(HASHES.filter(lambda hashes: len(hashes) > 2), st.integers(0, 1 << 32))
    def test_a_crash_while_a_table_is_made_good_has_it_made_good_again(
        self, counted: list[int], seed: int
    ) -> None:
        disk = MemoryDisk()
        file_with(disk, counted)
        wanted = disk.content(PATH)[:ENTRIES_AT]
        choice = random.Random(seed)
        for _ in range(choice.randint(1, 10)):
            disk.spoil(PATH, slot_at(choice.randrange(SLOTS)), choice.randbytes(4))
        whole = disk.after_kill()

        def mend(image: MemoryDisk) -> bool:
            again, _ = read_later(image)
            again.snapshot().run()
            return again.is_mended

        was_damaged = mend(whole)
        for kill_at in range(whole.changes if was_damaged else 0):
            image = disk.after_kill()
            image.kill_at = kill_at
            self.assertRaises(Killed, mend, image)
            for left in (image.after_kill(), image.after_power_cut(choice)):
                mend(left)
                self.assertEqual(left.content(PATH)[:ENTRIES_AT], wanted, f"killed at change {kill_at}")


class StoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(index_slots, "_LOOKED_AT", 100)
        self.patch(index_slots, "_ENTERED_AGAIN", 10)
        self.patch(catching_up, "BITE_KEYS", 8)
        self.notices: list[str] = []

    def open(self, disk: MemoryDisk) -> MessageStore:
        return open_store(disk, notices=self.notices)

    def send(self, store: MessageStore, begin: int, end: int) -> None:
        for number in range(begin, end):
            store.append_all([message("T", 0, b"%d" % number, unique=f"U{number}")], NOW + number)

    def killed(self, damage: Callable[[MemoryDisk, str], None] | None = None) -> MemoryDisk:
        """60 messages, of which a checkpoint covers 30 and their keys."""
        disk = MemoryDisk()
        store = self.open(disk)
        self.send(store, 0, 30)
        store.derived.save_checkpoint(NOW)
        self.send(store, 30, 60)
        image = disk.after_kill()
        (path,) = [path for path in image.nodes if "/index/" in path]
        if damage is not None:
            damage(image, path)
        return image

    def missing(self, store: MessageStore) -> list[int]:
        """Numbers of the messages that are served, but not found by their key, or twice."""
        bodies, at = [], 0
        while at < store.queue_offsets("T", 0)[1]:
            result = store.get_messages("T", 0, at, 32)
            bodies += [int(record.body) for record in decode_records(result.body)]
            at = result.next_offset
        found = {number: store.query_by_key("T", f"U{number}", 32, 0, LATER).offsets for number in bodies}
        return [number for number, offsets in found.items() if len(offsets) != 1]

    @staticmethod
    def without_slots(image: MemoryDisk, path: str) -> None:
        image.spoil(path, slot_at(100), bytes(300 * INDEX_SLOT_BYTES))

    @staticmethod
    def without_slots_and_entries(image: MemoryDisk, path: str) -> None:
        image.spoil(path, slot_at(100), bytes(400 * INDEX_SLOT_BYTES + 10 * INDEX_ENTRY_BYTES))

    def test_a_start_after_a_kill_reads_no_slots_and_whatever_needs_them_has_them_read(self) -> None:
        image = self.killed()
        needs: dict[str, Callable[[MessageStore], object]] = {
            "bites": lambda store: [store.derived.write_index_bite(NOW) for _ in range(20)],
            "a query": lambda store: store.query_by_key("T", "U1", 1, 0, LATER),
            "a flush of keys": lambda store: store.derived.write_index(NOW),
            "a checkpoint": lambda store: store.derived.save_checkpoint(NOW),
            "an orderly stop": lambda store: store.close(NOW),
            "too many keys": lambda store: [store.derived.bound_pending_keys(NOW) for _ in range(20)],
        }
        for why, needs_them in needs.items():
            disk = image.after_kill()
            store = self.open(disk)
            self.send(store, 60, 61)
            self.assertTrue(store.derived.is_index_behind, why)
            needs_them(store)
            self.assertFalse(store.derived.is_index_behind, why)
            again = self.open(disk.after_kill())
            self.assertEqual(self.missing(again), [], why)
        self.assertEqual(self.notices, [])

    def test_after_an_orderly_stop_there_is_nothing_to_look_through(self) -> None:
        disk = self.killed()
        self.open(disk).close(NOW)
        self.assertFalse(self.open(disk).derived.is_index_behind)

    def test_slots_that_cannot_be_read_let_keys_wait_and_are_read_when_they_can(self) -> None:
        disk = self.killed()
        store = self.open(disk)
        store.derived.write_index_bite(NOW)
        disk.fail("read", "/index/", errno.EIO)
        self.assertRaises(StoreError, store.derived.write_index_bite, NOW)
        self.assertRaises(StoreError, store.derived.save_checkpoint, NOW)
        self.send(store, 60, 61)
        disk.heal()
        self.assertEqual(self.missing(store), [])

    def test_a_damaged_table_is_told_once_and_all_keys_are_found_whenever_the_next_crash_comes(self) -> None:
        image = self.killed(self.without_slots)

        def live(disk: MemoryDisk) -> MessageStore:
            store = self.open(disk)
            self.send(store, 60, 62)
            while store.derived.write_index_bite(NOW):
                pass
            self.send(store, 62, 64)
            store.derived.save_checkpoint(NOW)
            return store

        whole = image.after_kill()
        self.notices.clear()
        self.assertEqual(self.missing(live(whole)), [])
        (notice,) = self.notices
        self.assertIn("were damaged and have been made again from its entries", notice)
        choice = random.Random(5)
        for kill_at, disk in killed_at_each_change(image, live):
            for left in (disk.after_kill(), disk.after_power_cut(choice)):
                store = self.open(left)
                self.assertGreaterEqual(store.queue_offsets("T", 0)[1], 30)
                self.assertEqual(self.missing(store), [], f"killed at change {kill_at}")
        self.notices.clear()
        self.open(whole.after_kill())
        self.assertEqual(self.notices, [])

    def test_where_entries_are_damaged_too_the_next_start_builds_the_index_however_this_one_ends(
        self,
    ) -> None:
        image = self.killed(self.without_slots_and_entries)
        for ends in ("killed", "killed behind a checkpoint", "in order"):
            disk = image.after_kill()
            self.notices.clear()
            store = self.open(disk)
            self.send(store, 60, 61)
            self.assertEqual(self.missing(store), list(range(9)))
            self.assertEqual(len(self.notices), 2)
            self.assertIn("the next start builds the index from the whole log", self.notices[1])
            if ends == "in order":
                store.close(NOW)
            elif ends != "killed":
                store.derived.save_checkpoint(NOW)
                self.send(store, 61, 62)
            self.notices.clear()
            disk = disk.after_kill()
            again = self.open(disk)
            if ends == "killed":  # what it did was for nothing
                self.assertEqual(self.missing(again), list(range(9)))
                again.close(NOW)
                again = self.open(disk)
            self.assertIn(
                "there is no complete message index: it is built from the whole log", self.notices, ends
            )
            self.assertEqual(self.missing(again), [], ends)
            self.assertFalse(again._index.is_incomplete)
