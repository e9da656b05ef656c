"""The record that a broker keeps of a pull at an impossible offset: a message in OFFSET_MOVED_EVENT.

Operators find there which group was sent where, and so which messages it missed or met again.
Facts: spec/store.yaml (pull_status_to_response.offset_moved_event), spec/bodies.yaml (OffsetMovedEvent).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.logger import Logger

from rocketmq_tx.errors import PeerError, StoreError
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol.bodies import MessageQueue, OffsetMovedEvent
from rocketmq_tx.protocol.hash_map_order import in_hash_map_order
from rocketmq_tx.protocol.headers import PullMessageRequestHeader
from rocketmq_tx.protocol.java import crc32, string_hash
from rocketmq_tx.protocol.properties import pack_properties
from rocketmq_tx.protocol.property_names import DELAY, KEYS, TAGS
from rocketmq_tx.store.append import NewMessage


def offset_moved_message(event: OffsetMovedEvent, broker_host: bytes, now_ms: int) -> NewMessage:
    """The message as Apache stores it: tag and key are the group; `broker_host` is packed.

    It names delay level 0, which is no delay; records that Apache wrote have it, so do ours.
    """
    group = event.consumer_group
    body = event.to_bytes()
    properties = pack_properties(in_hash_map_order({TAGS: group, DELAY: "0", KEYS: group}))
    return NewMessage(
        topic=names.OFFSET_MOVED_TOPIC,
        queue_id=0,
        body=body,
        body_crc=crc32(body),
        properties=properties,
        flag=0,
        sys_flag=0,
        born_timestamp=now_ms,
        born_host=broker_host,
        reconsume_times=0,
        prepared_transaction_offset=0,
        tags_code=string_hash(group),
        keys=(group,),
    )


class OffsetMovedLog:
    """Writes the messages; a pull never fails because its event could not be kept.

    `append` is `Appending.append`; `broker_host` the packed address under which clients know this broker.
    """

    _log = Logger()

    def __init__(
        self,
        append: Callable[[Sequence[NewMessage], int], object],
        broker_name: str,
        broker_host: bytes,
        now_ms: Callable[[], int],
    ) -> None:
        self._append = append
        self._broker_name = broker_name
        self._broker_host = broker_host
        self._now_ms = now_ms
        self._failed = False

    def note(self, pull: PullMessageRequestHeader, corrected_offset: int) -> None:
        """The consumer asked for `pull.queue_offset` and was sent to `corrected_offset`."""
        event = OffsetMovedEvent(
            consumer_group=pull.consumer_group,
            message_queue=MessageQueue(
                topic=pull.topic, broker_name=self._broker_name, queue_id=pull.queue_id
            ),
            offset_request=pull.queue_offset,
            offset_new=corrected_offset,
        )
        now_ms = self._now_ms()
        try:
            self._append([offset_moved_message(event, self._broker_host, now_ms)], now_ms)
        except (PeerError, StoreError) as error:
            if not self._failed:
                self._log.warn("offset moved events are not kept at present: {error}", error=error)
            self._failed = True
        else:
            self._failed = False
