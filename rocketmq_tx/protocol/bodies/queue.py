"""Parts that many bodies share: the message queue, the version of a table, and the table of texts."""

from __future__ import annotations

import attrs

from rocketmq_tx.protocol.bodies.fields import CLIENT_MAX_VALUES, Body, Int, Long, body


@attrs.frozen(order=True)
class MessageQueue(Body):
    """One queue of a topic on one broker; sorts by topic, broker and queue, as rebalancing needs it."""

    topic: str = ""
    broker_name: str = ""
    queue_id: Int = 0

    def __str__(self) -> str:
        """Java's text of it, which the consistent-hash allocation hashes."""
        return f"MessageQueue [topic={self.topic}, brokerName={self.broker_name}, queueId={self.queue_id}]"


@attrs.frozen
class DataVersion(Body):
    """The version of a table: two are the same when time and counter are."""

    max_values = CLIENT_MAX_VALUES
    timestamp: Long = 0
    counter: Long = 0

    def next(self, now_ms: int) -> DataVersion:
        """The version after a change at `now_ms`."""
        return DataVersion(now_ms, self.counter + 1)


@body
class KVTable(Body):
    """Texts by name: runtime information of a broker, a namespace of the NameServer's key-value store."""

    table: dict[str, str] = attrs.Factory(dict)
