"""One send of a producer whose topic and queue have been decided: what a message, or a batch, is made of."""

from __future__ import annotations

from typing import NamedTuple

from rocketmq_tx.protocol.headers import SendMessageRequestHeader


class SendRequest(NamedTuple):
    """A plain tuple, as one is made for every send that goes the general way."""

    topic: str
    queue_id: int
    """The one that was asked for, or that the broker has chosen; the header's may be -1."""
    header: SendMessageRequestHeader
    body: bytes
    born_host: bytes
    """Packed address and port of the producer."""
