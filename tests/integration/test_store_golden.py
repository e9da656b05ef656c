"""Stores that Apache RocketMQ 4.9.7 wrote, opened by ours: same records, queues, keys and times.

Two recordings are judged by our own rules: Apache drops everything behind a damaged record in the middle
(`torn_middle`), and refuses to start with a short file (`truncated_file`).
"""

from __future__ import annotations

import functools
import ipaddress
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import StoreError
from rocketmq_tx.protocol.java import crc32
from rocketmq_tx.protocol.message import decode_record, decode_records
from rocketmq_tx.store.layouts import INDEX_ENTRY, INDEX_HEADER
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.os_disk import PortableDisk, platform_disk
from rocketmq_tx.store.recovery import RecoveryReport
from tests import golden
from tests.store_cases import NOW, STORE_HOST, message, small_config

LATER = 1 << 62
SAME_AS_APACHE = (
    "clean_shutdown", "cq_lost", "cqext", "full", "full_killed", "ipv6", "killed", "torn_crc",
    "torn_last_size", "torn_zeroed",
)  # fmt: skip
OURS_ARE_BETTER = ("torn_middle", "truncated_file")


@functools.cache
def expected(name: str) -> dict[str, Any]:
    with golden.path(f"store/expected_{name}.yaml").open(encoding="utf-8") as file:
        loaded: dict[str, Any] = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return loaded


class GoldenCase(SynchronousTestCase):
    """Unpacks an archive for each test and opens it."""

    def unpack(self, name: str) -> Path:
        folder = Path(self.mktemp())
        with tarfile.open(golden.path(f"store/{name}.tar.gz")) as archive:
            archive.extractall(folder, filter="data")
        return folder / name

    def make(self, root: Path, disk: PortableDisk | None = None) -> tuple[MessageStore, RecoveryReport]:
        self.notices: list[str] = []
        store = MessageStore(
            small_config(str(root)), disk or platform_disk(), STORE_HOST, notice=self.notices.append
        )
        report = store.open(NOW)
        self.addCleanup(store.close, NOW)
        return store, report


def for_each(*names: str) -> Callable[[Any], Any]:
    """Makes one test of a method for each name."""

    def mark(method: Any) -> Any:
        method.names = names
        return method

    return mark


def spread(case: Any) -> Any:
    for attribute, method in list(vars(case).items()):
        for name in getattr(method, "names", ()):
            setattr(case, f"test_{name}_{attribute}", one_of(method, name))
    return case


def one_of(method: Any, name: str) -> Callable[[Any], None]:
    def test(self: Any) -> None:
        method(self, name)

    return test


