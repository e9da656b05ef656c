"""Message records: fast path, declaration and Apache's own stores agree, and damage is a clear error."""

import base64
import struct
import tarfile
from collections.abc import Iterator

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol import message
from rocketmq_tx.protocol.flags import SysFlag
from rocketmq_tx.protocol.message import MessageRecord, decode_record, decode_records, encode_record
from rocketmq_tx.protocol.message_ids import pack_ip
from rocketmq_tx.protocol.message_layouts import BLANK_RECORD, MESSAGE_RECORD
from tests import golden

int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
hosts = st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))
topics = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
V6_BITS = SysFlag.BORNHOST_V6 | SysFlag.STOREHOST_V6


@st.composite
def records(draw: st.DrawFn) -> MessageRecord:
    born_host, store_host = draw(hosts), draw(hosts)
    sys_flag = draw(int32) & ~V6_BITS
    sys_flag |= SysFlag.BORNHOST_V6 if ":" in born_host[0] else 0
    sys_flag |= SysFlag.STOREHOST_V6 if ":" in store_host[0] else 0
    return MessageRecord(
        topic=draw(topics), body=draw(st.binary(max_size=300)), properties=draw(st.binary(max_size=300)),
        queue_id=draw(int32), flag=draw(int32), queue_offset=draw(int64), commit_log_offset=draw(int64),
        sys_flag=int(sys_flag), born_timestamp=draw(int64), born_host=born_host, store_timestamp=draw(int64),
        store_host=store_host, reconsume_times=draw(int32), prepared_transaction_offset=draw(int64),
        body_crc=draw(int32),
    )  # fmt: skip


def declared(record: MessageRecord) -> bytes:
    """The bytes that the declaration gives."""
    values = attrs.asdict(record)
    for name in ("born_host", "store_host"):
        ip, port = values[name]
        values[name] = {"ip": pack_ip(ip), "port": port}
    return MESSAGE_RECORD.build(values | {"topic": record.topic.encode()})


def stored_records(archive: str) -> Iterator[bytes]:
    """The bytes of each whole record in the commit log of a recorded store."""
    with tarfile.open(golden.path(f"store/{archive}.tar.gz")) as tar:
        segments = sorted(
            (member for member in tar if member.isfile() and "/commitlog/" in f"/{member.name}"),
            key=lambda member: member.name,
        )
        for member in segments:
            file = tar.extractfile(member)
            assert file is not None
            data, start = file.read(), 0
            while struct.unpack_from(">I", data, start + 4)[0] == message.MESSAGE_MAGIC:
                size = struct.unpack_from(">i", data, start)[0]
                yield data[start : start + size]
                start += size


