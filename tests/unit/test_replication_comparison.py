"""Comparing a slave's log with its master's before the stream starts (row 36)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import CallRefused, ReplicationStopped
from rocketmq_tx.protocol.bodies import KVTable
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import decode_frame
from rocketmq_tx.protocol.headers import CompareLogRequestHeader, ViewMessageRequestHeader
from rocketmq_tx.remoting.registry import Registry
from rocketmq_tx.replication.log_comparison import LogComparison
from rocketmq_tx.replication.log_digest import COMPARED_MAX_BYTES, LogDigests
from rocketmq_tx.store.message_store import MessageStore
from tests.memory_disk import MemoryDisk
from tests.store_cases import NOW, SEGMENT, message, open_store
from tests.unit.broker_parts import FakePeer
from tests.unit.replication_parts import Pair, at_once

MASTER = "192.0.2.1:10911"


class OurMaster:
    """Serves COMPARE_LOG from a store, as over the wire."""

    def __init__(self, store: MessageStore) -> None:
        self.asked_by: list[Any] = []
        self.calls = 0
        self._registry = Registry(LogDigests(store, at_once, self.asked_by.append))

    def call(self, address: str, frame: Frame, timeout_s: float) -> Deferred[Frame]:
        self.calls += 1
        [answer] = self._registry.serve(FakePeer(), frame.code, [frame])  # type: ignore[arg-type]
        if not isinstance(answer, Deferred):
            answer = succeed(answer)
        return answer.addCallback(lambda data: decode_frame(data[4:]))


class ApacheMaster:
    """Serves what Apache's broker does; knows no COMPARE_LOG."""

    def __init__(self, store: MessageStore) -> None:
        self._store = store

    def call(self, address: str, frame: Frame, timeout_s: float) -> Deferred[Frame]:
        return succeed(self._answer(frame))

    def _answer(self, frame: Frame) -> Frame:
        store = self._store
        if frame.code == RequestCode.GET_BROKER_CONFIG:
            return frame.answer(body=b"brokerName=a\nmappedFileSizeCommitLog=%d\n" % store.segment_size)
        if frame.code == RequestCode.GET_BROKER_RUNTIME_INFO:
            table = {"commitLogMinOffset": str(store.min_offset), "commitLogMaxOffset": str(store.written_to)}
            return frame.answer(body=KVTable(table=table).to_bytes())
        if frame.code == RequestCode.VIEW_MESSAGE_BY_ID:
            offset = ViewMessageRequestHeader.from_ext_fields(frame.ext_fields).offset
            try:
                return frame.answer(body=store.record_at(offset))
            except Exception:  # noqa: BLE001  whatever it is, Apache says the same
                return frame.answer(1, f"can not find message by the offset, {offset}")
        return frame.answer(3, f" request type {frame.code} not supported")


