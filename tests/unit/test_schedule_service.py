"""Delayed messages on a broker in memory: in time, once, after restarts, with bad clocks and disks."""

from __future__ import annotations

import errno
import json
import re
from itertools import pairwise
from typing import Any

from twisted.internet.defer import fail
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.broker import delay_delivery, schedule_service
from rocketmq_tx.broker.level_turns import REST_S
from rocketmq_tx.broker.schedule_service import PASS_MESSAGES, READ_ATTEMPTS
from rocketmq_tx.config.values import BrokerRole
from rocketmq_tx.errors import FlushTimeout, StoreDamaged, StoreError
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from tests.memory_broker import BEGAN_MS, MemoryBroker

SCHEDULE = "SCHEDULE_TOPIC_XXXX"
OFFSETS = "/store/config/delayOffset.json"
HOUR_S = 3600


class ScheduleCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = MemoryBroker()

    def delay(self, *bodies: bytes, level: int = 1, **fields: Any) -> None:
        for body in bodies:
            answer = self.broker.send(body, properties={"DELAY": str(level)}, **fields)
            self.assertEqual(answer.code, 0, answer.remark)

    def waited(self, seconds: float) -> list[bytes]:
        self.broker.pass_time(seconds)
        return self.broker.bodies()

    def offsets(self) -> dict[str, int]:
        answer = self.broker.ask(Frame(RequestCode.GET_ALL_DELAY_OFFSET, 1))
        return json.loads(answer.body.decode().replace("{1:", '{"1":'))["offsetTable"]


class InTime(ScheduleCase):
    def test_a_message_comes_at_its_time_and_not_before(self) -> None:
        self.delay(b"one", level=1)
        self.assertEqual(self.waited(0.999), [])
        self.assertEqual(self.waited(0.001), [b"one"])
        self.assertEqual(self.broker.records()[0].store_timestamp, BEGAN_MS + 1000)

    def test_every_level_has_its_time(self) -> None:
        seconds = [1, 5, 10, 30, *(60 * m for m in range(1, 11)), 1200, 1800, 3600, 7200]
        for level in range(18, 0, -1):
            self.delay(str(level).encode(), level=level)
        passed = 0
        for level, after_s in enumerate(seconds, start=1):
            self.assertEqual(len(self.waited(after_s - passed - 0.001)), level - 1)
            self.assertEqual(self.waited(0.001)[-1], str(level).encode())
            passed = after_s

    def test_an_idle_broker_looks_at_nothing(self) -> None:
        def waits() -> list[float]:
            return [
                round(call.getTime(), 3)
                for call in self.broker.clock.getDelayedCalls()
                if re.search("Schedule|LevelTurns", getattr(call.func, "__qualname__", ""))
            ]

        self.assertEqual(waits(), [])
        self.delay(b"later", level=3)
        self.broker.pass_time(0)
        self.assertEqual(waits(), [10.0])

    def test_a_message_goes_to_the_queue_that_it_was_sent_to(self) -> None:
        self.delay(b"two", queue_id=2)
        self.broker.pass_time(1)
        (record,) = self.broker.records()
        self.assertEqual((record.topic, record.queue_id), ("Orders", 2))
        self.assertEqual(record.property_map["REAL_QID"], "2")

    def test_messages_of_a_level_come_in_order(self) -> None:
        bodies = [str(number).encode() for number in range(3 * PASS_MESSAGES)]
        for body in bodies:
            self.delay(body)
            self.broker.clock.advance(0.001)
        self.assertEqual(self.waited(1), bodies)

    def test_nobody_waits_long_for_a_crowd(self) -> None:
        """Each turn of the reactor takes a bounded part of what is due, and the levels take turns."""
        for number in range(PASS_MESSAGES * 2):
            self.delay(b"%d" % number, level=1 + number % 2)
        self.broker.clock.advance(5)
        found = []
        for _ in range(7):
            self.broker.clock.advance(0)
            found.append(len(self.broker.records()))
        self.assertLessEqual(max(b - a for a, b in pairwise(found)), PASS_MESSAGES)
        self.assertEqual(found[-1], PASS_MESSAGES * 2)

    def test_a_held_pull_is_answered_by_a_delivery(self) -> None:
        heard: list[float] = []
        self.broker.send(b"makes the topic", topic="T")
        self.broker.parts.arrivals.watch("T", 0, lambda: heard.append(round(self.broker.clock.seconds(), 3)))
        self.delay(b"x", topic="T")
        self.broker.pass_time(1)
        self.assertEqual(heard, [1.0])


