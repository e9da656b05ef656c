"""Delivery times of their own with unmodified Java clients: 4.9.7 sets user properties, 5.1.4 has setters."""

from __future__ import annotations

import base64
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.message import decode_records
from rocketmq_tx.protocol.properties import encode_properties
from tests.clusters import Apache, ClusterTestCase, wanted_kind
from tests.integration.fault_parts import Client, pull_header, send_header
from tests.interop import toolchain
from tests.interop.driven_process import ClientFailed
from tests.interop.foreign_builds import BUILDS
from tests.interop.foreign_client import ForeignClient
from tests.interop.java_client import JavaClient, JavaClientFailed, bodies, message
from tests.interop.store_exchange import Exchange
from tests.interop.test_java_client import each_once
from tests.interop.test_store_interchange import SMALL
from tests.waiting import wait_until

TOLERANCE_MS = 1000
"""Tests of other builds may have the processors; messages come within milliseconds when not."""

FOUND_AGAIN_S = 120.0
"""A client looks for its queues every 20 s and beats every 30 s; only then it pulls."""


def skip_with_apaches_brokers() -> None:
    kind = wanted_kind()
    if isinstance(getattr(kind, "broker", kind), Apache):
        raise SkipTest("brokers of Apache 4.9.7 know nothing of delivery times")


class JavaTimerTests(ClusterTestCase):
    def setUp(self) -> None:
        toolchain.require_java()
        skip_with_apaches_brokers()
        self.cluster = self.own_cluster()
        self.java = JavaClient(self.cluster.namesrv_address)
        self.addCleanup(self.java.stop)
        self.producer = self.java.producer("timer-producer")
        self.producer.create_topic("timed", 2)

    def send(self, *texts: str, **properties: Any) -> list[dict[str, Any]]:
        texts_with_them = [
            message("timed", text, properties={name: str(value) for name, value in properties.items()})
            for text in texts
        ]
        return self.producer.send(texts_with_them)

    def test_messages_come_at_their_times_whichever_property_says_them(self) -> None:
        consumer = self.java.consumer("timer-consumer", "timed")
        sent_ms = time.time() * 1000
        self.send("seconds", TIMER_DELAY_SEC=2)
        self.send("milliseconds", TIMER_DELAY_MS=1500)
        self.send("a time", TIMER_DELIVER_MS=int(sent_ms + 2500))
        self.send("at once", TIMER_DELIVER_MS=int(sent_ms - 1))

        received = consumer.received(4, timeout_s=30)

        self.assertEqual(bodies(received), each_once(["seconds", "milliseconds", "a time", "at once"]))
        for one in received:
            due_ms = int(one["properties"].get("TIMER_OUT_MS", one["storeTimestamp"]))
            self.assertLessEqual(0, one["storeTimestamp"] - due_ms)
            self.assertLess(one["storeTimestamp"] - due_ms, TOLERANCE_MS)
        times = [one["storeTimestamp"] - sent_ms for one in received if "TIMER_OUT_MS" in one["properties"]]
        self.assertGreaterEqual(min(times), 1500)

    def test_a_cancelled_message_does_not_come_and_a_delay_too_long_is_refused(self) -> None:
        consumer = self.java.consumer("timer-consumer", "timed")
        due_ms = int(time.time() * 1000) + 4000
        first, _, third = self.send("one", "two", "three", TIMER_DELIVER_MS=due_ms)
        self.send("cancels", TIMER_DELIVER_MS=due_ms, TIMER_DEL_UNIQKEY=first["msgId"])
        self.send("cancels", TIMER_DELIVER_MS=due_ms, TIMER_DEL_UNIQKEY="timed+" + third["msgId"])
        with self.assertRaisesRegex(JavaClientFailed, "CODE: 13 .*bigger than the max delay 259200000ms"):
            self.send("too late", TIMER_DELAY_SEC=3 * 86_400 + 60)

        consumer.received(1, timeout_s=30)
        time.sleep(2)

        self.assertEqual(bodies(consumer.received()), each_once(["two"]))

    def test_a_broker_that_is_killed_delivers_what_became_due_meanwhile(self) -> None:
        consumer = self.java.consumer("timer-consumer", "timed")
        texts = [f"pending {number}" for number in range(50)]
        self.send(*texts, TIMER_DELAY_SEC=4)
        broker = next(iter(self.cluster.brokers.values()))
        broker.process.kill()
        time.sleep(4)
        broker.start()

        received = consumer.received(50, timeout_s=FOUND_AGAIN_S)

        self.assertEqual(set(bodies(received)), {text.encode() for text in texts})


