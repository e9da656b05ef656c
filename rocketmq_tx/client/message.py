"""Messages as applications see them: one to send, one received."""

from __future__ import annotations

import struct

import attrs

from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol import names, property_names
from rocketmq_tx.protocol.compression import decompress
from rocketmq_tx.protocol.message import MessageRecord, decode_record, record_spans


@attrs.define
class Message:
    """A message to send. `properties` are the sender's own; names that RocketMQ uses itself are refused.

    `keys` are found again by key queries, several separated by blanks. `wait_stored` lets the broker answer
    only when the message is as safe as the broker is configured to make it.
    """

    topic: str
    body: bytes
    tags: str | None = None
    keys: str | None = None
    properties: dict[str, str] = attrs.Factory(dict)
    flag: int = 0
    delay_level: int = 0
    wait_stored: bool = True

    def check(self, body_bytes_max: int) -> None:
        """MessageError for what no broker would take."""
        problem = names.topic_problem(self.topic)
        if problem is not None:
            raise MessageError(problem)
        if not self.body:
            raise MessageError(f"a message to {self.topic} has no body")
        if len(self.body) > body_bytes_max:
            raise MessageError(
                f"a message to {self.topic} has a body of {len(self.body)} bytes, more than {body_bytes_max}"
            )
        reserved = property_names.RESERVED & self.properties.keys()
        if reserved:
            raise MessageError(f"properties with a meaning of their own: {', '.join(sorted(reserved))}")

    def wire_properties(self, unique_id: str) -> dict[str, str]:
        """All properties as they are sent."""
        known = {
            property_names.UNIQ_KEY: unique_id,
            property_names.WAIT: "true" if self.wait_stored else "false",
            property_names.TAGS: self.tags,
            property_names.KEYS: self.keys,
            property_names.DELAY: str(self.delay_level) if self.delay_level else None,
        }
        return {name: value for name, value in {**self.properties, **known}.items() if value}


@attrs.define
class ReceivedMessage:
    """A message as it was received (MessageExt): `body` unpacked, `store_size` as its record has it."""

    broker_name: str
    record: MessageRecord
    body: bytes
    properties: dict[str, str]
    store_size: int
    reconsume_times: int

    @property
    def topic(self) -> str:
        """Where it was sent to, also when it comes by way of the group's retry topic."""
        return self.properties.get(property_names.RETRY_TOPIC, self.record.topic)

    @property
    def tags(self) -> str | None:
        return self.properties.get(property_names.TAGS)

    @property
    def keys(self) -> str | None:
        return self.properties.get(property_names.KEYS)

    @property
    def message_id(self) -> str:
        """The id that its sender gave it; the broker's where it gave none."""
        return self.properties.get(property_names.UNIQ_KEY) or self.offset_message_id

    @property
    def offset_message_id(self) -> str:
        """The id by which the broker finds it."""
        return self.record.offset_message_id

    @property
    def queue_id(self) -> int:
        return self.record.queue_id

    @property
    def queue_offset(self) -> int:
        return self.record.queue_offset

    def __str__(self) -> str:
        """Java's print-out of a MessageExt, by which people know what a consumer prints."""
        record = self.record
        properties = ", ".join(f"{name}={value}" for name, value in self.properties.items())
        body = ", ".join(map(str, struct.unpack(f"{len(self.body)}b", self.body)))
        return (
            f"MessageExt [queueId={record.queue_id}, storeSize={self.store_size}, "
            f"queueOffset={record.queue_offset}, sysFlag={record.sys_flag}, "
            f"bornTimestamp={record.born_timestamp}, bornHost={_host(record.born_host)}, "
            f"storeTimestamp={record.store_timestamp}, storeHost={_host(record.store_host)}, "
            f"msgId={self.offset_message_id}, commitLogOffset={record.commit_log_offset}, "
            f"bodyCRC={record.body_crc}, reconsumeTimes={self.reconsume_times}, "
            f"preparedTransactionOffset={record.prepared_transaction_offset}, "
            f"toString()=Message{{topic='{self.topic}', flag={record.flag}, properties={{{properties}}}, "
            f"body=[{body}], transactionId='null'}}]"
        )


def _host(host: tuple[str, int]) -> str:
    return f"/{host[0]}:{host[1]}"


def decode_messages(data: bytes, broker_name: str, min_offset: int, max_offset: int) -> list[ReceivedMessage]:
    """The messages of a pull answer, with the ends of their queue among the properties as in Apache's client.

    MessageError when the answer or a packed body is damaged.
    """
    ends = {property_names.MIN_OFFSET: str(min_offset), property_names.MAX_OFFSET: str(max_offset)}
    messages = []
    for start, end in record_spans(data):
        record = decode_record(data, start)
        messages.append(
            ReceivedMessage(
                broker_name,
                record,
                decompress(record.body, record.sys_flag),
                {**ends, **record.property_map},
                end - start,
                record.reconsume_times,
            )
        )
    return messages
