"""Light queues of a store that goes from our broker to Apache RocketMQ 4.9.7 and back."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.headers import (
    QueryConsumerOffsetRequestHeader,
    UpdateConsumerOffsetRequestHeader,
)
from rocketmq_tx.protocol.message import MessageRecord, decode_records
from rocketmq_tx.store.read_only_disk import ReadOnlyDisk
from rocketmq_tx.store.store_files import IndexSize, StoreFiles
from rocketmq_tx.store.verify import verify
from tests.integration.fault_parts import Client, pull_header
from tests.interop import toolchain
from tests.interop.store_exchange import (
    FOUND,
    NO_NEW_MESSAGE,
    Exchange,
    max_offset,
    send_header,
    wait_for_end,
)

KEYS: dict[str, object] = {
    "enableLmq": "true",
    "enableMultiDispatch": "true",
    "mappedFileSizeCommitLog": 65_536,
    "mappedFileSizeConsumeQueue": 6_000,
    "maxHashSlotNum": 500,
    "maxIndexNum": 400,
    "maxMessageSize": 32_768,
}
A, B, C, GROUP = "%LMQ%a", "%LMQ%b", "%LMQ%home%kitchen", "%LMQ%client-1"
NAMED = ("", A, f"{A},{B}", f"{C},{A}", f"{B},{B}")
TURNS = (("ours", "stop"), ("apache", "stop"), ("ours", "kill"), ("apache", "kill"), ("ours", "stop"))


class LightQueueInterchangeTests(SynchronousTestCase):
    timeout = 600

    def setUp(self) -> None:
        toolchain.require_java()
        folder = Path(tempfile.mkdtemp(prefix="light-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.exchange = Exchange(folder, KEYS)
        self.addCleanup(self.exchange.kill)
        self.wanted: dict[str, list[bytes]] = {A: [], B: [], C: []}
        self.sent = self.committed = 0

    def test_each_broker_finds_and_continues_what_the_other_has_written(self) -> None:
        ended = ""
        for name, end in TURNS:
            with self.exchange.start(name) as client:
                self.check(client)
                if ended == "stop":
                    self.assertEqual(self.committed_offset(client), self.committed)
                self.write(client)
                self.check(client)
                self.commit(client)
            (self.exchange.stop if end == "stop" else self.exchange.kill)()
            ended = end
            self.assertEqual(self.damage(), [], f"after the {end} of {name}")

    def write(self, client: Client) -> None:
        for number in range(100):
            named = NAMED[number % len(NAMED)]
            body = b"%d " % self.sent + b"x" * (number * 7 % 300)
            text = f"UNIQ_KEY\1K{self.sent}\2"
            if named:
                text += f"INNER_MULTI_DISPATCH\1{named}\2"
            header = send_header("Plain", number % 3, properties=text)
            answer = client.ask(RequestCode.SEND_MESSAGE_V2, header, body)
            self.assertEqual(answer.code, 0, answer.remark)
            self.sent += 1
            for name in dict.fromkeys(filter(None, named.split(","))):
                self.wanted[name].append(body)

    def check(self, client: Client) -> None:
        for name, wanted in self.wanted.items():
            wait_for_end(client, name, 0, len(wanted))
            found = pulled(client, name)
            self.assertEqual([record.body for record in found], wanted, name)
            for number, record in enumerate(found):
                named = record.property_map["INNER_MULTI_DISPATCH"].split(",")
                offsets = record.property_map["INNER_MULTI_QUEUE_OFFSET"].split(",")
                self.assertEqual(offsets[named.index(name)], str(number))

    def commit(self, client: Client) -> None:
        self.committed += 10
        header = UpdateConsumerOffsetRequestHeader(
            consumer_group=GROUP, topic=A, queue_id=0, commit_offset=self.committed
        )
        self.assertEqual(client.ask(RequestCode.UPDATE_CONSUMER_OFFSET, header).code, 0)

    def committed_offset(self, client: Client) -> int:
        header = QueryConsumerOffsetRequestHeader(consumer_group=GROUP, topic=A, queue_id=0)
        answer = client.ask(RequestCode.QUERY_CONSUMER_OFFSET, header)
        return int((answer.ext_fields or {})["offset"])

    def damage(self) -> list[str]:
        report = verify(StoreFiles(ReadOnlyDisk(), str(self.exchange.store), index_size=IndexSize(500, 400)))
        return [finding.sentence for finding in report.findings.kept if finding.is_damage]


def pulled(client: Client, topic: str) -> list[MessageRecord]:
    """All messages of a light queue, as a light group gets them."""
    found: list[MessageRecord] = []
    while len(found) < max_offset(client, topic, 0):
        header = pull_header(topic, 0, len(found), consumer_group=GROUP)
        answer = client.ask(RequestCode.PULL_MESSAGE, header)
        assert answer.code in (FOUND, NO_NEW_MESSAGE), answer
        found += decode_records(answer.body)
    return found