class Java5TimerTests(ClusterTestCase):
    """The setters that a client of version 5 has for the purpose."""

    def setUp(self) -> None:
        BUILDS["java-5.1.4"].require()
        skip_with_apaches_brokers()
        self.cluster = cluster = self.own_cluster()
        self.java = ForeignClient(BUILDS["java-5.1.4"], cluster.namesrv_address, "timer-consumer")
        self.addCleanup(self.java.stop)
        self.java.send([message("timed", "first")])
        self.java.subscribe("timed")
        self.java.received(1)

    def test_messages_come_at_their_times_whichever_setter_says_them(self) -> None:
        sent_ms = time.time_ns() // 1_000_000
        delays_ms = {"in seconds": 3000, "in milliseconds": 1500, "a time": 2500, "a past": 0}
        self.java.send(
            [
                message("timed", "in seconds", times={"setDelayTimeSec": 3}),
                message("timed", "in milliseconds", times={"setDelayTimeMs": 1500}),
                message("timed", "a time", times={"setDeliverTimeMs": sent_ms + 2500}),
                message("timed", "a past", times={"setDeliverTimeMs": sent_ms - 1}),
            ]
        )
        answered_ms = time.time_ns() // 1_000_000

        received = self.java.received(5)[1:]

        self.assertEqual(bodies(received), each_once(list(delays_ms)))
        for one in received:
            delay_ms = delays_ms[base64.b64decode(one["body"]).decode()]
            self.assertGreaterEqual(one["storeTimestamp"], sent_ms + delay_ms)
            self.assertLess(one["storeTimestamp"], answered_ms + delay_ms + TOLERANCE_MS)
            self.assertEqual("TIMER_OUT_MS" in one["properties"], delay_ms > 0)

    def test_a_message_is_cancelled_by_its_unique_key(self) -> None:
        due_ms = time.time_ns() // 1_000_000 + 5000
        times = {"setDeliverTimeMs": due_ms}
        ids = self.java.send([message("timed", text, times=times) for text in ("one", "two")])
        self.java.send([message("timed", "0", times=times, properties={"TIMER_DEL_UNIQKEY": ids[0]})])
        self.java.send([message("timed", "last", times={"setDeliverTimeMs": due_ms + 2000})])

        received = self.java.received(3)

        self.assertEqual(bodies(received), each_once(["first", "two", "last"]))

    def test_a_delay_too_long_is_refused(self) -> None:
        with self.assertRaisesRegex(ClientFailed, "CODE: 13 .*bigger than the max delay 259200000ms"):
            self.java.send([message("timed", "too late", times={"setDelayTimeSec": 3 * 86_400 + 60})])


class TimerInterchangeTests(SynchronousTestCase):
    """A store with pending messages goes to Apache 4.9.7 and comes back."""

    timeout = 300

    def setUp(self) -> None:
        toolchain.require_java()
        folder = Path(tempfile.mkdtemp(prefix="timers-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.exchange = Exchange(folder, dict(SMALL))
        self.addCleanup(self.exchange.kill)

    def send(self, client: Client, body: bytes, **properties: str) -> None:
        header = send_header("Timed", 0)
        header.properties = encode_properties({"UNIQ_KEY": body.decode(), **properties})
        answer = client.ask(RequestCode.SEND_MESSAGE_V2, header, body)
        self.assertEqual(answer.code, 0, answer.remark)

    def bodies(self, client: Client, topic: str) -> list[bytes]:
        answer = client.ask(RequestCode.PULL_MESSAGE, pull_header(topic, 0, 0))
        return [record.body for record in decode_records(answer.body)]

    def test_apache_keeps_and_shows_what_waits_and_delivers_nothing_of_it(self) -> None:
        self.hand_over(self.exchange.stop, 0)
        self.hand_over(self.exchange.kill, 2)

    def hand_over(self, end: Callable[[], object], count: int) -> None:
        """From us to Apache and back, with `count` messages delivered so far."""
        with self.exchange.start("ours") as client:
            self.send(client, b"early", TIMER_DELAY_SEC="1")
            self.send(client, b"soon", TIMER_DELAY_SEC="12")
            wait_until(lambda: len(self.bodies(client, "Timed")) == count + 1, "the early one is delivered")
            time.sleep(2)
        end()
        with self.exchange.start("apache") as client:
            self.assertEqual(self.bodies(client, "rmq_sys_wheel_timer")[-2:], [b"early", b"soon"])
            time.sleep(12)
            self.assertEqual(len(self.bodies(client, "Timed")), count + 1)
        end()
        with self.exchange.start("ours") as client:
            wait_until(
                lambda: self.bodies(client, "Timed")[count:] == [b"early", b"soon"],
                "what became due with Apache is delivered, and nothing twice",
            )
        self.exchange.stop()
