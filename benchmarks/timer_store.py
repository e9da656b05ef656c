"""A store directory full of pending messages, made without a broker: what it appends, record by record.

Sending ten million messages takes a quarter of an hour; their number, which is what a broker has to bear,
can be made faster. The records are those of a broker for messages with a delivery time, keys and all.
"""

from __future__ import annotations

import random

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.protocol.java import crc32
from rocketmq_tx.protocol.message_ids import pack_host
from rocketmq_tx.protocol.names import TIMER_TOPIC
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.message_store import MessageStore
from rocketmq_tx.store.os_disk import platform_disk

HOST = pack_host("127.0.0.1", 10911)
RUN = 256
BODY = b"x" * 128
BODY_CRC = crc32(BODY)
STORED_MS = 10
"""Between the store times of two runs."""
FIRST_NUMBER = 1 << 60
"""Unique keys that no later sender uses."""


def fill(folder: str, count: int, now_ms: int, first_due_ms: int, span_ms: int, topic: str) -> None:
    """`count` messages of `topic` wait in `folder`, due at random within `span_ms` from `first_due_ms` on.

    Their store times end at `now_ms`.
    """
    config = MessageStoreConfig()
    config.store_path_root_dir = folder
    store = MessageStore(config, platform_disk(), HOST, notice=print)
    began_ms = now_ms - STORED_MS * -(-count // RUN)
    store.open(began_ms)
    choice = random.Random(1)
    for begin in range(0, count, RUN):
        stored_ms = began_ms + STORED_MS * (begin // RUN)
        numbers = range(begin, min(begin + RUN, count))
        store.append_all(
            [
                pending(number, stored_ms, first_due_ms + choice.randrange(span_ms), topic)
                for number in numbers
            ],
            stored_ms,
        )
    store.close(now_ms)


def pending(number: int, born_ms: int, deliver_ms: int, topic: str) -> NewMessage:
    """One message as it waits in the timer topic."""
    key = f"{FIRST_NUMBER + number:032X}"
    properties = (
        f"TIMER_DELIVER_MS\x01{deliver_ms}\x02UNIQ_KEY\x01{key}\x02CLUSTER\x01DefaultCluster\x02"
        f"TIMER_OUT_MS\x01{deliver_ms}\x02REAL_TOPIC\x01{topic}\x02REAL_QID\x01{number % 4}"
    )
    return NewMessage(
        TIMER_TOPIC, 0, BODY, BODY_CRC, properties.encode(), 0, 0, born_ms, HOST, 0, 0, 0, (key,)
    )
