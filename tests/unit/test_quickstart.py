"""What the quickstart counts and shows; the real thing runs in tests/integration."""

from __future__ import annotations

import contextlib
import io
import socket

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.cli.quickstart import Display
from rocketmq_tx.cli.quickstart_cluster import choose_port
from rocketmq_tx.cli.quickstart_programs import namesrv_address, with_start_time
from rocketmq_tx.cli.quickstart_trip import Trip
from rocketmq_tx.client import ReceivedMessage, SendResult, SendStatus
from rocketmq_tx.protocol.bodies import MessageQueue
from rocketmq_tx.protocol.message import MessageRecord


def arrived(message_id: str, body: bytes, tag: str = "TagA") -> ReceivedMessage:
    properties = {"UNIQ_KEY": message_id, "TAGS": tag}
    return ReceivedMessage("broker-a", MessageRecord("TopicTest", body), body, properties, 100, 0)


class TripTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.trip = Trip(sent={"A": b"one", "B": b"two"}, latencies_s=[0.001, 0.003], send_s=0.5)

    def test_all_back_once_is_exact(self) -> None:
        self.assertFalse(self.trip.is_exact)
        self.trip.take(arrived("A", b"one"))
        self.assertEqual(self.trip.missing, 1)
        self.trip.take(arrived("B", b"two"))
        self.trip.receive_s = 0.25
        self.assertTrue(self.trip.is_exact)
        self.assertEqual(
            self.trip.summary(),
            "2 messages sent in 0.50 s (4/s), latency p50 3.00 ms, p99 3.00 ms; back in 0.25 s (8/s): "
            "each arrived exactly once",
        )

    def test_messages_of_an_earlier_run_do_not_count(self) -> None:
        for message in (arrived("A", b"one"), arrived("B", b"two"), arrived("Z", b"old")):
            self.trip.take(message)
        self.assertTrue(self.trip.is_exact)
        self.assertEqual(self.trip.others, 1)

    def test_a_repetition_a_changed_body_and_a_lost_tag_are_not_exact(self) -> None:
        for extra in (arrived("A", b"one"), arrived("B", b"2"), arrived("B", b"two", "")):
            trip = Trip(sent=dict(self.trip.sent))
            for message in (arrived("A", b"one"), extra):
                trip.take(message)
            if extra.message_id == "A":
                trip.take(arrived("B", b"two"))
            self.assertFalse(trip.is_exact)
            self.assertIn("NOT EXACT", trip.summary())

    def test_a_message_accepted_with_a_reserve_is_not_exact(self) -> None:
        for message in (arrived("A", b"one"), arrived("B", b"two")):
            self.trip.take(message)
        queue = MessageQueue("TopicTest", "broker-a", 0)
        self.trip.not_ok.append(SendResult(SendStatus.FLUSH_DISK_TIMEOUT, "A", "0", queue, 0))
        self.assertIn("1 not SEND_OK", self.trip.summary())

    def test_nothing_sent_is_not_exact(self) -> None:
        self.assertFalse(Trip().is_exact)
        self.assertIn("latency p50 -", Trip().summary())


class DisplayTests(SynchronousTestCase):
    def test_the_first_and_last_results_are_shown_and_the_rest_is_dots(self) -> None:
        queue = MessageQueue("TopicTest", "broker-a", 0)
        with contextlib.redirect_stdout(io.StringIO()) as printed, Display(10) as display:
            for number in range(10):
                display.sent(number, SendResult(SendStatus.SEND_OK, "E" * 32, "F" * 32, queue, number))
            display.received(10)
        lines = printed.getvalue().splitlines()
        self.assertEqual(len(lines), 7)
        self.assertEqual(lines[3], "......")
        self.assertTrue(lines[0].endswith("queueOffset=0]") and lines[-1].endswith("queueOffset=9]"))


class PlaceTests(SynchronousTestCase):
    def test_a_port_that_is_taken_or_whose_companion_is_gives_way_to_another(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.assertNotEqual(choose_port(port), port)
            self.assertNotEqual(choose_port(port + 2, (-2, 0)), port + 2)

    def test_namesrv_addr_names_the_name_server_else_it_is_the_standard_port(self) -> None:
        self.assertEqual(namesrv_address({"NAMESRV_ADDR": "10.0.0.1:1"}), "10.0.0.1:1")
        self.assertEqual(namesrv_address({}), "127.0.0.1:9876")

    def test_the_start_time_is_printed_after_the_ends_of_the_queue(self) -> None:
        properties = with_start_time({"MIN_OFFSET": "0", "MAX_OFFSET": "9", "TAGS": "TagA"}, 123)
        self.assertEqual(list(properties), ["MIN_OFFSET", "MAX_OFFSET", "CONSUME_START_TIME", "TAGS"])
