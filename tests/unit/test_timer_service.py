"""Messages with a delivery time of their own, on a broker in memory: in time, once, whatever happens."""

from __future__ import annotations

import errno
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, TimeoutError
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import StoreError, StoreUnavailable, WouldBlock
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import EndTransactionRequestHeader
from rocketmq_tx.protocol.message import MessageRecord, decode_records
from rocketmq_tx.protocol.properties import encode_properties
from tests.memory_broker import BEGAN_MS, MemoryBroker
from tests.memory_disk import MemoryDisk
from tests.send_headers import send_header

TIMER = "rmq_sys_wheel_timer"
MANIFEST = "/store/timers/manifest.json"
DAY_S = 86_400
HOUR_S = 3600
MAX_REMARK = (
    "timer message illegal, the delay time should not be bigger than the max delay 259200000ms; "
    "or if set del msg, the delay time should be bigger than the current time"
)


class TimerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = MemoryBroker()

    def send(self, body: bytes, key: str = "", topic: str = "Orders", **properties: Any) -> Frame:
        pairs = {"UNIQ_KEY": key or body.decode(), **{name: str(value) for name, value in properties.items()}}
        return self.broker.send(body, topic=topic, properties=pairs)

    def later(self, body: bytes, seconds: float, **properties: Any) -> None:
        """A message that is due so many seconds from now."""
        answer = self.send(body, TIMER_DELIVER_MS=self.broker.now_ms() + round(seconds * 1000), **properties)
        self.assertEqual(answer.code, 0, answer.remark)

    def cancel(self, key: str, deliver_ms: int, topic: str = "Orders") -> Frame:
        return self.send(
            b"0", key=f"cancel {key}", topic=topic, TIMER_DEL_UNIQKEY=key, TIMER_DELIVER_MS=deliver_ms
        )

    def waited(self, seconds: float) -> list[bytes]:
        self.broker.pass_time(seconds)
        return self.broker.bodies()

    @property
    def pending(self) -> int:
        return self.broker.parts.timers.index.pending


