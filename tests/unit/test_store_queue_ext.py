"""Queue entries whose tags code is an address in files of Apache's, which may be there, damaged or gone."""

from __future__ import annotations

import tarfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import WouldBlock
from rocketmq_tx.protocol.java import tags_code
from rocketmq_tx.protocol.message import decode_record, decode_records
from rocketmq_tx.protocol.names import SCHEDULE_TOPIC
from rocketmq_tx.store.file_layouts import ExtUnit
from rocketmq_tx.store.layouts import (
    EXT_ADDRESS_BASE,
    EXT_UNIT,
    EXT_UNIT_BYTES,
    QUEUE_ENTRY,
    QUEUE_ENTRY_BYTES,
)
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.os_disk import platform_disk
from tests import golden
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, STORE_HOST, message, open_store, small_config

FILE_BYTES = 4096
UNIT_BYTES = EXT_UNIT_BYTES + 14
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


def unit(code: int) -> bytes:
    """As Apache writes it with a bit map of 112 bits."""
    return bytes(
        ExtUnit.build({"size": UNIT_BYTES, "tags_code": code, "store_timestamp": NOW, "bit_map": bytes(14)})
    )


class LayoutTests(SynchronousTestCase):
    @given(INT64, INT64, st.binary(max_size=40))
    def test_a_unit_is_read_as_declared(self, code: int, timestamp: int, bit_map: bytes) -> None:
        size = EXT_UNIT_BYTES + len(bit_map)
        fields = {"size": size, "tags_code": code, "store_timestamp": timestamp, "bit_map": bit_map}
        packed = ExtUnit.build(fields)
        self.assertEqual(EXT_UNIT.unpack(packed[:EXT_UNIT_BYTES]), (size, code, timestamp, len(bit_map)))
        self.assertEqual(len(packed), size)


