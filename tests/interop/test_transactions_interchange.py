"""Open transactions that go from our broker to Apache RocketMQ 4.9.7 and back, with the store they are in.

Whoever has the store asks about each transaction that is open, and about none that was ended by whomever.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.bodies import HeartbeatData, OpenTransactionList, ProducerData
from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.headers import (
    CheckTransactionStateRequestHeader,
    EndTransactionRequestHeader,
    GetOpenTransactionsRequestHeader,
)
from rocketmq_tx.protocol.message import decode_record, decode_records
from rocketmq_tx.protocol.message_ids import decode_offset_message_id
from tests.integration.fault_parts import Client
from tests.interop import toolchain
from tests.interop.store_exchange import Exchange, pull_all, send_header, wait_for_end

COMMIT, ROLLBACK, UNKNOWN = 8, 12, 0
GROUP, TOPIC = "payments", "Payments"
INTERVAL_S = 2.0
KEYS = {
    "mappedFileSizeCommitLog": 1 << 20,
    "mappedFileSizeConsumeQueue": 6_000,
    "transactionCheckInterval": int(INTERVAL_S * 1000),
    "transactionTimeOut": 1000,
    "transactionCheckMax": 100,
    # Apache asks again about copies behind the offsets in its file, even when it has ended the transaction
    "flushConsumerOffsetInterval": 1000,
}
TURNS = (("ours", "stop"), ("apache", "kill"), ("ours", "kill"), ("apache", "stop"), ("ours", "stop"))
Place = tuple[int, int]
"""(commit log offset, queue offset) of a half message or of a copy."""


@define
class Producer:
    """A producer of transactions on a plain connection; it knows what it has decided."""

    open: dict[str, Place] = field(factory=dict)
    """The newest copy that it has heard of."""
    first: dict[str, Place] = field(factory=dict)
    committed: list[str] = field(factory=list)
    heard: dict[str, Place] = field(factory=dict)
    """The place in the newest check, also of those that have ended."""

    def connect(self, client: Client) -> None:
        heartbeat = HeartbeatData(client_id="interchange", producer_data_set=[ProducerData(group_name=GROUP)])
        assert client.ask(RequestCode.HEART_BEAT, None, heartbeat.to_bytes()).code == 0

    def send(self, client: Client, key: str) -> None:
        properties = {"UNIQ_KEY": key, "TRAN_MSG": "true", "PGROUP": GROUP, "TAGS": "T", "KEYS": f"key-{key}"}
        text = "".join(f"{name}\1{value}\2" for name, value in properties.items())
        now_ms = int(time.time() * 1000)  # Apache gives up unasked what was born long ago
        header = send_header(TOPIC, 0, sys_flag=4, properties=text, born_timestamp=now_ms)
        answer = client.ask(RequestCode.SEND_MESSAGE_V2, header, key.encode())
        assert answer.code == 0, answer
        fields = answer.ext_fields or {}
        offset = decode_offset_message_id(fields["msgId"]).commit_log_offset
        self.open[key] = self.first[key] = (offset, int(fields["queueOffset"]))

    def end(self, client: Client, key: str, decision: int, place: Place | None = None) -> None:
        offset, queue_offset = place or self.open[key]
        header = EndTransactionRequestHeader(
            producer_group=GROUP, tran_state_table_offset=queue_offset, commit_log_offset=offset,
            commit_or_rollback=decision, msg_id=key, from_transaction_check=place is None,
        )  # fmt: skip
        if decision == UNKNOWN:  # which Apache does not answer
            client.send(Frame.request(RequestCode.END_TRANSACTION, header, oneway=True))
            return
        answer = client.ask(RequestCode.END_TRANSACTION, header)
        assert answer.code == 0, (key, answer)
        del self.open[key]
        if decision == COMMIT:
            self.committed.append(key)

    def checks(self, client: Client, seconds: float, wanted: frozenset[str] = frozenset()) -> Counter[str]:
        """How often it was asked about each; returns before the time is up when all `wanted` have come."""
        asked: Counter[str] = Counter()
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not (wanted and wanted <= asked.keys()):
            client.socket.settimeout(left)
            try:
                frame = client.receive()
            except TimeoutError:
                break
            if frame.code == RequestCode.CHECK_TRANSACTION_STATE and not frame.is_response:
                header = CheckTransactionStateRequestHeader.from_ext_fields(frame.ext_fields)
                (message,) = decode_records(frame.body)
                key = message.body.decode()
                assert message.property_map["UNIQ_KEY"] == key == header.msg_id
                asked[key] += 1
                self.heard[key] = (header.commit_log_offset, header.tran_state_table_offset)
                if key in self.open:
                    self.open[key] = self.heard[key]
        client.socket.settimeout(20)
        return asked


class TransactionInterchangeTests(SynchronousTestCase):
    timeout = 300

    def test_each_broker_goes_on_with_what_the_other_has_left_open(self) -> None:
        toolchain.require_java()
        folder = Path(tempfile.mkdtemp(prefix="exchange-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        exchange, producer = Exchange(folder, dict(KEYS)), Producer()
        self.addCleanup(exchange.kill)
        for turn, (name, end) in enumerate(TURNS):
            with exchange.start(name) as client:
                producer.connect(client)
                self.take_turn(producer, client, turn, name)
                if name == "ours":
                    self.assertEqual(self.shown_open(client), set(producer.open))
                self.check_delivered(producer, client)
            if end == "stop":
                exchange.stop()
            else:
                exchange.kill()

    def take_turn(self, producer: Producer, client: Client, turn: int, name: str) -> None:
        told = f"turn {turn} of {name}"
        left_behind = frozenset(producer.open)
        ended_before = frozenset(producer.first) - left_behind
        asked = producer.checks(client, 10 * INTERVAL_S, left_behind) if left_behind else Counter[str]()
        self.assertLessEqual(left_behind, asked.keys(), told)
        again = asked.keys() - left_behind
        if name == "apache":
            self.assertEqual(again, set(), told)
        # Apache ends one copy and goes on with another; a rollback leaves nothing by which we could tell
        self.assertFalse(again & set(producer.committed), told)
        for key in again:
            producer.open[key] = producer.heard[key]
            producer.end(client, key, ROLLBACK)
        if left_behind:
            by_check, by_first, rolled_back, *_ = sorted(left_behind)
            producer.end(client, by_check, COMMIT)
            producer.end(client, rolled_back, ROLLBACK)
            # by the place that its producer got from another broker; Apache goes on asking about later copies
            producer.end(client, by_first, COMMIT, producer.first[by_first] if name == "ours" else None)
        for key in list(producer.open):
            producer.end(client, key, UNKNOWN)
        for number in range(4):
            producer.send(client, f"{turn}-open-{number}")
        for decision, word in ((COMMIT, "commit"), (ROLLBACK, "rollback")):
            producer.send(client, f"{turn}-{word}")
            producer.end(client, f"{turn}-{word}", decision)
        # now nobody but those that are open is asked about, and each of them is
        producer.checks(client, 0.3)  # those that were on their way
        asked = producer.checks(client, 10 * INTERVAL_S, frozenset(producer.open))
        self.assertLessEqual(producer.open.keys(), asked.keys(), told)
        # Apache asks once more about what was ended while it was making a copy for another check
        allowed = producer.open.keys() if name == "ours" else producer.first.keys() - ended_before
        self.assertLessEqual(asked.keys(), allowed, told)

    def shown_open(self, client: Client) -> set[str]:
        answer = client.ask(RequestCode.GET_OPEN_TRANSACTIONS, GetOpenTransactionsRequestHeader())
        return {each.msg_id for each in OpenTransactionList.from_bytes(answer.body).transactions}

    def check_delivered(self, producer: Producer, client: Client) -> None:
        wait_for_end(client, TOPIC, 0, len(producer.committed))
        bodies = [decode_record(data).body.decode() for data in pull_all(client, TOPIC, 0)]
        self.assertEqual(bodies, producer.committed)