class InTime(TimerCase):
    def test_each_property_says_the_time_and_the_message_comes_then_and_not_before(self) -> None:
        for properties in (
            {"TIMER_DELAY_SEC": 2},
            {"TIMER_DELAY_MS": 2000},
            {"TIMER_DELIVER_MS": BEGAN_MS + 2000},
            {"TIMER_DELAY_SEC": 2, "TIMER_DELAY_MS": 1, "TIMER_DELIVER_MS": 1},
        ):
            self.broker = MemoryBroker()
            self.assertEqual(self.send(b"x", **properties).code, 0)
            self.assertEqual(self.waited(1.999), [])
            self.assertEqual(self.waited(0.001), [b"x"])
            self.assertEqual(self.broker.records()[0].store_timestamp, BEGAN_MS + 2000)

    def test_messages_come_in_the_order_of_their_times(self) -> None:
        for number in (5, 3, 9, 1, 7):
            self.later(b"%d" % number, number)
        self.later(b"soon", 0.02)

        self.assertEqual(self.waited(0.02), [b"soon"])
        self.assertEqual(self.waited(10), [b"soon", b"1", b"3", b"5", b"7", b"9"])
        self.assertEqual(self.pending, 0)

    def test_a_delivered_message_is_what_was_sent_and_tells_of_its_delay(self) -> None:
        self.broker.send(
            b"body",
            queue_id=2,
            flag=7,
            properties={"UNIQ_KEY": "k", "KEYS": "a b", "TAGS": "t", "mine": "1", "TIMER_DELAY_SEC": "1"},
        )
        (waiting,) = self.broker.records(TIMER)
        self.broker.pass_time(1)

        (record,) = self.broker.records()
        self.assertEqual((record.queue_id, record.flag, record.body), (2, 7, b"body"))
        self.assertEqual(record.properties, waiting.properties)
        properties = record.property_map
        self.assertEqual(properties["TIMER_OUT_MS"], str(BEGAN_MS + 1000))
        self.assertEqual((properties["REAL_TOPIC"], properties["REAL_QID"]), ("Orders", "2"))
        self.assertEqual((record.born_timestamp, record.store_timestamp), (BEGAN_MS, BEGAN_MS + 1000))
        for key in ("k", "a", "b"):
            found = self.broker.parts.store.query_by_key("Orders", key, 8, 0, BEGAN_MS * 2)
            self.assertEqual(len(decode_records(found.body)), 1)

    def test_a_time_that_has_passed_is_no_delay(self) -> None:
        for properties in (
            {"TIMER_DELIVER_MS": BEGAN_MS - 5},
            {"TIMER_DELAY_SEC": 0},
            {"TIMER_DELAY_MS": -3},
        ):
            self.assertEqual(self.send(b"x", **properties).code, 0)
        self.assertEqual(len(self.broker.bodies()), 3)
        self.assertEqual(self.broker.records(TIMER), [])

    def test_a_delay_level_comes_first(self) -> None:
        self.send(b"x", DELAY=1, TIMER_DELAY_SEC=60)
        self.assertEqual(self.waited(1), [b"x"])

    def test_a_message_that_was_delivered_once_is_not_delayed_again(self) -> None:
        self.send(b"x", TIMER_DELAY_SEC=60, TIMER_OUT_MS=BEGAN_MS)
        self.assertEqual(self.broker.bodies(), [b"x"])

    def test_a_held_pull_is_answered_by_a_delivery(self) -> None:
        heard: list[float] = []
        self.send(b"makes the topic")
        self.broker.parts.arrivals.watch("Orders", 0, lambda: heard.append(self.broker.clock.seconds()))
        self.later(b"x", 1)
        self.broker.pass_time(0.5)
        self.broker.pass_time(0.5)
        self.assertEqual([round(second, 3) for second in heard], [1.0])

    def test_a_crowd_comes_in_bounded_turns(self) -> None:
        for number in range(1000):
            self.later(b"%d" % number, 1)
        batches = []
        append = self.broker.parts.appending.append

        def counted(messages: Any, now_ms: int, whole: bool = False) -> Any:
            batches.append(len(messages))
            return append(messages, now_ms, whole)

        self.broker.parts.appending.append = counted  # type: ignore[method-assign]
        self.broker.pass_time(1)
        self.assertLessEqual(max(batches), 128)
        self.assertEqual(self.broker.bodies(), [b"%d" % number for number in range(1000)])

    def test_an_idle_timer_does_nothing(self) -> None:
        self.later(b"x", 1)
        self.broker.pass_time(1)
        for _ in range(10):
            self.broker.pass_time(1)
        due = sorted(
            call.getTime() - self.broker.clock.seconds()
            for call in self.broker.clock.getDelayedCalls()
            if "Periodic" in repr(call.func) and call.func.__self__.name == "timer messages"
        )
        self.assertGreater(due[0], 1000)

    def test_the_timer_topic_is_there_once_it_is_needed_and_takes_no_sends(self) -> None:
        self.assertIsNone(self.broker.parts.topics.get(TIMER))
        self.later(b"x", 1)
        self.broker.pass_time(0.01)
        self.assertIsNotNone(self.broker.parts.topics.get(TIMER))

        answer = self.broker.send(b"x", topic=TIMER)

        self.assertEqual(answer.code, 16)


class Committed(TimerCase):
    """A half message may say when it is to be delivered; that counts once it is committed."""

    def half(self, **properties: str) -> MessageRecord:
        record = self.broker.send(
            b"x", properties={"UNIQ_KEY": "k", "TRAN_MSG": "true", "PGROUP": "pg", **properties}
        )
        self.assertEqual(record.code, 0, record.remark)
        (half,) = self.broker.records("RMQ_SYS_TRANS_HALF_TOPIC")
        return half

    def test_its_delay_counts_from_the_commit(self) -> None:
        half = self.half(TIMER_DELAY_SEC="10")
        self.broker.pass_time(20)
        self.assertEqual(self.broker.records(TIMER), [])

        header = EndTransactionRequestHeader(
            producer_group="pg",
            tran_state_table_offset=half.queue_offset,
            commit_log_offset=half.commit_log_offset,
            commit_or_rollback=8,
            msg_id="k",
            transaction_id="k",
        )
        answer = self.broker.ask(Frame.request(RequestCode.END_TRANSACTION, header))
        self.assertEqual(answer.code, 0, answer.remark)

        self.assertEqual(self.waited(9.9), [])
        self.assertEqual(self.waited(0.1), [b"x"])
        self.assertEqual(self.broker.records()[0].property_map["REAL_TOPIC"], "Orders")

    def test_one_beyond_the_maximum_is_refused_before_it_is_prepared(self) -> None:
        answer = self.send(b"x", TRAN_MSG="true", PGROUP="pg", TIMER_DELAY_SEC=4 * DAY_S)
        self.assertEqual((answer.code, answer.remark), (13, MAX_REMARK))


