"""The struct fast paths give the bytes that the declarations say; the numbers of the specification hold."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.java import index_key_hash, string_hash, tags_code
from rocketmq_tx.protocol.message import BLANK_MAGIC, MessageRecord, encode_record
from rocketmq_tx.store import file_layouts, layouts
from rocketmq_tx.store.checkpoint import Claim, StoreTimes, decode_checkpoint, encode_checkpoint
from rocketmq_tx.store.key_hashes import index_key_hashes
from rocketmq_tx.store.log_marks import LogMark
from rocketmq_tx.store.records import Verdict, examine, facts, store_timestamp

INT = st.integers(-(2**31), 2**31 - 1)
LONG = st.integers(-(2**63), 2**63 - 1)
MARKS = st.lists(st.builds(LogMark, LONG, st.integers(0, 2**32 - 1)), max_size=2)
HOSTS = st.sampled_from((("127.0.0.1", 10911), ("2001:db8::10", 10911)))


class LayoutTests(SynchronousTestCase):
    @given(LONG, INT, LONG)
    def test_a_queue_entry_is_packed_as_declared(self, offset: int, size: int, code: int) -> None:
        declared = file_layouts.QueueEntry.build(
            {"commit_log_offset": offset, "size": size, "tags_code": code}
        )
        self.assertEqual(layouts.QUEUE_ENTRY.pack(offset, size, code), declared)

    @given(INT, LONG, INT, INT)
    def test_an_index_entry_is_packed_as_declared(
        self, key_hash: int, offset: int, seconds: int, previous: int
    ) -> None:
        names = ("key_hash", "commit_log_offset", "seconds", "previous")
        values = (key_hash, offset, seconds, previous)
        declared = file_layouts.IndexEntry.build(dict(zip(names, values, strict=True)))
        self.assertEqual(layouts.INDEX_ENTRY.pack(*values), declared)

    @given(st.tuples(LONG, LONG, LONG, LONG, INT, INT))
    def test_an_index_header_is_packed_as_declared(self, values: tuple[int, ...]) -> None:
        names = (
            "begin_timestamp",
            "end_timestamp",
            "begin_offset",
            "end_offset",
            "slot_count",
            "index_count",
        )
        declared = file_layouts.IndexHeader.build(dict(zip(names, values, strict=True)))
        self.assertEqual(layouts.INDEX_HEADER.pack(*values), declared)

    def test_sizes_are_those_of_the_files(self) -> None:
        self.assertEqual(layouts.QUEUE_ENTRY.size, file_layouts.QueueEntry.sizeof())
        self.assertEqual(layouts.QUEUE_ENTRY_BYTES, 20)
        self.assertEqual(layouts.INDEX_ENTRY_BYTES, file_layouts.IndexEntry.sizeof())
        self.assertEqual(layouts.INDEX_HEADER_BYTES, file_layouts.IndexHeader.sizeof())
        self.assertEqual(layouts.INDEX_SLOT_BYTES, file_layouts.IndexSlot.sizeof())
        self.assertEqual(layouts.BLANK.size, file_layouts.BlankRecord.sizeof())

    def test_the_vectors_of_the_specification(self) -> None:
        self.assertEqual(layouts.BLANK.pack(100, BLANK_MAGIC).hex().upper(), "00000064CBD43194")
        self.assertEqual(
            layouts.QUEUE_ENTRY.pack(0, 200, tags_code("TagA")).hex().upper(),
            "0000000000000000000000C8000000000027A807",
        )
        self.assertEqual(index_key_hashes(["TopicTest"], ["OrderID188"])[0] % 5_000_000, 1271670)

    @given(LONG, LONG, LONG, st.lists(st.integers(0, 2**62), min_size=8, max_size=8))
    def test_a_checkpoint_is_read_as_written(
        self, log: int, queues: int, index: int, rest: list[int]
    ) -> None:
        times, claim = StoreTimes(log, queues, index), Claim(*rest)
        content = encode_checkpoint(times, claim)
        self.assertEqual(len(content), 4096)
        self.assertEqual(decode_checkpoint(content), (times, claim))
        apache = content[:24]
        self.assertEqual(decode_checkpoint(apache), (times, None))
        changed = (times.commit_log_ms ^ 1).to_bytes(8, "big", signed=True) + content[8:]
        self.assertIsNone(decode_checkpoint(changed).claim)

    @given(
        LONG, LONG, LONG, st.lists(LONG, min_size=8, max_size=8), st.lists(st.tuples(LONG, INT), max_size=2)
    )
    def test_a_checkpoint_is_packed_as_declared(
        self, log: int, queues: int, index: int, rest: list[int], marks: list[tuple[int, int]]
    ) -> None:
        times, claim = (
            StoreTimes(log, queues, index),
            Claim(*rest, tuple(LogMark(at, crc & 0xFFFFFFFF) for at, crc in marks)),
        )
        all_marks = [*claim.marks, LogMark(), LogMark()][:2]
        packed = file_layouts.CheckpointClaim.build(
            {
                "times": times._asdict(),
                **claim._asdict(),
                "marks": [mark._asdict() for mark in all_marks],
            }
        )
        declared = file_layouts.CheckpointFile.build(
            {"times": times._asdict(), "claim": packed, "claim_crc": zlib.crc32(packed)}
        )
        self.assertEqual(encode_checkpoint(times, claim), declared.ljust(4096, b"\0"))
        self.assertEqual(
            layouts.CHECKPOINT_TIMES.pack(*times), file_layouts.CheckpointTimes.build(times._asdict())
        )

    def test_a_checkpoint_of_garbage_claims_nothing(self) -> None:
        for content in (b"", b"\xff" * 4096, bytes(4096)):
            self.assertIsNone(decode_checkpoint(content).claim)


class KeyHashTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=40))))
    def test_many_at_once_are_as_one_by_one(self, pairs: list[tuple[str, str]]) -> None:
        topics, keys = [topic for topic, _ in pairs], [key for _, key in pairs]
        wanted = [index_key_hash(f"{topic}#{key}") for topic, key in pairs]
        self.assertEqual(index_key_hashes(topics, keys), wanted)

    @given(st.lists(st.text(st.characters(max_codepoint=255, min_codepoint=1), max_size=32), max_size=600))
    def test_latin_keys_take_the_short_way_and_agree(self, keys: list[str]) -> None:
        wanted = [index_key_hash(f"T#{key}") for key in keys]
        self.assertEqual(index_key_hashes(["T"] * len(keys), keys), wanted)

    @given(st.lists(st.text(st.characters(max_codepoint=255, min_codepoint=1), max_size=66), max_size=600))
    def test_so_do_keys_of_clients_with_an_ipv6_address_which_are_longer(self, keys: list[str]) -> None:
        wanted = [index_key_hash(f"T#{key}") for key in keys]
        self.assertEqual(index_key_hashes(["T"] * len(keys), keys), wanted)

    def test_the_smallest_number_has_no_absolute_value_and_counts_as_zero(self) -> None:
        self.assertEqual(string_hash("T#ajvakuzm"), -(2**31))
        self.assertEqual(index_key_hashes(["T"], ["ajvakuzm"]), [0])


class ExamineTests(SynchronousTestCase):
    record = MessageRecord(
        "Topic", b"body", b"a\x01b", commit_log_offset=1000, queue_offset=7, queue_id=2, store_timestamp=5
    )

    @given(HOSTS, HOSTS, st.binary(max_size=300), st.text("abc", max_size=50))
    def test_a_record_is_whole_and_says_what_it_is(
        self, born: tuple[str, int], stored: tuple[str, int], body: bytes, text: str
    ) -> None:
        record = MessageRecord(
            "T", body, text.encode(), 3, 0, 9, 77, born_host=born, store_host=stored, store_timestamp=123
        )
        data = encode_record(record)
        self.assertEqual(examine(b"??" + data + b"more", 2, 77), (Verdict.WHOLE, len(data)))
        found = facts(b"??" + data, 2)
        self.assertEqual(
            (found.topic, found.queue_id, found.queue_offset, found.store_timestamp, found.properties),
            (b"T", 3, 9, 123, text.encode()),
        )
        self.assertEqual(store_timestamp(data[:76]), 123)

    def test_every_cut_says_that_more_is_needed(self) -> None:
        data = encode_record(self.record)
        for length in range(len(data)):
            verdict, wanted = examine(data[:length], 0, 1000)
            self.assertIs(verdict, Verdict.MORE)
            self.assertTrue(length < wanted <= len(data))

    @given(st.integers(0), st.integers(1, 255))
    def test_a_changed_byte_never_breaks_it(self, at: int, change: int) -> None:
        data = bytearray(encode_record(self.record))
        data[at % len(data)] ^= change
        verdict, size = examine(bytes(data), 0, 1000)
        if verdict in (Verdict.WHOLE, Verdict.DAMAGED):
            self.assertEqual(size, len(data))
            facts(bytes(data), 0)

    @given(st.binary(max_size=200))
    def test_random_bytes_are_no_record_that_is_longer_than_they(self, data: bytes) -> None:
        for record in (data, b"\0\0\1\0\xda\xa3\x20\xa7" + data):
            verdict, size = examine(record, 0, 0)
            if verdict in (Verdict.WHOLE, Verdict.DAMAGED):
                self.assertLessEqual(size, len(record))

    def test_a_record_of_another_place_is_none(self) -> None:
        self.assertEqual(examine(encode_record(self.record), 0, 1001), (Verdict.NOTHING, 0))

    def test_a_nul_in_the_texts_or_a_wrong_checksum_is_damage(self) -> None:
        data = encode_record(self.record)
        for wrong in (
            data.replace(b"Topic", b"To\0ic"),
            data.replace(b"a\x01b", b"a\x01\0"),
            data.replace(b"body", b"bodY"),
        ):
            self.assertEqual(examine(wrong, 0, 1000), (Verdict.DAMAGED, len(data)))
        self.assertEqual(examine(data.replace(b"body", b"bodY"), 0, 1000, check_crc=False)[0], Verdict.WHOLE)

    def test_a_head_that_is_no_record_has_no_store_time(self) -> None:
        self.assertEqual(store_timestamp(bytes(76)), -1)
