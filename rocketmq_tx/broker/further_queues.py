"""May a message stand in the queues that its INNER_MULTI_DISPATCH names? Asked before it is stored.

Apache enters it wherever it says; its limit of light queues stops no message, and all readers of light queues
once it is passed. Here the message that would pass it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from rocketmq_tx.broker.send_rules import message_illegal
from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.errors import RequestRefused
from rocketmq_tx.protocol import names
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.properties import MAX_PROPERTIES_BYTES, unpack_properties
from rocketmq_tx.store.append import NewMessage
from rocketmq_tx.store.multi_dispatch import MARK, growth, pieces


class LightQueues(Protocol):
    """What is needed of `store.message_store.MessageStore`."""

    @property
    def light_queue_count(self) -> int: ...

    def queue_offsets(self, topic: str, queue_id: int) -> tuple[int, int]: ...


class FurtherQueues:
    """`has_topic` knows the table of topics."""

    def __init__(
        self, config: MessageStoreConfig, store: LightQueues, has_topic: Callable[[str], bool]
    ) -> None:
        self._config = config
        self._store = store
        self._has_topic = has_topic

    def check(self, messages: Iterable[NewMessage]) -> None:
        """RequestRefused when one of them names a queue in which it cannot stand.

        Also when they would make too many light queues, among them those to which they are sent straight.
        """
        config = self._config
        new: set[str] = set()
        for message in messages:
            topic, queue_id, _, _, properties, *_ = message  # a plain tuple does as well
            if config.enable_lmq and names.is_light(topic):
                self._note_new(topic, queue_id, new)
            if config.enable_multi_dispatch and MARK in properties:
                named = unpack_properties(properties).get(prop.INNER_MULTI_DISPATCH, "")
                self._check_named(pieces(named), queue_id, new)
                has_to_wait = not names.may_be_dispatched(topic)  # and nobody is there any more to be told
                if has_to_wait and len(properties) + growth(properties) > MAX_PROPERTIES_BYTES:
                    raise message_illegal(config.max_message_size)
        count, most = self._store.light_queue_count, config.max_lmq_consume_queue_num
        if new and count + len(new) > most:
            raise RequestRefused(
                ResponseCode.SYSTEM_ERROR,
                f"LMQ_CONSUME_QUEUE_NUM_EXCEEDED: there are {count} light queues, the message would make "
                f"{len(new)} more, and maxLmqConsumeQueueNum is {most}",
            )

    def _check_named(self, named: list[str], queue_id: int, new: set[str]) -> None:
        for name in named:
            if not names.may_be_folder(name) or not names.may_be_dispatched(name):
                raise _refused(f"[{name}], where no message may be dispatched")
            if names.is_light(name):
                self._note_new(name, queue_id, new)
            elif not self._has_topic(name):
                raise _refused(f"[{name}], which is neither a light queue nor a topic")

    def _note_new(self, name: str, queue_id: int, new: set[str]) -> None:
        """Adds the name of a light queue that is not there yet."""
        if not self._store.queue_offsets(name, 0 if self._config.enable_lmq else queue_id)[1]:
            new.add(name)


def _refused(what: str) -> RequestRefused:
    return RequestRefused(ResponseCode.MESSAGE_ILLEGAL, f"{prop.INNER_MULTI_DISPATCH} names {what}")