class Refused(TimerCase):
    def test_a_delay_beyond_the_maximum_is_refused_in_apaches_words(self) -> None:
        day_3_ms = 3 * DAY_S * 1000
        for properties, code in (
            ({"TIMER_DELAY_SEC": 3 * DAY_S}, 0),
            ({"TIMER_DELAY_SEC": 3 * DAY_S + 1}, 13),
            ({"TIMER_DELAY_MS": day_3_ms + 1}, 13),
            ({"TIMER_DELIVER_MS": BEGAN_MS + day_3_ms + 1}, 13),
            ({"TIMER_DELIVER_MS": "soon"}, 13),
            ({"TIMER_DELAY_SEC": "9" * 30}, 13),
        ):
            answer = self.send(b"x", **properties)
            self.assertEqual(answer.code, code)
            if code:
                self.assertEqual(answer.remark, MAX_REMARK)

    def test_the_maximum_is_what_the_configuration_says_up_to_a_year(self) -> None:
        self.broker = MemoryBroker(timerMaxDelaySec=365 * DAY_S)
        self.later(b"x", 364 * DAY_S)
        for _ in range(363):
            self.broker.pass_time(DAY_S)
        self.assertEqual(self.waited(DAY_S - 0.01), [])
        self.assertEqual(self.waited(0.01), [b"x"])

    def test_a_batch_with_a_delivery_time_is_refused(self) -> None:
        item = b"x"
        own = encode_properties({"TIMER_DELAY_SEC": "5"}).encode()
        size = 4 + 4 + 4 + 4 + 4 + len(item) + 2 + len(own)
        body = b"".join(
            (
                size.to_bytes(4, "big"), bytes(12), len(item).to_bytes(4, "big"), item,
                len(own).to_bytes(2, "big"), own,
            )
        )  # fmt: skip
        header = send_header("Orders", batch=True)

        answer = self.broker.ask(Frame.request(RequestCode.SEND_BATCH_MESSAGE, header, body))

        self.assertEqual(answer.code, 13)


class Cancelling(TimerCase):
    def test_a_cancelled_message_does_not_come_nor_does_the_cancellation(self) -> None:
        due_ms = BEGAN_MS + 5000
        for name, key in (("one", "one"), ("two", "Orders+two")):
            self.send(name.encode(), TIMER_DELIVER_MS=due_ms)
            self.broker.pass_time(0.1)
            self.assertEqual(self.cancel(key, due_ms).code, 0)
        self.later(b"three", 4.8)

        self.assertEqual(self.waited(10), [b"three"])
        self.assertEqual((self.pending, self.waited(10)), (0, [b"three"]))

    def test_a_second_more_or_less_does_not_matter(self) -> None:
        for number, off_ms in enumerate((-1000, 999, 1000, -1001, 1001)):
            self.send(b"%d" % number, TIMER_DELIVER_MS=BEGAN_MS + 5000)
            self.cancel(str(number), BEGAN_MS + 5000 + off_ms)
        self.assertEqual(self.waited(10), [b"3", b"4"])

    def test_a_cancellation_of_a_topic_finds_no_message_of_another(self) -> None:
        self.send(b"x", topic="Other", TIMER_DELIVER_MS=BEGAN_MS + 5000)
        self.cancel("x", BEGAN_MS + 5000)
        self.broker.pass_time(6)
        self.assertEqual(self.broker.bodies("Other"), [b"x"])

    def test_a_cancellation_in_the_last_second_finds_its_message(self) -> None:
        self.send(b"x", TIMER_DELIVER_MS=BEGAN_MS + 5000)
        self.broker.pass_time(4.9)
        self.cancel("x", BEGAN_MS + 5000)
        self.assertEqual(self.waited(1), [])

    def test_a_cancellation_after_the_delivery_is_refused(self) -> None:
        self.send(b"x", TIMER_DELIVER_MS=BEGAN_MS + 1000)
        self.assertEqual(self.waited(1), [b"x"])

        answer = self.cancel("x", BEGAN_MS + 1000)

        self.assertEqual((answer.code, answer.remark), (13, MAX_REMARK))

    def test_a_cancellation_in_force_outlives_a_restart_and_a_kill(self) -> None:
        for ended in ("restarted", "killed"):
            self.broker = MemoryBroker()
            self.send(b"x", TIMER_DELIVER_MS=BEGAN_MS + 5000)
            self.cancel("x", BEGAN_MS + 5000)
            self.later(b"y", 4.2)
            self.broker.pass_time(3.9)
            for _ in range(3):
                self.broker.pass_time(0.2)
            self.assertEqual(len(self.broker.parts.timers._delivery.cancellations), 1)
            if ended == "killed":
                self.broker.pass_time(0.0)
            self.broker = getattr(self.broker, ended)()
            self.assertEqual(self.waited(5)[:1], [b"y"])
            self.assertNotIn(b"x", self.broker.bodies())
            self.broker.pass_time(5)
            self.assertEqual(len(self.broker.parts.timers._delivery.cancellations), 0)


