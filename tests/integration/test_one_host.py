"""Several brokers on one machine, from the files of `conf/one-host` and as `docs/cluster.md` tells."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from rocketmq_tx.client import ConsumerSettings, Message, Producer, PushConsumer, SendStatus
from rocketmq_tx.config.properties_file import entries
from rocketmq_tx.protocol.bodies import ConsumeFromWhere
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.headers import CreateTopicRequestHeader
from tests.clusters import HOST, NAMESRV_BANNER, cluster_info, write_properties
from tests.integration.fault_parts import Client
from tests.integration.from_bin import FromBinCase
from tests.ports import BROKER_OFFSETS, free_broker_port, free_port
from tests.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[2]
FILES = sorted((PROJECT / "conf" / "one-host").iterdir())
DOCUMENT = PROJECT / "docs" / "cluster.md"
TOPIC = "on-all"
MESSAGES = 64


def keys_of(file: Path) -> dict[str, str]:
    return {entry.key: entry.value.strip() for entry in entries(file.read_text("utf-8"))}


class FileTests(SynchronousTestCase):
    def test_the_brokers_share_nothing_but_cluster_and_name_server(self) -> None:
        brokers = [keys_of(file) for file in FILES]
        self.assertGreaterEqual(len(brokers), 4)
        for key in ("brokerName", "listenPort", "storePathRootDir", "storePathCommitLog"):
            self.assertEqual(len({keys[key] for keys in brokers}), len(brokers), key)
        taken = Counter(int(keys["listenPort"]) + by for keys in brokers for by in BROKER_OFFSETS)
        self.assertEqual(set(taken.values()), {1})
        for key in ("brokerClusterName", "namesrvAddr"):
            self.assertEqual(len({keys[key] for keys in brokers}), 1, key)

    def test_the_document_starts_all_of_them(self) -> None:
        started = re.findall(r"^ +\./mqbroker -c (\S+) &", DOCUMENT.read_text("utf-8"), re.M)
        named = {(PROJECT / "bin" / path).resolve() for path in started}
        self.assertLessEqual(set(FILES), named)


class OneHostTests(FromBinCase, TestCase):
    timeout = 300

    def setUp(self) -> None:
        super().setUp()
        self.address = f"{HOST}:{free_port()}"

    def start_all(self) -> dict[str, int]:
        """Ports of the brokers by name; the files are as they are but for their fixed ports."""
        own = self.root / "namesrv.properties"
        write_properties(own, {"listenPort": self.address.rpartition(":")[2]})
        namesrv = self.launch("namesrv", "mqnamesrv", "-c", str(own))
        ports, processes = {}, []
        for file in FILES:
            keys = keys_of(file)
            port = ports[keys["brokerName"]] = free_broker_port()
            text = file.read_text("utf-8")
            for line, here in (
                (f"listenPort={keys['listenPort']}\n", f"listenPort={port}\n"),
                (f"namesrvAddr={keys['namesrvAddr']}\n", f"namesrvAddr={self.address}\nbrokerIP1={HOST}\n"),
            ):
                self.assertEqual(text.count(line), 1)
                text = text.replace(line, here)
            copy = self.root / file.name
            copy.write_text(text, "utf-8")
            processes.append(self.launch(file.stem, "mqbroker", "-c", str(copy)))
        namesrv.wait_for_output(NAMESRV_BANNER)
        for process in processes:
            process.wait_for_output("boot success")

        def all_known() -> bool:
            known = cluster_info(self.address)
            return all(f':{port}"' in known for port in ports.values())

        wait_until(all_known, "all brokers are known to the NameServer", 60)
        return ports

    async def test_one_producer_and_one_consumer_use_a_topic_on_all_of_them(self) -> None:
        ports = await deferToThread(self.start_all)
        for port in ports.values():
            await deferToThread(make_topic, port)
        producer = Producer("one-host-producer", self.address, reactor)
        producer.startService()
        self.addCleanup(producer.stopService)
        sent: Counter[str] = Counter()
        for number in range(MESSAGES):
            result = await producer.send(Message(TOPIC, b"%d" % number))
            self.assertIs(result.status, SendStatus.SEND_OK)
            sent[result.queue.broker_name] += 1
        self.assertEqual(sent, dict.fromkeys(ports, MESSAGES // len(ports)))
        got: Counter[bytes] = Counter()
        first = ConsumerSettings(consume_from=ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET)
        consumer = PushConsumer(
            "one-host-consumer",
            self.address,
            lambda messages: got.update(message.body for message in messages),
            reactor,
            first,
        )
        consumer.subscribe(TOPIC)
        await consumer.startService()
        self.addCleanup(consumer.stopService)
        end_s = reactor.seconds() + 60
        while sum(got.values()) < MESSAGES and reactor.seconds() < end_s:
            await deferLater(reactor, 0.02)
        self.assertEqual(got, {b"%d" % number: 1 for number in range(MESSAGES)})
        self.assertEqual(
            sorted(path.name for path in (self.root / "data").iterdir()), [file.stem for file in FILES]
        )


def make_topic(port: int) -> None:
    """As `mqadmin updateTopic -c DefaultCluster` does with each broker."""
    header = CreateTopicRequestHeader(
        topic=TOPIC, default_topic="TBW102", read_queue_nums=4, write_queue_nums=4, perm=6,
        topic_filter_type="SINGLE_TAG", topic_sys_flag=0, order=False,
    )  # fmt: skip
    with Client(port) as client:
        answer = client.ask(RequestCode.UPDATE_AND_CREATE_TOPIC, header)
        assert answer.code == 0, answer
