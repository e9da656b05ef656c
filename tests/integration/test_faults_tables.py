"""Row 17 of the faults: tables that cannot be read, under a whole broker. Offsets never fall back to 0."""

from __future__ import annotations

import json
from pathlib import Path

from rocketmq_tx.protocol.codes import RequestCode, ResponseCode
from rocketmq_tx.protocol.headers import (
    QueryConsumerOffsetRequestHeader,
    UpdateConsumerOffsetRequestHeader,
)
from tests.integration.fault_parts import Client, FaultCase
from tests.waiting import wait_until

GROUP = "faults"


class TableTests(FaultCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.broker(flushConsumerOffsetInterval=100)
        self.table = self.server.process.folder / "store/config/consumerOffset.json"
        with self.client(self.server) as client:
            for number in range(10):
                self.assertEqual(client.send_message(body=b"%d" % number).code, ResponseCode.SUCCESS)
            self.commit(client, 4)
            wait_until(lambda: self.saved(self.table) == 4, "the offset is saved")
            self.commit(client, 7)
            wait_until(lambda: self.saved(self.table) == 7, "the next offset is saved")
        self.server.process.kill()

    def commit(self, client: Client, offset: int) -> None:
        header = UpdateConsumerOffsetRequestHeader(
            consumer_group=GROUP, topic="Faults", queue_id=0, commit_offset=offset
        )
        self.assertEqual(client.ask(RequestCode.UPDATE_CONSUMER_OFFSET, header).code, ResponseCode.SUCCESS)

    def saved(self, path: Path) -> int | None:
        if not path.exists():
            return None
        table = path.read_text().replace("{0:", '{"0":')
        offset: int | None = json.loads(table)["offsetTable"].get(f"Faults@{GROUP}", {}).get("0")
        return offset

    def offset(self) -> int:
        with self.client(self.server) as client:
            header = QueryConsumerOffsetRequestHeader(consumer_group=GROUP, topic="Faults", queue_id=0)
            answer = client.ask(RequestCode.QUERY_CONSUMER_OFFSET, header)
        self.assertEqual(answer.code, ResponseCode.SUCCESS, answer.remark)
        return int((answer.ext_fields or {})["offset"])

    def test_the_copy_of_the_last_version_stands_in_with_a_warning(self) -> None:
        whole, before = self.table.read_bytes(), Path(f"{self.table}.bak").read_bytes()
        for content in (b"", whole[: len(whole) // 2], b"\x00" * len(whole), b"not a table"):
            self.table.write_bytes(content)
            Path(f"{self.table}.bak").write_bytes(before)
            self.server.start()
            self.assertEqual(self.offset(), 4)
            self.assertEqual(len(self.server.lines("stands in", "consumerOffset.json")), 1)
            self.server.process.kill()

    def test_without_a_readable_copy_the_start_is_refused_in_one_sentence(self) -> None:
        self.table.write_bytes(b"garbage")
        Path(f"{self.table}.bak").write_bytes(b"")
        self.server.process.start()
        wait_until(lambda: not self.server.process.is_running, "the broker gives up")
        self.assertEqual(self.server.process.exit_code, 1)
        self.assertTrue(self.server.lines("consumerOffset.json", "cannot be read"))
        self.assertEqual(self.table.read_bytes(), b"garbage", "what there is stays for the operator")

    def test_what_a_newer_version_has_added_does_no_harm(self) -> None:
        table = json.loads(self.table.read_text().replace("{0:", '{"0":'))
        table |= {"dataVersion": {"counter": 3}, "resetOffsetTable": {}}
        self.table.write_text(json.dumps(table))
        self.server.start()
        self.assertEqual(self.offset(), 7)
