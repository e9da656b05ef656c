"""What the properties of half messages say, read once for all that differ only by their unique key.

Most producers send the same properties with each message but for the UNIQ_KEY. What ends need to know of a
half message - whose it is, where it goes, and whether it simply goes there - is worked out once a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rocketmq_tx.broker import timer_rules
from rocketmq_tx.broker.transaction_rules import real_queue
from rocketmq_tx.errors import MessageError
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.properties import unpack_properties

OUTLINES_MAX = 4096
_UNIQ_KEY = f"{prop.UNIQ_KEY}\x01".encode()
_SEPARATOR = b"\x02"
_KEYS = f"{prop.KEYS}\x01".encode()
_OF_COPIES = (prop.TRANSACTION_CHECK_TIMES, prop.TRAN_PREPARED_QUEUE_OFFSET)
_GO_ELSEWHERE = (prop.DELAY, *timer_rules.TIMES)


class HalfOutline(NamedTuple):
    """Of half messages with these properties."""

    producer_group: str
    is_producers: bool
    """A producer sent it: it is no copy of the broker's."""
    real_queue: tuple[str, int] | None
    """(topic, queue id) where a commit puts it as it is; None where more is to be decided."""


class HalfOutlines:
    """Remembers them by the text around the unique key."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], HalfOutline | None] = {}

    def of(self, properties: bytes, key: str) -> HalfOutline | None:
        """The outline of stored properties whose UNIQ_KEY is `key`; None when that is not what they say."""
        before, found, after = properties.partition(_UNIQ_KEY + key.encode())
        if not found:
            return None
        try:
            return self._known[before, after]
        except KeyError:
            outline = _outline(before, after)
            if _KEYS not in properties:  # with keys of its own, the text is unlikely to come again
                if len(self._known) >= OUTLINES_MAX:
                    self._known.clear()
                self._known[before, after] = outline
            return outline


def _outline(before: bytes, after: bytes) -> HalfOutline | None:
    is_whole = (not before or before.endswith(_SEPARATOR)) and (not after or after.startswith(_SEPARATOR))
    if not is_whole or _UNIQ_KEY in before or _UNIQ_KEY in after:
        return None
    properties = unpack_properties(before + after[1:] if before else after[1:])
    return HalfOutline(
        properties.get(prop.PRODUCER_GROUP, ""),
        properties.keys().isdisjoint(_OF_COPIES),
        _plain_queue(properties),
    )


def _plain_queue(properties: Mapping[str, str]) -> tuple[str, int] | None:
    if not properties.keys().isdisjoint(_GO_ELSEWHERE):
        return None
    try:
        return real_queue(properties)
    except MessageError:
        return None
