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
from rocketmq_tx.errors import MessageError, RequestRefused, StoreError
from rocketmq_tx.protocol import property_names as prop
from rocketmq_tx.protocol.message import decode_record
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
    recent_ms, deleted = max(_log_ms(store) - RECENT_MS, 0), store.deleted_topics
    found: dict[str, int] = {}
    for topic, queue_id in store.queues():
        if is_known(topic) or is_light(topic):
            continue
        if _was_sent_to_since(recent_ms, store, topic, queue_id, topic in deleted):
            is_inner = is_system_topic(topic) or topic.startswith((RETRY_PREFIX, DLQ_PREFIX))
            found[topic] = max(found.get(topic, 1 if is_inner else usual_queues), queue_id + 1)
    return found


def _log_ms(store: StoredMessages) -> int:
    """When the log's newest message was stored; 0 when nobody can tell, so that every message is recent."""
    try:
        return store.last_store_time
    except StoreError:
        return 0


def _was_sent_to_since(
    recent_ms: int, store: StoredMessages, topic: str, queue_id: int, was_deleted: bool
) -> bool:
    """Whether somebody has sent a queue's newest message to that topic, and lately.

    A message of another topic stands there as in a further queue. One that had to wait, for its time or for a
    commit, comes whether its topic has been deleted meanwhile or not.
    """
    try:
        entry = store.entry_at(topic, queue_id, store.queue_offsets(topic, queue_id)[1] - 1)
        if entry is None:
            return False
        record = decode_record(store.record_at(entry[0]))
    except (StoreError, MessageError):
        return True  # one bad sector must neither keep a slave from leading nor hide a topic
    if record.store_timestamp < recent_ms or record.topic != topic:
        return False
    return not (was_deleted and prop.REAL_TOPIC in record.property_map)