@spread
class SameAsApacheTests(GoldenCase):
    """What Apache answers after a restart on the same files."""

    @for_each(*SAME_AS_APACHE)
    def opens_with_every_record(self, name: str) -> None:
        store, _ = self.make(self.unpack(name))
        answers = expected(name)["apacheAnswersAfterRestart"]
        self.assertEqual(store.min_offset, int(answers["commitLogMinOffset"]))
        self.assertEqual(store.written_to, int(answers["commitLogMaxOffset"]))
        for record in expected(name)["records"]:
            data = store.record_at(record["physicalOffset"])
            self.assertEqual(len(data), record["size"])
            found = decode_record(data, check_crc=True)
            self.assertEqual(
                (found.topic, found.queue_id, found.queue_offset, found.store_timestamp),
                (record["topic"], record["queueId"], record["queueOffset"], record["storeTimestamp"]),
            )
            self.assertEqual(found.property_map, record["properties"])
        for record in answers["unviewable"]:
            self.assertRaises(StoreError, store.record_at, record["offset"])

    @for_each(*SAME_AS_APACHE)
    def has_the_same_queues(self, name: str) -> None:
        store, _ = self.make(self.unpack(name))
        for queue in expected(name)["apacheAnswersAfterRestart"]["queues"]:
            where = (queue["topic"], queue["queueId"])
            self.assertEqual(store.queue_offsets(*where), (queue["minOffset"], queue["maxOffset"]), where)
            self.assertEqual(store.earliest_store_time(*where), int(queue["earliestMsgStoretime"]))
            check_pulls(self, store, queue)
        notices = [re.sub(r"kept in \S*/cut/", "kept in cut/", notice) for notice in self.notices]
        self.assertEqual(notices, self.expected_notices(name))

    def expected_notices(self, name: str) -> list[str]:
        if name == "torn_crc":
            return [
                "the damaged record at 32725 ends the log and was cut off",
                "the log ends at 32725; what stands behind is cut off and kept in cut/behind-32725.log",
            ]
        return []

    @for_each(*SAME_AS_APACHE)
    def finds_the_same_by_key(self, name: str) -> None:
        store, _ = self.make(self.unpack(name))
        for query in expected(name)["apacheAnswersAfterRestart"]["keyQueries"]:
            found = store.query_by_key(query["topic"], query["key"], 64, 0, LATER)
            self.assertEqual(found.offsets, query.get("physicalOffsets", []), query)
            self.assertEqual(
                [record.commit_log_offset for record in decode_records(found.body)], found.offsets
            )

    @for_each(*SAME_AS_APACHE)
    def finds_the_same_by_time(self, name: str) -> None:
        store, _ = self.make(self.unpack(name))
        for query in expected(name)["apacheAnswersAfterRestart"]["timeQueries"]:
            where = (query["topic"], query["queueId"], query["timestamp"])
            self.assertEqual(store.offset_by_time(*where), query["offset"], where)

    @for_each(*SAME_AS_APACHE)
    def goes_on_where_apache_stopped(self, name: str) -> None:
        root = self.unpack(name)
        store, _ = self.make(root)
        end = store.written_to
        (placed,) = store.append_all([message("GoldenA", 1, b"ours", unique="OURS")], NOW)
        self.assertEqual(placed.commit_log_offset, end)
        before = {where: store.queue_offsets(*where) for where in store.queues()}
        store.close(NOW)
        again, report = self.make(root)
        self.assertTrue(report.clean)
        self.assertEqual(report.records_walked, 0)
        self.assertEqual({where: again.queue_offsets(*where) for where in again.queues()}, before)
        self.assertEqual(again.query_by_key("GoldenA", "OURS", 1, 0, LATER).offsets, [end])

    @for_each("full", "full_killed", "killed")
    def opens_without_linux_calls(self, name: str) -> None:
        store, _ = self.make(self.unpack(name), PortableDisk())
        for queue in expected(name)["apacheAnswersAfterRestart"]["queues"]:
            check_pulls(self, store, queue)


class BetterThanApacheTests(GoldenCase):
    """The two recordings for which `docs/differences.md` decides otherwise."""

    def test_torn_middle_withholds_the_damaged_record_only(self) -> None:
        store, report = self.make(self.unpack("torn_middle"))
        everything = expected("killed")["records"]
        damaged = report.records_withheld
        self.assertEqual(damaged, [5568])
        self.assertEqual(store.written_to, 32893)
        self.assertEqual(self.notices, ["192 damaged bytes at 5568 of the log are withheld"])
        for record in everything:
            if record["physicalOffset"] in damaged:
                self.assertRaises(StoreError, store.record_at, record["physicalOffset"])
            else:
                self.assertEqual(len(store.record_at(record["physicalOffset"])), record["size"])
        served = [offset for where in store.queues() for _, offset in pull_all(store, *where)]
        self.assertEqual(
            sorted(served),
            [record["physicalOffset"] for record in everything if record["physicalOffset"] != 5568],
        )

    def test_truncated_file_is_extended_and_loses_its_torn_record_only(self) -> None:
        store, report = self.make(self.unpack("truncated_file"))
        whole = [record for record in expected("killed")["records"] if record["physicalOffset"] < 32725]
        self.assertEqual(report.log_end_offset, 32725)
        self.assertTrue(any("shorter than a segment" in warning for warning in report.warnings))
        served = [offset for where in store.queues() for _, offset in pull_all(store, *where)]
        self.assertEqual(sorted(served), [record["physicalOffset"] for record in whole])


