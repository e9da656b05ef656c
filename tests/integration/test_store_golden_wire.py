"""Brokers of ours on stores that Apache RocketMQ 4.9.7 wrote: they answer over the wire as Apache did."""

from __future__ import annotations

import tarfile
from typing import Any

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.headers import (
    GetEarliestMsgStoretimeRequestHeader,
    QueryConsumerOffsetRequestHeader,
    QueryMessageRequestHeader,
    SearchOffsetRequestHeader,
)
from rocketmq_tx.protocol.message import decode_record, decode_records
from tests import golden
from tests.integration.fault_parts import Client, FaultCase
from tests.integration.test_store_golden import expected
from tests.interop.store_exchange import max_offset, min_offset, pull_all, view

LATER = 1 << 62
KEYS = {
    "maxHashSlotNum": 500,
    "maxIndexNum": 2000,
    "fileReservedTime": 1_000_000,  # the recordings grow old
    "transactionCheckInterval": 600_000,
}


class GoldenStoresOverTheWire(FaultCase):
    """One recording each: what a client of Apache's got after a restart, a client of ours gets."""

    def serve(self, name: str) -> tuple[Client, dict[str, Any]]:
        folder = self.folder / "broker-a"
        folder.mkdir()
        with tarfile.open(golden.path(f"store/{name}.tar.gz")) as archive:
            archive.extractall(folder, filter="data")
        (folder / name).rename(folder / "store")
        return self.client(self.broker(**KEYS)), expected(name)

    def check(self, name: str) -> None:
        client, wanted = self.serve(name)
        answers = wanted["apacheAnswersAfterRestart"]
        # Messages whose time has come since are delivered by any broker that starts now.
        self.delayed = {
            record["properties"]["REAL_TOPIC"]
            for record in wanted["records"]
            if record["topic"] == "SCHEDULE_TOPIC_XXXX"
        }
        for record in wanted["records"]:
            found = decode_record(view(client, record["physicalOffset"]), check_crc=True)
            self.assertEqual(
                (found.topic, found.queue_id, found.queue_offset, found.property_map),
                (record["topic"], record["queueId"], record["queueOffset"], record["properties"]),
            )
        for queue in answers["queues"]:
            self.check_queue(client, queue)
        for query in answers["keyQueries"]:
            self.check_query(client, query)
        for query in answers["timeQueries"]:
            self.check_time(client, query)
        for place, offsets in answers["consumerOffset"]["offsetTable"].items():
            self.check_offsets(client, place, offsets)

    def check_queue(self, client: Client, queue: dict[str, Any]) -> None:
        topic, queue_id = queue["topic"], queue["queueId"]
        self.assertEqual(min_offset(client, topic, queue_id), queue["minOffset"], queue)
        if topic in self.delayed:
            self.assertGreaterEqual(max_offset(client, topic, queue_id), queue["maxOffset"], queue)
        else:
            self.assertEqual(max_offset(client, topic, queue_id), queue["maxOffset"], queue)
        header = GetEarliestMsgStoretimeRequestHeader(topic=topic, queue_id=queue_id)
        answer = client.ask(RequestCode.GET_EARLIEST_MSG_STORETIME, header)
        if queue["entries"]:
            self.assertEqual((answer.ext_fields or {})["timestamp"], queue["earliestMsgStoretime"])
            records = [decode_record(data) for data in pull_all(client, topic, queue_id)]
            places = [[record.queue_offset, record.commit_log_offset] for record in records]
            self.assertEqual(places[: len(queue["entries"])], queue["entries"])
            self.assertTrue(topic in self.delayed or len(places) == len(queue["entries"]))

    def check_query(self, client: Client, query: dict[str, Any]) -> None:
        header = QueryMessageRequestHeader(
            topic=query["topic"], key=query["key"], max_num=64, begin_timestamp=0, end_timestamp=LATER
        )
        answer = client.ask(RequestCode.QUERY_MESSAGE, header)
        self.assertEqual(answer.code, query["code"], query)
        found = [record.commit_log_offset for record in decode_records(answer.body)]
        self.assertEqual(found, query.get("physicalOffsets", []), query)

    def check_time(self, client: Client, query: dict[str, Any]) -> None:
        header = SearchOffsetRequestHeader(
            topic=query["topic"], queue_id=query["queueId"], timestamp=query["timestamp"]
        )
        answer = client.ask(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, header)
        self.assertEqual(int((answer.ext_fields or {})["offset"]), query["offset"], query)

    def check_offsets(self, client: Client, place: str, offsets: dict[str, int]) -> None:
        topic, _, group = place.partition("@")
        for queue_id, offset in offsets.items():
            header = QueryConsumerOffsetRequestHeader(
                consumer_group=group, topic=topic, queue_id=int(queue_id)
            )
            answer = client.ask(RequestCode.QUERY_CONSUMER_OFFSET, header)
            self.assertEqual(int((answer.ext_fields or {})["offset"]), offset, place)

    def test_a_store_of_apache_with_messages_of_every_kind_is_served_after_a_kill(self) -> None:
        self.check("full_killed")

    def test_a_store_of_apache_with_a_torn_record_is_served(self) -> None:
        self.check("torn_crc")

    def test_a_store_of_apache_whose_queues_and_index_are_lost_is_served(self) -> None:
        self.check("cq_lost")

    def test_a_store_of_apache_with_extended_queues_is_served(self) -> None:
        self.check("cqext")
