"""Multi-dispatch: a message that stands in further queues besides its own, most of all in light ones.

INNER_MULTI_DISPATCH names them; INNER_MULTI_QUEUE_OFFSET, written when the message is stored, says under
which number it stands in each. The record is stored once. Facts: `spec/store.yaml`, lmq_multi_dispatch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.protocol import names, property_names
from rocketmq_tx.protocol.properties import pack_properties, unpack_properties
from rocketmq_tx.store.append import Appender, NewMessage, Placed
from rocketmq_tx.store.consume_queue import ConsumeQueue
from rocketmq_tx.store.queue_table import QueueKey, QueueTable
from rocketmq_tx.store.records import TRANSACTION_NOT_QUEUED

MARK = f"{property_names.INNER_MULTI_DISPATCH}\1".encode()
"""In the stored properties of every message that names further queues."""
_NUMBER_BYTES = 20
_OFFSETS_BYTES = len(property_names.INNER_MULTI_QUEUE_OFFSET) + 2
_LIGHT_QUEUE = 0


class Further(NamedTuple):
    """A further queue of a message, and its number there."""

    topic: str
    queue_id: int
    queue_offset: int


def pieces(text: str) -> list[str]:
    """The pieces of a comma list as Java's split sees them: empty ones at the end do not count."""
    text = text.rstrip(names.MULTI_DISPATCH_SEPARATOR)
    return text.split(names.MULTI_DISPATCH_SEPARATOR) if text else []


def further_queues(properties: Mapping[str, str], queue_id: int, light: bool) -> list[Further]:
    """Where a stored message stands besides its queue; nowhere when its two lists do not fit together.

    With `light` (enableLmq) a light queue has the id 0, whatever that of the message. Names that could be no
    folder are left out.
    """
    named = pieces(properties.get(property_names.INNER_MULTI_DISPATCH, ""))
    numbers = pieces(properties.get(property_names.INNER_MULTI_QUEUE_OFFSET, ""))
    if len(named) != len(numbers) or not all(text.isascii() and text.isdecimal() for text in numbers):
        return []
    return [
        Further(name, _LIGHT_QUEUE if light and names.is_light(name) else queue_id, int(number))
        for name, number in zip(named, numbers, strict=True)
        if names.may_be_folder(name)
    ]


def stands_further_in(properties: bytes, own_queue_id: int, topic: str, queue_id: int) -> bool:
    """Whether a record with these stored properties may stand in that queue, which is not its own."""
    if MARK not in properties or queue_id not in (own_queue_id, _LIGHT_QUEUE):
        return False
    named = unpack_properties(properties).get(property_names.INNER_MULTI_DISPATCH, "")
    return topic in pieces(named)


class MultiDispatch:
    """Enters messages into the queues that they name, as long as `enableMultiDispatch` is on."""

    def __init__(self, config: MessageStoreConfig, queues: QueueTable, appender: Appender) -> None:
        self._config = config
        self._queues = queues
        self._appender = appender
        self._arrived: set[QueueKey] = set()

    @property
    def is_on(self) -> bool:
        return self._config.enable_multi_dispatch

    def take_arrived(self) -> set[QueueKey]:
        """Further queues that got messages since this was last asked."""
        arrived, self._arrived = self._arrived, set()
        return arrived

    # -- appending -----------------------------------------------------------------------------------------

    def append_all(self, messages: Sequence[NewMessage], now_ms: int, whole: bool) -> list[Placed]:
        """Like `Appender.append_all`, for messages of which some name further queues."""
        arrived: set[QueueKey] = set()

        def numbered(placed: list[Placed], touched: list[ConsumeQueue]) -> Iterator[NewMessage]:
            for message in messages:
                yield from self._numbered(message, placed, touched, arrived)

        spare_bytes = sum(growth(message[4]) for message in messages if MARK in message[4]) if whole else 0
        placed = self._appender.append_all(messages, now_ms, whole, numbered, spare_bytes)
        self._arrived |= arrived
        return placed

    def _numbered(
        self,
        message: NewMessage,
        placed: list[Placed],
        touched: list[ConsumeQueue],
        arrived: set[QueueKey],
    ) -> Iterator[NewMessage]:
        """The message with its numbers; once it is placed, it is entered under them."""
        properties = unpack_properties(message[4]) if MARK in message[4] else {}
        keys = self._keys(message, properties)
        if not keys:
            yield message
            return
        queues = [self._queues.get(*key) for key in keys]
        numbers = [queue.max_offset for queue in queues]
        properties[property_names.INNER_MULTI_QUEUE_OFFSET] = names.MULTI_DISPATCH_SEPARATOR.join(
            map(str, numbers)
        )
        yield NewMessage(*message)._replace(properties=pack_properties(properties))
        offset, size, _ = placed[-1]
        for queue, number in zip(queues, numbers, strict=True):
            if queue.max_offset == number:  # else it is named twice, or is the message's own
                queue.put((offset, size, message[11]))
                touched.append(queue)
        arrived.update(keys)

    def _keys(self, message: NewMessage, properties: Mapping[str, str]) -> list[QueueKey]:
        """The further queues, all of them or none.

        None for what only waits (half and delayed messages: their time is when they are stored in their own
        topic), and for a retry, which was in them when it came first.
        """
        named = pieces(properties.get(property_names.INNER_MULTI_DISPATCH, ""))
        if (
            not named
            or message[6] & TRANSACTION_NOT_QUEUED
            or not names.may_be_dispatched(message[0])
            or not all(names.may_be_dispatched(name) and names.may_be_folder(name) for name in named)
        ):
            return []
        light = self._config.enable_lmq
        return [(name, _LIGHT_QUEUE if light and names.is_light(name) else message[1]) for name in named]

    # -- dispatching ---------------------------------------------------------------------------------------

    def entries_of(self, properties: Mapping[str, str], queue_id: int) -> list[Further]:
        """Where a record of the log stands besides its queue, by its own words; nowhere while this is off."""
        if not self.is_on or property_names.INNER_MULTI_DISPATCH not in properties:
            return []
        return further_queues(properties, queue_id, self._config.enable_lmq)

    def has_arrived(self, further: Further) -> None:
        """A record was entered into that queue."""
        self._arrived.add((further.topic, further.queue_id))


def growth(properties: bytes) -> int:
    """So many bytes the numbers of a message with these properties may need at most."""
    named = unpack_properties(properties).get(property_names.INNER_MULTI_DISPATCH, "")
    return _OFFSETS_BYTES + _NUMBER_BYTES * len(pieces(named))