class AddressTests(SynchronousTestCase):
    """A store that closed in order, with all entries of a queue turned into addresses."""

    def setUp(self) -> None:
        self.disk = MemoryDisk()

    def turn(self, topic: str, queue_id: int) -> dict[int, bytes]:
        """Replaces the codes; returns the ext files that the addresses mean, by where they begin."""
        path = f"/store/consumequeue/{topic}/{queue_id}/{0:020d}"
        entries = bytearray(self.disk.content(path))
        files = {0: bytearray(FILE_BYTES)}
        at = 0
        for place in range(0, len(entries), QUEUE_ENTRY_BYTES):
            offset, size, code = QUEUE_ENTRY.unpack_from(entries, place)
            if not size:
                break
            if at % FILE_BYTES + UNIT_BYTES + 4 > FILE_BYTES:
                files[at - at % FILE_BYTES][at % FILE_BYTES : at % FILE_BYTES + 2] = b"\xff\xff"
                at += FILE_BYTES - at % FILE_BYTES
                files[at] = bytearray(FILE_BYTES)
            files[at - at % FILE_BYTES][at % FILE_BYTES : at % FILE_BYTES + UNIT_BYTES] = unit(code)
            QUEUE_ENTRY.pack_into(entries, place, offset, size, EXT_ADDRESS_BASE + at)
            at += UNIT_BYTES
        self.disk.put(path, bytes(entries))
        return {start: bytes(content) for start, content in files.items()}

    def put(self, topic: str, queue_id: int, files: dict[int, bytes]) -> None:
        for start, content in files.items():
            self.disk.put(f"/store/consumequeue_ext/{topic}/{queue_id}/{start:020d}", content)

    def written(self, count: int = 200) -> dict[int, bytes]:
        store = open_store(self.disk)
        store.append_all([message("T", 0, b"%d" % n, tags=f"T{n % 3}") for n in range(count)], NOW)
        store.close(NOW)
        return self.turn("T", 0)

    def pulled(self, store: MessageStore, tag: str) -> list[int]:
        found, offset, end = [], *store.queue_offsets("T", 0)
        while offset < end:
            result = store.get_messages(
                "T", 0, offset, 32, lambda code: code == tags_code(tag), may_block=True
            )
            found += [int(record.body) for record in decode_records(result.body)]
            offset = result.next_offset
        return found

    def check(self) -> None:
        store = open_store(self.disk.after_kill())
        for tag in range(3):
            self.assertEqual(self.pulled(store, f"T{tag}"), list(range(tag, 200, 3)))
        codes = [code for _, _, code in store.entries_from("T", 0, 0, 200)]
        self.assertEqual(codes, [tags_code(f"T{n % 3}") for n in range(200)])
        self.assertEqual(store.entry_at("T", 0, 4)[2], tags_code("T1"))  # type: ignore[index]

    def test_units_tell_the_tags_over_several_files(self) -> None:
        files = self.written()
        self.assertEqual(len(files), 2)
        self.put("T", 0, files)
        self.check()

    def test_units_are_believed_where_they_are(self) -> None:
        """Else filtering would read every record."""
        files = self.written()
        self.put(
            "T",
            0,
            {start: content.replace(unit(tags_code("T1")), unit(7)) for start, content in files.items()},
        )
        store = open_store(self.disk.after_kill())
        self.assertEqual(self.pulled(store, "T1"), [])

    def test_without_them_the_records_tell(self) -> None:
        files = self.written()
        self.check()
        for damaged in (b"", bytes(FILE_BYTES), b"\xff" * FILE_BYTES, files[0][:1000], b"?" + files[0]):
            self.put("T", 0, {**files, 0: damaged})
            self.check()
        self.put("T", 0, {FILE_BYTES: files[FILE_BYTES]})
        self.check()

    def test_a_delivery_time_is_kept(self) -> None:
        """Else a delayed message of Apache's would be due at once."""
        store = open_store(self.disk)
        delayed = message(SCHEDULE_TOPIC, 2, b"later", tags_code=NOW + 10_000)
        store.append_all([delayed._replace(properties=b"DELAY\x013\x02")], NOW)
        store.close(NOW)
        files = self.turn(SCHEDULE_TOPIC, 2)
        for there in (False, True):
            if there:
                self.put(SCHEDULE_TOPIC, 2, files)
            again = open_store(self.disk.after_kill())
            ((_, _, due_ms),) = again.entries_from(SCHEDULE_TOPIC, 2, 0, 10)
            self.assertEqual(due_ms, NOW + 10_000)

    def test_a_record_that_cannot_be_read_leaves_the_address(self) -> None:
        self.written(3)
        self.disk.spoil("/store/commitlog/" + "0" * 20, 88, b"?")
        store = open_store(self.disk.after_kill())
        self.assertEqual(store.entry_at("T", 0, 0)[2], EXT_ADDRESS_BASE)  # type: ignore[index]

    def test_units_that_are_not_in_memory_are_warmed(self) -> None:
        self.put("T", 0, self.written(3))
        disk = self.disk.after_kill()
        store = open_store(disk)
        path = f"/store/consumequeue_ext/T/0/{0:020d}"
        disk.cold.add(path)
        error = self.assertRaises(WouldBlock, store.get_messages, "T", 0, 0, 32, lambda code: True)
        self.assertEqual(error.path, path)
        store.warm(error)
        self.assertEqual(store.get_messages("T", 0, 0, 32, lambda code: True).count, 3)

    def test_a_deleted_topic_takes_its_files_along(self) -> None:
        self.put("T", 0, self.written(3))
        store = open_store(self.disk)
        store.delete_topic("T")
        self.assertEqual(self.disk.names("/store/consumequeue_ext/T"), [])


class ApacheTests(SynchronousTestCase):
    """The store that Apache wrote with enableConsumeQueueExt."""

    def test_filters_by_tag_give_what_the_records_say_with_the_files_and_without(self) -> None:
        folder = Path(self.mktemp())
        with tarfile.open(golden.path("store/cqext.tar.gz")) as archive:
            archive.extractall(folder, filter="data")
        root = str(folder / "cqext")
        for _ in range(2):
            store = MessageStore(small_config(root), platform_disk(), STORE_HOST)
            store.open(NOW)
            self.check(store)
            store.close(NOW)
            platform_disk().remove_tree(f"{root}/consumequeue_ext")

    def check(self, store: MessageStore) -> None:
        looked_at = 0
        for topic, queue_id in store.queues():
            first, end = store.queue_offsets(topic, queue_id)
            entries = store.entries_from(topic, queue_id, first, end - first)
            for number, (offset, _, code) in enumerate(entries, first):
                wanted = tags_code(decode_record(store.record_at(offset)).property_map.get("TAGS"))
                self.assertEqual(code, wanted)
                got = store.get_messages(topic, queue_id, number, 1, lambda code, own=wanted: code == own)
                self.assertEqual(got.count, 1)
                got = store.get_messages(
                    topic, queue_id, number, 32, lambda code, own=wanted: code not in (own, 0)
                )
                self.assertNotIn(number, [record.queue_offset for record in decode_records(got.body)])
                looked_at += 1
        self.assertGreater(looked_at, 15)
