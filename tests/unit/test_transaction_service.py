"""Transactions within a broker's life: starts, stops, changes of role, logs that others have left."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import open_transactions
from rocketmq_tx.broker.check_window import OUTSTANDING_MAX
from rocketmq_tx.broker.offsets import ConsumerOffsets
from rocketmq_tx.broker.transaction_messages import half_copy, op_message
from rocketmq_tx.broker.transactions import TransactionService
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import MessageError, StoreUnavailable
from rocketmq_tx.protocol.java import crc32
from rocketmq_tx.store.message_store import MessageStore
from tests.unit.transaction_parts import COMMIT, GIVEN_UP, ROLLBACK, STORE_HOST, Bench

LOG = "/store/commitlog/00000000000000000000"
GROUP = "CID_RMQ_SYS_TRANS"
HALF_TOPIC, OP_TOPIC = "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC"


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = Bench(transactionCheckInterval=10_000)
        self.service = TransactionService(
            self.bench.settings, self.bench.log, self.bench.checks, self.bench.put_backs, lambda: True,
            self.bench.clock,
        )  # fmt: skip

    def stop(self) -> None:
        self.successResultOf(self.service.stopService())

    def pass_time(self, seconds: float) -> None:
        self.bench.clock.pump([0.5] * int(seconds * 2))

    def test_rounds_come_at_their_interval_and_end_with_the_service(self) -> None:
        peer = self.bench.connect()
        self.bench.send("K1")
        self.service.startService()
        self.pass_time(9.5)
        self.assertEqual(peer.take(), [])
        self.pass_time(1)
        self.assertEqual(len(peer.take()), 1)
        self.stop()
        self.pass_time(60)
        self.assertEqual(peer.take(), [])
        self.assertEqual(self.bench.clock.getDelayedCalls(), [])

    def test_a_stop_keeps_progress(self) -> None:
        self.service.startService()
        self.bench.end(self.bench.send("K1"), ROLLBACK)
        self.stop()
        self.assertEqual(self.bench.offsets.query(GROUP, HALF_TOPIC, 0), 1)

    def test_a_stop_with_a_disk_that_fails_keeps_none(self) -> None:
        self.service.startService()
        self.bench.end(self.bench.send("K1"), ROLLBACK)
        self.bench.disk.fail("sync", "commitlog", 5)
        self.stop()
        self.assertEqual(self.bench.offsets.query(GROUP, HALF_TOPIC, 0), -1)

    def test_a_service_that_never_started_stops(self) -> None:
        self.stop()

    def test_a_slave_checks_nothing_until_it_becomes_a_master(self) -> None:
        self.bench.send("K1")
        self.bench.log.unload()
        self.bench.settings.store.broker_role = BrokerRole.SLAVE
        peer = self.bench.connect()
        self.service.startService()
        self.assertFalse(self.bench.log.is_loaded)
        self.pass_time(30)
        self.assertEqual(peer.take(), [])
        self.bench.settings.store.broker_role = BrokerRole.ASYNC_MASTER
        self.pass_time(11)
        self.assertEqual([header.msg_id for header, _ in peer.take()], ["K1"])
        self.bench.settings.store.broker_role = BrokerRole.SLAVE
        self.pass_time(2)
        self.assertFalse(self.bench.log.is_loaded)
        self.stop()

    def become(self, role: BrokerRole) -> None:
        self.bench.settings.store.broker_role = role
        self.service.role_changed()

    def test_a_promoted_slave_reads_what_is_open_and_asks_after_an_interval(self) -> None:
        self.bench.send("K1")
        self.bench.log.unload()
        self.bench.settings.store.broker_role = BrokerRole.SLAVE
        peer = self.bench.connect()
        self.service.startService()
        self.pass_time(60)
        self.become(BrokerRole.SYNC_MASTER)
        self.assertEqual(self.bench.open_keys(), ["K1"])
        self.pass_time(9)
        self.assertEqual(peer.take(), [])
        self.pass_time(2)
        self.assertEqual([header.msg_id for header, _ in peer.take()], ["K1"])
        self.stop()

    def test_a_promoted_slave_writes_the_op_message_that_its_master_could_not_send_any_more(self) -> None:
        place = self.bench.send("K1")
        op_messages = self.bench.log.op_messages
        self.bench.log.op_messages = lambda *arguments: []  # type: ignore[method-assign]
        self.bench.end(place, COMMIT)
        self.bench.log.op_messages = op_messages  # type: ignore[method-assign]
        self.bench.settings.store.broker_role = BrokerRole.SLAVE
        self.service.startService()
        self.become(BrokerRole.ASYNC_MASTER)
        self.assertEqual((self.bench.ops(), self.bench.open_keys()), ([b"0"], []))
        self.stop()

    def test_a_master_that_steps_down_asks_nobody_and_holds_nothing(self) -> None:
        peer = self.bench.connect()
        self.service.startService()
        self.bench.append(*[self.bench.half(f"K{number}") for number in range(OUTSTANDING_MAX + 10)])
        self.pass_time(10.5)
        self.assertEqual((len(peer.take()), self.bench.checks.waiting), (OUTSTANDING_MAX, 10))
        self.become(BrokerRole.SLAVE)
        self.assertFalse(self.bench.log.is_loaded)
        self.assertEqual(self.bench.checks.waiting, 0)
        self.pass_time(60)
        self.assertEqual(peer.take(), [])
        self.assertEqual(self.bench.log.figures.discards, 0)
        self.stop()

    def test_a_change_of_role_outside_its_life_does_nothing(self) -> None:
        self.bench.log.unload()
        self.service.role_changed()
        self.assertFalse(self.bench.log.is_loaded)

    def test_a_slave_puts_nothing_back(self) -> None:
        self.bench.settings.store.broker_role = BrokerRole.SLAVE
        self.service.startService()
        self.successResultOf(self.service.put_back_before(1 << 40))
        self.stop()

    def test_who_has_stopped_does_not_let_segments_go(self) -> None:
        self.failureResultOf(self.service.put_back_before(1), StoreUnavailable)


class LeftByOthers(SynchronousTestCase):
    """What a start makes of logs as Apache leaves them, or a disk that rots."""

    def offsets(self, half: int, op: int) -> ConsumerOffsets:
        offsets = ConsumerOffsets()
        offsets.commit(GROUP, HALF_TOPIC, 0, half)
        offsets.commit(GROUP, OP_TOPIC, 0, op)
        return offsets

    def test_apache_ends_a_transaction_by_a_copy_that_it_has_passed(self) -> None:
        bench = Bench()
        bench.send("K1")
        (half,) = bench.half_topic()
        bench.append(half_copy(half, {"TRANSACTION_CHECK_TIMES": "1"}))
        bench.log.unload()
        bench.append(op_message(0, STORE_HOST, bench.now_ms()))
        self.assertEqual(bench.next_run(offsets=self.offsets(1, 0)).open_keys(), [])

    def test_a_copy_that_apache_made_of_one_that_had_ended_is_not_asked_about_again(self) -> None:
        """It has ended one of two copies, and goes on asking about the other."""
        for decision in (COMMIT, ROLLBACK):
            bench = Bench()
            bench.connect()
            bench.end(bench.send("K1"), decision)
            bench.append(half_copy(bench.half_topic()[0], {"TRANSACTION_CHECK_TIMES": "2"}))
            bench.send("K2", b"other")
            again = bench.next_run(offsets=self.offsets(0, 0))
            self.assertEqual(again.open_keys(), ["K2"])
            self.assertEqual(again.ops(), [b"0", b"1"])
            third = again.next_run(offsets=self.offsets(0, 0))
            self.assertEqual((third.open_keys(), third.ops()), (["K2"], [b"0", b"1"]))
            self.assertEqual(third.end(third.half_topic()[1], COMMIT), (0, None))
            self.assertEqual(third.delivered(), {b"paid": 1} if decision == COMMIT else {})

    def test_also_when_its_op_message_is_passed_the_committed_message_tells(self) -> None:
        bench = Bench()
        bench.connect()
        bench.end(bench.send("K1"), COMMIT)
        bench.append(half_copy(bench.half_topic()[0], {"TRANSACTION_CHECK_TIMES": "2"}))
        again = bench.next_run(offsets=self.offsets(1, 1))
        self.assertEqual((again.open_keys(), again.ops()), ([], [b"0", b"1"]))
        self.assertEqual(again.end(again.half_topic()[1], COMMIT), (0, None))
        self.assertEqual(again.delivered(), {b"paid": 1})

    def test_a_committed_message_of_the_same_key_tells_nothing_about_another_transaction(self) -> None:
        bench = Bench()
        bench.connect()
        bench.end(bench.send("K1", b"first"), COMMIT)
        bench.advance(1)
        bench.send("K1", b"second")
        bench.advance(61)
        self.assertEqual(len(bench.half_topic()), 3)
        again = bench.next_run()
        self.assertEqual((again.open_keys(), again.ops()), (["K1"], [b"0"]))
        third = again.next_run(offsets=self.offsets(2, 1))  # as after a kill
        self.assertEqual((third.open_keys(), third.ops()), (["K1"], [b"0"]))
        self.assertEqual(third.end(third.half_topic()[2], COMMIT), (0, None))
        self.assertEqual(third.delivered(), {b"first": 1, b"second": 1})

    def test_one_that_was_given_up_and_resumed_is_open_again(self) -> None:
        bench = Bench()
        bench.connect()
        bench.send("K1")
        bench.advance(300)
        (kept,) = bench.queue(*GIVEN_UP)
        bench.append(half_copy(kept, {"TRANSACTION_CHECK_TIMES": "0"}))
        again = bench.next_run(offsets=self.offsets(0, 0))
        self.assertEqual(again.open_keys(), ["K1"])

    def test_an_op_message_of_a_passed_transaction_ends_no_other(self) -> None:
        bench = Bench()
        bench.send("K1")
        bench.send("K2")
        bench.log.unload()
        bench.append(op_message(0, STORE_HOST, bench.now_ms()))
        self.assertEqual(bench.next_run(offsets=self.offsets(1, 0)).open_keys(), ["K2"])

    def test_op_messages_that_name_no_half_message_do_no_harm(self) -> None:
        for body in (
            b"",
            b"x",
            b"9" * 5000,
            b"12345",
            b"-1",
            "\u0663".encode(),
            b"7,9999999999999999999999,8",
        ):
            bench = Bench()
            bench.send("K1")
            bench.log.unload()
            odd = op_message(0, STORE_HOST, bench.now_ms())
            bench.append((*odd[:2], body, crc32(body), *odd[4:]))  # type: ignore[arg-type]
            again = bench.next_run(offsets=self.offsets(0, 0))
            self.assertEqual(again.open_keys(), ["K1"])
            again.end(again.half_topic()[0], ROLLBACK, key="K1")
            self.assertEqual(again.log.table.progress, (1, 2), body)

    def test_a_damaged_half_message_is_passed_over(self) -> None:
        bench = Bench()
        place = bench.send("K1", b"body that rots")
        bench.send("K2")
        bench.disk.spoil(LOG, place.commit_log_offset + 90, b"\xff\xff")
        again = bench.next_run()
        self.assertEqual(again.open_keys(), ["K2"])

    def test_offsets_behind_the_end_of_the_queues_are_no_harm(self) -> None:
        bench = Bench()
        bench.send("K1")
        again = bench.next_run(offsets=self.offsets(99, 99))
        self.assertEqual(again.open_keys(), [])
        again.send("K2")
        self.assertEqual(again.open_keys(), ["K2"])

    def test_a_commit_is_not_asked_about_though_its_op_message_cannot_be_written(self) -> None:
        bench = Bench()
        place = bench.send("K1")
        written_to = bench.store.written_to
        bench.end(place, COMMIT)
        size = len(bench.store.record_at(written_to))
        image = bench.disk.after_kill()
        image.spoil(LOG, written_to + size, bytes(200))
        self.patch(MessageStore, "append_all", refuse)
        full = bench.next_run(image)
        self.assertEqual((full.open_keys(), full.ops(), full.delivered()), ([], [], {b"paid": 1}))


def refuse(*_: object) -> None:
    raise StoreUnavailable("the disk is full")


class EndsFromTheLog(SynchronousTestCase):
    def test_a_half_message_of_an_earlier_run_is_read_by_a_thread(self) -> None:
        bench = Bench()
        places = [bench.send("K1"), bench.send("K2")]
        again = bench.next_run()
        again.disk.cold.update(path for path in again.disk.nodes if "commitlog" in path)
        frames = [again.end_frame(place, COMMIT) for place in places]
        self.assertEqual([answer.code for answer in again.answers(frames)], [0, 0])
        one_way = again.end_frame(again.send("K3"), COMMIT)
        one_way.flag |= 2
        again.log.unload()
        self.assertEqual(len(again.log.table), 1)
        again.disk.cold.update(path for path in again.disk.nodes if "commitlog" in path)
        (answer,) = again.ends.end(None, [one_way])  # type: ignore[arg-type]
        assert isinstance(answer, Deferred)
        self.assertEqual(self.successResultOf(answer), b"")
        self.assertEqual(again.delivered(), {b"paid": 3})

    def test_one_message_that_fits_no_segment_does_not_hold_up_others(self) -> None:
        bench = Bench()
        places = [bench.send("K1", b"large"), bench.send("K2")]
        append = bench.appending.append

        def narrow(messages: list, now_ms: int) -> list:  # type: ignore[type-arg]
            if any(message[2] == b"large" for message in messages):
                raise MessageError("a record does not fit into a segment")
            return append(messages, now_ms)

        self.patch(bench.appending, "append", narrow)
        frames = [bench.end_frame(place, COMMIT) for place in places]
        self.assertEqual([answer.code for answer in bench.answers(frames)], [13, 0])
        self.assertEqual((bench.delivered(), bench.open_keys()), ({b"paid": 1}, ["K1"]))
        bench.connect()
        bench.send("K3")
        bench.advance(60)
        self.assertEqual(bench.log.figures.checks, 1)

    def test_most_is_not_kept_in_memory_when_it_is_too_much(self) -> None:
        self.patch(open_transactions, "KEPT_BYTES_MAX", 300)
        bench = Bench()
        places = [bench.send(f"K{number}") for number in range(4)]
        kept = [each.message is not None for each in bench.log.table]
        self.assertEqual(kept, [True, True, False, False])
        for place in places:
            self.assertEqual(bench.end(place, COMMIT), (0, None))
        self.assertEqual((bench.delivered(), bench.log.table._kept_bytes), ({b"paid": 4}, 0))