class Records(SynchronousTestCase):
    @given(records())
    def test_fast_path_and_declaration_give_the_same_bytes_and_values(self, record: MessageRecord) -> None:
        data = encode_record(record)
        self.assertEqual(data, declared(record))
        self.assertEqual(decode_record(data), record)
        parsed = MESSAGE_RECORD.parse(data)
        self.assertEqual((parsed.total_size, parsed.topic), (len(data), record.topic.encode()))
        self.assertEqual(len(data), message.fixed_bytes(record.sys_flag) + len(record.body)
                         + len(record.topic.encode()) + len(record.properties))  # fmt: skip

    def test_the_documented_example_is_read(self) -> None:
        data = bytes.fromhex(
            "0000006cdaa320a777d18982000000010000000000000000000000020000000000001000000000000000018bcfe568007f0000"
            "01000013880000018bcfe568017f00000100002a9f0000000000000000000000000000000548656c6c6f09546f706963546573"
            "740003610162"
        )
        record = decode_record(data, check_crc=True)
        self.assertEqual(
            (record.topic, record.body, record.property_map), ("TopicTest", b"Hello", {"a": "b"})
        )
        self.assertEqual((record.born_host, record.store_host), (("127.0.0.1", 5000), ("127.0.0.1", 10911)))
        self.assertEqual(record.offset_message_id, "7F00000100002A9F0000000000001000")
        self.assertEqual(encode_record(attrs.evolve(record, body_crc=None)), data)

    def test_every_record_of_apaches_stores_is_written_back_to_the_same_bytes(self) -> None:
        seen = dict.fromkeys(("all", "compressed", "v6", "batch"), 0)
        for archive in ("full", "clean_shutdown", "ipv6", "cqext", "full_killed"):
            for data in stored_records(archive):
                record = decode_record(data, check_crc=True)
                self.assertEqual(encode_record(record), data)
                self.assertEqual(MESSAGE_RECORD.parse(data).commit_log_offset, record.commit_log_offset)
                seen["all"] += 1
                seen["compressed"] += bool(record.sys_flag & SysFlag.COMPRESSED)
                seen["v6"] += bool(record.sys_flag & SysFlag.BORNHOST_V6)
                seen["batch"] += "Batch" in record.topic
        self.assertTrue(all(seen.values()), seen)

    def test_bodies_of_pull_answers_are_cut_into_their_records(self) -> None:
        pulled = 0
        for name in ("frames/accept-batch.json.jsonl", "frames/accept-query.ipv6-uniqkey.jsonl"):
            for line in golden.lines(name):
                body = line.get("body") or {}
                if "messages" not in body or "rawTruncatedTo" in line:
                    continue
                raw = base64.b64decode(line["raw"])
                found = decode_records(raw[-body["size"] :], check_crc=True)
                self.assertEqual(len(found), body["messageCount"])
                for record, expected in zip(found, body["messages"], strict=False):
                    self.assertEqual(
                        (record.topic, record.queue_id, record.queue_offset, record.commit_log_offset),
                        tuple(expected[key] for key in ("topic", "queueId", "queueOffset", "physicalOffset")),
                    )
                pulled += len(found)
        self.assertGreater(pulled, 100)

    def test_a_record_cut_off_anywhere_is_an_error(self) -> None:
        data = encode_record(MessageRecord("TopicTest", b"Hello", b"a\x01b"))
        for length in range(len(data)):
            self.assertRaises(MessageError, decode_record, data[:length])
            if length:
                self.assertRaises(MessageError, decode_records, data[:length])

    @given(records(), st.integers(0, 10**6), st.integers(1, 255))
    def test_a_flipped_byte_is_read_or_refused_but_never_another_error(
        self, record: MessageRecord, place: int, flip: int
    ) -> None:
        data = bytearray(encode_record(record))
        data[place % len(data)] ^= flip
        try:
            decode_record(bytes(data))
            decode_records(bytes(data) * 2)
        except MessageError:
            pass

    @given(st.binary(max_size=300))
    def test_random_bytes_after_a_good_head_are_read_or_refused(self, tail: bytes) -> None:
        data = encode_record(MessageRecord("T"))[:8] + tail
        try:
            decode_record(data)
        except MessageError:
            pass

    def test_a_wrong_checksum_is_noticed_on_request(self) -> None:
        data = encode_record(MessageRecord("T", b"Hello", body_crc=1))
        self.assertEqual(decode_record(data).body_crc, 1)
        with self.assertRaisesRegex(MessageError, "checksum"):
            decode_record(data, check_crc=True)

    def test_a_topic_that_is_no_utf8_is_an_error(self) -> None:
        data = encode_record(MessageRecord("T")).replace(b"\x01T", b"\x01\xff")
        with self.assertRaisesRegex(MessageError, "UTF-8"):
            decode_record(data)

    def test_values_that_no_record_can_hold_are_refused(self) -> None:
        for record in (
            MessageRecord(""),
            MessageRecord("t" * 128),
            MessageRecord("\ud800"),
            MessageRecord("T", properties=b"x" * 32768),
            MessageRecord("T", queue_id=1 << 31),
            MessageRecord("T", born_host=("golden-host", 1)),
        ):
            self.assertRaises(MessageError, encode_record, record)

    def test_the_end_of_a_file_is_marked_with_eight_bytes(self) -> None:
        self.assertEqual(
            BLANK_RECORD.build({"total_size": 100}), struct.pack(">iI", 100, message.BLANK_MAGIC)
        )
