"""One store directory used by brokers of ours and of Apache's in turn, and what must be found in it.

`Exchange` starts the one or the other on the directory; `Ledger` sends messages of every kind, remembers
what was acknowledged, and later insists that a broker gives back the same bytes for each of them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field

from rocketmq_tx.protocol.batch import BatchItem, encode_batch
from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.header_fields import Header
from rocketmq_tx.protocol.headers import (
    GetMaxOffsetRequestHeader,
    GetMinOffsetRequestHeader,
    QueryConsumerOffsetRequestHeader,
    QueryMessageRequestHeader,
    SendMessageRequestHeaderV2,
    UpdateConsumerOffsetRequestHeader,
    ViewMessageRequestHeader,
)
from rocketmq_tx.protocol.message import MessageRecord, decode_record, decode_records
from rocketmq_tx.protocol.message_ids import decode_offset_message_id
from tests.clusters import HOST, Apache, Kind, Ours
from tests.integration.fault_parts import Client, Server, write_broker_file
from tests.ports import free_broker_port
from tests.processes import ServerProcess
from tests.waiting import wait_until

FOUND, NO_NEW_MESSAGE = ResponseCode.SUCCESS, ResponseCode.PULL_NOT_FOUND
LAST_DELAY_LEVEL = 18
"""Two hours: nothing is delivered while a test looks."""
LATER = 1 << 62

OURS, APACHE = Ours(), Apache()
KINDS: dict[str, Kind] = {"ours": OURS, "apache": APACHE}


class Exchange:
    """The directory, and the broker that has it now."""

    def __init__(self, folder: Path, keys: dict[str, object]) -> None:
        self.store = folder / "store"
        self._folder = folder
        self._keys = {
            "transactionCheckInterval": 600_000,  # nobody shall ask about half messages meanwhile
            "messageDelayLevel": "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h",
            **keys,
        }
        self._port = free_broker_port()
        self.process: ServerProcess | None = None

    def start(self, name: str) -> Client:
        """Starts a broker, `ours` or `apache`; a connection to it when it has recovered."""
        kind = KINDS[name]
        config = write_broker_file(self._folder, "broker-a", self._port, self._keys)
        command = kind.broker_command(self._folder, config)
        self.process = ServerProcess(name, command, self._folder, kind.environment(self._folder))
        Server(self.process, self._port, f"The broker[broker-a, {HOST}:{self._port}] boot success.").start()
        return Client(self._port)

    def stop(self) -> None:
        assert self.process is not None
        self.process.stop()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()


@define(frozen=True)
class Sent:
    """An acknowledged message: where it is, and what is in it."""

    topic: str
    queue_id: int
    queue_offset: int
    commit_log_offset: int
    body: bytes
    key: str


@define
class Ledger:
    """All that was acknowledged by any broker that had the directory."""

    sent: list[Sent] = field(factory=list)
    _records: dict[int, bytes] = field(factory=dict)
    """Commit log offset -> the record's bytes as the broker that wrote it gave them."""
    _round: int = 0
    _committed: int = 0

    # -- writing -------------------------------------------------------------------------------------------

    def write_some(self, client: Client, count: int = 150) -> None:
        """Plain messages over three queues, and some of every other kind."""
        self._round += 1
        for number in range(count):
            body = b"%d/%d " % (self._round, number) + b"x" * (number * 7 % 900)
            self._send(client, "Plain", number % 3, body, TAGS=f"Tag{number % 2}")
        self._send(client, "Plain", 0, "schön \U0001f40d".encode(), TAGS="ünicode", colour="grün")
        self._send(client, "Plain", 1, zlib.compress(b"long " * 500), sys_flag=1)
        self._send(client, "Plain", 2, b"", TAGS="empty")
        self.write_batch(client, "Batches", 0, 20)
        self._send(client, "Plain", 0, b"delayed", "SCHEDULE_TOPIC_XXXX", DELAY=str(LAST_DELAY_LEVEL))
        self._send(client, "Plain", 0, b"half", "RMQ_SYS_TRANS_HALF_TOPIC", sys_flag=4, TRAN_MSG="true",
                   PGROUP="exchange")  # fmt: skip
        self._send(client, "%RETRY%exchange", 0, b"again", reconsume_times=2, RETRY_TOPIC="Plain")
        self._send(client, "%RETRY%exchange", 0, b"for good", "%DLQ%exchange", reconsume_times=20)

    def write_batch(self, client: Client, topic: str, queue_id: int, count: int) -> None:
        """One batch; its answer names every message."""
        bodies = [b"batch %d/%d" % (len(self.sent), number) for number in range(count)]
        keys = [f"B{len(self.sent)}-{number}" for number in range(count)]
        items = [
            BatchItem(0, body, f"UNIQ_KEY\1{key}\2".encode()) for body, key in zip(bodies, keys, strict=True)
        ]
        header = send_header(topic, queue_id, batch=True)
        answer = client.ask(RequestCode.SEND_BATCH_MESSAGE, header, encode_batch(items))
        first, ids = self._placed(answer)
        for number, (commit_log_offset, body, key) in enumerate(zip(ids, bodies, keys, strict=True)):
            self.sent.append(Sent(topic, queue_id, first + number, commit_log_offset, body, key))

    def _send(
        self,
        client: Client,
        topic: str,
        queue_id: int,
        body: bytes,
        stored_topic: str = "",
        sys_flag: int = 0,
        reconsume_times: int = 0,
        **properties: str,
    ) -> None:
        key = f"K{len(self.sent)}"
        text = "".join(f"{name}\1{value}\2" for name, value in {"UNIQ_KEY": key, **properties}.items())
        header = send_header(
            topic, queue_id, sys_flag=sys_flag, properties=text, reconsume_times=reconsume_times,
            max_reconsume_times=16,
        )  # fmt: skip
        answer = client.ask(RequestCode.SEND_MESSAGE_V2, header, body)
        queue_offset, (commit_log_offset,) = self._placed(answer)
        stored = stored_topic or topic
        if stored == "SCHEDULE_TOPIC_XXXX":
            queue_id = LAST_DELAY_LEVEL - 1
        self.sent.append(Sent(stored, queue_id, queue_offset, commit_log_offset, body, key))

    @staticmethod
    def _placed(answer: Frame) -> tuple[int, list[int]]:
        """(queue offset, commit log offsets) that the answer tells."""
        assert answer.code == 0, answer
        fields = answer.ext_fields or {}
        places = [decode_offset_message_id(one) for one in fields["msgId"].split(",")]
        return int(fields["queueOffset"]), [place.commit_log_offset for place in places]

    def commit(self, client: Client) -> None:
        """A group's place in a queue moves on; known at the next start when this broker stops in order."""
        self._committed += 7
        header = UpdateConsumerOffsetRequestHeader(
            consumer_group="exchange", topic="Plain", queue_id=1, commit_offset=self._committed
        )
        assert client.ask(RequestCode.UPDATE_CONSUMER_OFFSET, header).code == 0

    # -- reading -------------------------------------------------------------------------------------------

    def check_committed(self, client: Client) -> None:
        header = QueryConsumerOffsetRequestHeader(consumer_group="exchange", topic="Plain", queue_id=1)
        assert _offset(client, RequestCode.QUERY_CONSUMER_OFFSET, header) == self._committed

    def check(self, client: Client) -> None:
        """Everything that was ever acknowledged is there, once, with the bytes that it always had."""
        queues = sorted({(one.topic, one.queue_id) for one in self.sent})
        for topic, queue_id in queues:
            wanted = [one for one in self.sent if (one.topic, one.queue_id) == (topic, queue_id)]
            assert [one.queue_offset for one in wanted] == list(range(len(wanted))), (topic, queue_id)
            if topic.startswith("RMQ_SYS_"):
                records = [view(client, one.commit_log_offset) for one in wanted]
            else:
                wait_for_end(client, topic, queue_id, len(wanted))
                assert min_offset(client, topic, queue_id) == 0
                records = list(pull_all(client, topic, queue_id))
            assert len(records) == len(wanted), (topic, queue_id, len(records), len(wanted))
            for one, data in zip(wanted, records, strict=True):
                self._check_record(one, data)
        for one in self.sent[:: max(1, len(self.sent) // 60)]:
            self._check_lookups(client, one)

    def _check_record(self, one: Sent, data: bytes) -> None:
        record: MessageRecord = decode_record(data, check_crc=True)
        found = Sent(
            record.topic, record.queue_id, record.queue_offset, record.commit_log_offset, record.body,
            record.property_map.get("UNIQ_KEY", ""),
        )  # fmt: skip
        assert found == one, (found, one)
        assert self._records.setdefault(one.commit_log_offset, data) == data, f"other bytes of {one}"

    def _check_lookups(self, client: Client, one: Sent) -> None:
        """Found by its offset, and by its key."""
        assert view(client, one.commit_log_offset) == self._records[one.commit_log_offset], one

        def found() -> bool:
            header = QueryMessageRequestHeader(
                topic=one.topic, key=one.key, max_num=32, begin_timestamp=0, end_timestamp=LATER
            )
            answer = client.ask(RequestCode.QUERY_MESSAGE, header)
            offsets = {record.commit_log_offset for record in decode_records(answer.body)}
            # Apache enters the last message before a crash twice, and then finds it twice.
            return answer.code == 0 and offsets == {one.commit_log_offset}

        wait_until(found, f"{one} is found by its key", timeout_s=10)


def send_header(topic: str, queue_id: int, **more: object) -> SendMessageRequestHeaderV2:
    fields: dict[str, object] = {
        "producer_group": "exchange", "topic": topic, "default_topic": "TBW102",
        "default_topic_queue_nums": 4, "queue_id": queue_id, "sys_flag": 0,
        "born_timestamp": 1_700_000_000_000, "flag": 3, "properties": "", "reconsume_times": 0, **more,
    }  # fmt: skip
    return SendMessageRequestHeaderV2(**fields)  # type: ignore[arg-type]


def view(client: Client, commit_log_offset: int) -> bytes:
    answer = client.ask(RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader(offset=commit_log_offset))
    assert answer.code == 0, answer
    return answer.body


def max_offset(client: Client, topic: str, queue_id: int) -> int:
    header = GetMaxOffsetRequestHeader(topic=topic, queue_id=queue_id)
    return _offset(client, RequestCode.GET_MAX_OFFSET, header)


def min_offset(client: Client, topic: str, queue_id: int) -> int:
    header = GetMinOffsetRequestHeader(topic=topic, queue_id=queue_id)
    return _offset(client, RequestCode.GET_MIN_OFFSET, header)


def wait_for_end(client: Client, topic: str, queue_id: int, end: int) -> None:
    """Apache enters messages into their queues a little after it has acknowledged them."""
    wait_until(lambda: max_offset(client, topic, queue_id) >= end, f"{topic} queue {queue_id} ends at {end}")
    found = max_offset(client, topic, queue_id)
    assert found == end, f"{topic} queue {queue_id} ends at {found} and not at {end}"


def _offset(client: Client, code: int, header: Header) -> int:
    answer = client.ask(code, header)
    assert answer.code == 0, answer
    return int((answer.ext_fields or {})["offset"])


def pull_all(client: Client, topic: str, queue_id: int) -> Iterator[bytes]:
    """The records of a queue, by pulls from 0 on until nothing more is found."""
    offset = 0
    while True:
        answer = client.pull(offset, topic, queue_id)
        following = int((answer.ext_fields or {})["nextBeginOffset"])
        if answer.code == FOUND:
            yield from split_records(answer.body)
        elif answer.code == NO_NEW_MESSAGE:
            return
        assert following > offset, answer
        offset = following


def split_records(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        yield body[at : at + size]
        at += size
