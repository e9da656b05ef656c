"""Compressed bodies are read as Apache packs them, and none expands without bound."""

import base64
import sys
import zlib
from unittest import mock

import lz4.frame
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import MessageError, OperatorError
from rocketmq_tx.protocol.compression import CompressionType, compress, compression_type, decompress
from rocketmq_tx.protocol.flags import SysFlag
from tests import golden

kinds = st.sampled_from(CompressionType)
PACKERS = (
    (CompressionType.ZLIB, zlib.compress),
    (CompressionType.LZ4, lz4.frame.compress),
    (CompressionType.ZSTD, zstandard.ZstdCompressor().compress),
)


class Bodies(SynchronousTestCase):
    def test_what_apache_packed_is_unpacked(self) -> None:
        read = 0
        for line in golden.lines("client/compress.jsonl"):
            if "type" not in line or "input" not in line:
                continue
            packed = base64.b64decode(line["compressed"]["result"])
            unpacked = decompress(packed, line["sysFlagBits"] | SysFlag.COMPRESSED)
            self.assertEqual(len(unpacked), line["inputLen"])
            self.assertEqual(zlib.crc32(unpacked) & 0x7FFFFFFF, line["inputCrc32"])
            read += 1
        self.assertGreater(read, 10)

    def test_type_bits_are_read_as_recorded(self) -> None:
        for line in golden.lines("client/compress.jsonl"):
            if line.get("fn") != "getCompressionType":
                continue
            if "result" in line["out"]:
                self.assertEqual(compression_type(line["sysFlag"]).name, line["out"]["result"])
            else:
                self.assertRaises(MessageError, compression_type, line["sysFlag"])

    @given(st.binary(max_size=5000), kinds, st.integers(1, 9))
    def test_what_is_packed_is_unpacked(self, body: bytes, kind: CompressionType, level: int) -> None:
        self.assertEqual(decompress(compress(body, kind, level), kind.sys_flag), body)

    def test_a_body_that_is_not_compressed_is_left_alone(self) -> None:
        self.assertEqual(decompress(b"plain", SysFlag.COMPRESSION_ZSTD), b"plain")

    def test_old_clients_set_no_type_bits_and_mean_zlib(self) -> None:
        self.assertEqual(decompress(zlib.compress(b"old"), SysFlag.COMPRESSED), b"old")

    def test_an_unknown_type_is_an_error(self) -> None:
        with self.assertRaisesRegex(MessageError, "type 7"):
            decompress(b"x", 0x701)

    def test_no_body_expands_beyond_the_bound(self) -> None:
        for kind, pack in PACKERS:
            packed = pack(b"\0" * 1_000_000)
            self.assertEqual(len(decompress(packed, kind.sys_flag, 1_000_000)), 1_000_000)
            with self.assertRaisesRegex(MessageError, "more than 999999 bytes"):
                decompress(packed, kind.sys_flag, 999_999)

    def test_a_zstd_frame_that_hides_its_size_is_bounded_too(self) -> None:
        packer = zstandard.ZstdCompressor().compressobj()
        packed = packer.compress(b"\0" * 1_000_000) + packer.flush()
        self.assertEqual(len(decompress(packed, 0x201, 1_000_000)), 1_000_000)
        self.assertRaises(MessageError, decompress, packed, 0x201, 999_999)

    def test_damaged_and_cut_bodies_are_errors(self) -> None:
        for kind, pack in PACKERS:
            packed = pack(bytes(range(256)) * 10)
            for damaged in (b"", b"garbage of some length", packed[:-1], packed[:10]):
                self.assertRaises(MessageError, decompress, damaged, kind.sys_flag)

    def test_a_missing_library_is_named_with_the_way_to_get_it(self) -> None:
        missing = mock.patch.dict(sys.modules, {"lz4.frame": None, "zstandard": None})
        missing.start()
        self.addCleanup(missing.stop)
        for kind, name in ((CompressionType.LZ4, "lz4"), (CompressionType.ZSTD, "zstandard")):
            for act in (compress, lambda body, kind: decompress(body, kind.sys_flag)):
                error = self.assertRaises(OperatorError, act, b"x", kind)
                self.assertIn(f"{name} need it: pip install", str(error))
