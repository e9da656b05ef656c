"""Ten thousand held pulls on a thousand queues of a real broker: only those whose message comes are woken."""

from __future__ import annotations

import time
from pathlib import Path

from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import CreateTopicRequestHeader
from rocketmq_tx.protocol.message import decode_records
from tests.integration.fault_parts import Client, FaultCase, Server, pull_header, send_header

TOPIC = "Wide"
QUEUES = 1000
CONSUMERS = 10
HOLD_AND_SUBSCRIPTION = 6
LOOKED_AT_S = 2.0
MORE_WAKES_MAX = 20
"""Periodic work wakes an idle broker some times a second, not always equally often. A broker that looked at
what it holds would be woken by it all the time, or busy."""
MORE_CPU_MAX_S = 0.2


def wakes(server: Server) -> int:
    """How often the broker's reactor has slept and woken up."""
    pid = server.process.pid
    status = Path(f"/proc/{pid}/task/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("voluntary_ctxt_switches"))
    return int(line.split()[1])


def cpu_s(server: Server) -> float:
    """Processor time of the broker so far, by its own clock ticks of 10 ms."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def idle_cost(server: Server) -> tuple[int, float]:
    """(wakes, seconds of CPU) of a while in which nobody asks for anything."""
    before = wakes(server), cpu_s(server)
    time.sleep(LOOKED_AT_S)
    return wakes(server) - before[0], cpu_s(server) - before[1]


class HeldPullTests(FaultCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.broker()
        self.producer = self.client(self.server)
        header = CreateTopicRequestHeader(
            topic=TOPIC, default_topic="TBW102", read_queue_nums=QUEUES, write_queue_nums=QUEUES, perm=6,
            topic_filter_type="SINGLE_TAG", order=False,
        )  # fmt: skip
        answer = self.producer.ask(RequestCode.UPDATE_AND_CREATE_TOPIC, header)
        self.assertEqual(answer.code, ResponseCode.SUCCESS, answer.remark)

    def waiting_consumer(self) -> Client:
        """One whose pulls of all queues are held; queue 0 is pulled by request 1 and so on."""
        consumer = self.client(self.server)
        pulls = [
            pull_header(TOPIC, queue_id, 0, sys_flag=HOLD_AND_SUBSCRIPTION, suspend_timeout_millis=300_000)
            for queue_id in range(QUEUES)
        ]
        consumer.send(*(Frame.request(RequestCode.PULL_MESSAGE, header) for header in pulls))
        self.asks_and_hears_nothing_else(consumer)
        return consumer

    def asks_and_hears_nothing_else(self, consumer: Client) -> None:
        """Answers come in order, so an answer to a pull would come first."""
        self.assertEqual(consumer.ask(RequestCode.GET_BROKER_CONFIG).code, ResponseCode.SUCCESS)

    def test_they_cost_nothing_while_idle_and_a_message_wakes_its_own(self) -> None:
        wakes_before, cpu_before_s = idle_cost(self.server)
        consumers = [self.waiting_consumer() for _ in range(CONSUMERS)]
        wakes_held, cpu_held_s = idle_cost(self.server)
        print(f"{wakes_before} and {wakes_held} wakes, {cpu_before_s:.2f} and {cpu_held_s:.2f} s of CPU")
        self.assertLessEqual(wakes_held, wakes_before + MORE_WAKES_MAX)
        self.assertLessEqual(cpu_held_s, cpu_before_s + MORE_CPU_MAX_S)

        for queue_id in (7, 999):
            answer = self.producer.ask(
                RequestCode.SEND_MESSAGE_V2, send_header(TOPIC, queue_id), b"for %d" % queue_id
            )
            self.assertEqual(answer.code, ResponseCode.SUCCESS, answer.remark)
            for consumer in consumers:
                woken = consumer.receive()
                self.assertEqual((woken.code, woken.opaque), (ResponseCode.SUCCESS, queue_id + 1))
                self.assertEqual(
                    [record.body for record in decode_records(woken.body)], [b"for %d" % queue_id]
                )
        for consumer in consumers:
            self.asks_and_hears_nothing_else(consumer)