class Configured(ScheduleCase):
    def test_levels_are_what_the_configuration_says(self) -> None:
        self.broker = MemoryBroker(messageDelayLevel="2s 1m 1d")
        self.delay(b"two", level=1)
        self.delay(b"a day", level=99)
        self.assertEqual(self.waited(2), [b"two"])
        self.assertEqual(self.waited(86_400 - 2.001), [b"two"])
        self.assertEqual(self.waited(0.001), [b"two", b"a day"])

    def test_more_levels_than_apache_has(self) -> None:
        self.broker = MemoryBroker(messageDelayLevel=" ".join(f"{n}s" for n in range(1, 31)))
        self.delay(b"thirty", level=30)
        self.assertEqual(self.broker.records(SCHEDULE)[0].queue_id, 29)
        self.assertEqual(self.waited(30), [b"thirty"])

    def test_a_level_made_longer_keeps_the_times_that_were_promised(self) -> None:
        self.delay(b"x", level=2)
        self.broker = self.broker.restarted(messageDelayLevel="1s 10s")
        self.assertEqual(self.waited(4.999), [])
        self.assertEqual(self.waited(0.001), [b"x"])

    def test_a_level_made_shorter_lets_nobody_wait_longer_than_it_says_now(self) -> None:
        self.delay(b"an hour", level=17)
        self.broker = self.broker.restarted(messageDelayLevel=" ".join(["1s"] * 18))
        self.delay(b"a second", level=17)
        self.assertEqual(self.waited(1), [b"an hour", b"a second"])

    def test_messages_of_a_level_that_is_gone_are_delivered_all_the_same(self) -> None:
        self.delay(b"five minutes", level=9)
        self.broker = self.broker.restarted(messageDelayLevel="1s 10m")
        self.assertEqual(self.waited(299.999), [])
        self.assertEqual(self.waited(0.001), [b"five minutes"])


class OverRestarts(ScheduleCase):
    def test_a_clean_restart_neither_loses_nor_repeats(self) -> None:
        self.delay(b"before", b"also before")
        self.broker.pass_time(1)
        self.delay(b"after")
        self.broker.pass_time(0.5)
        self.broker = self.broker.restarted()
        self.assertEqual(self.waited(0.499), [b"before", b"also before"])
        self.assertEqual(self.waited(0.001), [b"before", b"also before", b"after"])
        self.assertEqual(self.offsets(), {"1": 3})

    def test_what_became_due_while_the_broker_was_down_comes_at_once(self) -> None:
        self.delay(b"x", level=3)
        self.broker.stop()
        self.broker = MemoryBroker(self.broker.disk, self.broker.now_ms() + 60_000)
        self.assertEqual(self.waited(0), [b"x"])

    def test_a_crash_repeats_at_most_what_the_file_did_not_know_yet(self) -> None:
        self.delay(b"known")
        self.broker.pass_time(11)  # the file is written every 10 s
        self.delay(b"repeated")
        self.broker.pass_time(2)
        self.delay(b"pending")
        self.broker = self.broker.killed()
        self.assertEqual(self.waited(1), [b"known", b"repeated", b"repeated", b"pending"])

    def test_a_lost_file_repeats_everything_and_loses_nothing(self) -> None:
        self.delay(b"x")
        self.broker.pass_time(1)
        self.broker.stop()
        self.broker.disk.remove(OFFSETS)
        self.broker = MemoryBroker(self.broker.disk, self.broker.now_ms())
        self.assertEqual(self.waited(0), [b"x", b"x"])

    def test_a_file_that_cannot_be_read_refuses_the_start(self) -> None:
        self.delay(b"x")
        self.broker.pass_time(1)
        self.broker.stop()
        self.broker.disk.put(OFFSETS, b"garbage")
        with self.assertRaises(StoreDamaged):
            MemoryBroker(self.broker.disk, self.broker.now_ms())

    def test_progress_beyond_the_queue_is_taken_back(self) -> None:
        self.broker.stop()
        self.broker.disk.put(OFFSETS, b'{\n\t"offsetTable":{1:7}\n}')
        self.broker = MemoryBroker(self.broker.disk, self.broker.now_ms())
        self.delay(b"x")
        self.assertEqual(self.waited(1), [b"x"])
        self.assertEqual(self.offsets(), {"1": 1})

    def test_the_file_never_says_more_than_the_log_holds_on_disk(self) -> None:
        self.delay(b"x")
        self.broker.pass_time(1)
        flushed: list[tuple[int, int]] = []
        store, file = self.broker.parts.store, self.broker.parts.redelivery.progress_file
        save = file._file.save

        def saved(data: bytes) -> None:
            flushed.append((store.flushed_to, store.written_to))
            save(data)

        self.patch(file._file, "save", saved)
        self.patch(self.broker.parts.store_service, "_flush_log", lambda: None)
        self.broker.pass_time(10)
        self.assertEqual([done for done, wanted in flushed if done < wanted], [])
        self.assertEqual(len(flushed), 1)

    def test_a_flush_that_fails_keeps_the_file_as_it_was(self) -> None:
        self.delay(b"x")
        self.broker.pass_time(0.9)
        self.broker.disk.fail("sync", "commitlog", errno.EIO)
        self.broker.pass_time(0.1)
        self.assertEqual(self.broker.bodies(), [b"x"])
        self.broker.pass_time(10)
        self.assertIsNone(self.broker.disk.file_size(OFFSETS))
        self.flushLoggedErrors()

    def test_a_stop_that_cannot_write_the_file_is_a_stop_all_the_same(self) -> None:
        self.delay(b"x")
        self.broker.pass_time(0.9)
        self.broker.disk.fail("sync", "commitlog", errno.EIO)
        self.broker.pass_time(0.1)
        self.successResultOf(self.broker.parts.redelivery.schedule.stopService())
        self.assertIsNone(self.broker.disk.file_size(OFFSETS))
        self.flushLoggedErrors()

    def test_the_file_is_what_apache_writes(self) -> None:
        self.delay(b"x")
        self.delay(b"y", level=2)
        self.broker.pass_time(5)
        self.broker.stop()
        self.assertEqual(self.broker.disk.content(OFFSETS), b'{\n\t"offsetTable":{1:1,2:1\n\t}\n}')


