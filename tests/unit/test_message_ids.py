"""Message ids are made and read as Apache does."""

import base64
import os
import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol import message_ids
from tests import golden

addresses = st.ip_addresses().map(str)
ports = st.integers(0, 65535)


class MessageIds(SynchronousTestCase):
    def vectors(self, function: str) -> list[dict]:
        return [line for line in golden.lines("client/util.jsonl") if line["fn"] == function]

    def use_zone(self, zone: str) -> None:
        before = os.environ.get("TZ")

        def restore() -> None:
            if before is None:
                os.environ.pop("TZ", None)
            else:
                os.environ["TZ"] = before
            time.tzset()

        self.addCleanup(restore)
        os.environ["TZ"] = zone
        time.tzset()

    def test_offset_ids_are_the_recorded_ones(self) -> None:
        for line in self.vectors("createMessageId"):
            host, port, offset = line["host"], line["port"], line["offset"]
            made = message_ids.offset_message_id(host, port, offset)
            self.assertEqual(made, line["out"]["result"])
            packed = message_ids.pack_host(host, port)
            self.assertEqual(message_ids.packed_offset_message_id(packed, offset), made)

    def test_offset_ids_are_read_as_recorded(self) -> None:
        for line in self.vectors("decodeMessageId"):
            expected = line["out"].get("result")
            if expected is None or line["in"].startswith("zz"):
                self.assertRaises(MessageError, message_ids.decode_offset_message_id, line["in"])
            else:
                place = message_ids.decode_offset_message_id(line["in"])
                self.assertEqual(
                    (place.port, place.commit_log_offset), (expected["port"], expected["offset"])
                )
                self.assertEqual(
                    message_ids.pack_ip(place.host_ip),
                    message_ids.pack_ip(expected["host"].replace(":0:0:0:0:0:", "::")),
                )

    @given(addresses, ports, st.integers(0, 2**63 - 1))
    def test_an_offset_id_is_read_back(self, ip: str, port: int, offset: int) -> None:
        read = message_ids.decode_offset_message_id(message_ids.offset_message_id(ip, port, offset))
        self.assertEqual(read, (ip, port, offset))

    def test_unique_ids_are_read_as_recorded(self) -> None:
        for line in self.vectors("uniqIdDecode"):
            expected = line["out"]["result"]
            parts = message_ids.decode_unique_id(line["id"])
            self.assertEqual(message_ids.pack_ip(parts.host_ip), message_ids.pack_ip(expected["ip"]))
            if line["id"] != "7F00000100002A139A550A9AAB0C0000":
                self.assertEqual(parts.pid, expected["pid"])

    def test_unique_ids_are_made_as_recorded(self) -> None:
        self.use_zone("UTC")
        recorded = self.vectors("uniqId")
        first = message_ids.decode_unique_id(recorded[0]["id"])
        source = message_ids.UniqueIdSource(first.host_ip, recorded[0]["processPid"], first.loader_hash)
        month_start_ms, _ = message_ids.month_around(recorded[0]["now"])
        for line in recorded:
            now_ms = month_start_ms + message_ids.decode_unique_id(line["id"]).ms_of_month
            self.assertEqual(source.next_id(now_ms), line["id"])

    def test_time_in_unique_ids_starts_anew_each_month(self) -> None:
        self.use_zone("UTC")
        source = message_ids.UniqueIdSource("127.0.0.1", 1 << 20 | 7, -1)
        december_31 = 1798761599999
        last = message_ids.decode_unique_id(source.next_id(december_31))
        first = message_ids.decode_unique_id(source.next_id(december_31 + 1))
        self.assertEqual((last.ms_of_month, first.ms_of_month), (31 * 86400000 - 1, 0))
        self.assertEqual((first.pid, first.loader_hash, first.counter), (7, 0xFFFFFFFF, 1))

    def test_the_counter_wraps_at_sixteen_bits(self) -> None:
        source = message_ids.UniqueIdSource("::1", 1, 2)
        ids = [source.next_id(1_700_000_000_000) for _ in range(65537)]
        self.assertEqual(len(ids[0]), 56)
        self.assertEqual((ids[0], len(set(ids))), (ids[65536], 65536))

    def test_addresses_are_packed_as_recorded(self) -> None:
        for line in self.vectors("ipToIPv4Str") + self.vectors("ipToIPv6Str"):
            packed = base64.b64decode(line["in"])
            expected = line["out"].get("result")
            if expected is None:
                self.assertRaises(MessageError, message_ids.unpack_ip, packed)
            else:
                self.assertEqual(message_ids.pack_ip(expected), packed)
                self.assertEqual(message_ids.pack_ip(message_ids.unpack_ip(packed)), packed)

    def test_hosts_that_are_no_addresses_are_refused(self) -> None:
        self.assertRaises(MessageError, message_ids.pack_host, "localhost", 1)
        self.assertRaises(MessageError, message_ids.unpack_host, b"\x7f\0\0\1")
        self.assertRaises(MessageError, message_ids.decode_unique_id, "7F 0" * 8)
