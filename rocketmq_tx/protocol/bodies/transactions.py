"""Open transactions, as the broker shows them to tools: a body of ours."""

from __future__ import annotations

import attrs

from rocketmq_tx.protocol.bodies.fields import Body, Int, Long, body


@body
class OpenTransactionInfo(Body):
    """A half message that is neither committed nor rolled back; times are epoch ms.

    Offsets are those of its newest copy; `topic` is where it goes when it is committed.
    """

    msg_id: str | None = None
    producer_group: str | None = None
    topic: str | None = None
    begin_timestamp: Long = 0
    store_timestamp: Long = 0
    check_times: Int = 0
    half_queue_offset: Long = 0
    commit_log_offset: Long = 0


@body
class OpenTransactionList(Body):
    """Some of them, and figures about all: counters since the start, how many are open, age of the oldest."""

    transactions: list[OpenTransactionInfo] = attrs.Factory(list)
    figures: dict[str, Long] = attrs.Factory(dict)