class SlowDisk(ScheduleCase):
    def test_a_progress_that_cannot_be_written_in_time_is_said_once_a_minute_and_written_later(self) -> None:
        lines: list[str] = []

        def look(event: dict[str, Any]) -> None:
            if "progress of delayed" in (formatEvent(event) or ""):
                lines.append(formatEvent(event))

        globalLogPublisher.addObserver(look)
        self.addCleanup(globalLogPublisher.removeObserver, look)
        file = self.broker.parts.redelivery.progress_file
        on_disk, file._on_disk = file._on_disk, lambda: fail(FlushTimeout(f"not by {len(lines)}"))
        self.delay(b"one", level=1)
        self.broker.pass_time(55)
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("is not written yet", lines[0])
        self.assertEqual(self.flushLoggedErrors(), [])
        self.broker.pass_time(60)
        self.assertEqual(len(lines), 2, lines)
        file._on_disk = on_disk
        self.broker.pass_time(10)
        self.assertEqual(self.broker.disk.content(OFFSETS), b'{\n\t"offsetTable":{1:1\n\t}\n}')


class Figures(ScheduleCase):
    def test_operators_see_how_far_each_level_is(self) -> None:
        self.delay(b"x", b"y")
        self.broker.pass_time(1)
        self.delay(b"z")
        answer = self.broker.ask(Frame(RequestCode.GET_BROKER_RUNTIME_INFO, 1))
        table = json.loads(answer.body)["table"]
        shown = {name: value for name, value in table.items() if name.startswith("scheduleMessage")}
        self.assertEqual(shown, {"scheduleMessageOffset_1": "2,3"})


