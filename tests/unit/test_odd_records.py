"""Records that look plain and are not, or end where none usually does, cost nobody else a message."""

from __future__ import annotations

import zlib

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.records import HEADS
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, SEGMENT, message, open_store

QUEUE_FILE = "/store/consumequeue/T/0/" + "0" * 20


def record(offset: int, number: int, body_bytes: int, topic: bytes = b"T") -> bytes:
    """A record without properties, whose body is zeros: its checksum is not looked at, or right."""
    body = bytes(body_bytes)
    size = HEADS[8, 8].size + body_bytes + 3 + len(topic)
    head = HEADS[8, 8].pack(
        size, 0xDAA320A7, zlib.crc32(body) & 0x7FFFFFFF, 0, 0, number, offset, 0, NOW, bytes(8), NOW,
        bytes(8), 0, 0, body_bytes,
    )  # fmt: skip
    return head + body + bytes((len(topic),)) + topic + b"\0\0"


class SegmentEnds(SynchronousTestCase):
    def test_a_record_behind_one_that_ends_with_its_file_is_found(self) -> None:
        """No broker writes such logs: a blank fits behind each record. Tools may."""
        log, number = b"", 0
        while len(log) < SEGMENT:
            left = SEGMENT - len(log)
            log += record(len(log), number, 100 if left > 1000 else left - 92)
            number += 1
        self.assertEqual(len(log), SEGMENT)
        log += record(len(log), number, 100)
        disk = MemoryDisk()
        disk.put("/store/commitlog/" + "0" * 20, log[:SEGMENT])
        disk.put(f"/store/commitlog/{SEGMENT:020d}", log[SEGMENT:].ljust(SEGMENT, b"\0"))
        notices: list[str] = []
        store = open_store(disk, notices=notices)
        self.assertEqual(store.queue_offsets("T", 0), (0, number + 1))
        self.assertEqual([said for said in notices if "damaged" in said], [])
        self.assertEqual(store.entry_at("T", 0, number)[:2], (SEGMENT, 192))


class Topics(SynchronousTestCase):
    def test_a_flipped_bit_in_a_long_topic_keeps_no_broker_from_starting(self) -> None:
        """Replaced, what is no UTF-8 takes three bytes: the name would be too long for a queue."""
        disk = MemoryDisk()
        store = open_store(disk)
        for _ in range(5):
            store.append_all([message("x" * 127)], NOW)
        killed = disk.after_kill()
        path = "/store/commitlog/" + "0" * 20
        at = store.entry_at("x" * 127, 0, 2)[0] + HEADS[8, 8].size + len(b"hello") + 1
        killed.spoil(path, at, b"\xf8")
        self.assertEqual(open_store(killed).queue_offsets("x" * 127, 0), (0, 5))


class QueuesThatBeginAnew(SynchronousTestCase):
    def test_a_checkpoint_leaves_the_file_that_has_the_name_of_a_condemned_one(self) -> None:
        disk = MemoryDisk()
        slave = open_store(disk)
        for number in range(900):
            self.give(slave, number)
        slave.derived.save_checkpoint(NOW)
        for _ in range(2):
            oldest = slave.expiry.oldest()
            assert oldest is not None
            slave.expiry.drop(oldest)
        slave.expiry.condemn_derived()
        self.assertIn(QUEUE_FILE, slave._queues.condemned)
        begin = slave.written_to
        self.give(slave, 0)
        slave.derived.save_checkpoint(NOW)
        slave.close_idle_files()
        self.assertEqual(slave.entry_at("T", 0, 0)[0], begin)
        again = open_store(disk.after_kill())
        self.assertEqual(again.queue_offsets("T", 0), (0, 1))

    def give(self, slave: MessageStore, number: int) -> None:
        end = slave.written_to
        left = SEGMENT - end % SEGMENT
        if left < 400:
            blank = left.to_bytes(4, "big") + 0xCBD43194.to_bytes(4, "big")
            slave.append_raw(blank.ljust(left, b"\0"), end, NOW)
            end += left
        slave.append_raw(record(end, number, 200), end, NOW)
