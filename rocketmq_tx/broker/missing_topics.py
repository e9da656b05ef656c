"""Topics whose messages a broker has, but not their settings: made in the moment before somebody was gone.

A slave hears of a new topic a moment later than of its first messages (`table_news`), and the file of topics
is written a moment later when very many are made (`kept_table`), or its disk is full. Who takes over just
then, or starts after a kill, has acknowledged messages that no consumer may pull, since nobody knows their
topic.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from rocketmq_tx.broker.topics import TopicTable
from rocketmq_tx.errors import RequestRefused, StoreError
from rocketmq_tx.protocol.names import DLQ_PREFIX, RETRY_PREFIX, is_light, is_system_topic
from rocketmq_tx.store.stored_messages import StoredMessages

_log = Logger()
RECENT_MS = 60_000
"""Topics that had their last message longer before the end of the log were deleted: tables come each 10 s."""


def make_missing_topics(store: StoredMessages, topics: TopicTable, usual_queues: int) -> None:
    """Puts them into the table."""
    missing = missing_topics(store, lambda topic: topics.get(topic) is not None, usual_queues)
    for topic, queues in missing.items():
        try:
            topics.ensure(topic, queues)
        except RequestRefused as refused:  # a folder of somebody's among the queues
            _log.warn("a topic is not made: topic={topic} {reason}", topic=topic, reason=refused)
            continue
        _log.info(
            "a topic is made that had come with messages only: topic={topic} queues={queues}",
            topic=topic,
            queues=queues,
        )


def missing_topics(
    store: StoredMessages, is_known: Callable[[str], bool], usual_queues: int
) -> dict[str, int]:
    """The unknown topics with recent messages, and how many queues each is to have.

    At least `usual_queues`, since producers go on sending to queues that had no message yet; topics of
    the broker's own, of retries and of dead letters have as many as there are messages for.
    """
    recent_ms = max(_log_ms(store) - RECENT_MS, 0)
    found: dict[str, int] = {}
    for topic, queue_id in store.queues():
        if is_known(topic) or is_light(topic):
            continue
        if _newest_ms(store, topic, queue_id, recent_ms) >= recent_ms:
            is_inner = is_system_topic(topic) or topic.startswith((RETRY_PREFIX, DLQ_PREFIX))
            found[topic] = max(found.get(topic, 1 if is_inner else usual_queues), queue_id + 1)
    return found


def _log_ms(store: StoredMessages) -> int:
    """When the log's newest message was stored; 0 when nobody can tell, so that every message is recent."""
    try:
        return store.last_store_time
    except StoreError:
        return 0


def _newest_ms(store: StoredMessages, topic: str, queue_id: int, unreadable_ms: int) -> int:
    """When the queue's newest message was stored; -1 when it has none."""
    try:
        return store.store_time_at(topic, queue_id, store.queue_offsets(topic, queue_id)[1] - 1)
    except StoreError:
        return unreadable_ms  # one bad sector must neither keep a slave from leading nor hide a topic
