"""What goes with a topic on a master, and that its slaves know before the deletion is acknowledged.

A slave that takes over without knowing would go on with the old numbers and messages where producers and
consumers have begun anew.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

if TYPE_CHECKING:
    from rocketmq_tx.broker.offsets import ConsumerOffsets
    from rocketmq_tx.store.message_store import MessageStore

SLAVES_TIMEOUT_S = 3.0
"""Apache's tool waits five seconds for the whole."""


class TopicDeletions:
    """`have_taken` has the slaves take the tables within so many seconds; it fires with why some have not."""

    _log = Logger()

    def __init__(
        self,
        store: MessageStore,
        offsets: ConsumerOffsets,
        have_taken: Callable[[float], Deferred[list[str]]],
    ) -> None:
        self._store = store
        self._offsets = offsets
        self._have_taken = have_taken

    def drop(self, topics: AbstractSet[str]) -> None:
        """Messages and consumers' offsets of these topics are gone when this returns. StoreError."""
        self._store.delete_topics(topics)
        self._offsets.remove_topics(topics)

    def known_to_slaves(self) -> Deferred[str | None]:
        """Fires when all slaves that are here know what was dropped, or with a sentence why some do not."""
        return self._have_taken(SLAVES_TIMEOUT_S).addCallback(self._say)

    def _say(self, missing: list[str]) -> str | None:
        if not missing:
            return None
        remark = (
            "deleted here, but not known to all slaves: "
            + "; ".join(missing)
            + "; until then none of these should take over: they delete it when they ask for the tables"
        )
        self._log.warn("a deletion is {remark}", remark=remark)
        return remark
