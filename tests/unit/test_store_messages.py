"""Appending and reading: numbers, segments, statuses, limits; and that nothing half-done is ever seen."""

from __future__ import annotations

import errno
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import MessageError, StoreError, StoreUnavailable, WouldBlock
from rocketmq_tx.protocol.java import tags_code
from rocketmq_tx.protocol.message import decode_record, decode_records
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.entry_blocks import ENTRIES_AT_A_TIME
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.pull import GetStatus
from rocketmq_tx.store.tag_codes import TagCodes
from tests import memory_disk
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, SEGMENT, STORE_HOST, message, open_store, small_config

LOG = "/store/commitlog/"
FIRST, SECOND = LOG + "0" * 20, LOG + f"{SEGMENT:020d}"
IPV6_HOST = bytes(15) + b"\1" + (10911).to_bytes(4, "big")


def bodies(store: MessageStore, topic: str = "TopicTest", queue_id: int = 0) -> list[bytes]:
    found = []
    offset, end = store.queue_offsets(topic, queue_id)
    while offset < end:
        result = store.get_messages(topic, queue_id, offset, 32)
        found += [record.body for record in decode_records(result.body, check_crc=True)]
        offset = result.next_offset
    return found


class StoreCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.store = open_store(self.disk)

    def fill(self, count: int, size: int = 100, **more: object) -> None:
        self.store.append_all([message(body=bytes([n % 256]) * size, **more) for n in range(count)], NOW)