class Clocks(TimerCase):
    def test_a_clock_that_is_set_forward_brings_what_is_due_by_it(self) -> None:
        self.later(b"soon", HOUR_S - 1)
        self.later(b"late", HOUR_S + 100)
        self.broker.pass_time(1)

        self.broker.set_by_ms += HOUR_S * 1000

        self.assertEqual(self.waited(1.1), [b"soon"])

    def test_a_clock_that_is_set_back_delays_until_it_shows_the_time(self) -> None:
        self.later(b"x", 10)
        self.broker.pass_time(1)
        self.broker.set_by_ms -= HOUR_S * 1000
        self.assertEqual(self.waited(HOUR_S), [])
        self.assertEqual(self.waited(9), [b"x"])
        self.later(b"y", 2)
        self.assertEqual(self.waited(1.9), [b"x"])
        self.assertEqual(self.waited(0.1), [b"x", b"y"])


class Restarts(TimerCase):
    def test_what_became_due_while_the_broker_was_down_comes_at_its_start(self) -> None:
        for seconds in (1, 5, 50):
            self.later(b"%d" % seconds, seconds)
        for ended in ("restarted", "killed"):
            broker = self.broker
            broker.pass_time(0.5)
            broker.set_by_ms += 10_000
            self.broker = getattr(broker, ended)()
            self.assertEqual(self.waited(0.1), [b"1", b"5"])
        self.assertEqual(self.waited(50), [b"1", b"5", b"50"])

    @given(
        st.lists(st.integers(0, 400), min_size=1, max_size=20),
        st.lists(st.tuples(st.integers(0, 120), st.sampled_from(["run", "restart", "kill"])), max_size=6),
    )
    @settings(deadline=None, max_examples=30)
    def test_restarts_in_any_state_deliver_each_message_once_and_kills_at_least_once(
        self, times: list[int], steps: list[tuple[int, str]]
    ) -> None:
        self.broker = MemoryBroker()
        for number, tenths in enumerate(times):
            self.later(b"%d" % number, tenths / 10)
        kills = 0
        for tenths, what in steps:
            self.broker.pass_time(tenths / 10)
            if what == "restart":
                self.broker = self.broker.restarted()
            elif what == "kill":
                kills += 1
                self.broker = self.broker.killed()
        bodies = self.waited(41)

        self.assertEqual(set(bodies), {b"%d" % number for number in range(len(times))})
        if not kills:
            self.assertEqual(len(bodies), len(times))

    @given(
        st.lists(st.integers(1, 40), min_size=1, max_size=12),
        st.lists(st.integers(0, 30), min_size=1, max_size=5),
        st.sampled_from(["SYNC_FLUSH", "ASYNC_FLUSH"]),
        st.randoms(use_true_random=False),
    )
    @settings(deadline=None, max_examples=40)
    def test_no_power_cut_loses_what_was_promised(
        self, times: list[int], waits: list[int], flushing: str, choice: random.Random
    ) -> None:
        """What was delivered counts only as far as the disk has it: it may come twice, never not at all."""
        self.broker = MemoryBroker(flushDiskType=flushing, flushCommitLogLeastPages="0")
        for number, tenths in enumerate(times):
            self.later(b"%d" % number, tenths / 10)
        if flushing == "ASYNC_FLUSH":
            self.broker.pass_time(1.1)  # all that was acknowledged is flushed by now
        for tenths in waits:
            self.broker.pass_time(tenths / 10)
        image = self.broker.disk.after_power_cut(choice)

        self.broker = MemoryBroker(image, self.broker.now_ms(), flushDiskType=flushing)

        self.assertEqual(set(self.waited(41)), {b"%d" % number for number in range(len(times))})

    def test_a_kill_repeats_nothing_that_was_delivered_more_than_a_second_ago(self) -> None:
        for number in range(20):
            self.later(b"%d" % number, number)
        for _ in range(100):
            self.broker.pass_time(0.1)
        self.broker = self.broker.killed()
        bodies = self.waited(20)
        self.assertEqual(set(bodies), {b"%d" % number for number in range(20)})
        self.assertLessEqual(len(bodies), 22)

    def test_without_its_files_the_timer_finds_in_the_log_what_is_done_with(self) -> None:
        for number in range(20):
            self.later(b"%d" % number, number)
        for _ in range(20):
            self.broker.pass_time(0.5)
        self.broker.stop()
        self.broker.disk.remove_tree("/store/timers")

        self.broker = MemoryBroker(self.broker.disk, self.broker.now_ms())

        self.assertEqual(self.waited(20), [b"%d" % number for number in range(20)])

    def test_an_index_that_does_not_fit_the_log_is_built_anew_while_running(self) -> None:
        self.later(b"a", 5)
        self.later(b"b", 6)
        self.broker.pass_time(0.1)
        self.broker.stop()
        disk = self.broker.disk
        path = "/store/timers/0000000001"
        entries = disk.open(path).pread(40, 0)
        disk.put(path, entries[:8] + entries[28:36] + entries[16:20] + entries[20:])

        self.broker = MemoryBroker(disk, self.broker.now_ms())

        self.assertEqual(sorted(set(self.waited(10))), [b"a", b"b"])


