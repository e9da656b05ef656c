"""Faults 22 and 24, with real processes: very many connections, slow, idle, or new all the time."""

from __future__ import annotations

import time

from rocketmq_tx.protocol.codes import RequestCode
from tests.integration.fault_parts import Client, FaultCase, wait_for_connections

SLOW_CONNECTIONS = 2000
IDLE_CONNECTIONS = 10_000
CHURNED_CONNECTIONS = 3000

IDLE_BYTES_MAX = 6 << 10
"""Measured: 2 KiB for each idle connection, the transport's part included."""


def seconds_for_sends(client: Client, number: int) -> float:
    started_s = time.monotonic()
    for _ in range(number):
        assert client.send_message().code == 0
    return time.monotonic() - started_s


class CrowdTests(FaultCase):
    def test_two_thousand_connections_that_send_a_byte_a_second_slow_nobody_down(self) -> None:
        """Fault 22, slowloris. The ratio is generous: the crowd's own process shares the processors."""
        server = self.broker()
        client = self.client(server)
        seconds_for_sends(client, 200)
        alone_s = min(seconds_for_sends(client, 300) for _ in range(3))
        crowd = self.crowd(server, "drip", SLOW_CONNECTIONS)
        self.assertEqual(crowd.report()["open"], SLOW_CONNECTIONS)
        wait_for_connections(server.port, SLOW_CONNECTIONS + 1)
        beside_s = []
        ends_s = time.monotonic() + 3.5
        while time.monotonic() < ends_s:
            beside_s.append(seconds_for_sends(client, 300))
        self.assertLess(min(beside_s), 3 * alone_s + 0.1)
        self.assertLess(max(beside_s), 10 * alone_s + 1)
        ended = crowd.finish()
        self.assertGreaterEqual(ended["sent"], 2)
        self.assertEqual(ended["open"], SLOW_CONNECTIONS)

    def test_ten_thousand_idle_connections_are_kept_at_a_few_kilobytes_each(self) -> None:
        """Fault 24."""
        server = self.broker()
        client = self.client(server)
        alone_s = min(seconds_for_sends(client, 300) for _ in range(3))
        before = server.memory_bytes()
        crowd = self.crowd(server, "idle", IDLE_CONNECTIONS)
        self.assertEqual(crowd.report()["open"], IDLE_CONNECTIONS)
        wait_for_connections(server.port, IDLE_CONNECTIONS + 1)
        self.assertEqual(client.send_message().code, 0)  # behind all of them: they have been accepted
        each_bytes = (server.memory_bytes() - before) / IDLE_CONNECTIONS
        print(f"memory of an idle connection: {each_bytes:.0f} bytes")
        self.assertLess(each_bytes, IDLE_BYTES_MAX)
        self.assertLess(min(seconds_for_sends(client, 300) for _ in range(3)), 2 * alone_s + 0.1)
        self.assertEqual(crowd.finish()["open"], IDLE_CONNECTIONS)
        crowd.end()
        wait_for_connections(server.port, 1)

    def test_a_thousand_new_connections_a_second_are_served_each(self) -> None:
        """Fault 24. How many a second is the machine's matter; that none is refused or forgotten is ours."""
        server = self.broker()
        client = self.client(server)
        crowd = self.crowd(server, "churn", CHURNED_CONNECTIONS)
        seconds_for_sends(client, 100)
        ended = crowd.report()
        print(f"{ended['served'] / ended['took_s']:.0f} connections a second were made, used and closed")
        self.assertEqual(ended["served"], CHURNED_CONNECTIONS)
        self.assertLess(ended["took_s"], CHURNED_CONNECTIONS / 1000 * 10)
        wait_for_connections(server.port, 1)
        self.assertEqual(client.ask(RequestCode.GET_BROKER_CONFIG).code, 0)