class Masters(ScheduleCase):
    def test_a_slave_delivers_nothing_until_it_is_the_master(self) -> None:
        self.delay(b"x")
        self.broker.stop()
        self.broker = MemoryBroker(self.broker.disk, self.broker.now_ms(), brokerRole="SLAVE", brokerId=1)
        self.assertEqual(self.waited(5), [])
        self.broker.becomes(BrokerRole.ASYNC_MASTER)
        self.assertEqual(self.waited(0), [b"x"])
        self.broker.becomes(BrokerRole.SLAVE)
        self.assertEqual(self.waited(5), [b"x"])

    def test_what_was_replicated_is_delivered_by_the_slave_that_takes_over(self) -> None:
        slave = MemoryBroker(brokerRole="SLAVE", brokerId=1)
        self.delay(b"early", level=1)
        self.delay(b"late", level=3)
        self.broker.pass_time(2)
        slave.pass_time(2)
        slave.copy_from(self.broker)
        progress = self.broker.parts.redelivery.progress.snapshot()
        slave.parts.redelivery.progress.follow(progress, self.broker.parts.store.written_to)
        self.assertEqual(slave.bodies(), [b"early"])

        slave.becomes(BrokerRole.ASYNC_MASTER)
        slave.pass_time(7)
        self.assertEqual(slave.bodies(), [b"early"])
        slave.pass_time(1)
        self.assertEqual(slave.bodies(), [b"early", b"late"])

    def test_a_delivery_that_was_not_replicated_comes_again(self) -> None:
        """Though the master has said that it was delivered."""
        slave = MemoryBroker(brokerRole="SLAVE", brokerId=1)
        self.delay(b"x", level=1)
        slave.copy_from(self.broker)
        self.broker.pass_time(2)
        slave.pass_time(2)
        progress = self.broker.parts.redelivery.progress.snapshot()
        slave.parts.redelivery.progress.follow(progress, self.broker.parts.store.written_to)

        slave.becomes(BrokerRole.ASYNC_MASTER)
        slave.pass_time(0)

        self.assertEqual(slave.bodies(), [b"x"])

    def test_being_told_of_the_same_role_again_changes_nothing(self) -> None:
        self.delay(b"x", level=1)
        for role in (BrokerRole.SYNC_MASTER, BrokerRole.SYNC_MASTER, BrokerRole.SLAVE, BrokerRole.SLAVE):
            self.broker.becomes(role)
        self.broker.becomes(BrokerRole.ASYNC_MASTER)
        self.assertEqual(self.waited(5), [b"x"])
        self.broker.stop()
        self.broker.becomes(BrokerRole.SLAVE)
        self.broker.becomes(BrokerRole.ASYNC_MASTER)
        self.assertEqual(self.broker.clock.getDelayedCalls(), [])

    def test_a_slave_that_is_late_is_no_reason_to_deliver_twice(self) -> None:
        self.broker = MemoryBroker(brokerRole="SYNC_MASTER")
        self.broker.send(b"x", properties={"DELAY": "1"})
        self.assertEqual(self.waited(5), [b"x"])


class SteadyClocks(ScheduleCase):
    """Fault 5: somebody sets the clock."""

    def test_messages_come_after_their_delay_whatever_the_calendar_says(self) -> None:
        for hours in (1, -1):
            self.broker = MemoryBroker()
            self.delay(b"before", b"also before", level=3)
            self.broker.pass_time(5)
            self.broker.set_by_ms = hours * HOUR_S * 1000
            self.delay(b"after", level=3)
            self.assertEqual(self.waited(4.999), [])
            self.assertEqual(self.waited(0.001), [b"before", b"also before"])
            self.assertEqual(self.waited(4.999), [b"before", b"also before"])
            self.assertEqual(self.waited(0.001), [b"before", b"also before", b"after"])

    def test_a_clock_that_is_set_again_and_again(self) -> None:
        wanted = []
        for number, set_by_s in enumerate((0, 3600, -60, 7200, 0)):
            self.broker.set_by_ms = set_by_s * 1000
            wanted.append(b"%d" % number)
            self.delay(wanted[-1], level=18)
            self.broker.pass_time(1)
        self.broker.pass_time(7200 - 5)
        for count in range(1, 6):
            self.assertEqual(self.waited(0), wanted[:count])
            self.broker.pass_time(1)

    def test_a_clock_set_back_while_the_broker_was_down_holds_nothing_up(self) -> None:
        self.delay(b"x", level=3)
        self.broker.stop()
        self.broker = MemoryBroker(self.broker.disk, BEGAN_MS - HOUR_S * 1000)
        self.assertEqual(self.waited(0), [b"x"])