class Roles(TimerCase):
    """A slave delivers nothing; who becomes master finds what waits in the log, which is all that it has."""

    def slave(self, disk: MemoryDisk | None = None) -> MemoryBroker:
        return MemoryBroker(disk, self.broker.now_ms(), brokerRole="SLAVE", brokerId=1)

    def test_a_slave_delivers_nothing_until_it_is_the_master(self) -> None:
        self.later(b"1", 1)
        self.later(b"2", 9)
        self.assertEqual(self.waited(6), [b"1"])
        self.broker.stop()
        self.broker.disk.remove_tree("/store/timers")  # a slave has the log alone
        self.broker = self.slave(self.broker.disk)
        self.assertEqual(self.waited(10), [b"1"])

        self.broker.becomes(BrokerRole.ASYNC_MASTER)

        self.assertEqual(self.waited(0.1), [b"1", b"2"])
        self.broker.becomes(BrokerRole.SLAVE)
        self.assertEqual(self.waited(10), [b"1", b"2"])

    def test_what_was_replicated_is_delivered_by_the_slave_that_takes_over(self) -> None:
        slave = self.slave()
        for number, seconds in enumerate((1, 20, 30, 40)):
            self.later(b"%d" % number, seconds)
        self.cancel("2", self.broker.now_ms() + 30_000)
        for _ in range(8):
            self.broker.pass_time(1)
            slave.pass_time(1)
            slave.copy_from(self.broker)
        self.assertEqual(slave.bodies(), [b"0"])

        slave.becomes(BrokerRole.ASYNC_MASTER)
        slave.pass_time(50)

        self.assertEqual(slave.bodies(), [b"0", b"1", b"3"], "each once, and none that was cancelled")

    def test_a_slave_keeps_the_segments_that_its_master_has_not_emptied(self) -> None:
        """Its disk may be fuller, its clock ahead, its hours others; and then it is to take over."""
        slave = self.slave()
        self.later(b"x", 100)
        self.broker.pass_time(2)
        slave.copy_from(self.broker)
        end = slave.parts.store.written_to
        asked = slave.parts.timers.appended_again_before(end)
        slave.pass_time(30)
        self.assertFalse(asked.called)

        self.broker.parts.timers.appended_again_before(end)
        for _ in range(8):
            self.broker.pass_time(1)
        slave.copy_from(self.broker)
        slave.pass_time(1)

        self.assertTrue(asked.called)
        slave.becomes(BrokerRole.ASYNC_MASTER)
        slave.pass_time(100)
        self.assertEqual(slave.bodies(), [b"x"])

    def test_a_slave_keeps_nothing_for_messages_that_have_come(self) -> None:
        slave = self.slave()
        self.assertTrue(slave.parts.timers.appended_again_before(1 << 40).called, "none ever waited")
        self.later(b"x", 1)
        for _ in range(8):
            self.broker.pass_time(1)
        slave.copy_from(self.broker)
        asked = slave.parts.timers.appended_again_before(slave.parts.store.written_to)
        slave.pass_time(1)
        self.assertTrue(asked.called)

    def test_a_slave_that_stops_or_gives_up_asking_waits_no_more(self) -> None:
        slave = self.slave()
        self.later(b"x", 100)
        slave.copy_from(self.broker)
        end = slave.parts.store.written_to
        cancelled = slave.parts.timers.appended_again_before(end).addTimeout(60, slave.clock)
        slave.pass_time(61)
        self.failureResultOf(cancelled, TimeoutError)
        asked = slave.parts.timers.appended_again_before(end)
        slave.pass_time(2)
        slave.stop()
        self.failureResultOf(asked, StoreUnavailable)

    def test_being_told_of_the_same_role_again_changes_nothing(self) -> None:
        self.later(b"1", 1)
        for role in (BrokerRole.SYNC_MASTER, BrokerRole.SYNC_MASTER, BrokerRole.SLAVE, BrokerRole.SLAVE):
            self.broker.becomes(role)
        self.broker.becomes(BrokerRole.ASYNC_MASTER)
        self.assertEqual(self.waited(5), [b"1"])
        self.broker.stop()
        self.broker.becomes(BrokerRole.SLAVE)
        self.broker.becomes(BrokerRole.ASYNC_MASTER)
        self.assertEqual(self.broker.clock.getDelayedCalls(), [])

    def test_a_master_that_stepped_down_believes_the_log_when_it_is_master_again(self) -> None:
        """Its slave took over without its last message, and others stand in the place of that."""
        self.later(b"common", 20)
        self.broker.pass_time(2)
        other = MemoryBroker(self.broker.disk.after_kill(), self.broker.now_ms())
        end = self.broker.parts.store.written_to
        self.later(b"cut off", 10)
        self.broker.pass_time(2)
        self.broker.becomes(BrokerRole.SLAVE)
        self.assertEqual(self.broker.disk.names("/store/timers"), [])
        self.broker.parts.store.cut_tail(end, self.broker.now_ms())
        for number in range(5):
            body = b"others' %d" % number
            answer = other.send(
                body, properties={"UNIQ_KEY": body.decode(), "TIMER_DELIVER_MS": str(BEGAN_MS + 9000)}
            )
            self.assertEqual(answer.code, 0, answer.remark)
        self.broker.copy_from(other)

        self.broker.becomes(BrokerRole.ASYNC_MASTER)

        wanted = [b"others' %d" % number for number in range(5)] + [b"common"]
        self.assertEqual(self.waited(20), wanted)

    def test_a_save_that_is_under_way_does_not_bring_the_index_back(self) -> None:
        self.later(b"1", 5)
        on_disk: Deferred[None] = Deferred()
        self.patch(self.broker.parts.flushes, "durable", lambda *_: on_disk)
        self.broker.pass_time(1.1)
        self.broker.becomes(BrokerRole.SLAVE)
        self.broker.pass_time(1)
        on_disk.callback(None)
        self.broker.pass_time(1)
        self.assertEqual(self.broker.disk.names("/store/timers"), [])

    def test_a_slave_throws_away_what_it_kept_as_a_master(self) -> None:
        self.later(b"1", 5)
        self.broker.pass_time(1)
        self.broker.stop()
        self.assertIsNotNone(self.broker.disk.file_size(MANIFEST))
        self.broker = self.slave(self.broker.disk)
        self.assertEqual(self.broker.disk.names("/store/timers"), [])


