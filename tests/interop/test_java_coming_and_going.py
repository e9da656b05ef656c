"""Fault 31, with unmodified Java clients 4.9.7: consumers join and leave every second."""

from __future__ import annotations

import base64
import itertools
import time
from typing import Any

from tests.clusters import ClusterTestCase, shared_cluster
from tests.interop import toolchain
from tests.interop.java_client import JavaClient, JavaConsumer, message

QUEUES = 4
ROUNDS = 8
PER_ROUND = 40
ALL_ARE_THERE_S = 60.0


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [base64.b64decode(one["body"]).decode() for one in messages]


class ComingAndGoingTests(ClusterTestCase):
    def setUp(self) -> None:
        toolchain.require_java()
        self.cluster = shared_cluster()
        self.stays = self.client()
        self.comes = self.client()
        self.numbers = itertools.count()

    def client(self) -> JavaClient:
        client = JavaClient(self.cluster.namesrv_address)  # type: ignore[union-attr]
        self.addCleanup(client.stop)
        return client

    def consumer(self, client: JavaClient, group: str, **listener: Any) -> JavaConsumer:
        name = f"{group}-{next(self.numbers)}"
        return client.consumer(group, group, name=name, instanceName=name, listener=listener)

    def received_while_others_come_and_go(
        self, group: str, queues: int = QUEUES, **listener: Any
    ) -> list[list[str]]:
        """What each consumer got. One of them is there all the time, and consumes the rest in the end."""
        producer = self.stays.producer(f"{group}-producer")
        producer.create_topic(group, queues)
        staying = self.consumer(self.stays, group, **listener)
        received = []
        for number in range(ROUNDS):
            coming = self.consumer(self.comes, group, **listener)
            if queues > 1:
                coming.wait_assigned(queues // 2)
            for queue_id in range(queues):
                bodies = [f"{queue_id}:{number * PER_ROUND + n}" for n in range(PER_ROUND)]
                producer.send([message(group, body) for body in bodies], queueId=queue_id)
            time.sleep(1)
            received.append(texts(coming.stop()))
        return [*received, texts(staying.wait_drained(ALL_ARE_THERE_S))]

    def assert_all_there(self, received: list[list[str]], queues: int = QUEUES) -> None:
        wanted = {f"{queue_id}:{n}" for queue_id in range(queues) for n in range(ROUNDS * PER_ROUND)}
        self.assertEqual(set(itertools.chain(*received)), wanted)

    def assert_in_order(self, received: list[list[str]], queues: int = QUEUES) -> None:
        for of_one in received:
            for queue_id in range(queues):
                numbers = [int(text.partition(":")[2]) for text in of_one if text.startswith(f"{queue_id}:")]
                self.assertEqual(numbers, sorted(numbers))

    def test_each_message_is_consumed(self) -> None:
        received = self.received_while_others_come_and_go("visited")

        self.assert_all_there(received)
        self.assertGreater(sum(map(bool, received)), 2, "the queues were shared out again and again")

    def test_order_is_kept_and_the_locks_of_who_left_are_free(self) -> None:
        received = self.received_while_others_come_and_go("ordered-visits", orderly=True)

        self.assert_all_there(received)
        self.assert_in_order(received)

    def test_a_topic_of_one_queue_is_consumed_in_the_order_of_all_its_messages(self) -> None:
        """Global order: whoever has the queue, one after the other."""
        received = self.received_while_others_come_and_go("global-order", queues=1, orderly=True)

        self.assert_all_there(received, queues=1)
        self.assert_in_order(received, queues=1)
