"""Headers of sends as Java producers write them, for tests that say only what is special about theirs."""

from __future__ import annotations

from typing import Any

from rocketmq_tx.protocol.headers import SendMessageRequestHeaderV2

PLAIN = {
    "producer_group": "pg",
    "default_topic": "TBW102",
    "default_topic_queue_nums": 4,
    "sys_flag": 0,
    "born_timestamp": 1_700_000_000_000,
    "flag": 0,
    "properties": "",
}


def send_header(topic: str, queue_id: int = 0, **special: Any) -> SendMessageRequestHeaderV2:
    """The header of a plain message, but for what is said; fields by their names in the class."""
    return SendMessageRequestHeaderV2(topic=topic, queue_id=queue_id, **{**PLAIN, **special})
