"""Records that Apache's broker delivered after a delay or a retry, against ours."""

from __future__ import annotations

import base64
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.frame_codec import decode_frame
from rocketmq_tx.protocol.message import MessageRecord, decode_records
from rocketmq_tx.protocol.properties import unpack_properties
from tests import golden
from tests.memory_broker import MemoryBroker

OF_THE_PLACE = {
    "queue_offset",
    "commit_log_offset",
    "store_timestamp",
    "store_host",
    "born_host",
    "born_timestamp",
}


def compared(record: MessageRecord) -> dict[str, Any]:
    """What does not depend on where and when it was stored; properties in any order."""
    values = attrs.asdict(record) | {"properties": record.property_map}
    return {name: value for name, value in values.items() if name not in OF_THE_PLACE}


class Delays(SynchronousTestCase):
    def test_delayed_messages_are_delivered_as_apache_does(self) -> None:
        broker = MemoryBroker()
        delivered: list[MessageRecord] = []
        for line in golden.lines("frames/accept-delay.json.jsonl")[1:]:
            frame = decode_frame(base64.b64decode(line["raw"])[4:])
            if line["type"] == "request" and frame.code == RequestCode.SEND_MESSAGE_V2:
                self.assertEqual(broker.ask(frame).code, 0)
            elif line.get("requestName") == "PULL_MESSAGE" and frame.code == 0:
                delivered += decode_records(frame.body)
        broker.pass_time(10)
        ours = {record.property_map["UNIQ_KEY"]: record for record in broker.records(delivered[0].topic)}
        self.assertEqual(len(delivered), 4)
        for theirs in delivered:
            self.assertEqual(compared(ours[theirs.property_map["UNIQ_KEY"]]), compared(theirs))


class Retries(SynchronousTestCase):
    def test_messages_handed_back_are_stored_as_apache_does(self) -> None:
        (retried,), dead = [
            decode_records(decode_frame(base64.b64decode(line["responses"][0]["raw"])[4:]).body)
            for line in golden.lines("frames/extras-broker.json.jsonl")[1:]
            if line.get("case") in ("pull retry topic", "pull DLQ topic (perm is write only)")
        ]
        first = {
            name: value
            for name, value in unpack_properties(dead[0].properties).items()
            if name not in ("RETRY_TOPIC", "ORIGIN_MESSAGE_ID", "DELAY", "WAIT", "CLUSTER")
        }
        broker = MemoryBroker(listenPort=28911)
        broker.send(dead[0].body, "GoldenTopic", properties=first)
        (record,) = broker.records("GoldenTopic")
        for level in (1, -1):
            self.assertEqual(broker.send_back(record, "x_cg", level=level).code, 0)
        broker.pass_time(1)
        for ours, theirs in (
            (broker.records("%RETRY%x_cg")[0], retried),
            (broker.records("%DLQ%x_cg")[0], dead[0]),
        ):
            wanted = compared(theirs)
            wanted["properties"]["ORIGIN_MESSAGE_ID"] = record.offset_message_id
            self.assertEqual(compared(ours), wanted)
            self.assertEqual(list(ours.property_map), list(theirs.property_map))
