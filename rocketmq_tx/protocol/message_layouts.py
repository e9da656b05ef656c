"""Layouts of message bytes, declared with construct: the documentation and the referee.

Slow (tens of microseconds a record), so only tests and tools use it; `message.py` and `batch.py` are the
fast paths, and tests prove that both give the same. Facts: `spec/wire.yaml` stored_message_format and
batch_body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from construct import (
    Bytes,
    Const,
    GreedyRange,
    IfThenElse,
    Int8ub,
    Int16ub,
    Int32sb,
    Int32ub,
    Int64sb,
    Rebuild,
    Struct,
    len_,
    this,
)

from rocketmq_tx.protocol.flags import SysFlag
from rocketmq_tx.protocol.message import BLANK_MAGIC, MESSAGE_MAGIC


def _host(v6_flag: int) -> Struct:
    return Struct(
        "ip" / IfThenElse(this._.sys_flag & v6_flag, Bytes(16), Bytes(4)),
        "port" / Int32sb,
    )


def _record_bytes(record: Mapping[str, Any]) -> int:
    hosts = len(record["born_host"]["ip"]) + len(record["store_host"]["ip"]) + 8
    return 75 + hosts + len(record["body"]) + len(record["topic"]) + len(record["properties"])


MESSAGE_RECORD = Struct(
    "total_size" / Rebuild(Int32sb, _record_bytes),
    "magic" / Const(MESSAGE_MAGIC, Int32ub),
    "body_crc" / Int32sb,  # CRC-32 without its top bit, of the body as stored
    "queue_id" / Int32sb,
    "flag" / Int32sb,  # the user's; never looked at
    "queue_offset" / Int64sb,
    "commit_log_offset" / Int64sb,
    "sys_flag" / Int32sb,
    "born_timestamp" / Int64sb,
    "born_host" / _host(SysFlag.BORNHOST_V6),
    "store_timestamp" / Int64sb,
    "store_host" / _host(SysFlag.STOREHOST_V6),
    "reconsume_times" / Int32sb,
    "prepared_transaction_offset" / Int64sb,  # of the half message, in a committed one
    "body_length" / Rebuild(Int32sb, len_(this.body)),
    "body" / Bytes(this.body_length),
    "topic_length" / Rebuild(Int8ub, len_(this.topic)),
    "topic" / Bytes(this.topic_length),
    "properties_length" / Rebuild(Int16ub, len_(this.properties)),
    "properties" / Bytes(this.properties_length),
)
"""One stored message; hosts are address bytes and port."""


BLANK_RECORD = Struct(
    "total_size" / Int32sb,  # bytes left in the file, these 8 included
    "magic" / Const(BLANK_MAGIC, Int32ub),
)
"""What fills the end of a commit log file; only these 8 bytes are written."""

BATCH_ITEM = Struct(
    "total_size" / Rebuild(Int32sb, lambda item: 22 + len(item["body"]) + len(item["properties"])),
    "magic" / Int32sb,  # clients write 0, brokers do not look
    "body_crc" / Int32sb,  # the same: the broker computes its own
    "flag" / Int32sb,
    "body_length" / Rebuild(Int32sb, len_(this.body)),
    "body" / Bytes(this.body_length),
    "properties_length" / Rebuild(Int16ub, len_(this.properties)),
    "properties" / Bytes(this.properties_length),
)
"""One message in the body of a batch send."""

BATCH_BODY = GreedyRange(BATCH_ITEM)