class AppendTests(StoreCase):
    def test_records_say_what_was_sent_and_where_they_are(self) -> None:
        sent = message("T", 3, b"body", tags="TagA", keys="a b", unique="U")
        (placed,) = self.store.append_all([sent], NOW)
        record = decode_record(self.store.record_at(placed.commit_log_offset), check_crc=True)
        self.assertEqual((record.topic, record.queue_id, record.body), ("T", 3, b"body"))
        self.assertEqual((record.store_timestamp, record.born_timestamp), (NOW, NOW - 5))
        self.assertEqual((record.store_host, record.born_host), (("127.0.0.1", 10911), ("192.0.2.10", 50000)))
        self.assertEqual(record.property_map, {"UNIQ_KEY": "U", "KEYS": "a b", "TAGS": "TagA"})
        self.assertEqual(placed, (0, len(self.store.record_at(0)), 0))
        self.assertEqual(self.store.entry_at("T", 3, 0), (0, placed.size, tags_code("TagA")))
        self.assertIsNone(self.store.entry_at("T", 3, 1))
        self.assertIsNone(self.store.entry_at("T", 4, 0))
        self.assertEqual(self.store.entries_from("T", 3, 0, 9), [(0, placed.size, tags_code("TagA"))])
        self.assertEqual(self.store.entries_from("T", 3, 1, 9), [])
        self.assertEqual(self.store.entries_from("T", 4, 0, 9), [])

    def test_messages_may_be_plain_tuples(self) -> None:
        self.store.append_all([tuple(message())], NOW)  # type: ignore[list-item]
        self.assertEqual(bodies(self.store), [b"hello"])

    def test_hosts_of_both_kinds_set_their_flags(self) -> None:
        store = MessageStore(small_config("/v6"), self.disk, IPV6_HOST)
        store.open(NOW)
        store.append_all([message(born_host=IPV6_HOST), message()], NOW, whole=True)
        flags = [
            decode_record(store.record_at(offset)).sys_flag
            for offset in (0, store.entry_at("TopicTest", 0, 1)[0])
        ]  # type: ignore[index]
        self.assertEqual(flags, [0x30, 0x20])

    def test_one_write_a_call(self) -> None:
        before = self.disk.changes
        self.fill(1)
        created = self.disk.changes - before
        self.fill(50)
        self.assertEqual(self.disk.changes - before, created + 1)

    def test_half_and_rolled_back_messages_stand_in_no_queue(self) -> None:
        for flag in (0x4, 0xC):
            (placed,) = self.store.append_all([message(sys_flag=flag, keys=f"k{flag}")], NOW)
            self.assertEqual(placed.queue_offset, 0)
        self.store.append_all([message(sys_flag=0x8, keys="k8")], NOW)
        self.assertEqual(self.store.queue_offsets("TopicTest", 0), (0, 1))
        found = [
            len(self.store.query_by_key("TopicTest", key, 9, 0, NOW).offsets) for key in ("k4", "k12", "k8")
        ]
        self.assertEqual(found, [1, 0, 1])

    def test_a_record_that_does_not_fit_goes_to_the_next_segment_behind_a_blank(self) -> None:
        (first,) = self.store.append_all([message(body=b"a" * 60_000)], NOW)
        (second,) = self.store.append_all([message(body=b"b" * 6_000)], NOW)
        self.assertEqual(second.commit_log_offset, SEGMENT)
        content = self.disk.content(FIRST)
        left = SEGMENT - first.size
        self.assertEqual(
            content[first.size :], (left.to_bytes(4, "big") + bytes.fromhex("CBD43194")).ljust(left, b"\0")
        )
        self.assertEqual(bodies(self.store), [b"a" * 60_000, b"b" * 6_000])

    def test_eight_bytes_are_always_left_for_the_blank(self) -> None:
        empty = self.store.append_all([message(body=b"")], NOW)[0].size
        room = SEGMENT - empty
        for spare, offset in ((8, empty), (7, SEGMENT)):
            store = open_store(MemoryDisk())
            store.append_all([message(body=b"")], NOW)
            (placed,) = store.append_all([message(body=b"x" * (room - empty - spare))], NOW)
            self.assertEqual(placed.commit_log_offset, offset)

    def test_a_run_is_split_over_segments_and_a_batch_is_not(self) -> None:
        run = [message(body=b"x" * 9_000) for _ in range(10)]
        placed = self.store.append_all(run, NOW)
        self.assertEqual([place.commit_log_offset // SEGMENT for place in placed], [0] * 7 + [1] * 3)
        whole = open_store(MemoryDisk())
        whole.append_all(run[:4], NOW)
        placed = whole.append_all(run[:4], NOW, whole=True)
        self.assertEqual([place.commit_log_offset // SEGMENT for place in placed], [1] * 4)
        self.assertEqual([place.queue_offset for place in placed], [4, 5, 6, 7])

    def test_what_no_segment_can_hold_is_refused(self) -> None:
        self.fill(1)
        end = self.store.written_to
        for call in (
            lambda: self.store.append_all([message(), message(body=b"x" * SEGMENT)], NOW),
            lambda: self.store.append_all([message(body=b"x" * 9_000) for _ in range(9)], NOW, whole=True),
            lambda: self.store.append_all([message(), message()._replace(properties=b"x" * 32_768)], NOW),
            lambda: self.store.append_all([message(), message(tags_code=1 << 63)], NOW),
            lambda: self.store.append_all([message(), message("x" * 128)], NOW),
            lambda: self.store.append_all([message(), message("")], NOW),
        ):
            self.assertRaises(MessageError, call)
            self.assertEqual((self.store.written_to, self.store.queue_offsets("TopicTest", 0)), (end, (0, 1)))
        self.assertEqual(self.store.append_all([], NOW), [])
        self.fill(2)
        self.assertEqual(self.store.queue_offsets("TopicTest", 0), (0, 3))

    def test_a_failed_write_is_taken_back_as_a_whole(self) -> None:
        self.fill(3)
        before = self.disk.content(FIRST)
        for error_number, expected in ((errno.ENOSPC, StoreUnavailable), (errno.EIO, StoreError)):
            self.disk.fail("write", LOG, error_number)
            error = self.assertRaises(expected, self.fill, 3, keys="k")
            self.assertIn(FIRST, str(error))
            self.disk.heal()
            self.disk.fail("write", LOG, error_number, short=150)
            self.assertRaises(StoreError, self.fill, 3, keys="k")
            self.disk.heal()
            self.assertEqual(self.disk.content(FIRST), before)
            self.assertEqual(self.store.queue_offsets("TopicTest", 0), (0, 3))
            self.assertEqual(self.store.query_by_key("TopicTest", "k", 9, 0, NOW).offsets, [])
        self.fill(2)
        self.assertEqual(len(bodies(self.store)), 5)

    def test_a_write_that_fails_behind_a_roll_is_taken_back_in_both_segments(self) -> None:
        self.store.append_all([message(body=b"a" * 60_000)], NOW)
        before = self.disk.content(FIRST)
        for action in ("write", "create"):
            self.disk.fail(action, SECOND, errno.ENOSPC)
            self.assertRaises(StoreUnavailable, self.fill, 5, 3_000)
            self.disk.heal()
            self.assertEqual(self.disk.content(FIRST), before)
            self.assertNotIn(SECOND, self.disk.nodes)
        self.fill(5, 3_000)
        self.assertEqual(len(bodies(self.store)), 6)

    def test_a_disk_that_cannot_even_take_back_says_both(self) -> None:
        self.fill(1)
        self.disk.fail("write", LOG, errno.EIO)
        self.disk.fail("truncate", LOG, errno.EROFS)
        error = self.assertRaises(StoreError, self.fill, 1)
        self.assertIn("Read-only", str(error))
        self.disk.heal()
        self.fill(1)
        self.assertEqual(len(bodies(self.store)), 2)

    def test_a_store_that_refuses_says_why_and_goes_on_reading(self) -> None:
        self.fill(1)
        self.store.refuse("disk", "the disk is full")
        self.assertEqual(self.store.refusal, "the disk is full")
        error = self.assertRaises(StoreUnavailable, self.fill, 1)
        self.assertIn("the disk is full", str(error))
        self.assertRaises(StoreUnavailable, self.store.append_raw, b"", 0, NOW)
        self.assertEqual(len(bodies(self.store)), 1)
        self.store.accept("disk")
        self.assertIsNone(self.store.refusal)
        self.fill(1)

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.lists(
                    st.tuples(st.sampled_from("AB"), st.integers(0, 1), st.integers(0, 3000)),
                    min_size=1,
                    max_size=9,
                ),
                st.booleans(),
                st.sampled_from(("", "write", "flush", "reopen")),
            ),
            max_size=25,
        )
    )
    def test_any_mix_of_appends_reads_as_a_list_for_each_queue(
        self, steps: list[tuple[list[tuple[str, int, int]], bool, str]]
    ) -> None:
        disk = MemoryDisk()
        sizes = {"mapped_file_size_commit_log": 40_000, "mapped_file_size_consume_queue": 100}
        store = open_store(disk, **sizes)
        model: dict[tuple[str, int], list[bytes]] = {}
        for batch, whole, then in steps:
            messages: list[NewMessage] = []
            for topic, queue_id, size in batch:
                body = b"%d " % len(model.get((topic, queue_id), [])) + b"x" * size
                model.setdefault((topic, queue_id), []).append(body)
                messages.append(message(topic, queue_id, body))
            store.append_all(messages, NOW, whole)
            if then == "write":
                store.derived.write_all(NOW)
            elif then == "flush":
                store.derived.save_checkpoint(NOW)
            elif then == "reopen":
                store.close(NOW)
                store = open_store(disk, **sizes)
        self.assertEqual({where: bodies(store, *where) for where in model}, model)


class GetTests(StoreCase):
    def get(self, offset: int, count: int = 32, **more: object) -> object:
        return self.store.get_messages("TopicTest", 0, offset, count, **more)  # type: ignore[arg-type]

    def test_every_place_outside_the_queue_has_its_status(self) -> None:
        self.assertEqual(self.get(7).status, GetStatus.NO_MESSAGE_IN_QUEUE)
        self.assertEqual(self.get(7).next_offset, 0)
        self.fill(3)
        at_end = self.get(3)
        self.assertEqual((at_end.status, at_end.next_offset), (GetStatus.OFFSET_OVERFLOW_ONE, 3))
        beyond = self.get(9)
        self.assertEqual((beyond.status, beyond.next_offset), (GetStatus.OFFSET_OVERFLOW_BADLY, 3))
        before = self.get(-1)
        self.assertEqual((before.status, before.next_offset), (GetStatus.OFFSET_TOO_SMALL, 0))
        found = self.get(1)
        self.assertEqual((found.status, found.next_offset, found.count), (GetStatus.FOUND, 3, 2))
        self.assertEqual((found.min_offset, found.max_offset, found.tested_to), (0, 3, 3))

    def test_a_slave_leaves_offsets_alone_unless_told_to_correct_them(self) -> None:
        self.fill(3)
        self.store.config.broker_role = BrokerRole.SLAVE
        self.assertEqual(self.get(9).next_offset, 9)
        self.store.config.offset_check_in_slave = True
        self.assertEqual(self.get(9).next_offset, 3)

    def test_at_most_so_many_and_so_large_answers(self) -> None:
        self.fill(50)
        self.assertEqual(self.get(0, 100).count, 32)
        self.assertEqual(self.get(0, 5).count, 5)
        self.assertEqual(self.get(0, 0).count, 1)
        self.store.config.max_transfer_bytes_on_message_in_memory = 500
        self.assertEqual(self.get(0).count, 2)
        self.store.config.max_transfer_bytes_on_message_in_memory = 10
        self.assertEqual(self.get(0).count, 1)

    def test_cold_answers_are_smaller_and_suggest_a_slave(self) -> None:
        store = MessageStore(small_config("/cold"), self.disk, STORE_HOST, memory_bytes=10_000)
        store.open(NOW)
        store.append_all([message(body=b"x" * 100) for _ in range(60)], NOW)
        cold = store.get_messages("TopicTest", 0, 0, 32)
        self.assertEqual((cold.count, cold.suggest_slave), (8, True))
        hot = store.get_messages("TopicTest", 0, 50, 32)
        self.assertEqual((hot.count, hot.suggest_slave), (10, False))

    def test_a_filter_takes_what_matches_and_passes_the_rest(self) -> None:
        for n in range(100):
            self.store.append_all([message(body=b"%d" % n, tags=f"T{n % 2}")], NOW)
        wanted = tags_code("T1")
        first = self.get(0, matches=lambda code: code == wanted)
        self.assertEqual(
            [record.body for record in decode_records(first.body)], [b"%d" % n for n in range(1, 64, 2)]
        )
        self.assertEqual(first.next_offset, 64)
        none = self.get(0, matches=lambda code: False)
        self.assertEqual((none.status, none.next_offset), (GetStatus.NO_MATCHED_MESSAGE, 100))

    def test_a_filter_looks_at_800_entries_at_most(self) -> None:
        self.fill(1000, 1)
        result = self.get(0, matches=lambda code: False)
        self.assertEqual(result.next_offset, 800)
        self.assertEqual(self.get(0, 900, matches=lambda code: False).next_offset, 900)

    def test_the_address_of_an_ext_file_that_is_gone_stands_for_the_tags_of_the_record(self) -> None:
        self.store.append_all([message(tags="A", tags_code=-(1 << 63) + 34)], NOW)
        self.assertEqual(self.get(0, matches=lambda code: code == tags_code("A")).count, 1)
        self.assertEqual(self.get(0, matches=lambda code: False).count, 0)

    def test_queues_that_lie_apart_are_read_as_well(self) -> None:
        for n in range(6):
            self.store.append_all([message(body=b"%d" % n), message("Other", body=b"x" * 30_000)], NOW)
        self.assertEqual(bodies(self.store), [b"%d" % n for n in range(6)])

    def test_entries_in_files_and_in_memory_are_one_queue(self) -> None:
        for _ in range(7):
            self.fill(90, 1)
            self.store.derived.write_all(NOW)
            self.fill(5, 1)
        self.assertEqual(len(bodies(self.store)), 7 * 95)

    def test_cold_bytes_are_warmed_and_asked_for_again(self) -> None:
        self.fill(3)
        self.disk.cold.add(FIRST)
        error = self.assertRaises(WouldBlock, self.get, 0)
        self.store.warm(error)
        self.assertEqual(self.get(0).count, 3)
        self.disk.cold.add(FIRST)
        self.assertEqual(self.get(0, may_block=True).count, 3)

    def test_cold_records_of_another_process_are_warmed_as_well(self) -> None:
        self.fill(3)
        self.store.close(NOW)
        self.store = open_store(self.disk)
        self.disk.cold.add(FIRST)
        self.store.warm(self.assertRaises(WouldBlock, self.get, 0))
        self.assertEqual(self.get(0).count, 3)

    def test_records_that_cannot_be_read_are_withheld(self) -> None:
        self.fill(3)
        self.store.close(NOW)
        notices: list[str] = []
        self.store = open_store(self.disk, notices=notices)
        self.disk.fail("read", FIRST, errno.EIO)
        result = self.get(0)
        self.assertEqual(
            (result.status, result.next_offset, result.count), (GetStatus.MESSAGE_WAS_REMOVING, 3, 0)
        )
        self.assertEqual(len(notices), 3)

    def test_an_entry_that_names_a_record_of_another_queue_is_withheld(self) -> None:
        self.store.append_all([message(), message(queue_id=1)], NOW)
        self.store.close(NOW)
        queue = "/store/consumequeue/TopicTest/0/" + "0" * 20
        other = self.disk.content("/store/consumequeue/TopicTest/1/" + "0" * 20)
        self.disk.spoil(queue, 0, other[:20])
        self.store = open_store(self.disk)
        self.assertEqual(self.get(0).status, GetStatus.MESSAGE_WAS_REMOVING)

    def test_record_at_finds_records_of_any_size_and_nothing_else(self) -> None:
        (small, large) = self.store.append_all([message(), message(body=b"x" * 20_000)], NOW)
        self.assertEqual(len(self.store.record_at(large.commit_log_offset)), large.size)
        for offset in (-1, small.size - 1, 1, self.store.written_to, 1 << 40):
            self.assertRaises(StoreError, self.store.record_at, offset)

    def test_a_record_before_a_bad_sector_can_be_read(self) -> None:
        """A reader does not know how long a record is, and reads more at first."""
        good, bad = self.store.append_all([message(), message()], NOW)
        read = memory_disk._MemoryFile.pread

        def pread(file: memory_disk._MemoryFile, length: int, offset: int) -> bytes:
            if "/commitlog/" in file.path and offset <= bad.commit_log_offset < offset + length:
                raise StoreError("input/output error")
            return read(file, length, offset)

        self.patch(memory_disk._MemoryFile, "pread", pread)
        self.assertEqual(len(self.store.record_at(good.commit_log_offset)), good.size)
        self.assertRaises(StoreError, self.store.record_at, bad.commit_log_offset)

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 300)), min_size=1, max_size=200),
        st.sets(st.integers(0, 2)),
        st.integers(1, 40),
        st.integers(200, 20_000),
    )
    def test_entries_that_are_looked_at_together_give_what_each_alone_gives(
        self, sent: list[tuple[int, int]], wanted: set[int], count: int, most_bytes: int
    ) -> None:
        store = open_store(MemoryDisk(), max_transfer_bytes_on_message_in_memory=most_bytes)
        store.append_all([message("T", 0, b"x" * size, tags_code=code) for code, size in sent], NOW)
        at = 0
        while at < len(sent):
            together = store.get_messages("T", 0, at, count, TagCodes(wanted))
            with mock.patch("rocketmq_tx.store.tag_scan._wanted", return_value=None):
                alone = store.get_messages("T", 0, at, count, wanted.__contains__)
            self.assertEqual(together, alone)
            at = together.next_offset

    def test_an_answer_that_is_full_where_a_block_of_entries_ends_goes_out(self) -> None:
        """The first message alone is larger than an answer, so that this block is looked at one by one."""
        store = open_store(MemoryDisk(), max_transfer_bytes_on_message_in_memory=700)
        sent = [message("T", 0, b"x" * 1000, tags_code=2)]
        sent += [message("T", 0, tags_code=2)] * (ENTRIES_AT_A_TIME - 3)
        sent += [message("T", 0, tags_code=1)] * 2
        store.append_all([*sent, message("T", 0, tags_code=2)], NOW)
        result = store.get_messages("T", 0, 0, 2, frozenset((1,)).__contains__)
        self.assertEqual((result.status, result.count), (GetStatus.FOUND, 2))
        self.assertEqual(result.next_offset, ENTRIES_AT_A_TIME)