@spread
class SameBytesTests(GoldenCase):
    """Files that ours builds from Apache's log, held against those that Apache built."""

    @for_each("clean_shutdown", "full", "ipv6", "killed", "full_killed")
    def rebuilds_the_same_queue_files(self, name: str) -> None:
        theirs = self.unpack(name)
        ours = self.unpack(name)
        remove_tree(ours / "consumequeue")
        store, report = self.make(ours)
        store.close(NOW)
        self.assertTrue(report.records_walked)
        files = sorted(file.relative_to(theirs) for file in theirs.glob("consumequeue/*/*/*"))
        self.assertEqual(files, sorted(file.relative_to(ours) for file in ours.glob("consumequeue/*/*/*")))
        for file in files:
            self.assertEqual((ours / file).read_bytes(), (theirs / file).read_bytes(), file)

    @for_each("clean_shutdown", "full", "ipv6", "killed", "full_killed", "cqext")
    def rebuilds_the_same_index(self, name: str) -> None:
        theirs = self.unpack(name)
        ours = self.unpack(name)
        remove_tree(ours / "index")
        store, _ = self.make(ours)
        store.close(NOW)
        (their_file,) = (theirs / "index").iterdir()
        (our_file,) = (ours / "index").iterdir()
        self.assertEqual(our_file.read_bytes()[:40], their_file.read_bytes()[:40])
        slots = slice(40, 40 + 500 * 4)
        self.assertEqual(our_file.read_bytes()[slots], their_file.read_bytes()[slots])
        count = INDEX_HEADER.unpack(their_file.read_bytes()[:40])[-1]
        entries = slice(slots.stop, slots.stop + count * INDEX_ENTRY.size)
        self.assertEqual(our_file.read_bytes()[entries], their_file.read_bytes()[entries])

    @for_each("full", "full_killed")
    def appends_the_same_log(self, name: str) -> None:
        """The recording's messages, handed to a new store one by one, make the same bytes, blanks too."""
        source, _ = self.make(self.unpack(name))
        root = Path(self.mktemp())
        store = MessageStore(small_config(str(root)), platform_disk(), host("127.0.0.1", 24911))
        store.open(NOW)
        self.addCleanup(store.close, NOW)
        for record in expected(name)["records"]:
            data = source.record_at(record["physicalOffset"])
            found = decode_record(data)
            (placed,) = store.append_all(
                [
                    message(found.topic, found.queue_id, found.body)._replace(
                        body_crc=crc32(found.body),
                        properties=found.properties,
                        flag=found.flag,
                        sys_flag=found.sys_flag,
                        born_timestamp=found.born_timestamp,
                        born_host=host(*found.born_host),
                        reconsume_times=found.reconsume_times,
                        prepared_transaction_offset=found.prepared_transaction_offset,
                    )
                ],
                found.store_timestamp,
            )
            self.assertEqual(placed, (found.commit_log_offset, len(data), found.queue_offset))
            self.assertEqual(store.record_at(placed.commit_log_offset), data)
        for blank in expected(name)["blanks"]:
            file = sorted((root / "commitlog").iterdir())[blank["physicalOffset"] // 65536]
            at = blank["physicalOffset"] % 65536
            wanted = blank["size"].to_bytes(4, "big") + bytes.fromhex("CBD43194")
            self.assertEqual(file.read_bytes()[at:], wanted.ljust(65536 - at, b"\0"))


def host(ip: str, port: int) -> bytes:
    return ipaddress.ip_address(ip).packed + port.to_bytes(4, "big")


def remove_tree(path: Path) -> None:
    platform_disk().remove_tree(str(path))


def pull_all(store: MessageStore, topic: str, queue_id: int) -> list[tuple[int, int]]:
    """(queue offset, commit log offset) of every message, by pulls."""
    found = []
    offset, end = store.queue_offsets(topic, queue_id)
    while offset < end:
        result = store.get_messages(topic, queue_id, offset, 32, may_block=True)
        found += [(record.queue_offset, record.commit_log_offset) for record in decode_records(result.body)]
        assert result.next_offset > offset
        offset = result.next_offset
    return found


def check_pulls(test: SynchronousTestCase, store: MessageStore, queue: dict[str, Any]) -> None:
    """The same messages as Apache gave; of transaction topics (no topic config then) the number only."""
    where = (queue["topic"], queue["queueId"])
    found = pull_all(store, *where)
    if queue["topic"].startswith("RMQ_SYS_TRANS") and not queue["entries"]:
        test.assertEqual(len(found), queue["maxOffset"] - queue["minOffset"])
    else:
        test.assertEqual(found, [tuple(entry) for entry in queue["entries"]], where)
