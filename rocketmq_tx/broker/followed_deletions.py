"""What a master has deleted goes from its slave: at once, and again when the log has come as far.

The word of a deletion may overtake the messages that were deleted. What the log has not got yet must not be
taken for deleted for ever: should the master be gone, other messages come to stand there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

if TYPE_CHECKING:
    from rocketmq_tx.broker.offsets import ConsumerOffsets
    from rocketmq_tx.config.store import MessageStoreConfig
    from rocketmq_tx.store.message_store import MessageStore


class FollowedDeletions:
    """Deletes messages and consumers' offsets, as long as `config` says that this broker is a slave."""

    def __init__(self, config: MessageStoreConfig, store: MessageStore, offsets: ConsumerOffsets) -> None:
        self._config = config
        self._store = store
        self._offsets = offsets
        self._ahead: dict[str, int] = {}
        """Topics deleted further on in the master's log than this one goes, and where."""
        self._next = 0
        self._reached: Deferred[None] = succeed(None)

    def learn(self, ends: Mapping[str, int]) -> Deferred[None]:
        """Topics, and where the master's log ended at their deletion; fires when the log here is as far."""
        if self._config.broker_role.is_master:
            return succeed(None)
        self._delete(ends)
        self._look_ahead(ends)
        return self._reached

    def log_grew(self) -> None:
        """Called after each piece of the master's log."""
        if self._ahead and self._store.written_to >= self._next:
            ends, self._ahead = self._ahead, {}
            if not self._config.broker_role.is_master:
                self._delete(ends)
                self._look_ahead(ends)

    def _look_ahead(self, ends: Mapping[str, int]) -> None:
        self._ahead = {topic: end for topic, end in ends.items() if end > self._store.written_to}
        self._next = min(self._ahead.values(), default=0)
        if not self._ahead:
            if not self._reached.called:
                self._reached.callback(None)
        elif self._reached.called:
            self._reached = Deferred()

    def _delete(self, ends: Mapping[str, int]) -> None:
        deleted = self._store.topics_were_deleted(ends)
        if deleted:
            self._offsets.remove_topics(frozenset(deleted))
