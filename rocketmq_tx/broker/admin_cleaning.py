"""Requests that clean the store now: queues without messages (306), unknown topics (316), old files (329).

Facts: spec/processors.yaml (AdminBrokerProcessor), spec/store.yaml (expired_queue_removal,
unused_topic_removal). Each is answered with success at once, as by Apache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.names import SCHEDULE_TOPIC, TIMER_TOPIC, TRANSACTION_OP_TOPIC, is_light
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.message_store import MessageStore

KEPT_TOPICS = frozenset({SCHEDULE_TOPIC, TIMER_TOPIC, TRANSACTION_OP_TOPIC})
"""Topics that have queues without being in the table of topics."""


class CleaningRequests:
    """`has_topic` knows the table of topics; `delete_old_files` begins a round of retention."""

    def __init__(
        self,
        store: MessageStore,
        has_topic: Callable[[str], bool],
        delete_old_files: Callable[[], object],
    ) -> None:
        self._store = store
        self._has_topic = has_topic
        self._delete_old_files = delete_old_files

    @serves(RequestCode.CLEAN_EXPIRED_CONSUMEQUEUE)
    def clean_expired_queues(self, peer: Peer, frame: Frame, header: None) -> Reply:
        """Such a queue begins again at 0, as with Apache; queues that never had a message stay."""
        self._store.remove_expired_queues()
        return Reply()

    @serves(RequestCode.CLEAN_UNUSED_TOPIC)
    def clean_unused_topics(self, peer: Peer, frame: Frame, header: None) -> Reply:
        stored = {topic for topic, _ in self._store.queues()}
        for topic in sorted(stored - KEPT_TOPICS):
            if not self._has_topic(topic) and not is_light(topic):
                self._store.delete_topic(topic)
        return Reply()

    @serves(RequestCode.DELETE_EXPIRED_COMMITLOG)
    def delete_expired_files(self, peer: Peer, frame: Frame, header: None) -> Reply:
        self._delete_old_files()
        return Reply()