class ComparisonCase(SynchronousTestCase):
    master_type: type[OurMaster] | type[ApacheMaster] = OurMaster

    def begin(self, pair: Pair) -> Deferred[int]:
        self.caller = self.master_type(pair.master)
        comparison = LogComparison(pair.slave, pair.slave.config, self.caller, lambda: NOW, self.cut(pair))
        return Deferred.fromCoroutine(comparison.begin(MASTER))

    def cut(self, pair: Pair) -> Callable[[str, int], Deferred[Any]]:
        def cut(name: str, offset: int) -> Deferred[Any]:
            pair.slave.keep_tail(f"/store/cut/{name}", offset)
            return succeed(pair.slave.cut_tail(offset, NOW))

        return cut

    def with_damage(self, *whose: str, records: Sequence[int] = (2,)) -> Pair:
        """Both have 60 messages; a power cut took bytes of some records of the slave, the master or both."""
        pair = self.diverged(60, 0)
        places = [pair.master.entry_at("T", 0, record) or self.fail("no such message") for record in records]
        self.damaged_at = places[0][0]
        pairs = {"master": pair.master_disk, "slave": pair.slave_disk}
        for name in whose:
            disk = pairs[name].after_kill()
            content = disk.nodes["/store/commitlog/" + "0" * 20].content
            for begin, size, _ in places:
                content[begin + size // 2 : begin + size] = bytes(size - size // 2)
            setattr(pair, name, open_store(disk))
            setattr(pair, f"{name}_disk", disk)
        return pair

    def assertMended(self, pair: Pair) -> None:
        """The slave goes on where the damage was; what was behind it is kept in a file."""
        before = pair.slave.written_to
        self.assertEqual(pair.slave.damage[0].offset, self.damaged_at)
        kept = pair.slave.log_bytes(self.damaged_at, before)
        self.assertEqual(self.successResultOf(self.begin(pair)), self.damaged_at)
        self.assertEqual(pair.slave.written_to, self.damaged_at)
        self.assertEqual(pair.slave_disk.content(f"/store/cut/damaged-from-{self.damaged_at}.log"), kept)
        pair.connect(begin=self.damaged_at).pump(100_000)
        self.assertEqual(pair.slave.written_to, pair.master.written_to)
        self.assertEqual(*pair.logs())
        self.assertEqual(pair.queues(pair.slave), pair.queues(pair.master))

    def assertStopped(self, pair: Pair, *parts: str) -> str:
        before = pair.slave.written_to
        sentence = str(self.failureResultOf(self.begin(pair), ReplicationStopped).value)
        for part in (MASTER, *parts):
            self.assertIn(part, sentence)
        self.assertEqual(pair.slave.written_to, before)
        return sentence

    def diverged(self, same: int, more: int) -> Pair:
        """Both have `same` messages in common, and then `more` that differ in their bodies."""
        pair = Pair()
        pair.send(same)
        pair.catch_up()
        pair.wire.cut()
        for number in range(more):
            body = b"%d-" % number + b"y" * 100
            pair.slave.append_all([message("T", 0, body)], NOW)
            pair.master.append_all([message("T", 0, body.replace(b"y", b"z"))], NOW)
        return pair


class OursTests(ComparisonCase):
    def test_an_empty_slave_begins_at_the_beginning(self) -> None:
        pair = Pair()
        pair.send(3)
        self.assertEqual(self.successResultOf(self.begin(pair)), 0)
        self.assertEqual(len(self.caller.asked_by), 1)

    def test_a_slave_that_is_behind_goes_on_at_its_end(self) -> None:
        pair = self.diverged(5, 0)
        end = pair.slave.written_to
        pair.send(200, 500)
        self.assertEqual(self.successResultOf(self.begin(pair)), end)

    def test_a_slave_that_is_ahead_is_told_by_how_much(self) -> None:
        pair = self.diverged(5, 0)
        end = pair.master.written_to
        [placed] = pair.slave.append_all([message()], NOW)
        self.assertStopped(
            pair, f"ends at {end + placed.size}, {placed.size} bytes beyond", "Nothing is over"
        )

    def test_the_first_different_byte_is_found_wherever_it_is(self) -> None:
        for same, more in ((0, 1), (3, 1), (3, 40), (150, 2), (400, 700)):
            pair = self.diverged(same, more)
            ours, theirs = (self.whole(store) for store in (pair.slave, pair.master))
            first = next(at for at in range(len(ours)) if ours[at] != theirs[at])
            self.assertStopped(pair, f"at offset {first} ", "set /store aside")
            self.assertLess(self.caller.calls, 40)

    def whole(self, store: MessageStore) -> bytes:
        parts: list[bytes] = []
        while sum(map(len, parts)) < store.written_to:
            parts.append(store.log_bytes(sum(map(len, parts)), 1 << 20))
        return b"".join(parts)

    def test_a_slave_that_lacks_what_its_master_deleted_is_told(self) -> None:
        pair = self.diverged(5, 0)
        pair.send(500, 300)
        disk = pair.master_disk.after_kill()
        disk.remove("/store/commitlog/" + "0" * 20)
        pair.master = open_store(disk)
        self.assertStopped(pair, f"begins at {SEGMENT}", "deleted")

    def test_files_of_another_size_are_told_before_anything_is_copied(self) -> None:
        pair = Pair()
        pair.slave = open_store(MemoryDisk(), mapped_file_size_commit_log=2 * SEGMENT)
        self.assertStopped(pair, f"mappedFileSizeCommitLog={SEGMENT}")

    def test_what_a_crash_took_from_the_slave_is_copied_again(self) -> None:
        for record in (2, 18):  # far from the end, and within what is compared anyway
            self.assertMended(self.with_damage("slave", records=[record]))

    def test_what_a_crash_took_earlier_is_copied_again_as_well(self) -> None:
        pair = self.with_damage("slave", records=[2, 18])
        self.assertEqual(len(pair.slave.damage), 2)
        self.assertMended(pair)

    def test_what_a_crash_took_from_the_master_stops_the_slave_that_has_it(self) -> None:
        self.assertStopped(
            self.with_damage("master"),
            f"has what a crash has taken from that of its master {MASTER} at offset",
        )

    def test_what_a_crash_took_is_known_after_further_starts(self) -> None:
        pair = self.with_damage("slave")
        for _ in range(2):
            pair.slave.close(NOW)
            pair.slave_disk = pair.slave_disk.after_kill()
            pair.slave = open_store(pair.slave_disk)
        self.assertMended(pair)
        pair.slave.close(NOW)
        self.assertEqual(open_store(pair.slave_disk).damage, [])

    def test_what_is_damaged_alike_on_both_stops_nobody(self) -> None:
        pair = self.with_damage("master", "slave")
        self.assertEqual(len(pair.slave.damage), 1)
        self.assertEqual(self.successResultOf(self.begin(pair)), pair.slave.written_to)

    def test_who_cannot_cut_its_log_says_what_it_lost(self) -> None:
        pair = self.with_damage("slave")
        comparison = LogComparison(pair.slave, pair.slave.config, OurMaster(pair.master), lambda: NOW)
        begun = Deferred.fromCoroutine(comparison.begin(MASTER))
        self.assertIn("has lost to a crash", str(self.failureResultOf(begun, ReplicationStopped).value))

    def test_a_master_that_cannot_answer_now_is_asked_again_later(self) -> None:
        pair = Pair()
        comparison = LogComparison(pair.slave, pair.slave.config, Refusing(), lambda: NOW)
        self.failureResultOf(Deferred.fromCoroutine(comparison.begin(MASTER)), CallRefused)

    def test_a_digest_of_too_much_is_refused(self) -> None:
        pair = Pair()
        master = OurMaster(pair.master)
        header = CompareLogRequestHeader(from_offset=0, to_offset=COMPARED_MAX_BYTES + 1)
        answer = self.successResultOf(master.call("", Frame.request(RequestCode.COMPARE_LOG, header), 3))
        self.assertEqual(answer.code, 1)

    def test_who_does_not_say_what_to_compare_is_refused_and_is_no_slave(self) -> None:
        master = OurMaster(open_store(MemoryDisk()))
        answer = self.successResultOf(master.call(MASTER, Frame.request(RequestCode.COMPARE_LOG), 1.0))
        self.assertEqual((answer.code, master.asked_by), (1, []))
        self.assertIn("fromOffset", answer.remark or "")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_cold_bytes_are_warmed_off_the_reactor(self) -> None:
        pair = self.diverged(50, 0)
        pair.master_disk.cold.update(path for path in pair.master_disk.nodes if "commitlog" in path)
        self.assertEqual(self.successResultOf(self.begin(pair)), pair.slave.written_to)


class Refusing:
    def call(self, address: str, frame: Frame, timeout_s: float) -> Deferred[Frame]:
        return succeed(frame.answer(2, "too busy"))


class ApacheTests(ComparisonCase):
    master_type = ApacheMaster

    def test_a_slave_with_the_same_last_record_goes_on_at_its_end(self) -> None:
        pair = self.diverged(5, 0)
        end = pair.slave.written_to
        pair.send(200, 500)
        self.assertEqual(self.successResultOf(self.begin(pair)), end)

    def test_another_last_record_stops_the_slave_with_its_offset(self) -> None:
        pair = self.diverged(3, 2)
        self.assertStopped(pair, f"another record than that of its master {MASTER} at offset")

    def test_a_slave_that_is_ahead_is_stopped(self) -> None:
        pair = self.diverged(3, 0)
        pair.slave.append_all([message()], NOW)
        self.assertStopped(pair, "beyond the end")

    def test_files_of_another_size_are_told_before_anything_is_copied(self) -> None:
        pair = Pair()
        pair.slave = open_store(MemoryDisk(), mapped_file_size_commit_log=2 * SEGMENT)
        self.assertStopped(pair, f"mappedFileSizeCommitLog={SEGMENT}")

    def test_what_a_crash_took_from_the_slave_is_copied_again(self) -> None:
        self.assertMended(self.with_damage("slave"))

    def test_a_short_log_is_copied_from_its_beginning(self) -> None:
        pair = Pair()
        pair.send(3)
        self.assertEqual(self.successResultOf(self.begin(pair)), 0)

    def test_all_of_a_long_log_is_had_by_fetching_its_first_record(self) -> None:
        pair = Pair()
        pair.send(500, 300)
        begin = self.successResultOf(self.begin(pair))
        self.assertEqual(begin, pair.slave.written_to)
        self.assertEqual(pair.slave.record_at(0), pair.master.record_at(0))
        pair.connect(begin=begin).pump(100_000)
        self.assertEqual(pair.slave.written_to, pair.master.written_to)
        self.assertEqual(*pair.logs())

    def test_the_oldest_file_that_is_left_is_asked_for_by_its_offset(self) -> None:
        pair = Pair()
        pair.send(500, 300)
        disk = pair.master_disk.after_kill()
        disk.remove("/store/commitlog/" + "0" * 20)
        pair.master = open_store(disk)
        begin = self.successResultOf(self.begin(pair))
        self.assertEqual(begin, SEGMENT)
        pair.connect(begin=begin).pump(100_000)
        self.assertEqual(*pair.logs())

    def test_apaches_way_is_had_by_haSyncFromLastFile(self) -> None:
        pair = Pair()
        pair.send(500, 300)
        pair.slave.config.ha_sync_from_last_file = True
        self.assertEqual(self.successResultOf(self.begin(pair)), 0)
