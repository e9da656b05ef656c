"""Requests that clean the store now: queues without messages (306), unknown topics (316), old files (329).

Facts: spec/processors.yaml (AdminBrokerProcessor), spec/store.yaml (expired_queue_removal,
unused_topic_removal). By 306 each of Apache's brokers drops queues all of whose messages have gone by age,
and numbers such a queue from 0 when it goes on. Here the numbers of a queue never go back unless its topic is
deleted: what goes are topics without settings, unknown ones and light ones, on slaves by their master's word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.names import SCHEDULE_TOPIC, TIMER_TOPIC, TRANSACTION_OP_TOPIC, is_light
from rocketmq_tx.remoting.registry import Reply, serves

if TYPE_CHECKING:
    from rocketmq_tx.broker.admin_topics import Deletions
    from rocketmq_tx.config.store import MessageStoreConfig
    from rocketmq_tx.protocol.frame import Frame
    from rocketmq_tx.remoting.peer import Peer
    from rocketmq_tx.store.message_store import MessageStore

KEPT_TOPICS = frozenset({SCHEDULE_TOPIC, TIMER_TOPIC, TRANSACTION_OP_TOPIC})
"""Topics that have queues without being in the table of topics."""


class CleaningRequests:
    """`has_topic` knows the table of topics; `delete_old_files` begins a round of retention."""

    def __init__(
        self,
        config: MessageStoreConfig,
        store: MessageStore,
        has_topic: Callable[[str], bool],
        deletions: Deletions,
        delete_old_files: Callable[[], object],
    ) -> None:
        self._config = config
        self._store = store
        self._has_topic = has_topic
        self._deletions = deletions
        self._delete_old_files = delete_old_files

    @serves(RequestCode.CLEAN_EXPIRED_CONSUMEQUEUE)
    def clean_expired_queues(self, peer: Peer, frame: Frame, header: None) -> Deferred[Reply]:
        """Topics all of whose messages have gone by age, if they are light, or nobody knows them."""
        return self._drop(lambda: self._unknown(self._store.expiry.expired_topics()))

    @serves(RequestCode.CLEAN_UNUSED_TOPIC)
    def clean_unused_topics(self, peer: Peer, frame: Frame, header: None) -> Deferred[Reply]:
        """Topics that nobody knows, with all their messages; never light ones, which need not be known."""
        stored = {topic for topic, _ in self._store.queues()}
        return self._drop(lambda: {topic for topic in self._unknown(stored) if not is_light(topic)})

    def _unknown(self, topics: set[str]) -> set[str]:
        """Those without settings."""
        return {topic for topic in topics - KEPT_TOPICS if is_light(topic) or not self._has_topic(topic)}

    def _drop(self, find: Callable[[], set[str]]) -> Deferred[Reply]:
        """Nothing goes from a slave, whose master would go on with the numbers. The tool asks all brokers."""
        topics = find() if self._config.broker_role.is_master else set()
        if not topics:
            return succeed(Reply())
        self._deletions.drop(topics)
        return self._deletions.known_to_slaves().addCallback(lambda remark: Reply(remark=remark))

    @serves(RequestCode.DELETE_EXPIRED_COMMITLOG)
    def delete_expired_files(self, peer: Peer, frame: Frame, header: None) -> Reply:
        self._delete_old_files()
        return Reply()
