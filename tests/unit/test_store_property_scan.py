"""Reads that look at the properties of each message on their way."""

from __future__ import annotations

import random
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError, WouldBlock
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.protocol.properties import unpack_properties
from rocketmq_tx.store import property_scan
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.property_scan import PropertyScan
from rocketmq_tx.store.pull import GetResult, GetStatus
from rocketmq_tx.store.records import properties_of
from tests import memory_disk
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, message, open_store

V6_HOST = bytes(16) + (50000).to_bytes(4, "big")


def tags_of(result: GetResult) -> list[str]:
    return [unpack_properties(record.properties)["TAGS"] for record in decode_records(result.body)]


def is_tagged(*tags: str) -> Any:
    return lambda stored: unpack_properties(stored).get("TAGS") in tags


class PropertyScans(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.store = open_store(self.disk)

    def send(self, *tags: str, store: MessageStore | None = None, **more: Any) -> None:
        (store or self.store).append_all([message("T", tags=tag, **more) for tag in tags], NOW)

    def get(self, offset: int, *tags: str, count: int = 32, **more: Any) -> GetResult:
        return self.store.get_messages("T", 0, offset, count, None, wants=is_tagged(*tags), **more)

    def test_wanted_messages_come_in_order_and_the_next_read_begins_behind_the_last_one_looked_at(
        self,
    ) -> None:
        self.send(*"abcabcabc")
        result = self.get(0, "a", "c", count=4)
        self.assertEqual((tags_of(result), result.next_offset, result.count), (list("acac"), 6, 4))
        self.assertIs(result.status, GetStatus.FOUND)
        result = self.get(6, "a", "c", count=4)
        self.assertEqual((tags_of(result), result.next_offset), (list("ac"), 9))
        self.assertEqual((result.min_offset, result.max_offset), (0, 9))

    def test_a_bad_sector_hides_its_own_message_only(self) -> None:
        for big_bytes in (property_scan._BIG_RECORD_BYTES, 100):
            self.patch(property_scan, "_BIG_RECORD_BYTES", big_bytes)
            self.disk = MemoryDisk()
            self.store = open_store(self.disk)
            self.send(*"abc", body=bytes(300))
            place = self.store.entry_at("T", 0, 1)[0]
            read = memory_disk._MemoryFile.pread

            def pread(file: Any, length: int, offset: int, place: int = place, read: Any = read) -> bytes:
                if "/commitlog/" in file.path and offset <= place < offset + length:
                    raise StoreError("input/output error")
                data: bytes = read(file, length, offset)
                return data

            self.patch(memory_disk._MemoryFile, "pread", pread)
            result = self.get(0, *"abc")
            self.assertEqual((result.status, tags_of(result)), (GetStatus.FOUND, ["a", "c"]))
            self.assertEqual(result.next_offset, 3)
            self.patch(memory_disk._MemoryFile, "pread", read)

    def test_a_scan_of_unwanted_messages_says_how_far_it_came(self) -> None:
        self.send(*"b" * 900)
        result = self.get(0, "a")
        self.assertEqual(
            (result.status, result.next_offset, result.body), (GetStatus.NO_MATCHED_MESSAGE, 800, b"")
        )
        self.assertEqual(self.get(800, "a").next_offset, 900)
        self.assertIs(self.get(900, "a").status, GetStatus.OFFSET_OVERFLOW_ONE)

    def test_the_limits_of_an_answer_hold(self) -> None:
        self.send(*"a" * 10, body=b"x" * 2000)
        self.store.config.max_transfer_bytes_on_message_in_memory = 5000
        self.assertEqual(self.get(0, "a").count, 2)
        self.store.config.max_transfer_bytes_on_message_in_memory = 1
        self.assertEqual(self.get(3, "a").count, 1)
        self.store.config.max_transfer_count_on_message_in_memory = 3
        self.store.config.max_transfer_bytes_on_message_in_memory = 1 << 20
        self.assertEqual(self.get(0, "a").count, 3)

    def test_the_tags_code_may_decide_first(self) -> None:
        self.send("a", "b", "a")
        code = self.store.entry_at("T", 0, 0)[2]
        looked_at: list[bytes] = []
        result = self.store.get_messages(
            "T", 0, 0, 32, code.__eq__, wants=lambda stored: not looked_at.append(stored)
        )
        self.assertEqual((tags_of(result), len(looked_at)), (["a", "a"], 2))

    def test_records_that_lie_far_apart_or_are_long_are_read_one_by_one(self) -> None:
        self.patch(property_scan, "_BIG_RECORD_BYTES", 3000)
        for number in range(30):
            self.send("ab"[number % 2], body=b"x" * (4000 if number % 3 else 10), born_host=V6_HOST)
            self.store.append_all([message("Other", body=b"y" * 9000)], NOW)
        result = self.get(0, "b")
        self.assertEqual((result.count, result.next_offset), (15, 30))
        direct = self.store.get_messages("T", 0, 0, 1)
        self.assertEqual(
            properties_of(direct.body, 0, len(direct.body)), b"TAGS\x01a", "hosts of 20 bytes move the places"
        )

    def test_a_scan_reads_a_bounded_number_of_bytes(self) -> None:
        self.patch(property_scan, "READ_BYTES_MAX", 20_000)
        for size, in_all, looked_at in ((500, 100, 64), (3000, 10, 7)):  # close together, and one by one
            end = self.store.queue_offsets("T", 0)[1]
            self.send(*"b" * in_all, body=b"x" * size)
            result = self.get(end, "a")
            self.assertEqual(
                (result.status, result.next_offset - end), (GetStatus.NO_MATCHED_MESSAGE, looked_at)
            )

    def test_bytes_that_are_not_in_memory_end_a_scan_that_came_somewhere(self) -> None:
        self.send(*"b" * 40, body=b"x" * 2000)
        second = "/store/commitlog/" + f"{65536:020d}"
        self.disk.cold.add(second)
        first_part = self.get(0, "a")
        self.assertTrue(0 < first_part.next_offset < 40)
        error = self.assertRaises(WouldBlock, self.get, first_part.next_offset, "a")
        self.store.warm(error)
        self.assertEqual(self.get(first_part.next_offset, "a").next_offset, 40)

    def test_with_leave_to_block_nothing_is_cold(self) -> None:
        self.send(*"ba" * 20)
        self.store.derived.write_all(NOW)
        self.disk.cold.update(self.disk.nodes)
        self.assertRaises(WouldBlock, self.get, 0, "a")
        self.assertEqual(self.get(0, "a", may_block=True).count, 20)

    def test_records_of_another_process_are_checked_before_they_are_believed(self) -> None:
        self.send("a", "b", "a")
        entries = [self.store.entry_at("T", 0, number) for number in range(3)]
        self.store.close(NOW)
        self.disk.spoil("/store/commitlog/" + "0" * 20, entries[0][0] + 88, b"?")
        notices: list[str] = []
        self.store = open_store(self.disk, notices=notices)
        result = self.get(0, "a")
        self.assertEqual((tags_of(result), result.next_offset), (["a"], 3))
        self.assertEqual(len(notices), 1)
        self.assertIs(self.get(0, "x").status, GetStatus.MESSAGE_WAS_REMOVING)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32), st.integers(1, 40), st.sampled_from([200, 3000, 20_000]))
    def test_scans_find_what_a_look_at_everything_finds(self, seed: int, count: int, body_max: int) -> None:
        chance = random.Random(seed)
        store = open_store(MemoryDisk())
        messages: list[NewMessage] = [
            message(
                chance.choice(["T", "T", "Other"]),
                body=chance.randbytes(chance.randrange(body_max)),
                tags=chance.choice("abc"),
                born_host=chance.choice([V6_HOST, bytes(8)]),
            )
            for _ in range(chance.randrange(1, 150))
        ]
        store.append_all(messages, NOW)
        wanted = [one.body for one in messages if one.topic == "T" and b"\x01a" in one.properties]
        found, at, end = [], 0, store.queue_offsets("T", 0)[1]
        while at < end:
            result = store.get_messages("T", 0, at, count, None, wants=is_tagged("a"))
            found += [record.body for record in decode_records(result.body)]
            self.assertGreater(result.next_offset, at)
            self.assertLessEqual(result.count, count)
            at = result.next_offset
        self.assertEqual(found, wanted)

    @settings(max_examples=60, deadline=None)
    @given(
        st.integers(0, 2**32),
        st.integers(1, 40),
        st.sampled_from([1, 1000, 5000, 1 << 20]),
        st.sampled_from([2000, 1 << 22]),
    )
    def test_looking_at_all_of_a_span_together_gives_what_one_after_the_other_gives(
        self, seed: int, count: int, most_bytes: int, most_read: int
    ) -> None:
        chance = random.Random(seed)
        self.patch(property_scan, "READ_BYTES_MAX", most_read)
        store = open_store(MemoryDisk(), max_transfer_bytes_on_message_in_memory=most_bytes)
        for _ in range(chance.randrange(1, 150)):
            sizes = chance.choice([(10, 11), (0, 300)])
            one = message(
                chance.choice(["T", "T", "Other"]),
                body=b"x" * chance.randrange(*sizes),
                tags=chance.choice("abc"),
                born_host=chance.choice([V6_HOST, *[bytes(8)] * 9]),
            )
            store.append_all([one], NOW)
        wants = is_tagged(*chance.choice(["a", "ab", "abc", "x"]))
        for at in range(store.queue_offsets("T", 0)[1]):
            together = store.get_messages("T", 0, at, count, None, wants=wants)
            with mock.patch.object(PropertyScan, "_look_together", return_value=None):
                one_by_one = store.get_messages("T", 0, at, count, None, wants=wants)
            self.assertEqual(together, one_by_one)
