"""Sharing queues among consumers: Apache's own results, and what holds for every strategy."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.client.allocation import (
    Strategy,
    averagely,
    averagely_by_circle,
    configured,
    consistent_hash,
    machine_room,
    machine_room_nearby,
)
from rocketmq_tx.client.queue_choice import RoundRobin, queue_by_hash
from rocketmq_tx.errors import InvariantBroken
from rocketmq_tx.protocol.bodies import MessageQueue
from tests import golden


def queue(text: str, topic: str = "TopicTest") -> MessageQueue:
    broker, _, queue_id = text.rpartition(":")
    return MessageQueue(topic, broker, int(queue_id))


def strategy(case: dict[str, Any]) -> Strategy:
    if case["strategy"] == "MACHINE_ROOM":
        return machine_room(case["consumeridcs"])
    return {
        "AVG": averagely,
        "AVG_BY_CIRCLE": averagely_by_circle,
        "CONSISTENT_HASH": consistent_hash(),
        "CONSISTENT_HASH(3)": consistent_hash(virtual_nodes=3),
    }[case["strategy"]]


class RecordedAllocationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cases = golden.lines("client/allocation.jsonl")

    def test_every_consumer_gets_the_queues_that_apache_gives_it(self) -> None:
        checked = 0
        for case in self.cases:
            if "result" not in case:
                continue
            queues = [queue(text, case.get("topic", "TopicTest")) for text in case["queues"]]
            for client_id, wanted in case["result"].items():
                own = strategy(case)(client_id, queues, case["consumers"])
                self.assertEqual([f"{one.broker_name}:{one.queue_id}" for one in own], wanted, case["n"])
                checked += 1
        self.assertGreater(checked, 100)

    def test_nothing_to_allocate_is_a_mistake_and_an_unlisted_consumer_gets_nothing(self) -> None:
        one = [queue("broker-a:0")]
        for allocate in (averagely, averagely_by_circle, consistent_hash(), machine_room(["room"])):
            self.assertRaises(InvariantBroken, allocate, "", one, ["c1"])
            self.assertRaises(InvariantBroken, allocate, "c1", [], ["c1"])
            self.assertRaises(InvariantBroken, allocate, "c1", one, [])
            self.assertEqual(allocate("c9", one, ["c1"]), [])

    def test_a_key_goes_to_the_queue_that_apache_hashes_it_to(self) -> None:
        cases = [case for case in self.cases if case["strategy"] == "SelectMessageQueueByHash"]
        self.assertGreater(len(cases), 50)
        for case in cases:
            for count, wanted in ((4, case["queueId4"]), (7, case["queueId7"])):
                queues = [MessageQueue("T", "b", number) for number in range(count)]
                self.assertEqual(queue_by_hash(case["arg"], queues).queue_id, wanted, case)


QUEUES = st.builds(
    lambda counts: [
        MessageQueue("T", f"room{number % 2}@broker-{number}", queue_id)
        for number, count in enumerate(counts)
        for queue_id in range(count)
    ],
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
CLIENTS = st.lists(st.integers(0, 99).map(lambda n: f"192.0.2.{n}@{n}"), min_size=1, max_size=9, unique=True)


class AllocationPropertyTests(SynchronousTestCase):
    @given(QUEUES, CLIENTS)
    def test_every_queue_has_exactly_one_owner(self, queues: list[MessageQueue], clients: list[str]) -> None:
        rooms = {client: f"room{index % 3}" for index, client in enumerate(clients)}
        nearby = machine_room_nearby(averagely, lambda one: one.broker_name.split("@")[0], rooms.__getitem__)
        for allocate in (
            averagely,
            averagely_by_circle,
            consistent_hash(),
            machine_room({"room0", "room1"}),
            nearby,
        ):
            owned = [one for client in sorted(clients) for one in allocate(client, queues, sorted(clients))]
            self.assertEqual(sorted(owned), sorted(queues))

    def test_queues_stay_in_their_room_while_it_has_a_consumer(self) -> None:
        queues = [queue("north@a:0"), queue("north@a:1"), queue("south@b:0"), queue("west@c:0")]
        rooms = {"c1": "north", "c2": "south", "c3": "south"}
        nearby = machine_room_nearby(averagely, lambda one: one.broker_name.split("@")[0], rooms.__getitem__)
        shares = {client: nearby(client, queues, sorted(rooms)) for client in rooms}
        self.assertEqual(shares["c1"], [*queues[:2], queues[3]])
        self.assertEqual([shares["c2"], shares["c3"]], [[queues[2]], []])
        self.assertEqual(nearby("c9", queues, sorted(rooms)), [])

    def test_a_configured_share_is_what_the_user_says(self) -> None:
        wanted = [queue("broker-a:3")]
        self.assertEqual(configured(wanted)("c1", [queue("broker-a:0")], ["c1", "c2"]), wanted)

    def test_broker_names_without_a_room_belong_to_none(self) -> None:
        self.assertEqual(machine_room(["broker-a"])("c1", [queue("broker-a:0")], ["c1"]), [])


class RoundRobinTests(SynchronousTestCase):
    def test_queues_take_turns(self) -> None:
        queues = [queue("a:0"), queue("a:1"), queue("b:0")]
        choice = RoundRobin()
        self.assertEqual([choice.choose(queues) for _ in range(4)], [*queues, queues[0]])

    def test_a_retry_avoids_the_broker_that_failed(self) -> None:
        queues = [queue("a:0"), queue("a:1"), queue("b:0")]
        for start in range(3):
            self.assertEqual(RoundRobin(start).choose(queues, "a"), queues[2])

    def test_with_one_broker_only_a_retry_goes_there_again(self) -> None:
        queues = [queue("a:0"), queue("a:1")]
        self.assertIn(RoundRobin().choose(queues, "a"), queues)
