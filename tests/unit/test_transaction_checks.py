"""The check-back scheduler on a fake clock and a disk in memory."""

from __future__ import annotations

import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import transaction_rules
from rocketmq_tx.broker.half_outlines import HalfOutlines
from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.broker.transaction_messages import (
    committed_message,
    op_message,
    plainly_committed,
    stored_half,
)
from rocketmq_tx.broker.transaction_replay import OP
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import IndexNotReady, RequestRefused
from rocketmq_tx.protocol.bodies import ConsumerOffsetSerializeWrapper, OpenTransactionList
from rocketmq_tx.protocol.frame_codec import decode_frame
from rocketmq_tx.protocol.headers import (
    GetOpenTransactionsRequestHeader,
    ResumeCheckHalfMessageRequestHeader,
)
from rocketmq_tx.protocol.message import MessageRecord, decode_record, encode_record
from rocketmq_tx.protocol.message_ids import offset_message_id, pack_host
from rocketmq_tx.store.append import NewMessage, Placed
from rocketmq_tx.store.os_disk import platform_disk
from tests import golden
from tests.unit.transaction_parts import (
    COMMIT,
    GIVEN_UP,
    GROUP,
    ROLLBACK,
    TOPIC,
    Bench,
)

NOBODY: Any = None


def place_of(header: Any) -> Placed:
    return Placed(header.commit_log_offset, 0, header.tran_state_table_offset)


class CheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = Bench()

    def test_a_producer_is_asked_and_its_answer_counts(self) -> None:
        peer = self.bench.connect()
        self.bench.send("K1", colour="red")
        self.bench.advance(59)
        self.assertEqual(peer.take(), [])
        self.bench.advance(1)
        ((header, message),) = peer.take()
        self.assertEqual((message.topic, message.queue_id, message.body), (TOPIC, 1, b"paid"))
        self.assertEqual(message.property_map["TRANSACTION_CHECK_TIMES"], "1")
        self.assertEqual(self.bench.end(place_of(header), COMMIT), (0, None))
        (delivered,) = self.bench.queue(TOPIC, 1)
        self.assertEqual(delivered.prepared_transaction_offset, header.commit_log_offset)
        self.assertEqual(delivered.property_map["TRANSACTION_CHECK_TIMES"], "1")
        self.bench.advance(600)
        self.assertEqual(peer.take(), [])

    def test_a_copy_loses_nothing_of_the_message(self) -> None:
        self.bench.connect()
        self.bench.send("K1", colour="red")
        self.bench.advance(60)
        first, copy = self.bench.half_topic()
        self.assertEqual((copy.flag, copy.reconsume_times), (5, 2))
        self.assertEqual(copy.born_host, first.born_host)
        self.assertEqual(copy.born_timestamp, first.born_timestamp)
        self.assertEqual(copy.body, first.body)
        self.assertEqual(copy.property_map, {**first.property_map, "TRANSACTION_CHECK_TIMES": "1"})

    def test_what_is_executing_is_not_asked_about_before_its_time(self) -> None:
        peer = self.bench.connect()
        self.bench.advance(57)
        self.bench.send("young")
        self.bench.send("patient", CHECK_IMMUNITY_TIME_IN_SECONDS="90")
        self.bench.advance(3)
        self.assertEqual(peer.take(), [])
        self.bench.advance(60)
        self.assertEqual([header.msg_id for header, _ in peer.take()], ["young"])
        self.bench.advance(60)
        self.assertEqual([header.msg_id for header, _ in peer.take()], ["patient", "young"])

    def test_it_is_asked_until_the_limit_and_then_kept_for_operators(self) -> None:
        peer = self.bench.connect()
        self.bench.send("K1")
        self.bench.advance(600)
        times = [message.property_map["TRANSACTION_CHECK_TIMES"] for _, message in peer.take()]
        self.assertEqual(times, ["1", "2", "3"])
        self.assertEqual(self.bench.given_up(), [b"paid"])
        self.assertEqual(self.bench.open_keys(), [])
        self.assertIsNotNone(self.bench.topics.get(GIVEN_UP[0]))
        found = self.bench.store.query_by_key(GIVEN_UP[0], "K1", 9, 0, 1 << 62)
        self.assertEqual(len(found.offsets), 1)
        self.assertEqual((self.bench.log.figures.checks, self.bench.log.figures.discards), (3, 1))
        again = self.bench.next_run()
        again.advance(600)
        self.assertEqual(again.given_up(), [b"paid"])

    def test_without_a_producer_it_waits_uncounted_until_it_is_too_old(self) -> None:
        self.bench.send("K1")
        self.bench.send("K2")
        self.bench.advance(3600)
        self.assertEqual(self.bench.open_keys(), ["K1", "K2"])
        self.assertEqual(len(self.bench.half_topic()), 2)
        peer = self.bench.connect()
        self.bench.advance(60)
        (asked, _) = peer.take()
        self.bench.end(place_of(asked[0]), COMMIT)
        self.bench.disconnect(peer)
        self.bench.clock.advance(72 * 3600)
        self.bench.tick()
        self.assertEqual(self.bench.delivered(), {b"paid": 1})
        self.assertEqual(self.bench.given_up(), [b"paid"])
        self.assertGreater(self.bench.log.figures.unanswerable, 100)

    def test_producers_of_a_group_take_turns_and_another_answers_for_one_that_is_gone(self) -> None:
        peers = [self.bench.connect() for _ in range(3)]
        self.bench.connect("others")
        for number in range(6):
            self.bench.send(f"K{number}")
        self.bench.advance(60)
        self.assertEqual([len(peer.take()) for peer in peers], [2, 2, 2])
        peers[0].is_open = False  # its connection breaks, but nobody has noticed
        self.bench.disconnect(peers[1])
        self.bench.advance(60)
        self.assertEqual([len(peer.take()) for peer in peers], [0, 0, 6])

    def test_a_single_transaction_is_not_asked_of_the_same_producer_each_time(self) -> None:
        peers = [self.bench.connect() for _ in range(3)]
        self.bench.send("K1")
        self.bench.advance(180)
        self.assertEqual([len(peer.take()) for peer in peers], [1, 1, 1])

    def test_producers_that_come_and_go_leave_nothing_behind(self) -> None:
        for number in range(200):
            self.bench.send(f"K{number}", group=f"G{number}")
            peer = self.bench.connect(f"G{number}")
            self.bench.advance(60)
            self.assertTrue(peer.take())
            self.bench.disconnect(peer)
            del peer
        choice = self.bench.checks._choice
        self.assertLessEqual(len(choice._asked), 1)
        self.bench.advance(60)
        self.assertFalse([group for group, line in choice._lines.items() if line])

    def test_settings_count_as_soon_as_they_are_changed(self) -> None:
        peer = self.bench.connect()
        broker = self.bench.settings.broker
        self.bench.send("K1")
        broker.transaction_check_interval, broker.transaction_time_out = 2000, 1000
        self.bench.advance(2)
        self.assertEqual(len(peer.take()), 1)
        broker.transaction_check_max = 1
        self.bench.advance(2)
        self.assertEqual(self.bench.given_up(), [b"paid"])

    def test_any_copys_place_ends_all_of_them(self) -> None:
        peer = self.bench.connect()
        first, second = self.bench.send("K1"), self.bench.send("K2", b"other")
        self.bench.advance(60)
        asked = [place_of(header) for header, _ in peer.take()]
        self.assertEqual(self.bench.end(first, COMMIT), (0, None))
        self.assertEqual(self.bench.end(asked[0], ROLLBACK), (0, None))
        self.assertEqual(self.bench.end(asked[1], ROLLBACK), (0, None))
        self.assertEqual(self.bench.end(second, COMMIT), (0, None))
        self.assertEqual(self.bench.delivered(), {b"paid": 1})
        self.bench.advance(300)
        self.assertEqual(peer.take(), [])
        ended = {int(op) for op in self.bench.ops()}
        self.assertLessEqual({place.queue_offset for place in asked}, ended)

    def test_also_after_a_restart_that_has_passed_the_first_copy(self) -> None:
        self.bench.connect()
        first = self.bench.send("K1")
        self.bench.advance(60)
        again = self.bench.next_run()
        self.assertEqual(again.offsets.query("CID_RMQ_SYS_TRANS", "RMQ_SYS_TRANS_HALF_TOPIC", 0), 1)
        self.assertEqual(again.end(first, COMMIT), (0, None))
        self.assertEqual(again.delivered(), {b"paid": 1})
        self.assertEqual(again.ops(), [b"1"])
        self.assertEqual(again.next_run().open_keys(), [])

    def test_while_the_store_takes_nothing_no_check_is_counted(self) -> None:
        peer = self.bench.connect()
        self.bench.send("K1")
        self.bench.store.refuse("full", "the disk is full")
        self.bench.advance(600)
        self.assertEqual(peer.take(), [])
        self.bench.store.accept("full")
        self.bench.advance(60)
        ((_, message),) = peer.take()
        self.assertEqual(message.property_map["TRANSACTION_CHECK_TIMES"], "1")

    def test_a_message_without_room_for_the_counter_is_asked_about_all_the_same(self) -> None:
        peer = self.bench.connect()
        filler = "x" * (32767 - len(self.bench.half("K1").properties) - len("\x02filler\x01"))
        place = self.bench.send("K1", filler=filler)
        self.bench.advance(600)
        asked = peer.take()
        self.assertEqual([place_of(header).queue_offset for header, _ in asked], [place.queue_offset] * 3)
        self.assertEqual(self.bench.given_up(), [b"paid"])

    def test_a_half_message_that_is_lost_is_told_and_not_looked_for_again(self) -> None:
        self.bench.connect()
        self.bench.send("K0")
        place = self.bench.send("K1")
        self.bench.disk.spoil(
            "/store/commitlog/00000000000000000000", place.commit_log_offset + 90, b"\xff" * 9
        )
        self.bench.advance(60)
        self.assertEqual(self.bench.open_keys(), ["K0"])
        self.assertEqual(self.bench.log.figures.lost, 1)
        self.bench.advance(60)
        self.assertEqual(self.bench.log.figures.lost, 1)

    def test_a_half_message_that_says_nonsense_comes_to_its_end_and_disturbs_no_other(self) -> None:
        peer = self.bench.connect()
        nonsense = self.bench.half("K0")
        self.bench.append(nonsense._replace(properties=b"UNIQ_KEY\x01K0\x02PGROUP\x01payments"))
        self.bench.send("K1")
        self.bench.advance(60)
        self.assertEqual([header.msg_id for header, _ in peer.take()], ["K1"])
        self.assertEqual(self.bench.end(self.bench.half_topic()[0], COMMIT)[0], 1)
        self.bench.advance(600)
        self.assertEqual(self.bench.open_keys(), [])

    def test_cold_half_messages_are_read_by_a_thread(self) -> None:
        peer = self.bench.connect()
        self.bench.send("K1")
        self.bench.disk.cold.update(path for path in self.bench.disk.nodes if "commitlog" in path)
        self.bench.advance(60)
        self.assertEqual(len(peer.take()), 1)

    def test_a_round_lets_others_in_between_and_judges_anew_what_they_did(self) -> None:
        peer = self.bench.connect()
        places = [self.bench.send(f"K{number}") for number in range(200)]
        self.bench.clock.advance(60)
        done = self.bench.checks.tick()
        assert done is not None
        self.assertFalse(done.called)
        first = len(peer.take())
        self.assertLess(first, 100)
        self.bench.end(places[199], COMMIT)
        while not done.called:
            self.bench.clock.advance(0)
        self.assertEqual(first + len(peer.take()), 199)
        self.assertEqual(self.bench.delivered(), {b"paid": 1})

    def test_a_slave_has_no_table_until_it_is_a_master(self) -> None:
        self.bench.send("K1")
        self.bench.log.unload()
        self.bench.settings.store.broker_role = BrokerRole.SLAVE
        self.assertFalse(self.bench.log.is_loaded)
        self.assertIsNone(self.bench.log.keep_last_progress(1.0))
        self.bench.log.keep_progress()
        self.bench.settings.store.broker_role = BrokerRole.ASYNC_MASTER
        self.bench.send("K2")
        self.assertEqual(self.bench.open_keys(), ["K1", "K2"])


class ProgressTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = Bench()

    def kept(self, bench: Bench) -> tuple[int, int]:
        group = "CID_RMQ_SYS_TRANS"
        return (
            bench.offsets.query(group, "RMQ_SYS_TRANS_HALF_TOPIC", 0),
            bench.offsets.query(group, "RMQ_SYS_TRANS_OP_HALF_TOPIC", 0),
        )

    def test_progress_is_kept_once_what_was_passed_is_on_disk(self) -> None:
        self.bench.disk.fail("sync", "commitlog", 5)
        held: list[Any] = []
        self.patch(self.bench.flushes, "flush", held.append)
        self.bench.end(self.bench.send("K1"), COMMIT)
        self.bench.advance(5)
        self.assertEqual(self.kept(self.bench), (-1, -1))
        self.assertTrue(held)
        self.bench.disk.heal()
        self.bench.store.finish_flush(run(self.bench.store.begin_flush()))
        self.bench.advance(1)
        self.assertEqual(self.kept(self.bench), (1, 1))

    def test_a_start_reads_only_what_may_be_open(self) -> None:
        self.bench.send("open")
        for number in range(50):
            self.bench.end(self.bench.send(f"K{number}"), ROLLBACK)
        self.bench.connect()
        self.bench.advance(61)  # its copy stands behind the others now
        again = self.bench.next_run()
        self.assertEqual(self.kept(again), (51, 50))
        self.assertEqual(again.open_keys(), ["open"])

    def test_who_holds_progress_back_gets_a_copy_further_on(self) -> None:
        self.patch(transaction_rules, "PUT_BACK_DISTANCE", 20)
        place = self.bench.send("slow", CHECK_IMMUNITY_TIME_IN_SECONDS="36000")
        for number in range(30):
            self.bench.end(self.bench.send(f"K{number}"), ROLLBACK)
        self.bench.advance(3)
        self.assertEqual(self.kept(self.bench), (31, 30))
        copy = self.bench.half_topic()[-1]
        self.assertEqual(copy.property_map["TRAN_PREPARED_QUEUE_OFFSET"], "0")
        self.assertNotIn("TRANSACTION_CHECK_TIMES", copy.property_map)
        again = self.bench.next_run()
        self.assertEqual(again.end(place, COMMIT), (0, None))
        self.assertEqual(again.delivered(), {b"paid": 1})
        self.assertEqual(again.next_run().open_keys(), [])

    def test_also_one_without_a_unique_key_stays_one_transaction(self) -> None:
        self.patch(transaction_rules, "PUT_BACK_DISTANCE", 20)
        peer = self.bench.connect()
        self.bench.send(None)
        self.bench.advance(61)
        for number in range(30):
            self.bench.end(self.bench.send(f"K{number}"), ROLLBACK)
        self.bench.advance(60)
        (_, (header, _)) = peer.take()
        again = self.bench.next_run()
        self.assertEqual(again.open_keys(), ["@0"])
        self.assertEqual(again.end(place_of(header), COMMIT), (0, None))
        self.assertEqual((again.delivered(), again.open_keys()), ({b"paid": 1}, []))

    def test_a_million_finished_transactions_cost_a_round_nothing(self) -> None:
        """A hundred open ones among many that ended: only those are read."""
        self.bench.connect()
        for number in range(100):
            self.bench.send(f"open-{number}")
        message = self.bench.half("K")
        for start in range(0, 5000, 500):
            keys = [f"K{number}" for number in range(start, start + 500)]
            halves = [
                message._replace(properties=self.bench.half(key).properties, keys=(key,)) for key in keys
            ]
            placed = self.bench.appending.append(halves, self.bench.now_ms())
            self.bench.answers([self.bench.end_frame(place, ROLLBACK) for place in placed])
        read: list[int] = []
        record_at = self.bench.store.record_at

        def counted(*arguments: Any, **more: Any) -> bytes:
            data = record_at(*arguments, **more)
            read.append(len(data))
            return data

        self.patch(self.bench.store, "record_at", counted)
        self.bench.clock.advance(60)
        started_s = time.perf_counter()
        self.bench.tick()
        took_s = time.perf_counter() - started_s
        self.assertEqual(self.bench.log.figures.checks, 100)
        self.assertEqual(len(read), 100)
        self.assertLess(sum(read), 1 << 20)
        self.assertLess(took_s, 1.0)  # measured: 10 ms; the bound only tells minutes from milliseconds

    def test_only_a_round_makes_the_half_topic(self) -> None:
        self.assertIsNone(self.bench.topics.get("RMQ_SYS_TRANS_HALF_TOPIC"))
        self.bench.advance(60)
        topic = self.bench.topics.get("RMQ_SYS_TRANS_HALF_TOPIC")
        assert topic is not None
        self.assertEqual((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (1, 1, 6))
        self.assertIsNone(self.bench.topics.get("RMQ_SYS_TRANS_OP_HALF_TOPIC"))


def run(job: Any) -> Any:
    job.run()
    return job


class OperatorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = Bench()

    def resume(self, offset: int) -> tuple[int, str | None]:
        message_id = offset_message_id("127.0.0.1", 28911, offset)
        try:
            reply = self.bench.requests.resume(
                NOBODY, NOBODY, ResumeCheckHalfMessageRequestHeader(msg_id=message_id)
            )
        except RequestRefused as refusal:
            return refusal.code, refusal.remark
        return reply.code, reply.remark

    def give_up(self) -> int:
        """A transaction that nobody knows; returns where it is kept."""
        self.bench.connect()
        self.bench.send("K1")
        self.bench.advance(300)
        return self.bench.queue(*GIVEN_UP)[0].commit_log_offset

    def let_the_index_wait(self, waits: Callable[[], Deferred[None]]) -> None:
        def check() -> None:
            raise IndexNotReady("2 of 9 slots have been looked through")

        self.patch(self.bench.store, "check_index_ready", check)
        self.patch(self.bench.ends, "_index_ready", waits)

    def test_a_commit_that_comes_after_the_last_check_waits_for_the_index_where_a_crash_has_left_it(
        self,
    ) -> None:
        self.give_up()
        (half, *_) = self.bench.half_topic()
        ready: Deferred[None] = Deferred()
        self.let_the_index_wait(lambda: ready)
        frame = self.bench.end_frame(half, COMMIT, key="K1")
        (answer,) = self.bench.ends.end(NOBODY, [frame])
        assert isinstance(answer, Deferred)
        self.assertNoResult(answer)
        self.patch(self.bench.store, "check_index_ready", lambda: None)
        ready.callback(None)
        self.assertEqual(decode_frame(self.successResultOf(answer)[4:]).code, 0)
        self.assertEqual(self.bench.delivered(), {b"paid": 1})

    def test_one_that_has_waited_too_long_and_a_resumption_are_to_be_tried_again(self) -> None:
        offset = self.give_up()
        (half, *_) = self.bench.half_topic()
        self.let_the_index_wait(lambda: fail(IndexNotReady("3 of 9 slots have been looked through")))
        code, remark = self.bench.end(half, COMMIT, key="K1")
        self.assertEqual((code, remark), (2, "ask again later: 3 of 9 slots have been looked through"))
        self.assertEqual(self.bench.delivered(), {})
        code, remark = self.resume(offset)
        self.assertEqual(code, 1)
        self.assertIn("Ask again later: 2 of 9 slots", str(remark))

    def test_a_transaction_that_was_given_up_can_be_resumed(self) -> None:
        offset = self.give_up()
        self.assertEqual(self.resume(offset), (0, None))
        self.assertEqual(self.bench.open_keys(), ["K1"])
        peer = self.bench.connect()
        self.bench.advance(60)
        ((header, message),) = peer.take()
        self.assertEqual(message.property_map["TRANSACTION_CHECK_TIMES"], "1")
        again = self.bench.next_run()
        self.assertEqual(again.end(place_of(header), COMMIT), (0, None))
        self.assertEqual(again.delivered(), {b"paid": 1})

    def test_a_commit_that_comes_too_late_still_counts_once(self) -> None:
        place = self.bench.send("K1")
        self.bench.connect()
        self.bench.advance(300)
        self.assertEqual(self.bench.given_up(), [b"paid"])
        again = self.bench.next_run()
        self.assertEqual(again.end(place, COMMIT), (0, None))
        self.assertEqual(again.end(place, COMMIT), (0, None))
        self.assertEqual(again.delivered(), {b"paid": 1})

    def test_another_transaction_of_the_same_key_changes_nothing_about_that(self) -> None:
        self.bench.end(self.bench.send("K1", b"first"), COMMIT)
        self.bench.advance(1)
        place = self.bench.send("K1", b"second")
        self.bench.connect()
        self.bench.advance(300)
        self.assertEqual(self.bench.given_up(), [b"second"])
        third = self.bench.send("K1", b"third")
        self.bench.end(third, ROLLBACK)
        again = self.bench.next_run()
        for end in (third, place, place):
            self.assertEqual(again.end(end, COMMIT), (0, None))
        self.assertEqual(again.delivered(), {b"first": 1, b"second": 1})

    def test_a_transaction_is_resumed_though_another_of_its_key_has_ended(self) -> None:
        self.bench.end(self.bench.send("K1", b"first"), COMMIT)
        self.bench.advance(1)
        self.assertEqual(self.resume(self.give_up()), (0, None))
        self.assertEqual(self.bench.open_keys(), ["K1"])

    def test_what_was_committed_is_not_resumed(self) -> None:
        place = self.bench.send("K1")
        self.bench.end(place, COMMIT)
        code, remark = self.resume(place.commit_log_offset)
        self.assertEqual(code, 1)
        self.assertEqual(
            remark, "Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed. The transaction was committed."
        )

    def test_nothing_else_is_resumed(self) -> None:
        place = self.bench.send("K1")
        self.bench.end(place, COMMIT)
        (message,) = self.bench.queue(TOPIC, 1)
        for offset in (message.commit_log_offset, place.commit_log_offset + 1, 1 << 40):
            code, remark = self.resume(offset)
            self.assertEqual(code, 1)
            self.assertIn("RMQ_SYS_TRANS_HALF_TOPIC", remark or "")

    def list_open(self, **wanted: Any) -> OpenTransactionList:
        header = GetOpenTransactionsRequestHeader(**wanted)
        reply = self.bench.requests.list_open(NOBODY, NOBODY, header)
        return OpenTransactionList.from_bytes(reply.body)

    def test_open_transactions_can_be_seen(self) -> None:
        began_ms = self.bench.now_ms()
        self.bench.connect()
        self.bench.send("K1")
        self.bench.send("K2", group="others")
        self.bench.end(self.bench.send("K3"), ROLLBACK)
        self.bench.end(self.bench.send("K4"), COMMIT)
        self.bench.advance(61)
        shown = self.list_open()
        self.assertEqual([each.msg_id for each in shown.transactions], ["K2", "K1"])
        (mine,) = self.list_open(producer_group=GROUP).transactions
        self.assertEqual((mine.msg_id, mine.check_times, mine.topic), ("K1", 1, TOPIC))
        self.assertEqual((mine.begin_timestamp, mine.half_queue_offset), (began_ms, 4))
        self.assertEqual(len(self.list_open(topic="none").transactions), 0)
        self.assertEqual(len(self.list_open(max_num=1).transactions), 1)
        figures = shown.figures
        self.assertEqual(figures["open"], 2)
        self.assertEqual(figures["oldestAgeMs"], 61_000)
        expected = {
            "halfMessages": 4,
            "commits": 1,
            "rollbacks": 1,
            "checks": 1,
            "discards": 0,
            "unanswerable": 1,
        }
        self.assertEqual({name: figures[name] for name in expected}, expected)


class TakeOverTests(SynchronousTestCase):
    """Stores that Apache 4.9.7 wrote, with transactions that were open when it stopped or was killed."""

    def take_over(self, name: str) -> Bench:
        folder = self.mktemp()
        with tarfile.open(golden.path(f"store/{name}.tar.gz")) as archive:
            archive.extractall(folder, filter="data")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        root = next(Path(folder).rglob("commitlog")).parent
        offsets = ConsumerOffsets()
        kept = root / "config" / "consumerOffset.json"
        if kept.exists():
            offsets.merge(ConsumerOffsetSerializeWrapper.from_bytes(kept.read_bytes()))
        disk: Any = platform_disk()
        clock = Clock()
        return Bench(
            disk, clock, offsets, storePathRootDir=str(root), mappedFileSizeCommitLog=65536,
            mappedFileSizeConsumeQueue=6000,
        )  # fmt: skip

    def test_op_messages_are_apaches_byte_by_byte(self) -> None:
        bench = self.take_over("full")
        recorded = bench.queue(*OP)
        self.assertGreater(len(recorded), 1)
        for record in recorded:
            ours = op_message(int(record.body), pack_host(*record.born_host), record.born_timestamp)
            self.assert_stored(bench, record, ours)
        bench.store.close(bench.now_ms())

    def test_committed_messages_are_apaches_byte_by_byte(self) -> None:
        bench = self.take_over("full")
        committed = [
            record for queue_id in range(4) for record in bench.queue("GoldenTx", queue_id)
            if record.prepared_transaction_offset
        ]  # fmt: skip
        self.assertEqual(len(committed), 2)
        for record in committed:
            half = decode_record(bench.store.record_at(record.prepared_transaction_offset))
            properties = half.property_map
            stored, offset = stored_half(half, properties), half.commit_log_offset
            self.assert_stored(bench, record, committed_message(stored, properties, offset, 0, ()))
            outline = HalfOutlines().of(stored[4], properties["UNIQ_KEY"])
            assert outline is not None
            assert outline.real_queue is not None
            self.assert_stored(bench, record, plainly_committed(stored, outline.real_queue, offset))
        bench.store.close(bench.now_ms())

    def assert_stored(self, bench: Bench, record: MessageRecord, ours: NewMessage) -> None:
        """Put at the place and time of `record`, ours is that very record, and its queue entry."""
        message = NewMessage(*ours)
        made = attrs.evolve(
            record,
            topic=message.topic,
            queue_id=message.queue_id,
            body=message.body,
            body_crc=message.body_crc,
            properties=message.properties,
            flag=message.flag,
            sys_flag=message.sys_flag,
            born_timestamp=message.born_timestamp,
            reconsume_times=message.reconsume_times,
            prepared_transaction_offset=message.prepared_transaction_offset,
        )
        data = bench.store.record_at(record.commit_log_offset)
        self.assertEqual(encode_record(made), data)
        entry = bench.store.entry_at(message.topic, message.queue_id, record.queue_offset)
        self.assertEqual(entry, (record.commit_log_offset, len(data), message.tags_code))
        self.assertEqual(message.born_host, pack_host(*record.born_host))

    def test_what_apache_left_open_is_asked_about_and_ended(self) -> None:
        for name in ("full", "full_killed"):
            bench = self.take_over(name)
            left = [record for record in bench.half_topic() if record.body in (b"U1", b"U2")]
            self.assertEqual(len(bench.open_keys()), 2)
            self.assertEqual(
                sorted(bench.open_keys()), sorted({record.property_map["UNIQ_KEY"] for record in left})
            )
            peer = bench.connect("golden_tx_pg")
            bench.settings.store.file_reserved_time = 24 * 365 * 20
            bench.advance(60)
            asked = peer.take()
            self.assertEqual(sorted(message.body for _, message in asked), [b"U1", b"U2"])
            by_body = {message.body: place_of(header) for header, message in asked}
            bench.end(by_body[b"U1"], COMMIT, "golden_tx_pg")
            bench.end(by_body[b"U2"], ROLLBACK, "golden_tx_pg")
            bodies = [record.body for queue in range(4) for record in bench.queue("GoldenTx", queue)]
            self.assertEqual(sorted(bodies), [b"C1", b"C2", b"U1"])
            again = bench.next_run()
            self.assertEqual(again.open_keys(), [])
            again.store.close(again.now_ms())
