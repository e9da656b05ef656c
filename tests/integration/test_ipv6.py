"""A NameServer and a broker that know each other by IPv6 addresses only."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import SkipTest, TestCase

from rocketmq_tx.broker.service import make_broker
from rocketmq_tx.client import Message, Producer
from rocketmq_tx.config.host_facts import HostFacts
from rocketmq_tx.config.settings import load_broker, load_namesrv
from rocketmq_tx.namesrv.service import make_namesrv
from rocketmq_tx.protocol.message import decode_record
from rocketmq_tx.protocol.message_ids import decode_offset_message_id

HOST = "::1"


def free_port() -> int:
    """A port whose neighbours, those of VIP and replication, are most likely free, too."""
    with socket.socket(socket.AF_INET6) as one:
        one.bind((HOST, 0))
        port: int = one.getsockname()[1]
    return port


class Ipv6Tests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        try:
            self.ports = free_port(), free_port()
        except OSError as error:
            if os.environ.get("CI") == "true":
                raise
            raise SkipTest(f"this machine has no IPv6 loopback: {error}") from error

        self.folder = os.path.abspath(self.mktemp())

    async def start(self, service: Any) -> None:
        await service.startService()
        self.addCleanup(service.stopService)

    def first_segment(self) -> bytes:
        with open(os.path.join(self.folder, "store", "commitlog", "0" * 20), "rb") as log:
            return log.read(4096)

    async def test_a_message_is_routed_sent_and_stored_with_the_long_addresses(self) -> None:
        name_server_port, broker_port = self.ports
        name_server = f"[{HOST}]:{name_server_port}"
        folder = self.folder
        said: list[str] = []
        namesrv = {
            "listenPort": str(name_server_port),
            "bindAddress": f"[{HOST}]",
            "kvConfigPath": os.path.join(folder, "kvConfig.json"),
        }
        await self.start(
            make_namesrv(load_namesrv(overrides=namesrv, facts=HostFacts()), reactor, said.append)
        )
        broker = {
            "brokerName": "broker-six",
            "brokerIP1": f"[{HOST}]",
            "brokerIP2": f"[{HOST}]",
            "bindAddress": f"[{HOST}]",
            "listenPort": str(broker_port),
            "namesrvAddr": name_server,
            "storePathRootDir": os.path.join(folder, "store"),
            "mappedFileSizeCommitLog": str(1 << 20),
        }
        settings = load_broker(overrides=broker, facts=HostFacts())
        await self.start(make_broker(settings, reactor, said.append))
        self.assertIn(f"The broker[broker-six, [{HOST}]:{broker_port}] boot success.", said[-1])

        producer = Producer("six", name_server, reactor)
        producer.startService()
        self.addCleanup(producer.stopService)
        result = await producer.send(Message("Six", b"hello"))

        place = decode_offset_message_id(result.offset_message_id)
        self.assertEqual((place.host_ip, place.port), (HOST, broker_port))
        record = decode_record(self.first_segment(), place.commit_log_offset)
        self.assertEqual((record.body, record.born_host[0], record.store_host[0]), (b"hello", HOST, HOST))
