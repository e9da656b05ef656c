"""Frames for loaders, encoded beforehand exactly as the Java client writes them."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

from rocketmq_tx.protocol.batch import BatchItem, encode_batch

_SEND = (
    '{"code":310,"extFields":{"a":"bench_producer","b":"%s","c":"TBW102","d":"4","e":"%d","f":"0",'
    '"g":"1700000000000","h":"0","i":"UNIQ_KEY\\u0001%s\\u0002WAIT\\u0001true\\u0002TAGS\\u0001%s%s",'
    '"j":"0","k":"false","m":"false","n":"broker-a"},"flag":0,"language":"JAVA","opaque":%d,'
    '"serializeTypeCurrentRPC":"JSON","version":407}'
)
_PULL = (
    '{"code":11,"extFields":{"queueId":"%d","maxMsgNums":"32","sysFlag":"6","suspendTimeoutMillis":"15000",'
    '"commitOffset":"0","topic":"%s","queueOffset":"%d","expressionType":"%s","subVersion":"1",'
    '"consumerGroup":"bench_consumer","subscription":"%s"},"flag":0,"language":"JAVA","opaque":%d,'
    '"serializeTypeCurrentRPC":"JSON","version":407}'
)


_BATCH = (
    '{"code":320,"extFields":{"a":"bench_producer","b":"%s","c":"TBW102","d":"4","e":"%d","f":"0",'
    '"g":"1700000000000","h":"0","i":"WAIT\\u0001true","j":"0","k":"false","m":"true","n":"broker-a"},'
    '"flag":0,"language":"JAVA","opaque":%d,"serializeTypeCurrentRPC":"JSON","version":407}'
)


def _frame(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body


def encode_send(
    topic: str, queue_id: int, opaque: int, body: bytes, tag: str = "TagA", properties: str = ""
) -> bytes:
    """SEND_MESSAGE_V2 with UNIQ_KEY, WAIT and TAGS; more `properties` follow, as JSON text."""
    key = f"7F000001{os.getpid() & 0xFFFF:04X}18B4AAC2{opaque:012X}"
    return _frame((_SEND % (topic, queue_id, key, tag, properties, opaque)).encode(), body)


def encode_pull(
    topic: str, queue_id: int, offset: int, opaque: int, expression: str = "*", kind: str = "TAG"
) -> bytes:
    """PULL_MESSAGE of up to 32 messages that brings its subscription and may be held."""
    return _frame((_PULL % (queue_id, topic, offset, kind, expression, opaque)).encode())


def encode_batch_send(topic: str, queue_id: int, opaque: int, bodies: Sequence[bytes]) -> bytes:
    """SEND_BATCH_MESSAGE of messages with UNIQ_KEY, WAIT and TAGS."""
    keys = [f"7F00000112D718B4AAC2{opaque * len(bodies) + number:012X}" for number in range(len(bodies))]
    items = [
        BatchItem(0, body, f"UNIQ_KEY\1{key}\2WAIT\1true\2TAGS\1TagA".encode())
        for key, body in zip(keys, bodies, strict=True)
    ]
    return _frame((_BATCH % (topic, queue_id, opaque)).encode(), encode_batch(items))