class Trouble(ScheduleCase):
    def test_a_store_that_takes_nothing_is_asked_again(self) -> None:
        self.delay(b"x", b"y")
        self.broker.parts.store.refuse("disk full", "the disk of /store is full")
        self.assertEqual(self.waited(5), [])
        self.broker.parts.store.accept("disk full")
        self.assertEqual(self.waited(REST_S), [b"x", b"y"])
        self.assertEqual(self.offsets(), {"1": 2})

    def test_cold_messages_are_read_in_a_thread(self) -> None:
        self.delay(*(b"%d" % number for number in range(20)), level=3)
        self.broker.parts.store.derived.write_all(self.broker.now_ms())
        self.broker.disk.cold.update(self.broker.disk.nodes)
        self.assertEqual(len(self.waited(10)), 20)

    def test_what_is_evicted_again_and_again_is_read_all_the_same(self) -> None:
        self.delay(b"x", level=3)
        self.patch(self.broker.parts.store, "warm", lambda error: None)
        self.broker.disk.cold.update(path for path in self.broker.disk.nodes if "commitlog" in path)
        self.assertEqual(self.waited(10), [b"x"])

    def test_a_disk_that_fails_in_the_thread_is_tried_again(self) -> None:
        def fail(error: object) -> None:
            raise StoreError("Input/output error")

        self.delay(b"x", level=3)
        self.patch(self.broker.parts.store, "warm", fail)
        self.broker.disk.cold.update(path for path in self.broker.disk.nodes if "commitlog" in path)
        self.assertEqual(self.waited(10), [b"x"])

    def test_a_record_that_cannot_be_read_holds_up_the_others_for_a_moment_only(self) -> None:
        self.delay(b"before", b"damaged", b"after", level=2)
        bad = self.broker.records(SCHEDULE)[1].commit_log_offset
        read = self.broker.parts.store.record_at

        def record_at(offset: int, may_block: bool = True) -> bytes:
            if offset == bad:
                raise StoreError("Input/output error")
            return read(offset, may_block)

        self.patch(self.broker.parts.store, "record_at", record_at)
        self.assertEqual(self.waited(5), [b"before"])
        for _ in range(READ_ATTEMPTS - 1):
            self.broker.pass_time(REST_S)
        self.assertEqual(self.broker.bodies(), [b"before", b"after"])

    def test_a_record_that_fails_once_is_delivered(self) -> None:
        self.delay(b"x", level=2)
        failures = [StoreError("Input/output error")]
        read = self.broker.parts.store.record_at

        def record_at(offset: int, may_block: bool = True) -> bytes:
            if failures:
                raise failures.pop()
            return read(offset, may_block)

        self.patch(self.broker.parts.store, "record_at", record_at)
        self.broker.pass_time(5)
        self.assertEqual(self.waited(REST_S), [b"x"])

    def test_a_message_that_no_segment_holds_any_more_does_not_hold_up_the_others(self) -> None:
        """Its own topic's name is longer than that of the schedule."""
        self.patch(delay_delivery, "BATCH_BYTES", 1 << 30)  # all of them in one pass
        topic = "T" * 127
        self.delay(b"before")
        segment = self.broker.parts.store.segment_size
        room = segment - 8 - 91 - len(SCHEDULE)
        properties = f"DELAY\x011\x02REAL_TOPIC\x01{topic}"
        body = b"x" * (room - len(properties) - 60)
        self.delay(body, topic=topic)
        self.delay(b"after")
        self.assertEqual(self.waited(1), [b"before", b"after"])
        self.assertEqual(self.broker.bodies(topic), [])
        self.assertEqual(self.offsets(), {"1": 3})

    def test_a_half_message_is_passed_over(self) -> None:
        self.delay(b"x", b"half", b"y")
        judge = schedule_service.delay_rules.delivered

        def delivered(record: Any) -> Any:
            if record.body == b"half":
                raise delay_delivery.Undeliverable("it is a half message")
            return judge(record)

        self.patch(schedule_service.delay_rules, "delivered", delivered)
        self.assertEqual(self.waited(1), [b"x", b"y"])

    def test_a_mistake_of_ours_stops_a_level_for_a_moment_only(self) -> None:
        self.delay(b"x")
        self.delay(b"other level", level=2)
        mistakes = [ZeroDivisionError("oops")]
        judge = schedule_service.delay_rules.due

        def due(*arguments: Any) -> Any:
            if mistakes:
                raise mistakes.pop()
            return judge(*arguments)

        self.broker.pass_time(0.5)
        self.patch(schedule_service.delay_rules, "due", due)
        self.broker.pass_time(0.5)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.waited(REST_S), [b"x"])
        self.assertEqual(self.waited(5), [b"x", b"other level"])

    def test_nothing_is_delivered_after_a_stop_and_a_second_one_is_nothing(self) -> None:
        self.delay(b"x")
        self.broker.pass_time(0.9)
        schedule = self.broker.parts.redelivery.schedule
        self.successResultOf(schedule.stopService())
        self.assertEqual(self.waited(5), [])
        self.successResultOf(schedule.stopService())
