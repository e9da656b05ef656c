"""Locks of queues that orderly consumers hold at the broker."""

from __future__ import annotations

from typing import Annotated

import attrs

from rocketmq_tx.protocol.bodies.fields import CLIENT_MAX_VALUES, Body, Wire, body
from rocketmq_tx.protocol.bodies.queue import MessageQueue


@body
class LockBatchRequestBody(Body):
    """The queues that a consumer wants to lock."""

    max_values = CLIENT_MAX_VALUES
    consumer_group: str = ""
    client_id: str = ""
    mq_set: list[MessageQueue] = attrs.Factory(list)


@body
class LockBatchResponseBody(Body):
    """The queues of the request that the consumer holds now."""

    lock_ok_mq_set: Annotated[list[MessageQueue], Wire("lockOKMQSet")] = attrs.Factory(list)


@body
class UnlockBatchRequestBody(Body):
    """The queues that a consumer gives back."""

    max_values = CLIENT_MAX_VALUES
    consumer_group: str = ""
    client_id: str = ""
    mq_set: list[MessageQueue] = attrs.Factory(list)