class BadSector:
    """The place of the pending record with that body cannot be read the next so many times."""

    def __init__(self, broker: MemoryBroker, body: bytes, failures: int) -> None:
        self._store = broker.parts.store
        (self._at,) = (each.commit_log_offset for each in broker.records(TIMER) if each.body == body)
        self._failures = failures
        self._real = self._store.record_at, self._store.warm
        self._store.record_at = self.record_at  # type: ignore[method-assign]
        self._store.warm = self.warm  # type: ignore[method-assign]

    def replaced(self) -> None:
        self._store.record_at, self._store.warm = self._real  # type: ignore[method-assign]

    def record_at(self, offset: int, may_block: bool = True) -> bytes:
        if offset == self._at and self._failures:
            raise StoreError("input/output error") if may_block else WouldBlock("log", offset, 1)
        return self._real[0](offset, may_block)

    def warm(self, error: WouldBlock) -> None:
        if self._failures:
            self._failures -= 1
            raise StoreError("input/output error")


class Trouble(TimerCase):
    def test_while_the_store_takes_nothing_messages_wait_and_then_come_once(self) -> None:
        self.later(b"x", 1)
        self.broker.pass_time(0.5)
        self.broker.parts.store.refuse("test", "no room")
        self.assertEqual(self.waited(3), [])

        self.broker.parts.store.accept("test")

        self.assertEqual(self.waited(1.1), [b"x"])

    def test_a_message_that_cannot_be_delivered_keeps_no_other_from_it(self) -> None:
        self.broker = MemoryBroker(maxMessageSize=4 << 20)
        self.later(b"bad", 1)
        self.later(b"good", 1)
        real = self.broker.parts.store.record_at

        def damaged(offset: int, may_block: bool = True) -> bytes:
            data = real(offset, may_block)
            return data.replace(b"REAL_QID\x010", b"REAL_QID\x01x") if b"bad" in data else data

        self.broker.parts.store.record_at = damaged  # type: ignore[method-assign]

        self.assertEqual(self.waited(2), [b"good"])
        self.assertEqual(self.pending, 0)

    def test_cold_records_are_read_in_a_thread(self) -> None:
        self.later(b"x", 1)
        self.broker.pass_time(0.5)
        disk = self.broker.disk
        disk.cold |= {path for path in disk.nodes if "/commitlog/" in path}
        self.assertEqual(self.waited(1), [b"x"])

    def test_a_bad_sector_keeps_no_other_message_from_being_delivered(self) -> None:
        for failures, delivered in ((3, [b"bad", b"good"]), (99, [b"good"])):
            self.broker = MemoryBroker()
            self.later(b"bad", 1)
            self.later(b"good", 1)
            self.later(b"next", 60)
            self.broker.pass_time(0.5)
            bad_sector = BadSector(self.broker, b"bad", failures)
            self.broker.pass_time(1)
            self.assertEqual(self.broker.bodies(), [])  # it may be a moment's trouble
            for _ in range(4):
                self.broker.pass_time(1)
            bad_sector.replaced()
            self.flushLoggedErrors(StoreError)
            self.assertEqual(self.broker.bodies(), delivered)
            self.assertEqual(self.pending, 1)

    def test_a_timer_that_cannot_save_delivers_all_the_same(self) -> None:
        self.broker.disk.fail("write", "/timers/", errno.ENOSPC)
        self.later(b"x", 1)
        for _ in range(5):
            self.broker.pass_time(1)
        self.assertEqual(self.broker.bodies(), [b"x"])
        self.broker.disk.heal()
        self.broker.pass_time(2)
        self.assertIsNotNone(self.broker.disk.file_size(MANIFEST))

    def test_a_stop_that_cannot_save_is_a_stop(self) -> None:
        self.later(b"x", 1)
        self.broker.pass_time(0.1)
        self.broker.disk.fail("write", "/timers/", errno.ENOSPC)
        self.broker.stop()
        self.broker.disk.heal()
        self.broker = MemoryBroker(self.broker.disk, self.broker.now_ms())
        self.assertEqual(self.waited(1), [b"x"])


class OldSegments(TimerCase):
    """Segments are deleted after fileReservedTime; what waits in them does not go with them."""

    def test_a_pending_message_outlives_its_segment(self) -> None:
        self.later(b"x", 100)
        self.later(b"y", 50)
        self.later(b"soon", 1)
        self.broker.pass_time(2)
        end = self.broker.parts.store.written_to

        done = self.broker.parts.timers.appended_again_before(end)
        self.assertFalse(done.called)
        self.broker.pass_time(0.1)
        self.broker.pass_time(1.1)

        self.assertTrue(done.called)
        again = [record for record in self.broker.records(TIMER) if record.commit_log_offset >= end]
        waiting = [record for record in again if record.queue_id == 0]
        self.assertEqual([record.body for record in waiting], [b"y", b"x"])
        self.assertEqual(waiting[0].property_map["TIMER_ROLL_TIMES"], "1")
        self.assertEqual(self.waited(100), [b"soon", b"y", b"x"])

    def test_restarts_and_lost_files_after_that_change_nothing(self) -> None:
        for loses_files in (False, True):
            self.broker = MemoryBroker()
            for number in range(300):
                self.later(b"%d" % number, 50 + number % 7)
            self.broker.pass_time(2)
            done = self.broker.parts.timers.appended_again_before(self.broker.parts.store.written_to)
            for _ in range(10):
                self.broker.pass_time(1)
            self.assertTrue(done.called)
            self.broker.stop()
            if loses_files:
                self.broker.disk.remove_tree("/store/timers")
            self.broker = MemoryBroker(self.broker.disk, self.broker.now_ms())
            self.assertEqual(len(self.waited(60)), 300)

    def test_a_broker_that_stops_in_between_says_so_and_goes_on_when_asked_again(self) -> None:
        for number in range(1000):
            self.later(b"%d" % number, 50)
        self.broker.pass_time(2)
        end = self.broker.parts.store.written_to
        timers = self.broker.parts.timers
        done: Deferred[None] = timers.appended_again_before(end)
        self.broker.clock.advance(0)
        self.broker.clock.advance(0)

        self.broker = self.broker.restarted()

        self.failureResultOf(done, StoreUnavailable)
        self.failureResultOf(timers.appended_again_before(end), StoreUnavailable)
        again = self.broker.parts.timers.appended_again_before(end)
        for _ in range(5):
            self.broker.pass_time(1)
        self.successResultOf(again)
        self.assertEqual(len(self.waited(50)), 1000)

    def test_it_waits_while_the_store_takes_nothing(self) -> None:
        self.later(b"x", 100)
        self.broker.pass_time(1)
        self.broker.parts.store.refuse("test", "full")
        done = self.broker.parts.timers.appended_again_before(self.broker.parts.store.written_to)
        self.broker.pass_time(3)
        self.assertFalse(done.called)
        self.broker.parts.store.accept("test")
        for _ in range(4):
            self.broker.pass_time(1)
        self.assertTrue(done.called)

    def test_nothing_to_do_is_done_soon(self) -> None:
        done = self.broker.parts.timers.appended_again_before(0)
        self.broker.pass_time(0.1)
        self.assertTrue(done.called)

    def with_small_segments(self, **keys: Any) -> None:
        """Files of 4 KiB that may go after an hour, at any hour."""
        every_hour = ";".join(f"{hour:02d}" for hour in range(24))
        self.broker = MemoryBroker(
            mappedFileSizeCommitLog=4096, fileReservedTime=1, deleteWhen=every_hour, **keys
        )
        self.broker.start_transactions()

    def test_the_hours_of_deletion_pass_a_pending_message_by(self) -> None:
        self.with_small_segments()
        self.later(b"x", 10 * HOUR_S)
        for hour in range(9):
            self.broker.send(bytes(2000), topic="Others")
            for _ in range(60):
                self.broker.pass_time(60)
            if hour == 5:
                self.broker = self.broker.restarted()
                self.broker.start_transactions()
        self.assertGreater(self.broker.parts.store.min_offset, 4096)

        self.assertEqual(self.waited(HOUR_S), [b"x"])
        self.assertGreaterEqual(int(self.broker.records()[0].property_map["TIMER_ROLL_TIMES"]), 1)

    def test_a_disk_that_runs_full_waits_a_minute_for_pending_messages_and_no_longer(self) -> None:
        self.with_small_segments()
        self.later(b"x", 10 * HOUR_S)
        self.broker.send(bytes(3000), topic="Others")
        self.broker.send(bytes(3000), topic="Others")
        self.broker.pass_time(2)
        self.broker.disk.free_bytes = 1 << 30
        for _ in range(40):
            self.broker.pass_time(2)
        self.assertEqual(self.broker.parts.store.min_offset, 0, "nothing can be appended again")

        for _ in range(40):
            self.broker.pass_time(2)

        self.assertGreater(self.broker.parts.store.min_offset, 0)
        self.broker.disk.free_bytes = 1 << 40
        self.broker.pass_time(30)
        self.assertEqual(self.waited(10 * HOUR_S), [])
        self.assertEqual(self.broker.parts.timers._delivery.lost, 1)
